"""ALL-IDB1 or ALL-IDB2 end to end: white cells found, blasts held against `.xyc`, pictures and cells told apart.

Resolution tells the label in ALL-IDB1, so figures are also given within each size of picture, and with all pictures
made as coarse as the coarsest. The sets name no patient: the intervals, over pictures, are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from leukoscope._version import __version__
from leukoscope.data.caveats import caveats, resolution_leak
from leukoscope.data.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.studies.detection import REACH_UM, as_row, common_scale, score_pictures
from leukoscope.studies.detection_report import by_resolution, detection_figures, label_figures

FIGURES: Final = "truth.json"
PICTURES: Final = "truth-pictures.json"


def measure_allidb(
    data: Path,
    classifier: Classifier,
    out: Path,
    *,
    um_per_px: float | None = None,
    reach_um: float = REACH_UM,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Score every picture, write `FIGURES` and `PICTURES` (one row each) into ``out``, and return the figures.

    Args:
        data: the folder that holds `im` and `xyc` (ALL-IDB1) or `img` (ALL-IDB2), as its owners give it out.
        classifier: what answers.
        out: a folder.
        um_per_px: the scale of all pictures where it is known; they are then not resampled.
        reach_um: how far a found cell's centre may lie from a listed one.
        progress: called with 1 for each picture read, once or, where they are brought to one scale, twice.

    Raises:
        DataError: the folder is not of this layout, or a list of blasts is damaged.
    """
    manifest = read_dataset(data, reader="allidb")
    leak = resolution_leak(manifest)
    plain = score_pictures(classifier, manifest, um_per_px=um_per_px, reach_um=reach_um, progress=progress)
    target = common_scale(plain) if um_per_px is None else None
    even = []
    if target is not None:
        even = score_pictures(classifier, manifest, target=target, reach_um=reach_um, progress=progress)
    figures: dict[str, Any] = {
        "version": __version__,
        "machine": describe_machine(),
        "data": manifest.name,
        "fingerprint": manifest.fingerprint(),
        "model": classifier.bundle.facts.name,
        "reach_um": reach_um,
        "notes": [*caveats(manifest), *([] if leak is None else [leak.sentence()])],
        "as_it_is": {"detection": detection_figures(plain), "label": label_figures(plain)},
        "by_resolution": by_resolution(plain),
        "one_scale": None,
    }
    if target is not None:
        parts = {"detection": detection_figures(even), "label": label_figures(even)}
        figures["one_scale"] = {"um_per_px": round(target, 4), **parts}
    write_json(out / FIGURES, figures)
    write_json(out / PICTURES, {"as_it_is": [as_row(s) for s in plain], "one_scale": [as_row(s) for s in even]})
    return figures


def headline(figures: dict[str, Any]) -> list[str]:
    """The figures in a few lines."""
    lines = []
    for name, part in (("as it is", figures["as_it_is"]), ("at one scale", figures["one_scale"])):
        if part is None:
            continue
        found, label = part["detection"], part["label"]
        told = [
            f"{found['pictures']} pictures, {found['unreadable']} unreadable, {found['without_scale']} without scale"
        ]
        if "recall" in found:
            told.append(f"{_told(found['recall'])} of {found['blasts_listed']} listed blasts found")
            told.append(f"{_told(found['answered_blast'])} called blast, {_told(found['answered_refer'])} referred")
        if label["auc"] is not None:
            told.append(f"AUC of the label {_told(label['auc'], 3)}")
        told += [f"{key} {_told(label[key])}" for key in ("sensitivity", "specificity", "referred") if key in label]
        lines.append(f"{name}: {'; '.join(told)}")
    return lines


def _told(share: dict[str, float | None], digits: int = 2) -> str:
    if share["value"] is None:
        return "none"
    low, high = share["low"], share["high"]
    span = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{share['value']:.{digits}f}{span}"
