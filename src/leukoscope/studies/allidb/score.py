"""Found cells against listed centres: how many blasts of ALL-IDB1 are found, how near, and what is said of them.

Only blasts are listed there, so a found cell without a centre beside it may be a normal white cell: what can be counted
is how many listed blasts are found, and how many of the cells called blast lie at a listed blast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.read import read_picture
from leukoscope.datasets.centroids import centroid_file, read_centroids
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.answer import Answers
from leukoscope.inference.classifier import Classifier
from leukoscope.progress import SILENT, Progress
from leukoscope.smears.find import MIN_FIELD_SIDE
from leukoscope.smears.whitecells import WhiteCell

REACH_UM: Final = 5.0  # a centre this near to a found cell's is that cell's: less than a blast's radius or about it
_NEAR_SCALE: Final = 0.98  # pictures whose scale differs less from the common one are left as they are

Points = NDArray[np.float64]


def match_points(found: Points, truth: Points, reach: float) -> list[tuple[int, int, float]]:
    """Pairs of found and true points no farther than ``reach`` apart, nearest first, each point once.

    Args:
        found: float64 [N, 2].
        truth: float64 [M, 2].
        reach: in the same unit.

    Returns:
        (row of found, row of truth, distance).

    >>> match_points(np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([[3.0, 0.0]]), 5.0)
    [(1, 0, 1.0)]
    """
    away = np.hypot(*(found[:, None, :] - truth[None, :, :]).transpose(2, 0, 1))
    order = np.argsort(away, axis=None, kind="stable")
    used_found, used_truth = np.zeros(len(found), bool), np.zeros(len(truth), bool)
    pairs = []
    for at in order.tolist():
        i, j = divmod(at, len(truth))
        if away[i, j] > reach:
            break
        if not (used_found[i] or used_truth[j]):
            used_found[i] = used_truth[j] = True
            pairs.append((i, j, float(away[i, j])))
    return pairs


@dataclass(frozen=True, slots=True)
class PictureScore:
    """One picture: what was listed, found and said.

    Attributes:
        path: relative to the data set.
        label: 1 leukemic, 0 healthy: of the picture (ALL-IDB1), or of the cell in its middle (ALL-IDB2).
        group: pictures with equal pixels share one.
        resolution: width and height of the file.
        um_per_px: by the picture's red cells, in pixels of what was read; None where unknown.
        resampled: factor by which the picture was made smaller before it was read; 1 for none.
        listed: blasts listed; None where there is no list.
        found: white cells found.
        matched: listed blasts with a found cell within reach; None where the scale, and so the reach, is unknown.
        distances_um: of the matched, micrometres.
        called: cells called blast.
        called_listed: those of them that are a matched blast.
        decisions: of the matched blasts: blast, normal, refer.
        logit: the score: of a field the largest of its cells, of a crop that of the cell in its middle; None: no cell
            was asked.
        decision: of the cell in the middle of a crop; of a field None.
        error: why it could not be read; None otherwise.
    """

    path: str
    label: int
    group: str
    resolution: tuple[int, int] = (0, 0)
    um_per_px: float | None = None
    resampled: float = 1.0
    listed: int | None = None
    found: int = 0
    matched: int | None = None
    distances_um: tuple[float, ...] = ()
    called: int = 0
    called_listed: int = 0
    decisions: tuple[str, ...] = ()
    logit: float | None = None
    decision: str | None = None
    error: str | None = None


def score_pictures(
    classifier: Classifier,
    manifest: Manifest,
    *,
    um_per_px: float | None = None,
    target: float | None = None,
    reach_um: float = REACH_UM,
    progress: Progress = SILENT,
) -> list[PictureScore]:
    """Read every picture as a field and hold it against its list of blasts.

    Args:
        classifier: what answers.
        manifest: of ALL-IDB1 or ALL-IDB2, from `read_dataset`.
        um_per_px: the scale of all pictures where it is known; None: their red cells give it.
        target: micrometres per pixel that every picture is made as coarse as, before it is read; coarser ones stay as
            they are. None: pictures are read as they are. A picture without a scale cannot be resampled, and says so.
        reach_um: how far a found cell's centre may lie from a listed one.
        progress: shows how many pictures are read.

    Raises:
        DataError: a damaged list of blasts.
    """
    scores = []
    with progress.stage("fields", len(manifest)) as advance:
        for path, record, group in zip(manifest.paths(), manifest.records, manifest.groups().tolist(), strict=True):
            table = centroid_file(path)
            centres = None if table is None else read_centroids(table)
            label = int(record.label or 0)
            try:
                rgb = read_picture(path).rgb
                field, factor = _read(classifier, rgb, um_per_px, target)
                size = (rgb.shape[1], rgb.shape[0])
                scores.append(_scored(field, record.path, label, group, size, factor, centres, reach_um))
            except LeukoscopeError as error:
                scores.append(PictureScore(record.path, label, group, error=error.what))
            advance(1)
    return scores


def common_scale(scores: Sequence[PictureScore]) -> float | None:
    """The coarsest scale among pictures, that all can be brought to: the 95 % quantile, so that one does not decide."""
    known = [score.um_per_px for score in scores if score.um_per_px is not None]
    return float(np.quantile(known, 0.95)) if known else None


def _read(
    classifier: Classifier, rgb: NDArray[np.uint8], um_per_px: float | None, target: float | None
) -> tuple[Answers, float]:
    field = classifier.read_field(rgb, um_per_px=um_per_px)
    if target is None:
        return field, 1.0
    scale = _scale(field)
    if scale is None:
        raise PictureError("has no scale, so it cannot be brought to a common one")
    factor = scale / target
    if factor > _NEAR_SCALE:
        return field, 1.0
    if min(rgb.shape[:2]) * factor < MIN_FIELD_SIDE:
        raise PictureError(f"is too small at the common scale of {target:.3f} um per pixel")
    small = np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    return classifier.read_field(small, um_per_px=None if um_per_px is None else target), factor


def _scored(
    field: Answers, path: str, label: int, group: str, size: tuple[int, int], factor: float, centres: Points | None,
    reach_um: float,
) -> PictureScore:  # fmt: skip
    scale = _scale(field)
    cells = field.cells
    blast = np.array([cell.decision == "blast" for cell in cells], bool)
    logits = [cell.logit for cell in cells]
    logit: float | None = max((value for value in logits if value is not None), default=None)
    decision = None
    matched: int | None = None
    pairs: list[tuple[int, int, float]] = []
    if centres is None:  # a crop: the answer is that of the cell in its middle
        middle = _in_the_middle(field)
        logit = None if middle is None else cells[middle].logit
        decision = None if middle is None else cells[middle].decision
    elif scale is not None:
        found = np.array([white.centre for white in _white_cells(field)], np.float64).reshape(-1, 2)
        pairs = match_points(found * scale, centres * factor * scale, reach_um)
        matched = len(pairs)
    return PictureScore(
        path, label, group, size, scale, round(factor, 4), None if centres is None else len(centres), len(cells),
        matched, tuple(round(away, 2) for _, _, away in pairs), int(blast.sum()),
        sum(bool(blast[i]) for i, _, _ in pairs),
        tuple(cells[i].decision for i, _, _ in pairs), logit, decision,
    )  # fmt: skip


def _scale(field: Answers) -> float | None:
    return None if field.reading.finding is None else field.reading.finding.ruler.um_per_px


def _white_cells(field: Answers) -> tuple[WhiteCell, ...]:
    return () if field.reading.finding is None else field.reading.finding.cells


def _in_the_middle(field: Answers) -> int | None:
    """Row of the cell whose centre is nearest the picture's, if the middle lies in its box."""
    assert field.reading.finding is not None
    height, width = field.reading.finding.shape
    best = min(_distances(field, width / 2, height / 2), default=None)
    if best is None:
        return None
    x, y, across, down = _white_cells(field)[best[1]].box
    return best[1] if x <= width / 2 <= x + across and y <= height / 2 <= y + down else None


def _distances(field: Answers, x: float, y: float) -> Iterator[tuple[float, int]]:
    for row, white in enumerate(_white_cells(field)):
        at = white.centre
        yield float(np.hypot(at[0] - x, at[1] - y)), row


def as_row(score: PictureScore) -> dict[str, Any]:
    """One picture as JSON-ready values."""
    return {name: getattr(score, name) for name in PictureScore.__slots__}
