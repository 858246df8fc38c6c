"""Bundles asked about held-out cells again under another finish, and about normal cells of other laboratories.

Answers are written cell by cell, so that a study that was stopped goes on where it was. `robustness_report` turns them
into figures.

Cells of the training set put onto real fields of other laboratories, and found again there.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.frame import cell_mask
from leukoscope.cells.read import read_picture
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.split import limit
from leukoscope.errors import DataError, PictureError
from leukoscope.inference.classifier import Classifier
from leukoscope.runs.run import Run
from leukoscope.smears import STANDARD_UM_PER_PX, Finding, WhiteCell, find_cells, standard_cell
from leukoscope.smears.normalise import NORMALISATIONS, Normalisation, StainReference, normaliser
from leukoscope.smears.stain import ground_light
from robust.changes import CHANGES, stain_matrix

Picture = NDArray[np.uint8]
_CLEAR_UM: Final = 9.0  # from the middle of the place to the next white cell and to the picture's edge
_STEP: Final = 16  # pixels: grid of places tried


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A field of another laboratory with room for one more cell.

    Attributes:
        name: of its set and its file.
        rgb: uint8 [H, W, 3].
        um_per_px: by its own red cells.
        place: x and y, the middle of the room.
    """

    name: str
    rgb: Picture
    um_per_px: float
    place: tuple[float, float]


def backgrounds(data: Path, count: int, seed: int = 0) -> dict[str, list[Background]]:
    """Up to ``count`` fields of `bccd`, and crops of `pbc` around a platelet, which the cell then covers.

    Raises:
        DataError: one of the sets gives none.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[Background]] = {}
    for name, folder in (("bccd", data / "bccd" / "JPEGImages"), ("pbc", data / "pbc" / "platelet")):
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".jpg", ".png"})
        kept = found[name] = []
        for path in (paths[i] for i in rng.permutation(len(paths))):
            if len(kept) == count:
                break
            made = _background(f"{name}/{path.name}", read_picture(path).rgb, middle=name == "pbc")
            if made is not None:
                kept.append(made)
        if not kept:
            raise DataError("holds no field with red cells and room for a cell", path=folder)
    return found


def composed(cell: Picture, background: Background, light: Sequence[float]) -> Picture:
    """A cell put onto a field at its scale and under its light.

    Args:
        cell: one cell on black at the standard scale, uint8 [h, w, 3].
        background: where to.
        light: of the ground that the cell was photographed under, RGB levels.

    Returns:
        uint8 [H, W, 3].
    """
    mask = cell_mask(cell)
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    factor = STANDARD_UM_PER_PX / background.um_per_px
    size = (max(4, round(width * factor)), max(4, round(height * factor)))
    # Black would bleed into the rim when the cell is made smaller: the mean is taken over the cell alone.
    share = cv2.resize(mask[window].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(cell[window] * mask[window][..., None].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    levels = total / np.maximum(share, 1e-3)[..., None]
    levels = (levels + 1) * (ground_light(background.rgb) + 1) / (np.asarray(light) + 1) - 1
    alpha = cv2.GaussianBlur(share, (0, 0), 0.7)[..., None] * (share > 0)[..., None]
    x, y = (round(at - side / 2) for at, side in zip(background.place, size, strict=True))
    out = background.rgb.copy()
    x, y = max(0, min(x, out.shape[1] - size[0])), max(0, min(y, out.shape[0] - size[1]))
    part = out[y : y + size[1], x : x + size[0]]
    part[:] = np.clip(np.rint(alpha * levels + (1 - alpha) * part), 0, 255)
    return out


def other_stain(rgb: Picture, strength: float, rng: np.random.Generator) -> Picture:
    """A whole field under another stain and white balance: a drawn matrix in density, and drawn gains of +-10 %."""
    ground = ground_light(rgb)
    density = -np.log10((rgb.astype(np.float64) + 1) / (ground + 1))
    light = (ground + 1) * rng.uniform(0.9, 1.1, 3)
    values = light * 10 ** -(density @ stain_matrix(strength, rng).T) - 1
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def cell_at(finding: Finding, place: tuple[float, float]) -> WhiteCell | None:
    """The whole cell that a point lies in; None where none does."""
    for cell in finding.cells:
        inside = cv2.pointPolygonTest(cell.outline.astype(np.float32), place, measureDist=False) >= 0
        if inside and cell.state == "whole":
            return cell
    return None


def cut_again(
    rgb: Picture, place: tuple[float, float], reference: StainReference, standard: float = STANDARD_UM_PER_PX
) -> dict[Normalisation, Picture]:
    """The cell at a place of a field, found by our own segmentation, at the standard scale, normalised in each way.

    Empty where the field has no scale or no whole cell there.
    """
    try:
        finding = find_cells(rgb)
    except PictureError:
        return {}
    cell = cell_at(finding, place)
    scale = finding.ruler.um_per_px
    if cell is None or scale is None:
        return {}
    return {name: made for name, made in each_normalised(rgb, finding, cell, scale, reference, standard)}  # noqa: C416


def each_normalised(
    rgb: Picture, finding: Finding, cell: WhiteCell, scale: float, reference: StainReference, standard: float
) -> Iterator[tuple[Normalisation, Picture]]:
    """Each normalisation and the cell at the standard scale under it."""
    x, y, width, height = cell.box
    window = np.s_[y : y + height, x : x + width]
    for name in NORMALISATIONS:
        changed = rgb.copy()
        changed[window] = normaliser(rgb, finding.cells, name, reference)(rgb[window])
        yield name, standard_cell(changed, cell, scale, standard=standard)


def _background(name: str, rgb: Picture, *, middle: bool) -> Background | None:
    try:
        finding = find_cells(rgb)
    except PictureError:
        return None
    scale = finding.ruler.um_per_px
    if scale is None:
        return None
    height, width = rgb.shape[:2]
    clear = _CLEAR_UM / scale
    if middle:  # the cell will cover what is small in the middle; all else must keep its distance
        place = (width / 2, height / 2)
        others = [cell for cell in finding.cells if np.hypot(*np.subtract(cell.centre, place)) > 0.3 * clear]
        free = _room(others, place)
        return Background(name, rgb, scale, place) if free > clear and len(finding.cells) - len(others) <= 1 else None
    best, at = clear, None
    for y in np.arange(clear, height - clear, _STEP):
        for x in np.arange(clear, width - clear, _STEP):
            free = _room(finding.cells, (float(x), float(y)))
            if free > best:
                best, at = free, (float(x), float(y))
    return None if at is None else Background(name, rgb, scale, at)


def _room(cells: Sequence[WhiteCell], place: tuple[float, float]) -> float:
    """Pixels from a place to the nearest outline; negative inside one, infinite without cells."""
    return min(
        (-float(cv2.pointPolygonTest(cell.outline.astype(np.float32), place, measureDist=True)) for cell in cells),
        default=float("inf"),
    )


AS_IT_IS: Final = "as it is"
RESTAINED: Final = 0.2  # strength of the stain matrix of whole re-stained fields
ASSUMED_UM_PER_PX: Final = (0.07, 0.08, 0.09, 0.10, 0.11, 0.12, 0.13)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Bundles that never saw the same test part.

    Attributes:
        number: of the fold.
        manifest: the test part's sample, in random order.
        classifiers: by the name of the network.
    """

    number: int
    manifest: Manifest
    classifiers: dict[str, Classifier]


def read_folds(runs: Sequence[Path], cells: int, seed: int = 0) -> list[Fold]:
    """Runs of several networks on the same folds, and a stratified sample of each test part.

    Args:
        runs: folders of `leukoscope train`.
        cells: of each fold, see `datasets.split.limit`: of each class as many as its share, of each patient group one
            before a second of any.
        seed: of the sample and its order.

    Raises:
        DataError: two runs of one fold have other test parts, or one network twice.
    """
    folds: dict[int, Fold] = {}
    tests: dict[int, NDArray[np.int64]] = {}
    for run in runs:
        found = Run.open(run)
        manifest, split = found.dataset, found.split
        classifier = Classifier(found.bundle(), threads=1)
        training = classifier.bundle.facts.training
        name = run.name if training is None else training.model
        if split.fold not in folds:
            part = limit(manifest.select(split.test), cells, seed)
            order = np.random.default_rng(seed).permutation(len(part))
            folds[split.fold] = Fold(split.fold, part.select(order), {})
            tests[split.fold] = split.test
        if not np.array_equal(tests[split.fold], split.test) or name in folds[split.fold].classifiers:
            raise DataError(
                f"fold {split.fold} has another test part, or two runs of {name}",
                path=run,
                remedy="give one run of each network on the same folds",
            )
        folds[split.fold].classifiers[name] = classifier
    return [folds[number] for number in sorted(folds)]


def ask_again(
    fold: Fold, places: dict[str, list[Background]], reference: StainReference, seed: int = 0
) -> Iterator[list[Row]]:
    """All answers on one cell after another: as it is, under each change, and on foreign fields.

    Args:
        fold: from `read_folds`.
        places: from `backgrounds`, by set.
        reference: for the normalisations, and for the light that the cells were photographed under.
        seed: of all that is random in the changes; each cell draws its own, the same for every network.
    """
    for path, record in zip(fold.manifest.paths(), fold.manifest.records, strict=True):
        rgb = read_picture(path).rgb
        asked: list[tuple[str, NDArray[np.uint8] | None]] = [(AS_IT_IS, rgb)]
        asked += [(each.name, each.apply(rgb, _rng(record.path, each.name, seed))) for each in CHANGES]
        for name, several in places.items():
            rng = _rng(record.path, name, seed)
            background = several[int(rng.integers(len(several)))]
            field = composed(rgb, background, reference.statistics.ground)
            for title, picture in (
                (f"onto {name}", field),
                (f"onto {name}, re-stained", other_stain(field, RESTAINED, rng)),
            ):
                again = cut_again(picture, background.place, reference)
                asked += [(f"{title}; {method}", made) for method, made in again.items()]
                if not again:
                    asked.append((f"{title}; none", None))
        facts = {"fold": fold.number, "path": record.path, "label": record.label, "group": record.group}
        yield [
            facts | {"model": model, "change": title, **answer}
            for model, classifier in fold.classifiers.items()
            for title, answer in zip((title for title, _ in asked), _answers(classifier, asked), strict=True)
        ]


def ask_foreign(
    paths: Iterable[Path], folds: Sequence[Fold], reference: StainReference, *, one: bool
) -> Iterator[list[Row]]:
    """Answers on white cells of foreign pictures, one picture after another.

    Args:
        paths: pictures with surroundings.
        folds: whose bundles answer.
        reference: for the normalisations.
        one: only the cell in the middle, at every assumed scale too; else all whole cells, at the ruler's scale.
    """
    for path in paths:
        rgb = read_picture(path).rgb
        try:
            finding = find_cells(rgb)
        except PictureError:
            yield [{"picture": path.name, "kind": path.parent.name, "lost": True}]
            continue
        middle = cell_at(finding, (rgb.shape[1] / 2, rgb.shape[0] / 2))
        cells = [cell for cell in finding.cells if cell.state == "whole"] if not one else [middle] if middle else []
        rows: list[Row] = [] if cells else [{"picture": path.name, "kind": path.parent.name, "lost": True}]
        for number, cell in enumerate(cells):
            asked: list[tuple[str, NDArray[np.uint8] | None]] = []
            scale = finding.ruler.um_per_px
            if scale is not None:
                made = each_normalised(rgb, finding, cell, scale, reference, STANDARD_UM_PER_PX)
                asked += [(f"ruler; {method}", picture) for method, picture in made]
            if one:
                asked += [(f"{um:.2f} um/px; none", standard_cell(rgb, cell, um)) for um in ASSUMED_UM_PER_PX]
            facts = {
                "picture": path.name, "kind": path.parent.name, "cell": number, "lost": False, "um_per_px": scale,
                "diameter_px": round(cell.diameter, 1),
            }  # fmt: skip
            rows += [
                facts | {"model": model, "fold": fold.number, "change": title, **answer}
                for fold in folds
                for model, classifier in fold.classifiers.items()
                for (title, _), answer in zip(asked, _answers(classifier, asked), strict=True)
            ]
        yield rows


def collect(into: Path, made: Callable[[int], Iterator[list[Row]]]) -> int:
    """Append what is made to a file of JSON lines, one item a line; go on after the items that are there.

    Args:
        into: the file; a last line that was cut short is written anew.
        made: items from a number on.

    Returns:
        How many items were added.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    done = len(read_collected(into))
    if into.exists():
        kept = into.read_bytes().splitlines(keepends=True)[:done]
        into.write_bytes(b"".join(kept))
    count = 0
    with into.open("a", encoding="utf-8") as file:
        for rows in made(done):
            file.write(json.dumps(rows) + "\n")
            file.flush()
            count += 1
    return count


def read_collected(path: Path) -> list[list[Row]]:
    """Items of `collect`; a line cut short ends them."""
    found: list[list[Row]] = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n"):
            break
        found.append(json.loads(line))
    return found


def _answers(classifier: Classifier, asked: Sequence[tuple[str, NDArray[np.uint8] | None]]) -> Iterator[Row]:
    given = [picture for _, picture in asked if picture is not None]
    answers = classifier.predict_many(given, 4)
    threshold = classifier.bundle.facts.decision.threshold
    for _, picture in asked:
        answer = None if picture is None else next(answers)
        if answer is None or answer.logit is None or answer.probability is None:
            yield {"logit": None, "called": None, "decision": "lost"}
        else:
            yield {
                "logit": round(answer.logit, 4),
                "called": answer.probability >= threshold,
                "decision": answer.decision,
                "gate": answer.gate,
            }


def _rng(path: str, change: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(path.encode()), zlib.crc32(change.encode())])
