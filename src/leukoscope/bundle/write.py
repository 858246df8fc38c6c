"""A bundle with the same graph and other facts, in its place, one writer at a time. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from leukoscope import _version
from leukoscope.bundle.audits import AuditFacts
from leukoscope.bundle.card import model_card
from leukoscope.bundle.gate import GateFacts
from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.bundle.schema import CARD_FILE, FACTS_FILE, GRAPH_FILE, BundleFacts, DecisionFacts, MeasuredFacts
from leukoscope.errors import BundleError
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


_PATIENCE = 60  # seconds; writing takes a tenth of one


def record_audits(folder: Path, audits: Sequence[AuditFacts]) -> BundleFacts:
    """Put audits into the bundle of a folder; each takes the place of an older one of its kind.

    The bundle is read again under a lock, so what another process wrote into it meanwhile is kept.

    Args:
        folder: of the bundle.
        audits: of its graph, one of a kind.

    Returns:
        What bundle.json says now.

    Raises:
        BundleError: the bundle is none, its graph is no longer the one that was audited, or another process is
            writing into it all the time.
        LeukoscopeError: the folder cannot be written.
    """
    with _alone(folder):
        bundle = read_bundle(folder)
        graph = hashlib.sha256(bundle.graph).hexdigest()
        if any(each.graph != graph for each in audits):
            raise BundleError("is no longer the bundle that was audited", path=folder, remedy="audit it again")
        new = {each.kind: each for each in audits}
        kept = [each for each in bundle.facts.audits if each.kind not in new]
        facts = bundle.facts.model_copy(update={"audits": sorted([*kept, *new.values()], key=lambda each: each.kind)})
        changed = replace(bundle, facts=facts)
        return revise_bundle(changed, bundle.folder, decision=facts.decision, measured=tuple(facts.measured))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder. The lock lies among the temporary files: the folder is to be replaced whole."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"leukoscope-bundle-{name}.lock")
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise BundleError(
            "is being written by another process", path=folder, remedy="try again when that has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()
