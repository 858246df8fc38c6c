"""Which head: trials on a frozen trunk's statistics, judged on inner folds; the test parts once a trial, losers too.

    python benchmarks/heads.py --data C-NMC_Leukemia --weights WEIGHTS [--out docs/figures/heads.json]

Within the learning groups of each of the five committed folds, four inner group folds (seed 0) are answered by heads
that never saw them. A trial's figure is the mean of the five inner AUC; what wins there is what recipe `eye` takes. The
test answers of every trial stand beside, and the last row is what choosing by each fold's own inner AUC would have
given. Trials are written as they end; a second start goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from _common import auc, facts_of, figures_of, kept_rows, scores_of
from baselines import split_of  # the scripts beside this one
from frozen import ALL, CROP, FOLDS, SIZE, arguments_of_heads, by_fold, check_folds
from leukoscope.cells.frame import Preparation
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import write_json
from leukoscope.models.masked import MaskedTrunk
from leukoscope.training.features import cell_statistics
from leukoscope.training.heads import HeadChoice, balance_weights, fit_head, head_logits
from leukoscope.training.recipe import Augmentation

INNER = 4
Rows = NDArray[np.int64]


def nested_folds(data: Manifest) -> list[tuple[Rows, Rows, list[tuple[Rows, Rows]]]]:
    """For each committed fold: rows that learn, rows that are tested, and the first dealt by group into inner folds."""
    labels, groups, parts = data.labels(), data.groups(), []
    for fold in range(FOLDS):
        learned, test = split_of(data, fold, FOLDS)
        dealt = StratifiedGroupKFold(INNER, shuffle=True, random_state=0).split(
            learned, labels[learned], groups[learned]
        )
        parts.append((learned, test, [(learned[rest], learned[out]) for rest, out in dealt]))
    return parts


DYES = Augmentation(
    gamma=0.2, sharpness=0.7, stain=0.08, outline=1.5, brightness=0.1, channels=0.05, scraps=0.3, compression=60,
    zoom=0.05,
)  # fmt: skip
Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Trial:
    """A head, what it sees, and which views of a training cell are rows."""

    name: str
    stages: tuple[int, ...] = (3, 4, 5)
    kinds: str = "both"  # of statistics: both, or means alone
    views: tuple[str, ...] = ("plain",)
    mean_of_views: bool = False  # of a tested cell, instead of its plain view
    standardise: bool = False
    trunk: str = "tf_efficientnet_lite0"
    nuisance: int = 0  # directions between patients of one class that are taken out
    balance: str = "groups"
    head: HeadChoice = field(default_factory=HeadChoice)


def _radial(**changes: Any) -> HeadChoice:
    return HeadChoice(**changes)


TURNS = ("plain", "turn 1", "turn 2", "turn 3")
TRIALS = (
    Trial("64 components, classes alike", balance="loss"),
    Trial("64 components"),
    Trial("32 components", head=_radial(components=32)),
    Trial("96 components", head=_radial(components=96)),
    Trial("128 components", head=_radial(components=128)),
    Trial("64, cost 0.3", head=_radial(cost=0.3)),
    Trial("64, cost 3", head=_radial(cost=3)),
    Trial("64, width 0.5", head=_radial(width=0.5)),
    Trial("64, width 2", head=_radial(width=2)),
    Trial("64, width 3", head=_radial(width=3)),
    Trial("96, width 2", head=_radial(components=96, width=2)),
    Trial("128, width 2", head=_radial(components=128, width=2)),
    Trial("stages 4-5", stages=(4, 5)),
    Trial("stages 3-4", stages=(3, 4)),
    Trial("stages 2-5", stages=(2, 3, 4, 5)),
    Trial("stages 1-5", stages=(1, 2, 3, 4, 5)),
    Trial("stages 1-5, 128", stages=(1, 2, 3, 4, 5), head=_radial(components=128)),
    Trial("stages 1-5, 128, width 2", stages=(1, 2, 3, 4, 5), head=_radial(components=128, width=2)),
    Trial("stages 1-6, 128", stages=ALL, head=_radial(components=128)),
    Trial("means alone", kinds="means"),
    Trial("one nuisance direction out", nuisance=1),
    Trial("two nuisance directions out", nuisance=2),
    Trial("four nuisance directions out", nuisance=4),
    Trial("linear", head=HeadChoice(kind="linear", cost=0.01)),
    Trial("mlp", head=HeadChoice(kind="mlp")),
    Trial("colours standardised", standardise=True),
    Trial("lite2", trunk="tf_efficientnet_lite2"),
    Trial("two turns as rows", views=TURNS[:2]),
    Trial("two turns as rows and their mean as answer", views=TURNS[:2], mean_of_views=True),
    Trial("another finish drawn as rows", views=("plain", "dyes 1")),
)


class Views:
    """Statistics of each view, opened once."""

    def __init__(self, frames: np.ndarray, weights: Path, cache: Path, jobs: int | None) -> None:
        self._frames, self._weights, self._cache, self._jobs = frames, weights, cache, jobs
        self._held: dict[tuple[str, bool, str], np.ndarray] = {}

    def of(self, trial: Trial) -> list[np.ndarray]:
        """The trial's columns of each of its views, float32 [N, D]."""
        trunk = MaskedTrunk(trial.trunk, ALL, standardise=trial.standardise)
        trunk.load(self._weights / f"{trial.trunk}.safetensors")
        ends = np.cumsum([0, *(2 * each for each in trunk.channels)])
        columns = np.concatenate([
            np.arange(ends[s - 1], ends[s] if trial.kinds == "both" else (ends[s - 1] + ends[s]) // 2)
            for s in trial.stages
        ])  # fmt: skip
        found = []
        for view in trial.views:
            key = (trial.trunk, trial.standardise, view)
            if key not in self._held:
                kind, _, number = view.partition(" ")
                self._held[key] = cell_statistics(
                    self._frames, trunk.eval(), self._cache, turns=int(number) if kind == "turn" else 0,
                    changes=DYES if kind == "dyes" else None, seed=int(number or 0) if kind == "dyes" else 0,
                    jobs=self._jobs,
                )  # fmt: skip
            found.append(self._held[key][:, columns])
        return found


def without_nuisance(values: np.ndarray, labels: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """A projection, [D, D], that takes out the main directions in which patients of one class differ."""
    apart = []
    for label in (0, 1):
        own = labels == label
        middle = np.mean([values[own & (groups == name)].mean(0) for name in np.unique(groups[own])], axis=0)
        apart += [
            (values[own & (groups == name)].mean(0) - middle) * np.sqrt((own & (groups == name)).sum())
            for name in np.unique(groups[own])
        ]
    axes = np.linalg.svd(np.array(apart), full_matrices=False)[2][:count]
    return np.asarray(np.eye(values.shape[1]) - axes.T @ axes)


def answering(trial: Trial, views: list[np.ndarray], labels: np.ndarray, groups: np.ndarray) -> Answer:
    """Fit on rows, answer others."""

    def answer(learned: np.ndarray, asked: np.ndarray) -> np.ndarray:
        rows = np.concatenate([each[learned] for each in views])
        y, g = np.tile(labels[learned], len(views)), np.tile(groups[learned], len(views))
        tested = [each[asked] for each in (views if trial.mean_of_views else views[:1])]
        if trial.nuisance:
            mean, spread = rows.mean(0), rows.std(0) + 1e-9
            change = without_nuisance((rows - mean) / spread, y, g, trial.nuisance)
            rows, tested = (rows - mean) / spread @ change, [(each - mean) / spread @ change for each in tested]
        head = fit_head(rows.astype(np.float32), y, balance_weights(y, g, trial.balance), trial.head)
        return np.asarray(np.mean([head_logits(head, each.astype(np.float32)) for each in tested], axis=0))

    return answer


def main() -> None:
    """Try, print and write."""
    args = arguments_of_heads(__doc__, Path("docs/figures/heads.json")).parse_args()
    data = read_dataset(args.data).labelled()
    check_folds(data, args.folds)
    labels, groups = data.labels(), data.groups()
    views = Views(open_cache(data, Preparation(frame_size=CROP), SIZE, args.cache, jobs=args.jobs).frames,
                  args.weights, args.cache, args.jobs)  # fmt: skip
    parts = nested_folds(data)
    trials = {repr(trial): trial for trial in TRIALS}

    def tried(identity: str) -> dict[str, Any]:
        started = time.perf_counter()
        answer = answering(trials[identity], views.of(trials[identity]), labels, groups)
        logit, inner = np.empty(len(data)), []
        for learned, test, within in parts:
            logit[test] = answer(learned, test)
            held = np.full(len(data), np.nan)
            for rest, out in within:
                held[out] = answer(rest, out)
            inner.append(auc(labels[learned], held[learned]))
        return {"inner": inner, "logit": logit.tolist(), "seconds": round(time.perf_counter() - started, 1)}

    rows, logits = [], {}
    for found in kept_rows(args.cache / "heads-trials.jsonl", "trial", trials, tried):
        name = trials[found["trial"]].name
        logits[name] = np.array(found["logit"])
        rows.append(_row(data, name, logits[name], found["inner"]))
    inner = np.array([row["inner_auc_by_fold"] for row in rows])  # [trials, folds]
    best = [str(rows[at]["trial"]) for at in inner.argmax(0)]
    chosen = np.empty(len(data))
    for (_, test, _), name in zip(parts, best, strict=True):
        chosen[test] = logits[name][test]
    rows.append({**_row(data, "chosen by each fold's inner AUC", chosen, None), "chosen": best})
    write_json(args.out, facts_of(data) | {
        "protocol": "group", "folds": FOLDS, "split_seed": 0, "inner_folds": INNER, "crop": CROP, "size": SIZE,
        "rows": rows,
    })  # fmt: skip


def _row(data: Any, name: str, logit: np.ndarray, inner: list[float] | None) -> dict[str, Any]:
    scores = scores_of(data, logit)
    shown = figures_of(scores, ("auc", "f1_weighted", "subject_auc"))
    by = by_fold(data, scores)
    row = {"trial": name, "inner_auc": None if inner is None else float(np.mean(inner)), "inner_auc_by_fold": inner,
           "metrics": shown, "auc_by_fold": by}  # fmt: skip
    judged = "" if inner is None else f"inner {np.mean(inner):.4f}"
    print(f"{name:46}{judged:14}" + "".join(
        f"  {what} {shown[key]['value']:.3f}" for what, key in (("AUC", "auc"), ("F1", "f1_weighted"),
                                                                ("subjects", "subject_auc"))
    ) + "  " + " ".join(f"{each:.3f}" for each in by), flush=True)  # fmt: skip
    return row


if __name__ == "__main__":
    main()
