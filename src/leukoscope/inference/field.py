"""One field: found, measured, each white cell brought to the standard scale and answered for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.read import read_picture
from leukoscope.errors import PictureError
from leukoscope.fields import RED_CELL_UM, STANDARD_UM_PER_PX, Finding, Kind, WhiteCell, find_cells, kind_of
from leukoscope.fields import standard_cell as at_standard_scale
from leukoscope.fields.crop import find_in_crop
from leukoscope.fields.find import MAX_PIXELS, check_picture
from leukoscope.fields.normalise import Normalisation, normaliser, read_reference
from leukoscope.fields.scan import find_in_windows
from leukoscope.inference.prediction import Place, Prediction
from leukoscope.printing import decodable

if TYPE_CHECKING:
    from leukoscope.inference.classifier import Classifier

HONEST = (
    "The model was trained on cells of one laboratory, cut out on black; a field of another microscope, stain or "
    "camera is outside of what it was trained and measured on."
)
_WITHHELD = {
    "cut": "the edge of the picture cuts the cell",
    "smudged": "the cell is smudged",
    "scale": "scale unknown: the answer depends on the cell's size",
}
_AT_ONCE = 2  # cells through the graph: no slower on a CPU than more, and each takes 45 MB
FieldDecision = Literal["blast", "normal", "refer"]


@dataclass(frozen=True, slots=True, eq=False)
class FieldCell:
    """One white cell of a field with its answer.

    Attributes:
        number: from 1, from top to bottom, as drawn on the picture.
        found: place, contours and state, in pixels of the field.
        decision: `refer` too where nothing could be asked: a cell that is cut or smudged, a field without scale.
        reason: why it is referred; None otherwise.
        prediction: the graph's answer for the cell at the standard scale; None where it was not asked.
    """

    number: int
    found: WhiteCell
    decision: FieldDecision
    reason: str | None
    prediction: Prediction | None = None

    @property
    def classified(self) -> bool:
        """Whether the graph was asked."""
        return self.prediction is not None and self.prediction.probability is not None

    def to_json(self, um_per_px: float | None) -> dict[str, Any]:
        """The cell as JSON-ready values; sizes in micrometres are None where the scale is unknown."""
        cell, answer = self.found, self.prediction
        um = None if cell.state == "cut" else um_per_px
        return {
            "number": self.number,
            "state": cell.state,
            "decision": self.decision,
            "probability": None if answer is None else answer.probability,
            "logit": None if answer is None else answer.logit,
            "reason": self.reason,
            "box": list(cell.box),
            "diameter_um": None if um is None else round(cell.diameter * um, 2),
            "nucleus_area_um2": None if um is None else round(cell.nucleus_area * um**2, 1),
            "nucleus_share": None if cell.state == "cut" else round(min(1.0, cell.nucleus_area / cell.area), 3),
            "outline": np.round(cell.outline, 1).tolist(),
            "nucleus": [np.round(ring, 1).tolist() for ring in cell.nucleus],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What a bundle says about one field. Decision support for research, never a diagnosis.

    Attributes:
        path: the file, None where an array was given.
        sha256: of its bytes, None for an array.
        kind: `field`, or `crop` for one cell with its surroundings, which is a small field.
        finding: cells, red cells, scale, warnings.
        cells: white cells with their answers.
        model: the bundle's name.
        rgb: uint8 [H, W, 3], the picture.
        stain: how its light and stain were brought to those of the training cells before the model was asked.
    """

    path: str | None
    sha256: str | None
    kind: Literal["crop", "field"]
    finding: Finding
    cells: tuple[FieldCell, ...]
    model: str
    rgb: NDArray[np.uint8] = field(repr=False)
    stain: Normalisation = "none"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the answer may suffer from."""
        return self.finding.warnings

    def count(self, decision: FieldDecision) -> int:
        """How many cells got this decision."""
        return sum(cell.decision == decision for cell in self.cells)

    def predictions(self) -> list[Prediction]:
        """The answers as `predict` states them: one for each white cell; a single `unreadable` one where there is none.

        Cells that could not be asked are referred, without a probability.
        """
        if not self.cells:
            others = self.finding.platelets
            small = (f"{others} platelets or specks of dirt were left out",) if others else ()
            why = "; ".join(dict.fromkeys(("no white cell was found", *small, *self.warnings)))
            return [Prediction(self.path, self.sha256, None, None, "unreadable", self.model, 0.0, error=why)]
        nothing = Prediction(None, None, None, None, "refer", self.model, 0.0)
        return [
            replace(
                cell.prediction or nothing, path=self.path, sha256=self.sha256, decision=cell.decision,
                reason=cell.reason, error=None,
                place=Place(cell.number, cell.found.box, self.kind, self.finding.ruler.um_per_px, self.warnings),
            )
            for cell in self.cells
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The field without its pixels, as JSON-ready values in a fixed order."""
        ruler = self.finding.ruler
        height, width = self.finding.shape
        return {
            "path": None if self.path is None else decodable(self.path),
            "sha256": self.sha256,
            "kind": self.kind,
            "width": width,
            "height": height,
            "model": self.model,
            "stain": self.stain,
            "statement": HONEST,
            "ruler": ruler.to_json(),
            "warnings": list(self.warnings),
            "white_cells": len(self.cells),
            "blast": self.count("blast"),
            "normal": self.count("normal"),
            "refer": self.count("refer"),
            "platelets_or_dirt": self.finding.platelets,
            "cells": [cell.to_json(ruler.um_per_px) for cell in self.cells],
            "error": None,
        }


def read_field(
    classifier: Classifier,
    source: str | PathLike[str] | NDArray[np.uint8],
    *,
    um_per_px: float | None = None,
    red_cell_um: float = RED_CELL_UM,
    max_pixels: int = MAX_PIXELS,
    morphology: bool = False,
    stain: Normalisation = "none",
) -> Field:
    """Find and answer for the white cells of one field, or of a crop of one cell with its surroundings.

    Args:
        classifier: what answers.
        source: a file's path, or uint8 RGB [H, W, 3].
        um_per_px: the scale where it is known; None: the red cells of the field give it.
        red_cell_um: mean diameter of a red cell, micrometres.
        max_pixels: larger pictures are refused before they are decoded. From `MAX_PIXELS` on, a picture is read in
            windows, see `fields.scan`; it is held whole, with its decoder about 10 bytes a pixel.
        morphology: measure each cell that is asked too, and say what stands out in words.
        stain: how light and stain are brought to those of the training cells, see `fields.normalise`.

    Raises:
        PictureError: the picture cannot be read, is a cell on black, larger than allowed, black or blank.
    """
    path = sha256 = None
    if isinstance(source, np.ndarray):
        rgb = source
    else:
        path = fspath(source)
        picture = read_picture(path, max_pixels=max_pixels)
        rgb, sha256 = picture.rgb, picture.sha256
    try:
        check_picture(rgb)
        kind = kind_of(rgb)
        finding = _finder(rgb, kind)(rgb, um_per_px=um_per_px, red_cell_um=red_cell_um)
    except PictureError as error:
        raise PictureError(error.what, path=path, remedy=error.remedy) from error
    if kind == "framed":
        raise PictureError("is one cell on black, not a field", path=path, remedy="use `leukoscope predict`")
    cells = _answered(classifier, rgb, finding, morphology, stain)
    return Field(path, sha256, kind, finding, cells, classifier.bundle.facts.name, rgb, stain)


def _finder(rgb: NDArray[np.uint8], kind: Kind) -> Callable[..., Finding]:
    if kind == "crop":
        return find_in_crop
    return find_cells if rgb.shape[0] * rgb.shape[1] <= MAX_PIXELS else find_in_windows


def _answered(
    classifier: Classifier, rgb: NDArray[np.uint8], finding: Finding, morphology: bool, stain: Normalisation
) -> tuple[FieldCell, ...]:
    scale = finding.ruler.um_per_px
    cells = [_withheld(number, cell, scale) for number, cell in enumerate(finding.cells, 1)]
    asked = [cell for cell in cells if cell.reason is None]
    if not asked or scale is None:
        return tuple(cells)
    standard = classifier.bundle.facts.um_per_px or STANDARD_UM_PER_PX
    change = None if stain == "none" else normaliser(rgb, finding.cells, stain, read_reference())
    pictures = [at_standard_scale(rgb, cell.found, scale, standard=standard, change=change) for cell in asked]
    answers = classifier.predict_many(pictures, _AT_ONCE, morphology=morphology)
    for cell, answer in zip(asked, answers, strict=True):
        decision: FieldDecision = "refer"
        reason = answer.reason or answer.error
        if answer.decision == "blast" or answer.decision == "normal":  # noqa: PLR1714  (mypy narrows this form)
            decision = answer.decision
        cells[cell.number - 1] = replace(cell, decision=decision, reason=reason, prediction=answer)
    return tuple(cells)


def _withheld(number: int, cell: WhiteCell, scale: float | None) -> FieldCell:
    reason = _WITHHELD.get(cell.state) or (_WITHHELD["scale"] if scale is None else None)
    return FieldCell(number, cell, "refer", reason)
