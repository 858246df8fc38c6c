"""How steady a head can be made, and what that costs: trials on a frozen trunk's statistics, losers too.

    python benchmarks/steady.py --data C-NMC_Leukemia --weights WEIGHTS [--out docs/figures/steady.json]

Each trial is an input size and how much the head is kept from what other dyes, focus, outlines and sizes change
(`leukoscope.training.heads.Steadying`). As in `heads.py`, four inner group folds within the learning groups of each of
the five committed folds judge; test parts are asked once a trial. Beside the AUC stand decisions that flip: 32 cells of
each fold's test groups under the twenty changes of `robust.changes`, none of which the fit has seen, each
answered by the fold's head that never saw the patient. The last row is the default bundle on those of the cells whose
patients it never saw, and every trial on the same cells, so that these columns are paired. Trials are written as they
end; a second start goes on.
"""

from __future__ import annotations

import argparse
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from _common import auc, differences, facts_of, figures_of, kept_rows, scores_of
from baselines import measures, plain_unit, split_of
from frozen import CROP, FOLDS, arguments_of_heads, by_fold, check_folds
from heads import INNER, nested_folds
from leukoscope.bundle.decision import logit_at
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.cells.frame import Preparation, prepare, resize_frame
from leukoscope.cells.read import read_picture
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.split import limit
from leukoscope.files import write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.scores import Scores
from leukoscope.models.masked import MaskedTrunk
from leukoscope.runs.measure import unseen_by
from leukoscope.training.features import SHAKES, cell_statistics, shaken_statistics
from leukoscope.training.heads import HeadChoice, Shaken, Steadying, balance_weights, fit_head, head_logits
from robust.changes import CHANGES

CELLS, SEED = 32, 0
TRUNK, STAGES = "tf_efficientnet_lite0", (3, 4, 5)


@dataclass(frozen=True)
class Trial:
    """What the trunk sees, and a head."""

    name: str
    size: int
    steady: Steadying = field(default_factory=Steadying)
    width: float = 2.0


def _steady(dyes: float, detail: float, outline: float, size: float) -> Steadying:
    return Steadying(dyes=dyes, detail=detail, outline=outline, size=size)


TRIALS = (
    Trial("192 px", 192),
    Trial("192 px, steadied by 0.03, 0.3, 0.1, 0.03", 192, _steady(0.03, 0.3, 0.1, 0.03)),
    Trial("192 px, steadied by 0.1, 0.3, 0.1, 0.1", 192, _steady(0.1, 0.3, 0.1, 0.1)),
    Trial("192 px, steadied by 0.3, 1, 0.3, 0.3", 192, _steady(0.3, 1, 0.3, 0.3)),
    Trial("192 px, steadied by 0.03, 0.3, 0.1, 0.03, width 3", 192, _steady(0.03, 0.3, 0.1, 0.03), width=3),
)


@dataclass(frozen=True)
class Seen:
    """Statistics of all cells, of the shaken ones, and of the sample under each change, in the order of its rows."""

    whole: np.ndarray
    shaken: Shaken
    changed: np.ndarray


class Sample:
    """Cells of each fold's test groups, as they are and under each change."""

    def __init__(self, data: Manifest, cache: Path) -> None:
        place = {record.path: row for row, record in enumerate(data.records)}
        self._paths: list[Path] = []
        self.label = data.labels()
        self.row: list[int] = []  # in the data, of each picture of the sample
        self.change: list[str] = []
        for fold in range(FOLDS):
            part = limit(data.select(split_of(data, fold, FOLDS)[1]), CELLS, SEED)
            for path, record in zip(part.paths(), part.records, strict=True):
                self._paths.append(path)
                for change in ("", *(each.name for each in CHANGES)):
                    self.row.append(place[record.path])
                    self.change.append(change)
        self.rows, self.changes, self._cache = np.array(self.row), np.array(self.change), cache

    def pictures(self) -> list[np.ndarray]:
        """All pictures in the order of the rows."""
        found = []
        for k, path in enumerate(self._paths):
            rgb = read_picture(path).rgb
            name = f"{self.rows[k * (1 + len(CHANGES))]}"
            found.append(rgb)
            found += [
                each.apply(
                    rgb, np.random.default_rng([SEED, zlib.crc32(name.encode()), zlib.crc32(each.name.encode())])
                )
                for each in CHANGES
            ]
        return found

    def frames(self, size: int) -> np.ndarray:
        """Prepared, uint8 [N, S, S, 3]; kept."""
        file = self._cache / f"steady-{size}-{CELLS}-{SEED}.npy"
        if not file.exists():
            crop = Preparation(frame_size=CROP)
            np.save(file, np.stack([resize_frame(prepare(each, crop), size) for each in self.pictures()]))
        return np.asarray(np.load(file))

    def flips(self, logit: np.ndarray, kept: np.ndarray | None = None) -> dict[str, Any]:
        """Share of decisions that flip and AUC lost, by change and in the mean.

        Args:
            logit: of each picture of the sample; NaN: it is not counted.
            kept: which rows of the data count.
        """
        plain = {row: z for row, z, name in zip(self.row, logit, self.change, strict=True) if not name}
        found = {}
        for change in (each.name for each in CHANGES):
            own = (self.changes == change) & np.isfinite(logit)
            if kept is not None:
                own &= np.isin(self.rows, kept)
            before, after = np.array([plain[row] for row in self.rows[own]]), logit[own]
            label = self.label[self.rows[own]]
            found[change] = [
                float(((before > 0) != (after > 0)).mean()), auc(label, after) - auc(label, before), int(own.sum()),
            ]  # fmt: skip
        means = np.mean([each[:2] for each in found.values()], axis=0)
        return {"flips": float(means[0]), "auc_gain": float(means[1]), "by_change": found}


def see(trial: Trial, data: Manifest, sample: Sample, args: argparse.Namespace, held: dict[Any, Seen]) -> Seen:
    """The trial's statistics, from the cache where they are there."""
    kinds = trial.steady.weights()
    key = (trial.size, tuple(kinds))
    if key not in held:
        trunk = MaskedTrunk(TRUNK, STAGES)
        trunk.load(args.weights / f"{TRUNK}.safetensors")
        trunk.eval()
        frames = open_cache(data, Preparation(frame_size=CROP), trial.size, args.cache, jobs=args.jobs).frames
        whole = cell_statistics(frames, trunk, args.cache, jobs=args.jobs)
        held[key] = Seen(
            whole, shaken_statistics(frames, whole, trunk, args.cache, kinds, jobs=args.jobs),
            cell_statistics(sample.frames(trial.size), trunk, args.cache, jobs=args.jobs),
        )  # fmt: skip
    return held[key]


def tried(trial: Trial, data: Manifest, seen: Seen, sample: Sample, parts: list[Any]) -> dict[str, Any]:
    """Answers of a trial: of the test parts and the sample, and inside the learning parts."""
    labels, groups = data.labels(), data.groups()
    choice = HeadChoice(components=128, width=trial.width, steady=trial.steady)
    started = time.perf_counter()

    def fitted(learned: np.ndarray) -> dict[str, np.ndarray]:
        weights = balance_weights(labels[learned], groups[learned], "groups")
        shaking = seen.shaken.covariance(trial.steady.weights(), learned)
        return fit_head(seen.whole[learned], labels[learned], weights, choice, shaking=shaking)

    logit, changed, inner, inner_flips = np.empty(len(data)), np.full(len(sample.rows), np.nan), [], []
    for learned, test, within in parts:
        head = fitted(learned)
        logit[test] = head_logits(head, seen.whole[test])
        own = np.isin(sample.rows, test)
        changed[own] = head_logits(head, seen.changed[own])
        held, held_changed = np.full(len(data), np.nan), np.full(len(sample.rows), np.nan)
        for rest, out in within:
            head = fitted(rest)
            held[out] = head_logits(head, seen.whole[out])
            own = np.isin(sample.rows, out)
            held_changed[own] = head_logits(head, seen.changed[own])
        inner.append(auc(labels[learned], held[learned]))
        inner_flips.append(sample.flips(held_changed)["flips"])
    return {"logit": logit.tolist(), "changed": changed.tolist(), "inner": inner, "inner_flips": inner_flips,
            "seconds": round(time.perf_counter() - started, 1)}  # fmt: skip


def asked_default(data: Manifest, sample: Sample, jobs: int | None) -> tuple[list[float], np.ndarray]:
    """Logits of the default bundle less its threshold on cells that it never saw, else NaN; and rows of such cells."""
    bundle = read_bundle(default_bundle())
    unseen = {record.path for record in unseen_by(bundle, data).records}
    theirs = np.array([row for row, record in enumerate(data.records) if record.path in unseen])
    own = np.isin(sample.rows, theirs)
    pictures = [each for each, which in zip(sample.pictures(), own, strict=True) if which]
    answers = Classifier(bundle, threads=jobs or 1).predict_many(pictures)
    told = np.full(len(sample.rows), np.nan)
    told[own] = [np.nan if each.logit is None else each.logit for each in answers]
    return (told - logit_at(bundle.facts.decision.threshold, bundle.facts.decision)).tolist(), theirs


def main() -> None:
    """Try, print and write."""
    args = arguments_of_heads(__doc__, Path("docs/figures/steady.json")).parse_args()
    data = read_dataset(args.data).labelled()
    check_folds(data, args.folds)
    sample = Sample(data, args.cache)
    parts = nested_folds(data)
    trials, held = {repr(trial): trial for trial in TRIALS}, dict[Any, Seen]()

    def work(name: str) -> dict[str, Any]:
        if name in trials:
            return tried(trials[name], data, see(trials[name], data, sample, args, held), sample, parts)
        told, theirs = asked_default(data, sample, args.jobs)
        return {"changed": told, "rows": theirs.tolist()}

    found = {row["trial"]: row for row in kept_rows(
        args.cache / "steady-trials.jsonl", "trial", (*trials, "default bundle"), work
    )}  # fmt: skip
    area = plain_unit(
        data, measures(open_cache(data, Preparation(frame_size=340), 112, args.cache).frames)[:, :1], FOLDS
    )
    default = found["default bundle"]
    theirs, told = np.array(default["rows"]), np.array(default["changed"])
    rows = []
    for name, trial in trials.items():
        rows.append(_row(trial.name, found[name], data, sample, theirs, area))
        rows[-1]["steady"] = trial.steady.model_dump()
    rows.append({"trial": "default bundle, where it never saw the patient", "on_its_cells": sample.flips(told, theirs)})
    print({key: value for key, value in rows[-1]["on_its_cells"].items() if key != "by_change"})
    write_json(args.out, facts_of(data) | {
        "folds": FOLDS, "inner_folds": INNER, "split_seed": 0, "crop": CROP, "trunk": TRUNK, "stages": STAGES,
        "cells_changed": len(set(sample.row)), "rows": rows,
        "shakes": {kind: each.model_dump(exclude_defaults=True) for kind, each in SHAKES.items()},
    })  # fmt: skip


def _row(
    name: str, done: dict[str, Any], data: Manifest, sample: Sample, theirs: np.ndarray, area: Scores
) -> dict[str, Any]:
    scores, changed = scores_of(data, np.array(done["logit"])), np.array(done["changed"])
    shown = ("auc", "f1_weighted", "subject_auc")
    row: dict[str, Any] = {
        "trial": name, "inner_auc": float(np.mean(done["inner"])) if "inner" in done else None,
        "inner_flips": float(np.mean(done["inner_flips"])) if "inner_flips" in done else None,
        "metrics": figures_of(scores, shown), "auc_by_fold": by_fold(data, scores),
        "beyond_area": differences(area, scores, shown), "changed": sample.flips(changed),
        "on_cells_of_the_default_bundle": sample.flips(changed, theirs),
    }  # fmt: skip
    told = [row["inner_auc"], row["inner_flips"], *(row["metrics"][key]["value"] for key in shown)]
    mean = row["changed"]
    print(f"{name:68}", " ".join("  -  " if each is None else f"{each:.3f}" for each in told),
          f" flips {mean['flips']:.3f} AUC {mean['auc_gain']:+.3f}", " ".join(f"{a:.3f}" for a in row["auc_by_fold"]),
          f" paired {row['on_cells_of_the_default_bundle']['flips']:.3f}", flush=True)  # fmt: skip
    return row


if __name__ == "__main__":
    main()
