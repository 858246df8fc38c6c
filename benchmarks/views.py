"""Whether several frozen views of a cell, averaged, are both accurate and steady: trials, losers too.

    python benchmarks/views.py --data C-NMC_Leukemia --weights WEIGHTS [--out docs/figures/eye_trials.json]

A view is an input size, colours as they are or standardised inside the cell, how much the head is kept from what other
preparations change, and the head's kind. Each view, and each mean of the logits of two, is judged as in `steady.py`:
AUC and decisions that flip on four inner group folds of the learning groups. The winner was to be the one of highest
inner AUC among those that flip no more than recipe `eye_steady` there; the test parts' AUC and flips stand beside for
all, so that nothing is hidden, and thirty drafts before these had seen them. Views are written as they end; a second
start goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from _common import auc, differences, facts_of, figures_of, kept_rows, scores_of, words
from baselines import measures, plain_unit
from frozen import CROP, FOLDS, arguments_of_heads, by_fold, check_folds
from heads import INNER, nested_folds
from leukoscope.cells.frame import Preparation
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.models.masked import MaskedTrunk
from leukoscope.training.features import SHAKES, cell_statistics, shaken_statistics
from leukoscope.training.heads import HeadChoice, Steadying, balance_weights, fit_head, head_logits
from steady import CELLS, STAGES, TRUNK, Sample

STEADY = Steadying(dyes=0.03, detail=0.3, outline=0.1, size=0.03)
STEADIER = Steadying(dyes=0.1, detail=0.3, outline=0.1, size=0.1)
SHOWN = ("auc", "f1_weighted", "subject_auc")
REFERENCE = "192 px, steady"  # recipe `eye_steady`


@dataclass(frozen=True)
class View:
    """What the trunk sees, and its head."""

    name: str
    size: int
    standardise: bool = False
    head: HeadChoice = field(default_factory=lambda: HeadChoice(components=128, width=2.0))


def _head(steady: Steadying, **how: Any) -> HeadChoice:
    asked: dict[str, Any] = {"components": 128, "width": 2.0, "steady": steady} | how
    return HeadChoice(**asked)


VIEWS = (
    View(REFERENCE, 192, head=_head(STEADY)),
    View("192 px, standardised, steady", 192, True, _head(STEADY)),
    View("288 px, steady", 288, head=_head(STEADY)),
    View("192 px, steadier", 192, head=_head(STEADIER)),
    View("192 px, linear, steady", 192, head=_head(STEADY, kind="linear", cost=0.01)),
    View("192 px, standardised, linear, steady", 192, True, _head(STEADY, kind="linear", cost=0.01)),
)


def tried(view: View, data: Manifest, sample: Sample, parts: list[Any], args: Any) -> dict[str, Any]:
    """Logits of a view: of the test parts and the sample, and of both inside the learning parts, by fold."""
    labels, groups = data.labels(), data.groups()
    kinds = dict.fromkeys(SHAKES, 1.0)
    trunk = MaskedTrunk(TRUNK, STAGES, standardise=view.standardise)
    trunk.load(args.weights / f"{TRUNK}.safetensors")
    trunk.eval()
    frames = open_cache(data, Preparation(frame_size=CROP), view.size, args.cache, jobs=args.jobs).frames
    whole = cell_statistics(frames, trunk, args.cache, jobs=args.jobs)
    weights = view.head.steady.weights()
    shaken = shaken_statistics(frames, whole, trunk, args.cache, kinds, jobs=args.jobs) if weights else None
    changed = cell_statistics(sample.frames(view.size), trunk, args.cache, jobs=args.jobs)
    started = time.perf_counter()

    def fitted(learned: np.ndarray) -> dict[str, np.ndarray]:
        shaking = None if shaken is None else shaken.covariance(weights, learned)
        balance = balance_weights(labels[learned], groups[learned], "groups")
        return fit_head(whole[learned], labels[learned], balance, view.head, shaking=shaking)

    logit, moved = np.empty(len(data)), np.empty(len(sample.rows))
    inner, inner_moved = np.full((FOLDS, len(data)), np.nan), np.full((FOLDS, len(sample.rows)), np.nan)
    for fold, (learned, test, within) in enumerate(parts):
        for rows, rest, told, told_moved in (
            (test, learned, logit, moved),
            *((out, rest, inner[fold], inner_moved[fold]) for rest, out in within),
        ):
            head = fitted(rest)
            told[rows] = head_logits(head, whole[rows])
            own = np.isin(sample.rows, rows)
            told_moved[own] = head_logits(head, changed[own])
    return {
        "logit": logit.tolist(), "moved": moved.tolist(), "inner": inner.tolist(), "inner_moved": inner_moved.tolist(),
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def row(names: tuple[str, ...], found: dict[str, Any], data: Manifest, sample: Sample) -> dict[str, Any]:
    """Figures of the mean of some views' logits, without intervals; and its answers on the test parts."""
    labels = data.labels()
    mean = {
        key: np.mean([np.array(found[name][key], dtype=float) for name in names], axis=0)
        for key in ("logit", "moved", "inner", "inner_moved")
    }
    inner = [auc(labels[own], z[own]) for z in mean["inner"] for own in (np.isfinite(z),)]
    return {
        "views": names, "inner_auc": float(np.mean(inner)),
        "inner_flips": float(np.mean([sample.flips(each)["flips"] for each in mean["inner_moved"]])),
        "auc": auc(labels, mean["logit"]), "auc_by_fold": by_fold(data, scores_of(data, mean["logit"])),
        "changed": sample.flips(mean["moved"]), "logit": mean["logit"],
    }  # fmt: skip


def main() -> None:
    """Try, choose, print and write."""
    args = arguments_of_heads(__doc__, Path("docs/figures/eye_trials.json")).parse_args()
    data = read_dataset(args.data).labelled()
    check_folds(data, args.folds)
    sample = Sample(data, args.cache)
    parts = nested_folds(data)
    by_name = {view.name: view for view in VIEWS}
    found = {}
    for each in kept_rows(
        args.cache / "views-trials.jsonl", "view", by_name,
        lambda name: tried(by_name[name], data, sample, parts, args),
    ):  # fmt: skip
        found[each["view"]] = each
        print(each["view"], each["seconds"], flush=True)
    area = plain_unit(
        data, measures(open_cache(data, Preparation(frame_size=340), 112, args.cache).frames)[:, :1], FOLDS
    )
    wanted = [(name,) for name in by_name] + list(combinations(by_name, 2))
    rows = [row(names, found, data, sample) for names in wanted]
    ceiling = next(each["inner_flips"] for each in rows if each["views"] == (REFERENCE,))
    steady = [each for each in rows if each["inner_flips"] <= ceiling]
    chosen = max(steady, key=lambda each: each["inner_auc"])
    reference = scores_of(data, next(each["logit"] for each in rows if each["views"] == (REFERENCE,)))
    for each in sorted(rows, key=lambda each: -each["inner_auc"]):
        print(
            f"{'*' if each is chosen else ' '}{' + '.join(each['views']):75} inner {each['inner_auc']:.4f} flips "
            f"{each['inner_flips']:.3f} | test AUC {each['auc']:.3f} flips {each['changed']['flips']:.3f} AUC "
            f"{each['changed']['auc_gain']:+.3f} " + " ".join(f"{value:.3f}" for value in each["auc_by_fold"]),
            flush=True,
        )  # fmt: skip
    scores = scores_of(data, chosen["logit"])
    chosen |= {
        "metrics": figures_of(scores, SHOWN), "beyond_area": differences(area, scores, SHOWN),
        "beyond_reference": differences(reference, scores, SHOWN),
    }  # fmt: skip
    print({key: words(chosen["metrics"][key]) for key in SHOWN})
    print({key: words(chosen["beyond_reference"][key], sign="+") for key in SHOWN})
    for each in rows:
        each.pop("logit")
        if each is not chosen:
            each["changed"].pop("by_change")
    write_json(args.out, facts_of(data) | {
        "folds": FOLDS, "inner_folds": INNER, "split_seed": 0, "crop": CROP, "trunk": TRUNK, "stages": STAGES,
        "cells_changed": FOLDS * CELLS, "rule": f"inner flips of at most {ceiling:.3f}, highest inner AUC",
        "chosen": chosen["views"], "rows": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
