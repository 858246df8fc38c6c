"""A bundle with the same graph and other facts. Needs no PyTorch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from leukoscope import _version
from leukoscope.bundle.card import model_card
from leukoscope.bundle.gate_facts import GateFacts
from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import CARD_FILE, FACTS_FILE, GRAPH_FILE, BundleFacts, DecisionFacts, MeasuredFacts
from leukoscope.files import atomic_folder, write_json

_REWRITTEN = (GRAPH_FILE, CARD_FILE)


def revise_bundle(
    bundle: Bundle,
    folder: Path,
    *,
    decision: DecisionFacts,
    measured: tuple[MeasuredFacts, ...],
    gate: GateFacts | None = None,
) -> BundleFacts:
    """Write ``bundle`` with another way to decide into ``folder``, whole or not at all.

    Audits of another graph than the bundle's are left out.

    Args:
        bundle: the bundle; files that are neither graph nor card are taken along.
        folder: is replaced if it exists; may be the bundle's own.
        decision: takes the place of the bundle's.
        measured: figures that hold for this decision.
        gate: takes the place of the bundle's; None keeps that.

    Raises:
        LeukoscopeError: the folder cannot be written.
    """
    others = {name: (bundle.folder / name).read_bytes() for name in bundle.facts.files if name not in _REWRITTEN}
    update: dict[str, Any] = {
        "decision": decision,
        "measured": list(measured),
        "version": _version.__version__,
        "files": {},
    }
    graph = hashlib.sha256(bundle.graph).hexdigest()
    update["audits"] = [each for each in bundle.facts.audits if each.graph == graph]
    facts = bundle.facts.model_copy(update=update if gate is None else {**update, "gate": gate})
    card = model_card(facts)
    contents = {GRAPH_FILE: bundle.graph, CARD_FILE: card.encode(), **others}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    facts = facts.model_copy(update={"files": hashes})
    with atomic_folder(folder) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        write_json(temporary / FACTS_FILE, facts.model_dump(mode="json"))
    return facts
