"""Audits put into a bundle that lies in a folder, one writer at a time. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from leukoscope.bundle.audits import AuditFacts
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import BundleFacts
from leukoscope.errors import BundleError

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
        together = sorted([*kept, *new.values()], key=lambda each: each.kind)
        return bundle.with_facts(audits=together).write(bundle.folder).facts


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
