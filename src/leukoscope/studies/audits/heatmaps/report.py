"""The test of heat maps for people: text, page, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leukoscope.reports.plots import BLUE, MUTED, ORANGE, sheet
from leukoscope.studies.audits.heatmaps.audit import Explanations
from leukoscope.studies.audits.heatmaps.road import FRACTIONS
from leukoscope.studies.audits.report import AXES, Table, subtitle, verdict_lines, write_audit
from leukoscope.studies.audits.rules import bracket

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADS = {
    "cell": "energy in the cell",
    "cell_decided": "of the evidence for the decision",
    "nucleus": "energy in the nucleus",
    "nucleus_of_cell": "of the energy in the cell, in the nucleus",
    "road": "ROAD gap",
    "turn": "turns along",
    "turn_fixed": "not turned back",
    "gini": "Gini index",
}
NAMES = {"map": "the bundle's map", "random": "random map", "disc": "centred disc", "chance": "chance"}


def explanations_text(found: Explanations) -> str:
    """What a terminal shows."""
    lines = [*verdict_lines(found), "", f"  {'':<24}" + "".join(f"{key:>16}" for key in HEADS)]
    for name, figures in found.figures.items():
        cells = (figures[key].value if key in figures else float("nan") for key in HEADS)
        row = "".join(f"{'-' if np.isnan(value) else format(value, '.3f'):>16}" for value in cells)
        lines.append(f"  {NAMES.get(name, name):<24}{row}")
    return "\n".join(lines)


def write_explanations(
    found: Explanations, folder: Path, pictures: Sequence[tuple[str, NDArray[np.uint8]]] = ()
) -> Path:
    """Write explanations.json and explanations.html; returns the path of the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LeukoscopeError: the folder cannot be written.
    """
    sub = subtitle(found)
    removed = (
        "What was removed is filled in from the rest of the cell (ROAD); nothing is blackened. A map that knows what "
    )
    removed += "the answer depends on has its solid line far below its dashed one."
    drawings = [("road", _road(found, sub), removed)]
    if found.randomised:
        caption = "Likeness of the maps to those of the same network with its upper layers random. It must fall."
        drawings.append(("layers", _layers(found, sub), caption))
    title = f"Heat maps of {found.context.get('model', 'a bundle')}, tested"
    return write_audit(found, folder, "explanations", title, _tables(found), drawings, pictures)


def _tables(found: Explanations) -> list[Table]:
    rows = [
        (NAMES.get(name, name), *(bracket(figures[key]) if key in figures else "" for key in HEADS))
        for name, figures in found.figures.items()
    ]
    caption = (
        "Means over cells [95 % interval over patient groups]. Energy is the map's magnitude. ROAD gap: probability "
        "of the decided class after removing what the map ranks last, less that after removing what it ranks first."
    )
    tables = [Table("All figures", caption, ("Map", *HEADS.values()), tuple(rows))]
    tests = [*found.randomised, *([found.shuffled] if found.shuffled else [])]
    if tests:
        heads = ("Network", "rank correlation in the cell", "its magnitude", "over the frame, magnitude", "SSIM")
        body = [
            (each.name, *(bracket(one) for one in (each.signed, each.size, each.frame, each.ssim))) for each in tests
        ]
        caption = "How like the bundle's maps are to those of networks that know less (Adebayo et al. 2018)."
        tables.append(Table("Sanity checks", caption, heads, tuple(body)))
    return tables


def _road(found: Explanations, sub: str) -> bytes:
    def draw(axes: Axes) -> None:
        x = [0.0, *FRACTIONS]
        for name, colour in (("map", BLUE), ("disc", ORANGE), ("random", MUTED)):
            curve = found.curves[name]
            axes.plot(x, [*curve["intact"], *curve["most"]], color=colour, lw=1.8, label=f"{NAMES[name]}: first")
            axes.plot(x, [*curve["intact"], *curve["least"]], color=colour, lw=1.8, ls=(0, (4, 2)), label="last")
        axes.set_xlabel("Share of the cell removed")
        axes.set_ylabel("Probability of the decided class")
        axes.legend(frameon=False, fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))

    return sheet("Removing what the map ranks first, or last", [sub], draw, size=AXES, close=True)


def _layers(found: Explanations, sub: str) -> bytes:
    def draw(axes: Axes) -> None:
        x = [0, *(each.layers / each.of for each in found.randomised)]
        for key, colour, label in (
            ("signed", BLUE, "rank correlation in the cell"),
            ("ssim", ORANGE, "SSIM of the map"),
        ):
            axes.plot(
                x, [1, *(getattr(each, key).value for each in found.randomised)], "-o", color=colour, ms=4, label=label
            )
        axes.axhline(0, color=MUTED, lw=0.7)
        axes.set_xlabel("Share of layers re-initialised, from the top")
        axes.set_ylabel("Likeness")
        axes.legend(frameon=False, fontsize=8)

    return sheet("Maps of a network that forgets", [sub], draw, size=AXES, close=True)
