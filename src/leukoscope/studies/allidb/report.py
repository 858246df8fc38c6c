"""ALL-IDB1 or ALL-IDB2 end to end: white cells found, blasts held against `.xyc`, pictures and cells told apart.

Resolution tells the label in ALL-IDB1, so figures are also given within each size of picture, and with all pictures
made as coarse as the coarsest. The sets name no patient: the intervals, over pictures, are too narrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from leukoscope._version import __version__
from leukoscope.datasets.facts import caveats, resolution_leak
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import Resampling
from leukoscope.metrics.counts import Array, ratio
from leukoscope.metrics.panel import measure
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.progress import SILENT, Progress
from leukoscope.studies.allidb.score import REACH_UM, PictureScore, as_row, common_scale, score_pictures


def detection_figures(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """Of blasts listed in `.xyc` files; shares with 95 % intervals from a bootstrap over pictures.

    `recall`: listed blasts found. `answered_blast`, `answered_refer`: share of all listed blasts that is found and
    called so. `called_listed`: share of cells called blast, over leukemic pictures, that is a listed blast.
    """
    used = [score for score in scores if score.matched is not None]
    ill = [score for score in used if score.label == 1 and score.listed]
    away = np.array([each for score in used for each in score.distances_um])
    result: dict[str, Any] = {
        "pictures": len(scores),
        "without_scale": sum(s.error is None and s.um_per_px is None for s in scores),
        "unreadable": sum(s.error is not None for s in scores),
        "blasts_listed": sum(s.listed or 0 for s in ill),
        "distance_um": None if not len(away) else dict(zip(("median", "90 %"), _rounded(away), strict=True)),
    }
    if not ill:
        return result
    tops = {
        "recall": ([s.matched or 0 for s in ill], [s.listed or 0 for s in ill]),
        "answered_blast": ([s.decisions.count("blast") for s in ill], [s.listed or 0 for s in ill]),
        "answered_refer": ([s.decisions.count("refer") for s in ill], [s.listed or 0 for s in ill]),
        "called_listed": ([s.called_listed for s in ill], [s.called for s in ill]),
    }
    return result | {name: _share(top, bottom, [s.group for s in ill]) for name, (top, bottom) in tops.items()}


def label_figures(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """Of the label: of the picture by its most blast-like cell (fields), or of the cell in the middle (crops).

    `auc` and, for crops, `sensitivity`, `specificity` (of cells decided) and `referred`. Pictures without an answer are
    counted, and are in none of the figures.
    """
    used = [score for score in scores if score.logit is not None]
    result: dict[str, Any] = {
        "pictures": len(scores),
        "answered": len(used),
        "leukemic": sum(score.label for score in used),
        "auc": None,
    }
    label = np.array([score.label for score in used])
    if len(set(label.tolist())) == 2:
        ranking = Ranking.of(label, np.array([score.logit for score in used]))
        plan = Resampling.by_group(label, np.array([score.group for score in used]))

        def auc(weights: Array) -> Array:
            return roc_auc(ranking.sweep(weights))[..., None]

        result["auc"] = measure(auc, ("auc",), plan)["auc"].to_json()
    if any(score.decision is not None for score in used):
        for name, side, word in (("sensitivity", 1, "blast"), ("specificity", 0, "normal")):
            part = [s for s in used if s.label == side]
            result[name] = _share(
                [s.decision == word for s in part], [s.decision != "refer" for s in part], [s.group for s in part]
            )
        result["referred"] = _share([s.decision == "refer" for s in used], [1] * len(used), [s.group for s in used])
    return result


def by_resolution(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """The figures within each size of picture, the commonest first: there the size cannot tell the label."""
    sizes = Counter(score.resolution for score in scores if score.error is None)
    result = {}
    for size, _ in sizes.most_common():
        part = [score for score in scores if score.resolution == size]
        result[f"{size[0]} x {size[1]}"] = {"detection": detection_figures(part), "label": label_figures(part)}
    return result


def _share(top: Sequence[float], bottom: Sequence[float], group: Sequence[str]) -> dict[str, float | None]:
    if not len(bottom):
        return {"value": None, "low": None, "high": None}
    over, under = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    plan = Resampling.by_group(np.ones(len(over)), np.asarray(group))

    def statistic(weights: Array) -> Array:
        return ratio(weights @ over, weights @ under)[..., None]

    return measure(statistic, ("share",), plan)["share"].to_json()


def _rounded(values: Array) -> tuple[float, float]:
    middle, most = np.quantile(values, (0.5, 0.9))
    return round(float(middle), 2), round(float(most), 2)


FIGURES: Final = "truth.json"
PICTURES: Final = "truth-pictures.json"


def measure_allidb(
    data: Path,
    classifier: Classifier,
    out: Path,
    *,
    um_per_px: float | None = None,
    reach_um: float = REACH_UM,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Score every picture, write `FIGURES` and `PICTURES` (one row each) into ``out``, and return the figures.

    Args:
        data: the folder that holds `im` and `xyc` (ALL-IDB1) or `img` (ALL-IDB2), as its owners give it out.
        classifier: what answers.
        out: a folder.
        um_per_px: the scale of all pictures where it is known; they are then not resampled.
        reach_um: how far a found cell's centre may lie from a listed one.
        progress: shows how many pictures are read: once or, where they are brought to one scale, in two stages.

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


def allidb_lines(figures: dict[str, Any]) -> list[str]:
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
