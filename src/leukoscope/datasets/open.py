"""Opening data sets: the one way from `--data` to labelled cells on black, for every verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leukoscope.datasets.combine import combine
from leukoscope.datasets.cut import CutSet, cut_cells, shows_surroundings
from leukoscope.datasets.dataset import Manifest, Record, read_manifest
from leukoscope.datasets.facts import caveats, published_in, resolution_leak
from leukoscope.datasets.groups import apply_groups, read_groups
from leukoscope.datasets.pictures import list_pictures
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.record import CLASS_WORDS, LABEL_WORDS
from leukoscope.errors import DataError


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


def open_sets(
    paths: Sequence[Path],
    *,
    cut_folder: Path,
    groups: Path | None = None,
    label: int | None = None,
    both_classes: bool = False,
    classes: Mapping[str, int] = CLASS_WORDS,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Sets:
    """Read data sets, cut cells out of crops with surroundings, and combine them.

    Args:
        paths: of the sets; several are combined.
        cut_folder: where cut cells are kept.
        groups: CSV of subject,group that merges subjects into patients, beside what is known of the sets.
        label: 1 blast or 0 normal: take every picture under the paths as that, whatever its folder is called.
        both_classes: whether one class alone is refused; of several sets, one may hold one class if another holds the
            other.
        classes: the words for the classes in folders and tables, from `leukoscope.datasets.record.class_words`.
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
        found = read_dataset(path, both_classes=alone, classes=classes) if label is None else _all_of(path, label)
        found = found.labelled()
        if len(found) == 0:
            raise DataError("no picture has a label", path=path, remedy="add class folders or a label column")
        if any(facts.resolution_tells for facts in published_in(found)):
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
    if groups is not None:
        manifest = apply_groups(manifest, read_groups(groups))
    return Sets(manifest, tuple(notes), tuple(failed))


def stored_set(table: Path) -> Sets:
    """What `Manifest.write_csv` wrote of sets that were opened before, as it stands; its name is that of the file."""
    return Sets(read_manifest(table), ())


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
