"""Measuring on other data sets than a bundle was made for: reading several, cutting cells out, telling sets apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.data.caveats import caveats, resolution_leak
from leukoscope.data.combining import combine, parts_of
from leukoscope.data.cutting import CutSet, cut_cells, shows_surroundings
from leukoscope.data.manifest import Manifest, Record
from leukoscope.data.readers import read_dataset
from leukoscope.data.readers.allidb import PUBLISHED
from leukoscope.data.readers.pictures import list_pictures
from leukoscope.data.record import LABEL_WORDS
from leukoscope.errors import DataError
from leukoscope.evaluation.evaluate import Evaluation, evaluate
from leukoscope.evaluation.intervals import REPLICATES
from leukoscope.evaluation.table import Scores
from leukoscope.files import write_json, write_text

SETS_JSON, SETS_CSV = "sets.json", "sets.csv"
COLUMNS = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1_weighted")


@dataclass(frozen=True, slots=True)
class Sets:
    """Data sets as they were read.

    Attributes:
        manifest: the labelled pictures of all, on black where they were not.
        reading: what was found out while reading them, in sentences.
        failed: pictures out of which no cell could be cut, and why.
    """

    manifest: Manifest
    reading: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known of them, in sentences."""
        return (*caveats(self.manifest), *self.reading)


def read_sets(
    paths: Sequence[Path],
    *,
    cut_folder: Path,
    label: int | None = None,
    both_classes: bool = False,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Sets:
    """Read data sets, cut cells out of crops with surroundings, and combine them.

    Args:
        paths: of the sets; several are combined.
        cut_folder: where cut cells are kept.
        label: 1 blast or 0 normal: take every picture under the paths as that, whatever its folder is called.
        both_classes: whether one class alone is refused; of several sets, one may hold one class if another holds the
            other.
        jobs: threads for cutting.
        say: called with a line where cells are cut out.

    Raises:
        DataError: whatever the readers, the cutting and the combining find wrong; no picture has a label; a class is
            missing.
    """
    sets: list[Manifest] = []
    notes: list[str] = []
    failed: list[tuple[str, str]] = []
    for path in paths:
        alone = both_classes and len(paths) == 1
        found = read_dataset(path, both_classes=alone) if label is None else _all_of(path, label)
        found = found.labelled()
        if len(found) == 0:
            raise DataError("no picture has a label", path=path, remedy="add class folders or a label column")
        if {record.source.rpartition("/")[2] for record in found.records} & PUBLISHED.keys():
            leak = resolution_leak(found)
            notes += [] if leak is None else [f"{found.name}: {leak.sentence()}"]
        if not found.parts and shows_surroundings(found):
            say(f"{found.name} shows cells with their surroundings: they are cut out first")
            done = cut_cells(found, cut_folder, jobs=jobs)
            notes.append(_cut_note(found, done))
            failed += [(each.path, each.reason) for each in done.failed]
            found = done.manifest
        sets.append(found)
    manifest = combine(sets)
    if both_classes and len(held := {record.label for record in manifest.records}) < 2:
        raise DataError(
            f"{manifest.name} holds {LABEL_WORDS[held.pop()]} cells only",
            path=manifest.root,
            remedy="add cells of the other class",
        )
    return Sets(manifest, tuple(notes), tuple(failed))


def by_set(
    scores: Scores, manifest: Manifest, threshold: float, context: Mapping[str, Any], *, replicates: int = REPLICATES
) -> dict[str, Evaluation]:
    """The figures of each data set apart; empty where there is one only.

    Args:
        scores: answers on pictures of ``manifest``, all or some.
        manifest: what was measured.
        threshold: of the bundle.
        context: of the whole evaluation; it holds the protocol.
        replicates: of the bootstrap.
    """
    home = dict(zip((record.path for record in manifest.records), parts_of(manifest).tolist(), strict=True))
    part = np.array([home[path] for path in scores.path])
    names = np.unique(part).tolist()
    if len(names) < 2:
        return {}
    own = {key: value for key, value in context.items() if key != "protocol"}
    return {
        name: evaluate(
            scores.take(part == name),
            threshold=threshold,
            protocol=str(context["protocol"]),
            replicates=replicates,
            context={**own, "data": name},
        )
        for name in names
    }


def write_sets(sets: Mapping[str, Evaluation], folder: Path) -> None:
    """Write sets.json and sets.csv: one row per data set and figure; remove older ones where there is one set only."""
    if not sets:
        for name in (SETS_JSON, SETS_CSV):
            (folder / name).unlink(missing_ok=True)
        return
    write_json(folder / SETS_JSON, {name: each.as_dict() for name, each in sets.items()})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("set", "pictures", "groups", "figure", "value", "low", "high"))
    for name, each in sets.items():
        for key, figure in each.metrics.items():
            ends = figure.as_dict()
            writer.writerow((name, each.counts["pictures"], each.counts["groups"], key, *ends.values()))
    write_text(folder / SETS_CSV, text.getvalue())


def set_line(name: str, evaluation: Evaluation) -> str:
    """One data set's figures on a line."""
    told = []
    for key in COLUMNS:
        ends = evaluation.metrics[key].as_dict()
        if ends["value"] is not None:
            within = "" if ends["low"] is None else f" [{ends['low']:.3f}, {ends['high']:.3f}]"
            told.append(f"{key} {ends['value']:.3f}{within}")
    return f"{name}, {evaluation.counts['pictures']:,} pictures: {', '.join(told)}"


def _all_of(path: Path, label: int) -> Manifest:
    """Every picture under a folder as one class; the folder a picture lies in is its field."""
    if not path.is_dir():
        raise DataError("is no folder of pictures", path=path, remedy="a table names the class of each picture itself")
    name = path.resolve().name
    inside = [picture.relative_to(path) for picture in list_pictures(path, deep=True)]
    if not inside:
        raise DataError("holds no pictures", path=path)
    records = tuple(
        Record(p.as_posix(), label, None, None, None, name, p.parent.as_posix() if p.parent.parts else None)
        for p in inside
    )
    return Manifest(path, tuple(sorted(records, key=lambda record: record.path)), name)


def _cut_note(found: Manifest, done: CutSet) -> str:
    lost = f", {len(done.failed):,} gave none" if done.failed else ""
    return (
        f"{found.name}: the pictures show surroundings, so {len(done.manifest):,} cells were cut out of "
        f"{done.pictures:,} pictures first{lost}; their scale is not known, and cell size is a cue of the models."
    )
