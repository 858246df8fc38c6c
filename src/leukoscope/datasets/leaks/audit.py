"""The audit: read every picture once, compare all pairs cheaply, look at the likely ones closely.

What an audit takes: a data set that the readers know, or any folder of pictures; and a split to check.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.dataset import Manifest, Record
from leukoscope.datasets.leaks.align import BATCH, GATE, Alignment, alignment_of, compare_batch
from leukoscope.datasets.leaks.candidates import Candidates, all_turns, find_candidates, near_turns
from leukoscope.datasets.leaks.links import (
    AuditResult,
    Kind,
    Link,
    Null,
    Transform,
    kind_of,
    patient_groups,
    picture_transform,
    subject_pairs,
)
from leukoscope.datasets.leaks.store import Facts, read_facts
from leukoscope.datasets.pictures import list_pictures
from leukoscope.datasets.readers import read_dataset
from leukoscope.errors import DataError
from leukoscope.progress import SILENT, Progress
from leukoscope.workers import Run, workers

LEAST_THRESHOLD, MOST_THRESHOLD = 0.74, 0.9
NULL_SIGMAS = 6.0
NEIGHBOUR_SCORE = 0.72  # enough where another link joins the same two fields
NULL_PAIRS = 1024  # or four per picture, in small sets
MANY_COPIES = 16  # from so many identical pictures on, each is linked to the first only
_SEED = 20190412


def audit(
    manifest: Manifest,
    *,
    jobs: int = 1,
    progress: Progress = SILENT,
    work_folder: str | Path | None = None,
    any_angle: bool = False,
) -> AuditResult:
    """Find the pictures that show the same physical cell.

    Args:
        manifest: the pictures; labels, subjects, folds and fields may be unknown.
        jobs: processes to use.
        progress: shows each stage.
        work_folder: where to keep what was computed, so that a killed audit goes on; None: a temporary folder.
        any_angle: search turned copies at every angle instead of within 10 degrees of quarter turns.

    Raises:
        DataError: the manifest is empty, or no picture in it can be read.
    """
    if not len(manifest):
        raise DataError("there are no pictures to audit", path=manifest.root)
    folder = Path(work_folder) if work_folder is not None else Path(tempfile.mkdtemp(prefix="leukoscope-audit-"))
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    with workers(jobs, progress) as run:
        with _clock(seconds, "read"):
            facts = read_facts(manifest.paths(), folder.resolve(), run)
        if not facts.readable.any():
            raise DataError(
                f"none of the {len(manifest)} pictures can be read", path=manifest.root, remedy="check the files"
            )
        names, codes = np.unique(manifest.subjects(), return_inverse=True)
        subjects = np.where(manifest.subjects() == "", -1, codes)
        exact = _exact_links(facts)
        with _clock(seconds, "search"):
            found = _search(facts, subjects, progress, any_angle)
        with _clock(seconds, "compare"):
            null = _null(facts, subjects, run)
            links = _texture_links(facts, found, null.threshold, {(link.first, link.second) for link in exact}, run)
        with _clock(seconds, "fields"):
            links = [*exact, *links]
            links += _field_links(manifest, facts, links, run)
    links = _count_neighbours(manifest, links)
    order = {kind: rank for rank, kind in enumerate(Kind)}
    links.sort(key=lambda link: (order[link.kind], -link.score, link.first, link.second))
    names_of = [record.subject or "" for record in manifest.records]
    pairs = subject_pairs(links, names_of)
    labels = manifest.labels()
    conflicts = [n for n, k in enumerate(links) if {int(labels[k.first]), int(labels[k.second])} == {0, 1}]
    return AuditResult(
        manifest=manifest,
        links=tuple(links),
        pairs=tuple(pairs),
        groups=patient_groups(pairs, (str(name) for name in names)),
        conflicts=tuple(conflicts),
        unreadable=tuple((manifest.records[i].path, error) for i, error in enumerate(facts.errors) if error),
        blank=tuple(manifest.records[i].path for i in np.flatnonzero(facts.readable & ~facts.lit)),
        whole=int(facts.whole.sum()),
        collisions=_collisions(manifest),
        candidates=len(found.first),
        null=null,
        measures=np.where(facts.lit[:, None], facts.measures, np.nan),
        seconds=seconds,
        store=facts.folder,
        keys=facts.keys,
    )


@contextmanager
def _clock(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _exact_links(facts: Facts) -> list[Link]:
    """Links between files of equal bytes, and between others of equal pixels. Blank pictures prove nothing."""
    by_pixels: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(facts.lit):
        by_pixels[facts.pixels[i]].append(int(i))
    links = []
    still = Transform(0.0, False, 1.0, (0.0, 0.0))
    for same in by_pixels.values():
        pairs = combinations(same, 2) if len(same) <= MANY_COPIES else ((same[0], other) for other in same[1:])
        for a, b in pairs:
            kind = Kind.BYTES if facts.files[a] == facts.files[b] else Kind.PIXELS
            links.append(Link(a, b, kind, 1.0, 1.0, 1.0, still))
    return links


def _search(facts: Facts, subjects: NDArray[np.int64], progress: Progress, any_angle: bool) -> Candidates:
    """Candidates among the pictures that show something, with indices into the manifest and turns spelled out."""
    lit = np.flatnonzero(facts.lit)
    turns = all_turns() if any_angle else near_turns()
    found = find_candidates(facts.prints[lit], subjects[lit], turns, progress=progress)
    codes = np.array([steps * 2 + mirror for steps, mirror in turns], np.int64)
    return Candidates(lit[found.first], lit[found.second], found.score, codes[found.turn])


def _align(
    facts: Facts, pairs: Sequence[tuple[int, int, int, bool]], run: Run, stage: str, gate: float = GATE
) -> list[Alignment | None]:
    calls = [(facts.folder, facts.keys, pairs[start : start + BATCH], gate) for start in range(0, len(pairs), BATCH)]
    return [alignment_of(row) for rows in run(stage, compare_batch, calls) for row in rows]


def _null(facts: Facts, subjects: NDArray[np.int64], run: Run) -> Null:
    """Align pairs that nothing relates and see how well their textures agree by chance."""
    lit = np.flatnonzero(facts.lit)
    random = np.random.default_rng(_SEED)
    pairs: list[tuple[int, int, int, bool]] = []
    wanted = min(NULL_PAIRS, 4 * len(lit))
    if len(lit) > 1:
        for a, b in random.choice(lit, (4 * NULL_PAIRS, 2)):
            related = subjects[a] == subjects[b] and subjects[a] >= 0
            if a != b and not related and facts.pixels[a] != facts.pixels[b] and len(pairs) < wanted:
                pairs.append((int(a), int(b), int(random.integers(36)), bool(random.integers(2))))
    found = [x.score for x in _align(facts, pairs, run, "calibrating on unrelated pairs", gate=-1.0) if x is not None]
    if len(found) < 20:
        return Null(len(pairs), len(found), 0.0, 0.0, max(found, default=0.0), LEAST_THRESHOLD)
    # Median and quartiles, as a few of the drawn pairs may be true copies.
    z = np.arctanh(np.clip(found, -0.999, 0.999))
    low, middle, high = np.quantile(z, [0.25, 0.5, 0.75])
    spread = float(high - low) / 1.349
    threshold = float(np.clip(np.tanh(middle + NULL_SIGMAS * spread), LEAST_THRESHOLD, MOST_THRESHOLD))
    return Null(len(pairs), len(found), float(middle), spread, float(max(found)), threshold)


def _texture_links(
    facts: Facts, found: Candidates, threshold: float, known: set[tuple[int, int]], run: Run
) -> list[Link]:
    columns = zip(found.first.tolist(), found.second.tolist(), found.turn.tolist(), strict=True)
    pairs = [(a, b, turn // 2, bool(turn % 2)) for a, b, turn in columns if (a, b) not in known]
    aligned = _align(facts, pairs, run, "aligning likely pairs")
    return _accept(facts, pairs, aligned, threshold)


def _accept(
    facts: Facts, pairs: Sequence[tuple[int, int, int, bool]], aligned: Sequence[Alignment | None], threshold: float
) -> list[Link]:
    links = []
    for (a, b, *_), alignment in zip(pairs, aligned, strict=True):
        if alignment is None or alignment.score < threshold:
            continue
        transform = picture_transform(alignment, (facts.place[a], facts.place[b]), facts.sizes[[a, b]])
        kind = kind_of(alignment, transform, facts.sizes[[a, b]])
        numbers = tuple(float(value) for value in alignment.matrix.ravel())
        score, fine = alignment.score, alignment.fine
        links.append(Link(a, b, kind, score, fine, alignment.overlap, transform, matrix=numbers))
    return links


def _field_links(manifest: Manifest, facts: Facts, links: Sequence[Link], run: Run) -> list[Link]:
    """Where two fields of two subjects share a cell, compare all their cells, laid as that one lies."""
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index in np.flatnonzero(facts.lit).tolist():
        place = _field(manifest, index)
        if place is not None:
            cells[place].append(index)
    done = {(link.first, link.second) for link in links}
    pairs: list[tuple[int, int, int, bool]] = []
    for link in links:
        a, b = _field(manifest, link.first), _field(manifest, link.second)
        if a is None or b is None or a[0] == b[0]:
            continue
        steps = round(link.transform.angle / 5) * (1 if link.transform.mirror else -1)
        for i, j in product(cells[a], cells[b]):
            pair = (i, j) if i < j else (j, i)
            if i != j and pair not in done:
                done.add(pair)
                forward = i < j or link.transform.mirror
                pairs.append((*pair, steps if forward else -steps, link.transform.mirror))
    return _accept(facts, pairs, _align(facts, pairs, run, "comparing neighbours of linked cells"), NEIGHBOUR_SCORE)


def _field(manifest: Manifest, index: int) -> tuple[str, str] | None:
    record = manifest.records[index]
    return (record.subject, record.field) if record.subject and record.field else None


def _count_neighbours(manifest: Manifest, links: Sequence[Link]) -> list[Link]:
    def key(link: Link) -> frozenset[tuple[str, str]] | None:
        a, b = _field(manifest, link.first), _field(manifest, link.second)
        return None if a is None or b is None else frozenset((a, b))

    counts: dict[frozenset[tuple[str, str]] | None, int] = defaultdict(int)
    for link in links:
        counts[key(link)] += 1
    return [link if key(link) is None else replace(link, neighbours=counts[key(link)] - 1) for link in links]


def _collisions(manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    folded: dict[str, list[str]] = defaultdict(list)
    for record in manifest.records:
        folded[record.path.casefold()].append(record.path)
    return tuple(tuple(paths) for paths in folded.values() if len(paths) > 1)


_PARTS = ("train", "val", "test")


def read_any(path: Path) -> tuple[Manifest, str | None]:
    """Read a data set; a folder that no reader takes is read as pictures without label and subject.

    Returns:
        The manifest, and why no reader took the folder, or None.

    Raises:
        DataError: a table is unusable, or the folder holds no picture.
    """
    try:
        return read_dataset(path, both_classes=False), None
    except DataError as error:
        if not path.is_dir():
            raise
        names = [file.relative_to(path).as_posix() for file in list_pictures(path, deep=True)]
        if not names:
            raise
        records = tuple(
            Record(path=name, label=None, subject=None, group=None, fold=None, source="pictures", field=None)
            for name in names
        )
        return Manifest(path, records, path.resolve().name), error.what


def read_parts(path: Path) -> dict[str, str]:
    """Path to part, of a split stored as JSON by `Split.to_json`.

    Raises:
        DataError: not such a file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): part for part in _PARTS for name in value[part]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"not a stored split ({error!r})", path=path, remedy="give the split.json that training wrote"
        ) from error
