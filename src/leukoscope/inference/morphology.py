"""The morphology of a cell beside the answer for it, and where the heat map lies.

Measured on the picture as it came, before any equalisation, and placed among the normal and the blast cells of a data
set that was measured once for all.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import Finding
from leukoscope.cells.cutout import Cutout, View, view
from leukoscope.cells.measure import UNITS, Morphology, measure
from leukoscope.cells.segment import Segmentation, divide
from leukoscope.errors import LeukoscopeError
from leukoscope.inference.words import LANGUAGES, in_words, words

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


POINTS: Final = 101  # quantiles at 0 %, 1 %, ..., 100 %
CLASSES: Final = ("normal", "blast")
_SHIPPED: Final = "reference_cnmc2019.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """Percentiles of one value, 0 to 100: the share of reference cells of each class that lie below it, ties half."""

    normal: float
    blast: float


@dataclass(frozen=True, slots=True)
class Reference:
    """Quantiles of each measurement by class, each patient group with the same weight.

    Attributes:
        data: name of the data set.
        fingerprint: of its manifest.
        quantiles: by measurement and class, 101 rising numbers. A measurement that was defined in too few cells of
            a class is absent.
    """

    data: str
    fingerprint: str
    quantiles: Mapping[str, Mapping[str, tuple[float, ...]]]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `benchmarks/morphology.py` writes.

        Raises:
            LeukoscopeError: quantiles that are not 101 rising numbers.
        """
        table: dict[str, Mapping[str, tuple[float, ...]]] = {}
        for name, classes in content["measurements"].items():
            found = {kind: np.asarray(classes[kind]["quantiles"], np.float64) for kind in CLASSES if kind in classes}
            for values in found.values():
                if values.shape != (POINTS,) or not np.isfinite(values).all() or (np.diff(values) < 0).any():
                    raise LeukoscopeError(f"the quantiles of {name} are not {POINTS} rising numbers")
            if len(found) == len(CLASSES):
                table[name] = MappingProxyType({kind: tuple(values.tolist()) for kind, values in found.items()})
        return cls(content["data"], content["fingerprint"], MappingProxyType(table))

    def standing(self, name: str, value: float) -> Standing | None:
        """Percentiles of a value; None where the reference does not hold this measurement."""
        if name not in self.quantiles:
            return None
        return Standing(*(percentile(self.quantiles[name][kind], value) for kind in CLASSES))


def percentile(quantiles: Sequence[float], value: float) -> float:
    """Percentile of a value, 0 to 100, by linear interpolation between quantiles; in the middle of ties.

    Args:
        quantiles: 101 rising numbers.
        value: finite.

    >>> percentile(range(101), 12.5), percentile([0.0] * 101, 0.0), percentile(range(101), -3)
    (12.5, 50.0, 0.0)
    """
    first, last = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if last > first:
        return (first + last - 1) / 2 * 100 / (POINTS - 1)
    if first in (0, POINTS):
        return 100.0 if first else 0.0
    below, above = quantiles[first - 1], quantiles[first]
    return float(first - 1 + (value - below) / (above - below)) * 100 / (POINTS - 1)


@cache
def shipped_reference() -> Reference:
    """The reference that comes with the package: cells of the C-NMC 2019 training set."""
    text = (resources.files("leukoscope.inference") / _SHIPPED).read_text(encoding="utf-8")
    return Reference.from_json(json.loads(text))


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredCell:
    """The parts of a cell in the network's frame, and its measurements."""

    parts: Segmentation
    morphology: Morphology


def measure_cell(cell: Cutout, *, um_per_px: float | None = None) -> MeasuredCell:
    """Segment and measure the cell of a frame.

    Args:
        cell: of a frame as `cells.frame.frame_cell` gives it, before any CLAHE, so that its parts lie as the heat map
            of the network that sees the frame does.
        um_per_px: micrometres per pixel; None where unknown.
    """
    parts = divide(view(cell))
    return MeasuredCell(parts, measure(parts, um_per_px=um_per_px))


def summarise(cell: MeasuredCell, heatmap: NDArray[np.float32], reference: Reference | None = None) -> dict[str, Any]:
    """Everything measured of a cell as JSON-ready values.

    Args:
        cell: from `measure_cell`.
        heatmap: float32 [h, w], signed, over the frame.
        reference: for the percentiles; by default the one that comes with the package.

    Returns:
        ``reference``, its name; ``cytoplasm_visible``; ``measurements``, for each name of `cells.measure.UNITS` its
        ``value``, ``unit``, percentiles, and the reason where it is ``undefined``; ``evidence``, from `locate`.
    """
    standard = shipped_reference() if reference is None else reference
    content = cell.morphology.to_json()
    return {
        "reference": standard.data,
        "cytoplasm_visible": cell.parts.cytoplasm_visible,
        "measurements": {name: _entry(name, content, standard) for name in UNITS},
        "evidence": locate(heatmap, cell.parts).to_json(),
    }


def describe(
    cell: MeasuredCell, heatmap: NDArray[np.float32], decision: str, findings: Sequence[Finding]
) -> tuple[dict[str, Any], str]:
    """What was measured of an answered cell, in numbers (see `summarise`) and in words.

    Args:
        cell: from `measure_cell`.
        heatmap: float32 [h, w], signed, over the frame.
        decision: what the bundle and its gate decided.
        findings: why the gate turned the picture down, of which the words then speak first.
    """
    numbers = summarise(cell, heatmap)
    text = words(decision, numbers)
    if findings:
        text = f"{LANGUAGES['en']['turned down first'].format(reason=in_words(findings))} {text}"
    return numbers, text


def _entry(name: str, content: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    value = content["values"][name]
    if value is None:
        return {"value": None, "unit": UNITS[name], "undefined": content["undefined"][name]}
    standing = reference.standing(name, value)
    return {
        "value": value,
        "unit": UNITS[name],
        "normal_percentile": None if standing is None else round(standing.normal, 1),
        "blast_percentile": None if standing is None else round(standing.blast, 1),
    }
