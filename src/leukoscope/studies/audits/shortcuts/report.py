"""The shortcut audit for people: text, page, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukoscope.metrics.bootstrap import Estimate
from leukoscope.reports.plots import bars, sheet
from leukoscope.studies.audits.report import AXES, Table, subtitle, verdict_lines, write_audit
from leukoscope.studies.audits.rules import bracket
from leukoscope.studies.audits.shortcuts.audit import Shortcuts
from leukoscope.studies.audits.shortcuts.variants import MEANING, VARIANTS

ALONE = "area alone, no network"


def shortcuts_text(found: Shortcuts) -> str:
    """What a terminal shows."""
    lines = [*verdict_lines(found), "", f"  {'AUC on':<26}[95 % interval over patients]"]
    lines += [f"  {name:<26}{bracket(each)}" for name, each in (*found.auc.items(), (ALONE, found.area_auc))]
    lines += ["", "  correlation of logit and area"]
    lines += [f"  {name:<26}{bracket(each)}" for name, each in _correlations(found)]
    return "\n".join(lines)


def write_shortcuts(found: Shortcuts, folder: Path, pictures: Sequence[tuple[str, NDArray[np.uint8]]] = ()) -> Path:
    """Write shortcuts.json and shortcuts.html; returns the path of the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LeukoscopeError: the folder cannot be written.
    """
    rows = [*found.auc.items(), (ALONE, found.area_auc)]
    drawing = sheet(
        "AUC with one cue taken away or left", [subtitle(found)], bars(rows, "AUC", chance=0.5), size=AXES, close=True
    )
    lost = [
        (
            name,
            MEANING[name],
            bracket(found.auc[name]),
            bracket(found.lost[name]) if name in found.lost else "",
        )
        for name in VARIANTS
        if name in found.auc
    ]
    tables = [
        Table(
            "All figures",
            "AUC of the bundle on the same cells, changed [95 % interval over patient groups]; differences are paired.",
            ("Cells", "What was done", "AUC", "Lost against plain"),
            (*lost, (ALONE, "The cell's area as the score.", bracket(found.area_auc), "")),
        ),
        Table(
            "Does the answer follow the size?",
            "Correlation of the logit with the area of the cell. Blasts are larger, so over all cells it would be high "
            "for any good model; within the classes it should not be.",
            ("Cells", "Correlation"),
            tuple((name, bracket(each)) for name, each in _correlations(found)),
        ),
    ]
    caption = "Points with 95 % intervals over patient groups; the dashed line is a coin."
    drawings = [("shortcuts", drawing, caption)]
    title = f"Shortcuts of {found.context.get('model', 'a bundle')}"
    return write_audit(found, folder, "shortcuts", title, tables, drawings, pictures)


def _correlations(found: Shortcuts) -> list[tuple[str, Estimate]]:
    rows = [
        ("within the classes", found.partial),
        *((f"among {name} cells", each) for name, each in found.within.items()),
    ]
    if found.partial_normalised is not None:
        rows.append(("within, one area for all", found.partial_normalised))
    return rows
