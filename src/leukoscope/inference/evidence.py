"""Where the heat map lies: how much of the evidence for each class is in the nucleus, in the cytoplasm, outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.segment import Segmentation
from leukoscope.cells.view import View

Places = dict[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The signed heat map against the parts of the cell, at the map's own resolution.

    A map's value counts in proportion to how much of its field each part covers. The map is coarse: what it says of a
    part narrower than one of its fields is said of the neighbourhood too.

    Attributes:
        cell: share of the frame that the cell covers, which is what chance would put into it.
        blast_share: of the map's total magnitude, how much speaks for blast; None where the map is 0 everywhere.
        blast: of the evidence for blast, the shares in `cell` and `outside`, and, where both can be seen, `nucleus` and
            `cytoplasm`, which add up to `cell`; None where there is none.
        normal: the same of the evidence for normal.
    """

    cell: float
    blast_share: float | None
    blast: Places | None
    normal: Places | None

    def to_json(self) -> dict[str, Any]:
        """All shares to four digits."""
        return {
            "cell_share_of_frame": round(self.cell, 4),
            "blast_share_of_map": None if self.blast_share is None else round(self.blast_share, 4),
            "blast": None if self.blast is None else {place: round(v, 4) for place, v in self.blast.items()},
            "normal": None if self.normal is None else {place: round(v, 4) for place, v in self.normal.items()},
        }


def locate(heatmap: NDArray[np.float32], parts: Segmentation) -> Evidence:
    """Share the map's evidence out among the parts of the cell.

    Args:
        heatmap: float32 [h, w], signed, positive for blast, over the whole frame; what is not finite counts as 0.
        parts: of the frame.
    """
    signed = np.where(np.isfinite(heatmap), heatmap, 0).astype(np.float64)
    seen = parts.view
    covered = {"cell": _coverage(seen, seen.share, signed.shape)}
    covered["outside"] = 1 - covered["cell"]
    if parts.cytoplasm_visible:
        covered["nucleus"] = _coverage(seen, parts.kernel * seen.share, signed.shape)
        covered["cytoplasm"] = np.maximum(covered["cell"] - covered["nucleus"], 0)
    positive, negative = np.maximum(signed, 0), np.maximum(-signed, 0)
    total = float(positive.sum() + negative.sum())
    return Evidence(
        cell=seen.area / (seen.cut.shape[0] * seen.cut.shape[1]),
        blast_share=float(positive.sum()) / total if total > 0 else None,
        blast=_shares(positive, covered),
        normal=_shares(negative, covered),
    )


def _coverage(seen: View, part: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """How much of each of the map's fields a part of the cell covers, 0 to 1, float64 [h, w]; 255 is all of a pixel."""
    cut = seen.cut
    down = _overlap(cut.top, part.shape[0], seen.step, cut.shape[0], shape[0])
    across = _overlap(cut.left, part.shape[1], seen.step, cut.shape[1], shape[1])
    return np.minimum(down @ (part / 255) @ across.T, 1)


def _overlap(start: int, count: int, step: int, length: int, fields: int) -> NDArray[np.float64]:
    """How much of each of the fields along a side each pixel of a view covers, float64 [fields, count]."""
    edges = (start + step * np.arange(count + 1)) * (fields / length)
    within = np.clip(edges - np.arange(fields)[:, None], 0, 1)
    return np.diff(within, axis=1)


def _shares(evidence: NDArray[np.float64], covered: dict[str, NDArray[np.float64]]) -> Places | None:
    total = float(evidence.sum())
    if not total > 0:
        return None
    return {place: float(np.vdot(evidence, share)) / total for place, share in covered.items()}
