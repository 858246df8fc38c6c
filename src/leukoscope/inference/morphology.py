"""The morphology of a cell beside the answer for it: measured on the picture as it came, before any equalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.cutout import Cutout
from leukoscope.cells.measure import UNITS, Morphology, measure
from leukoscope.cells.segment import Segmentation, divide
from leukoscope.cells.view import view
from leukoscope.inference.evidence import locate
from leukoscope.inference.gating import in_words as reasons
from leukoscope.inference.phrases import LANGUAGES
from leukoscope.inference.prediction import Prediction
from leukoscope.inference.reference import Reference, shipped_reference
from leukoscope.inference.words import words


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


def in_words(prediction: Prediction, cell: MeasuredCell | None) -> Prediction:
    """The answer with what was measured of its cell, in numbers and in words.

    Args:
        prediction: as the graph gave it.
        cell: from `measure_cell`; None where the picture is unreadable, of which the words then speak alone.
    """
    if cell is None or prediction.heatmap is None:
        return replace(prediction, words=words("unreadable", None))
    numbers = summarise(cell, prediction.heatmap)
    text = words(prediction.decision, numbers)
    if prediction.findings:
        text = f"{LANGUAGES['en']['turned down first'].format(reason=reasons(prediction.findings))} {text}"
    return replace(prediction, morphology=numbers, words=text)


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
