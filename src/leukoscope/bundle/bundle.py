"""A bundle: facts and a graph. Changing a fact takes out what then no longer holds. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from leukoscope import _version
from leukoscope.bundle.decision import logit_at
from leukoscope.bundle.label import labelled
from leukoscope.bundle.schema import CARD_FILE, FACTS_FILE, GRAPH_FILE, BundleFacts, DecisionFacts, MeasuredFacts
from leukoscope.bundle.seal import sealed
from leukoscope.files import atomic_folder
from leukoscope.metrics.glossary import BAND_KEYS

# Figures of what is stated, not of the order of the pictures or of the side of the threshold they are on.
_OF_BAND: Final = frozenset(BAND_KEYS)
_OF_PROBABILITIES: Final = frozenset({"brier", "ece", "ece_adaptive", "aurc", "subject_auc"}) | _OF_BAND
_OF_GATE: Final = frozenset({"turned_down"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """What answers, and all that is known of it.

    Attributes:
        folder: where it lies, or is to lie; files that are neither graph, facts nor card are there.
        facts: of `bundle.json`.
        graph: the very bytes whose SHA-256 is in ``facts``.
        seal: the checksum in `bundle.json`; None where the bundle does not lie there, or has none.
    """

    folder: Path
    facts: BundleFacts
    graph: bytes = field(repr=False)
    seal: str | None = None

    @property
    def digest(self) -> str:
        """The checksum in `bundle.json`, or that it would have: two bundles of one digest answer alike.

        It is of all facts, which hold the SHA-256 of each other file.
        """
        return self.seal or sealed(self.facts.model_dump(mode="json"))[1]

    @classmethod
    def of(cls, graph: bytes, folder: Path, **facts: Any) -> Self:
        """A new bundle, in memory.

        Args:
            graph: from `leukoscope.bundle.export.graph_bytes`.
            folder: where it is to lie.
            facts: fields of `BundleFacts`; without ``created``, that is today.
        """
        own = {"version": _version.__version__, "created": datetime.now(UTC).date().isoformat()}
        bare = BundleFacts(**(own | facts), files={})
        graph = _labelled(graph, bare)
        return cls(folder, bare.model_copy(update={"files": {GRAPH_FILE: _digest(graph)}}), graph)

    def with_facts(self, *, graph: bytes | None = None, **changes: Any) -> Self:
        """The bundle with another graph or other facts, in memory.

        What no longer holds then is left out, unless it is given anew: with another graph all figures, the rule for
        patients and the audits of other graphs; with another side of the threshold all figures and the rule for
        patients; with other probabilities or another band the figures that rest on them; with another gate the share
        that it turned down.

        Args:
            graph: in place of the bundle's.
            changes: fields of `BundleFacts`.
        """
        facts, bytes_ = self.facts, self.graph if graph in {None, self.graph} else _labelled(graph, self.facts)
        digest = _digest(bytes_)
        kept: dict[str, Any] = {"measured": facts.measured, "subjects": facts.subjects}
        decision = changes.get("decision", facts.decision)
        if digest != facts.files[GRAPH_FILE] or not _one_side(facts.decision, decision):
            kept = {"measured": [], "subjects": None}
        kept["measured"] = _without(kept["measured"], _stale(facts.decision, decision))
        if changes.get("gate", facts.gate) != facts.gate:
            kept["measured"] = _without(kept["measured"], _OF_GATE)
        update = {**kept, "audits": facts.audits, **changes}
        update["audits"] = [each for each in update["audits"] if each.graph == digest]
        others = {name: value for name, value in facts.files.items() if name not in {GRAPH_FILE, CARD_FILE}}
        return type(self)(
            self.folder, facts.model_copy(update={**update, "files": {GRAPH_FILE: digest, **others}}), bytes_
        )

    def write(self, folder: Path) -> Self:
        """Write the bundle whole or not at all, with its card.

        Args:
            folder: is replaced if it exists; may be the bundle's own. Files that are neither graph nor card are taken
                along from there.

        Returns:
            The bundle as it lies there.

        Raises:
            LeukoscopeError: the folder cannot be written.
        """
        from leukoscope.bundle.card import model_card  # noqa: PLC0415 - whoever only reads needs no templates

        facts = self.facts.model_copy(update={"version": _version.__version__})
        kept = [name for name in facts.files if name not in {GRAPH_FILE, CARD_FILE}]
        contents = {GRAPH_FILE: self.graph, CARD_FILE: model_card(facts).encode()}
        contents |= {name: (self.folder / name).read_bytes() for name in kept}
        files = {name: _digest(content) for name, content in contents.items()}
        facts = BundleFacts.model_validate(facts.model_dump() | {"files": files})
        contents[FACTS_FILE], seal = sealed(facts.model_dump(mode="json"))
        with atomic_folder(folder) as temporary:
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
        return type(self)(folder, facts, self.graph, seal)


def _labelled(graph: bytes, facts: BundleFacts) -> bytes:
    return labelled(
        graph, name=facts.name, version=_version.__version__, preparation=facts.preparation, input_size=facts.input_size
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _one_side(before: DecisionFacts, after: DecisionFacts) -> bool:
    """Whether every logit stands on the same side of both thresholds."""
    return math.isclose(
        logit_at(before.threshold, before), logit_at(after.threshold, after), rel_tol=1e-6, abs_tol=1e-6
    )


def _stale(before: DecisionFacts, after: DecisionFacts) -> frozenset[str]:
    """Figures that a change of the decision makes untrue, where the side of the threshold stays."""
    if before.temperature != after.temperature:
        return _OF_PROBABILITIES
    return frozenset() if before.refer == after.refer else _OF_BAND


def _without(measured: Iterable[MeasuredFacts], keys: frozenset[str]) -> list[MeasuredFacts]:
    return [
        each.model_copy(update={"metrics": {key: value for key, value in each.metrics.items() if key not in keys}})
        for each in measured
    ]
