"""Cells cut out of their surroundings, so that networks that take cells on black can be given crops of any laboratory.

A picture that shows one cell on black is taken as it is. A crop is segmented (`cells.crop`) and blackened
outside the cell, at its own scale. A field of ALL-IDB1 gives a crop around each centre that its `.xyc` file lists;
where no file lists cells, none can be cut out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from leukoscope.cells.crop import segment_crop
from leukoscope.cells.frame import cell_mask
from leukoscope.cells.read import read_picture
from leukoscope.datasets.cache import Unreadable, digest_files
from leukoscope.datasets.centroids import centroid_file, read_centroids
from leukoscope.datasets.dataset import Manifest, read_manifest
from leukoscope.datasets.patients import unknown_patient
from leukoscope.datasets.record import Record
from leukoscope.errors import DataError, LeukoscopeError
from leukoscope.files import atomic_folder, write_json
from leukoscope.machine import cpu_count
from leukoscope.progress import SILENT, Progress
from leukoscope.threads import in_order

FORMAT: Final = 1  # raised whenever the same picture would give other pixels
WINDOW: Final = 257  # pixels: side of the crops of ALL-IDB2
MOST_SIDE: Final = 640  # pixels: a larger picture shows a field, not a cell
_PROBES: Final = 16
_MANIFEST, _FAILED = "manifest.csv", "failed.json"


@dataclass(frozen=True, slots=True)
class CutSet:
    """Cells on black.

    Attributes:
        manifest: of the cells; of a field there may be several, named by their number.
        failed: pictures without a cell that can be cut out, and why.
        pictures: how many pictures were looked at.
    """

    manifest: Manifest
    failed: tuple[Unreadable, ...]
    pictures: int


def shows_surroundings(manifest: Manifest) -> bool:
    """Whether any of sixteen pictures, evenly spread, has no black surround."""
    for index in np.unique(np.linspace(0, len(manifest) - 1, _PROBES).astype(int)).tolist() if len(manifest) else []:
        try:
            rgb = read_picture(manifest.locate(manifest.records[index])).rgb
        except LeukoscopeError:
            continue  # whoever measures lists it
        if not _on_black(rgb):
            return True
    return False


def cut_cells(
    manifest: Manifest,
    folder: str | PathLike[str],
    *,
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> CutSet:
    """Cut the cells out of the pictures of a data set, once: what was cut before is found again by content.

    Labels, subjects, groups and sources stay; all cells of one field are one group, as they are of one patient.

    Args:
        manifest: the pictures, not combined.
        folder: where entries lie; made if absent.
        jobs: threads; None: one for each processor core that this process may use.
        progress: shows how many pictures are done.

    Raises:
        DataError: no cell can be cut out of any picture, a combined data set, or a damaged list of cells.
        LeukoscopeError: the folder cannot be written.
    """
    if manifest.parts:
        raise DataError("cells are cut out of single data sets", path=manifest.root, remedy="combine afterwards")
    place, jobs = Path(folder), jobs or cpu_count()
    place.mkdir(parents=True, exist_ok=True)
    entry = place / f"cut-{_key(manifest, place, jobs)}"
    with FileLock(f"{entry}.lock"):
        if not (entry / _MANIFEST).is_file():
            _cut_all(manifest, entry, jobs, progress)
    failed = tuple(Unreadable(*row) for row in json.loads((entry / _FAILED).read_text(encoding="utf-8")))
    found = replace(read_manifest(entry / _MANIFEST), name=manifest.name)
    return CutSet(found, failed, len(manifest))


def cut_one(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cell of a crop on black, uint8 [H, W, 3]; a cell that is on black comes back as it is.

    Raises:
        PictureError: nothing stains as a nucleus, or the crop is too small.
        DataError: the picture is so large that it shows a field.
    """
    if _on_black(rgb):
        return rgb
    if max(rgb.shape[:2]) > MOST_SIDE:
        raise DataError(
            f"{rgb.shape[1]} x {rgb.shape[0]} px show a whole field, not one cell",
            remedy="cut its cells out first, or list their centres in an .xyc file",
        )
    cell = segment_crop(rgb).cell
    # A cell's own dark pixels stay a little above black, or they would count as surround.
    return np.where(cell[..., None], np.maximum(rgb, 11), 0).astype(np.uint8)


def _cut_all(manifest: Manifest, entry: Path, jobs: int, progress: Progress) -> None:
    records: list[Record] = []
    failed: list[tuple[str, str]] = []
    with atomic_folder(entry) as target, progress.stage("cutting out cells", len(manifest)) as advance:
        for made, faults in in_order(lambda record: _cut_record(manifest, record, target), manifest.records, jobs):
            records += made
            failed += faults
            advance(1)
        if not records:
            raise DataError(
                f"no cell can be cut out of any of the {len(manifest)} pictures",
                path=manifest.root,
                remedy=failed[0][1] if failed else "none of their files lists a cell",
            )
        write_json(target / _FAILED, failed)
        Manifest(target, tuple(records), manifest.name).write_csv(target / _MANIFEST)


def _cut_record(manifest: Manifest, record: Record, target: Path) -> tuple[list[Record], list[tuple[str, str]]]:
    made: list[Record] = []
    failed: list[tuple[str, str]] = []
    try:
        path = manifest.locate(record)
        table = centroid_file(path)
        rgb = read_picture(path).rgb
        if table is None:
            crops = {f"{record.path}.png": rgb}
        else:
            centres = enumerate(read_centroids(table), start=1)
            crops = {f"{record.path}.{n:02d}.png": _window(rgb, x, y, path) for n, (x, y) in centres}
    except LeukoscopeError as error:
        return [], [(record.path, error.what)]
    group = record.group or (unknown_patient(record.path) if table is not None else None)
    for name, crop in crops.items():
        try:
            cell = cut_one(crop)
        except LeukoscopeError as error:
            failed.append((name if table is not None else record.path, error.what))
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cell).save(target / name, compress_level=1)
        made.append(replace(record, path=name, group=group))
    return made, failed


def _window(rgb: NDArray[np.uint8], x: float, y: float, path: Path) -> NDArray[np.uint8]:
    """The square of `WINDOW` pixels around a point; cells near the border keep what is there of it."""
    height, width = rgb.shape[:2]
    if x >= width or y >= height:
        raise DataError(f"the point {x:g}, {y:g} lies outside the picture of {width} x {height} px", path=path)
    left, top = (max(0, round(at) - WINDOW // 2) for at in (x, y))
    return np.ascontiguousarray(rgb[top : top + WINDOW, left : left + WINDOW])


def _on_black(rgb: NDArray[np.uint8]) -> bool:
    try:
        cell_mask(rgb)
    except LeukoscopeError as error:
        return "no black surround" not in error.what
    return True


def _key(manifest: Manifest, place: Path, jobs: int) -> str:
    tables = [centroid_file(path) for path in manifest.paths()]
    points = [None if table is None else table.read_bytes().hex() for table in tables]
    facts = [FORMAT, WINDOW, manifest.fingerprint(), list(digest_files(manifest.paths(), place, jobs=jobs)), points]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
