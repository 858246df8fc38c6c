"""A late stage of the trunk tuned, on C-NMC itself or on kinds of blood cells first: does it beat the frozen eye?

    python benchmarks/tuned.py --data C-NMC_Leukemia --kinds pbc-208 [--weights WEIGHTS] [--out docs/figures/tuned.json]

Everything up to stage 4 stays as ImageNet left it, and its output is kept in --cache, for the plain view and two turned
ones with drawn dyes, one of them with focus and outlines drawn, too. Stage 5 is tuned with a linear head on the
statistics inside the cell: steps of 16 cells, groups by the root of their size, batch norm held, AdamW; then its
weights are put part of the way back (linear probe first: A. Kumar et al., ICLR 2022; weights interpolated: M. Wortsman
et al., CVPR 2022), and the head of recipe `eye` is fitted on stages 3 to 5. Kinds first: the same, once, on eight kinds
of `pbc-208`.

The rule, written before any test part was asked: trials are judged by the mean of five AUC, one inner group fold within
the learning groups of each of the five committed folds; the best of those tuned on C-NMC and the best of those tuned on
kinds answer the test parts once, alone and as half of the `pair` (figures/answers). A winner is one whose AUC is better
than that of the frozen eye by a paired interval without 0. Trials are written as they end; a second start goes on.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from _common import auc, differences, facts_of, figures_of, kept_answers, kept_rows, scores_of, words
from few_kinds import STAGES, TRUNK, cells_of, seen_by_the_eye
from frozen import CROP, SIZE, arguments_of_heads, by_fold, check_folds
from heads import nested_folds
from leukoscope.bundle.read import read_bundle
from leukoscope.cells.frame import Preparation
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.kinds import kind_of, read_kinds
from leukoscope.datasets.readers import read_dataset
from leukoscope.files import atomic_path, write_json
from leukoscope.inference.classifier import Classifier
from leukoscope.models.masked import MaskedTrunk, masked_statistics
from leukoscope.training import augment
from leukoscope.training.batches import generator_for, seed_for
from leukoscope.training.features import cell_statistics, onnx_session
from leukoscope.training.heads import HeadChoice, balance_weights, fit_head, head_logits
from leukoscope.training.recipe import Augmentation

BATCH, SEED = 16, 0
PER_KIND = 800
DYES = Augmentation(gamma=0.35, stain=0.2, brightness=0.2, channels=0.15, saturation=0.2)  # far more than days differ
FINISH = DYES.model_copy(update={"sharpness": 0.9, "outline": 2.5, "compression": 60})
VIEWS: tuple[tuple[int, Augmentation | None], ...] = ((0, None), (2, DYES), (1, FINISH))  # quarter turns, changes
HEAD = HeadChoice(components=128, width=2)  # of recipe eye
SHOWN = ("auc", "f1_weighted", "subject_auc")
Maps = NDArray[np.float16]
Rows = NDArray[np.int64]
State = dict[str, Tensor]


class Early(nn.Module):
    """Stages 1 to 4, and the cell's share as one channel more."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.trunk = MaskedTrunk(TRUNK, (4,))
        self.trunk.load(weights)

    def forward(self, cells: Tensor) -> Tensor:
        """Of float [N, 3, S, S] in 0..1 float [N, 81, S/16, S/16]."""
        (maps,), (share,) = self.trunk(cells)
        return torch.cat([maps, share], 1)


class Late(nn.Module):
    """Stage 5, its batch norm held, and the statistics of stages 4 and 5."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        trunk = MaskedTrunk(TRUNK, STAGES)
        trunk.load(weights)
        self.stage = trunk.blocks[4]
        self.eval()
        for each in self.stage.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.requires_grad_(False)

    def forward(self, cells: Tensor) -> Tensor:
        """Of `Early`'s output the means and deviations of both stages, float [N, 2 * 80 + 2 * 112]."""
        maps, share = cells[:, :-1], cells[:, -1:]
        found = (*masked_statistics(maps, share), *masked_statistics(self.stage(maps).float(), share))
        return torch.cat(found, 1)


@dataclass(frozen=True)
class Trial:
    """How stage 5 is tuned, and how far its weights then go.

    Attributes:
        on: "cells" of the learning groups, or "kinds" of blood cells.
        rate: of AdamW, at its highest.
        steps: of `BATCH` cells.
        pull: towards the first weights, a share of the distance in each unit of rate (decoupled L2-SP).
        share: of the way that the weights go.
        beside: the tuned statistics stand beside the frozen ones instead of in their place.
    """

    on: str
    rate: float
    steps: int
    pull: float = 0.0
    share: float = 1.0
    beside: bool = False

    @property
    def name(self) -> str:
        """In words."""
        pulled = f", pulled back by {self.pull:g}" if self.pull else ""
        beside = ", beside the frozen" if self.beside else ""
        return f"tuned on {self.on}, rate {self.rate:g}, {self.steps} steps{pulled}, {self.share:g} of the way{beside}"


TRIALS = (
    *(Trial("kinds", 3e-3, 300, share=share) for share in (0.5, 1.0)),
    *(Trial("kinds", 3e-3, 1200, share=share) for share in (0.5, 1.0)), Trial("kinds", 3e-3, 1200, beside=True),
    *(Trial("cells", 1e-3, 300, share=share) for share in (0.1, 0.25, 0.5, 1.0)),
    *(Trial("cells", 3e-3, 300, share=share) for share in (0.5, 1.0)), Trial("cells", 3e-3, 300, 10.0),
)  # fmt: skip
FROZEN, PAIR = "frozen: recipe eye", "pair"


def kept_maps(frames: NDArray[np.uint8], weights: Path, folder: Path, name: str, view: int, jobs: int | None) -> Maps:
    """`Early`'s output of every frame in one view, float16 [N, 81, 18, 18]; computed once."""
    file = folder / f"tuned-maps-{name}-{view}.npy"
    if not file.exists():
        session = onnx_session(Early(weights).eval(), (3, *frames.shape[1:3]), jobs)
        turns, changes = VIEWS[view]
        found = np.empty((len(frames), 81, *(side // 16 for side in frames.shape[1:3])), np.float16)
        for start in range(0, len(frames), BATCH):
            rows = np.rot90(frames[start : start + BATCH], turns, axes=(1, 2)).copy()
            pictures = augment.to_float(torch.from_numpy(rows))
            if changes is not None:
                pictures = augment.apply(
                    pictures, augment.draw(len(rows), changes, generator_for("tuned", view, start))
                )
            found[start : start + BATCH] = session.run(None, {"cells": np.ascontiguousarray(pictures.numpy())})[0]
        with atomic_path(file) as part, part.open("wb") as out:
            np.save(out, found)
    return np.asarray(np.load(file, mmap_mode="r"))


def tuned(
    late: Late, views: list[Maps], targets: NDArray[np.int64], weights: NDArray[np.float64], trial: Trial
) -> State:
    """Tune stage 5 for a linear head; its weights.

    Args:
        late: with the first weights; left as it is.
        views: of the cells to learn from, each float16 [N, 81, 18, 18].
        targets: int64 [N], from 0.
        weights: float64 [N], how often a cell is drawn.
        trial: how.
    """
    rate, steps, pull = trial.rate, trial.steps, trial.pull
    late, first = copy.deepcopy(late), copy.deepcopy(late.stage.state_dict())
    rng = np.random.default_rng(SEED)
    some = rng.choice(len(targets), min(2000, len(targets)), replace=False)
    plain = statistics_of(late, views[0], some)
    mean, spread = plain.mean(0), plain.std(0) + 1e-3
    probe = LogisticRegression(C=0.01, max_iter=300).fit(
        (plain - mean) / spread, targets[some], sample_weight=weights[some] / weights.mean()
    )
    head = nn.Linear(plain.shape[1], int(targets.max()) + 1)
    with torch.no_grad():
        coefficients, biases = torch.from_numpy(probe.coef_).float(), torch.from_numpy(probe.intercept_).float()
        two = len(coefficients) == 1  # scikit-learn keeps one row of two
        head.weight.copy_(torch.cat([-coefficients / 2, coefficients / 2]) if two else coefficients)
        head.bias.copy_(torch.cat([-biases / 2, biases / 2]) if two else biases)
    centre, width = torch.from_numpy(mean), torch.from_numpy(spread)
    moved = [each for each in late.stage.parameters() if each.requires_grad]
    origin = [each.detach().clone() for each in moved]
    chosen = torch.optim.AdamW([{"params": moved, "lr": rate}, {"params": head.parameters(), "lr": 3 * rate}],
                               weight_decay=0.0)  # fmt: skip
    told: list[float] = []
    schedule = torch.optim.lr_scheduler.OneCycleLR(chosen, [rate, 3 * rate], total_steps=steps)
    late.to(memory_format=torch.channels_last)
    for _ in range(steps):
        rows = rng.choice(len(targets), BATCH, p=weights / weights.sum())
        seen = rng.integers(len(views), size=BATCH)
        given = torch.from_numpy(np.stack([views[v][r] for v, r in zip(seen, rows, strict=True)]).astype(np.float32))
        found = late(given.to(memory_format=torch.channels_last))  # in half precision it is slower here
        loss = F.cross_entropy(head((found - centre) / width), torch.from_numpy(targets[rows]))
        chosen.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        told.append(loss.item())
        now = chosen.param_groups[0]["lr"]
        chosen.step()
        schedule.step()
        with torch.no_grad():
            for weight, start in zip(moved, origin, strict=True):
                weight.lerp_(start, min(now * pull, 1.0))
    far = sum(float((a - b).detach().norm() ** 2) for a, b in zip(moved, origin, strict=True)) ** 0.5
    whole = sum(float(b.norm() ** 2) for b in origin) ** 0.5
    print(
        f"  rate {rate:g}, {steps} steps, pull {pull:g}: loss {np.mean(told[:50]):.3f} at first, "
        f"{np.mean(told[-50:]):.3f} at last; "
        f"weights moved by {far / whole:.3f} of their norm",
        flush=True,
    )
    return {name: value - first[name] for name, value in late.stage.state_dict().items()}


def statistics_of(late: Late, maps: Maps, rows: Rows) -> NDArray[np.float32]:
    """Statistics of stages 4 and 5 of some rows, float32 [M, 384]; on one thread."""
    session = onnx_session(late, maps.shape[1:], 1)  # a third of PyTorch's time
    return np.concatenate([
        session.run(None, {"cells": np.asarray(maps[rows[start : start + BATCH]], np.float32)})[0]
        for start in range(0, len(rows), BATCH)
    ])  # fmt: skip


def gone(late: Late, change: State, share: float) -> Late:
    """Stage 5 a share of the way along a change of its weights."""
    after = copy.deepcopy(late)
    state = after.stage.state_dict()
    after.stage.load_state_dict({name: (value + share * change[name]).to(value.dtype) for name, value in state.items()})
    return after


def kinds_of(data: Path, weights: Path, folder: Path, jobs: int | None) -> tuple[list[Maps], NDArray[np.int64]]:
    """Maps of the plain view and one drawn one of cells of eight kinds, and their kinds from 0."""
    found = read_kinds(data, per_kind=PER_KIND)
    entry = folder / f"tuned-kinds-{found.fingerprint()[:16]}.npz"
    if not entry.exists():
        whole = Classifier(read_bundle("default"), threads=jobs or 1)
        rows, frames = cells_of(whole, [found.root / record.path for record in found.records])
        with atomic_path(entry) as part, part.open("wb") as out:
            np.savez(out, rows=rows, views=seen_by_the_eye(frames))
    with np.load(entry) as kept:
        rows, views = kept["rows"], kept["views"]
    names, kinds = np.unique([kind_of(found.records[row]) for row in rows], return_inverse=True)
    print(f"{len(rows)} of {len(found.records)} pictures show a cell, of {len(names)} kinds", flush=True)
    return [kept_maps(views, weights, folder, entry.stem, view, jobs) for view in (0, 1)], kinds.astype(np.int64)


def kept_pair(data: Manifest) -> NDArray[np.float64]:
    """Logits of recipe `pair` from its kept five folds: the mean of a frozen eye's and a compact network's."""
    kept = kept_answers("pair")
    place = {path: row for row, path in enumerate(kept.path)}
    return kept.logit[[place[record.path] for record in data.records]]


def main() -> None:
    """Try, print and write."""
    parser = arguments_of_heads(__doc__, Path("docs/figures/tuned.json"))
    parser.add_argument("--kinds", type=Path, required=True)
    parser.add_argument("--only", choices=("kinds", "cells"), action="append", help="try these and stop; resumable")
    args = parser.parse_args()
    torch.set_num_threads(args.jobs or 1)
    data = read_dataset(args.data).labelled()
    check_folds(data, args.folds)
    labels, groups, file = data.labels(), data.groups(), args.weights / f"{TRUNK}.safetensors"
    frames = open_cache(data, Preparation(frame_size=CROP), SIZE, args.cache, jobs=args.jobs).frames
    whole = MaskedTrunk(TRUNK, STAGES)
    whole.load(file)
    plain = cell_statistics(frames, whole.eval(), args.cache, jobs=args.jobs)
    ends = np.cumsum([0, *(2 * each for each in whole.channels)])
    views = [
        kept_maps(frames, file, args.cache, data.fingerprint()[:16], view, args.jobs) for view in range(len(VIEWS))
    ]
    torch.manual_seed(seed_for("tuned", SEED))
    late = Late(file)
    parts = nested_folds(data)

    @cache
    def change_of(trial: Trial, fold: int, inner: bool) -> State:
        """The whole way of a trial's training."""
        how = f"{trial.on}-{trial.rate:g}-{trial.steps}-{trial.pull:g}"
        entry = args.cache / f"tuned-{how}-{fold}-{'inner' if inner else 'whole'}.pt"
        if not entry.exists():
            if trial.on == "kinds":
                maps, kinds = kinds_of(args.kinds, file, args.cache, args.jobs)
                change = tuned(late, maps, kinds, np.ones(len(kinds)), trial)
            else:
                learned = parts[fold][2][0][0] if inner else parts[fold][0]
                weights = balance_weights(labels[learned], groups[learned], "groups")
                change = tuned(late, [np.asarray(each[learned]) for each in views], labels[learned], weights, trial)
            with atomic_path(entry) as part:
                torch.save(change, part)
        return dict(torch.load(entry))

    @cache
    def of_kinds(trial: Trial) -> NDArray[np.float32]:
        """Statistics of stage 5 of all cells: one training serves all folds."""
        moved = gone(late, change_of(replace(trial, share=1.0, beside=False), 0, False), trial.share)
        return statistics_of(moved, views[0], np.arange(len(data)))[:, ends[2] - ends[1] :]

    def table(trial: Trial | None, fold: int, inner: bool, rows: Rows) -> NDArray[np.float32]:
        """Statistics of some rows, float32 [M, D]."""
        if trial is None:
            return plain[rows]
        if trial.on == "kinds":
            last = of_kinds(replace(trial, beside=False))[rows]
        else:
            moved = gone(late, change_of(replace(trial, share=1.0, beside=False), fold, inner), trial.share)
            last = statistics_of(moved, views[0], rows)[:, ends[2] - ends[1] :]
        return np.concatenate([plain[rows] if trial.beside else plain[rows, : ends[2]], last], axis=1)

    def answer(trial: Trial | None, fold: int, inner: bool, learned: Rows, asked: Rows) -> NDArray[np.float64]:
        known = table(trial, fold, inner, np.concatenate([learned, asked]))
        weights = balance_weights(labels[learned], groups[learned], "groups")
        head = fit_head(known[: len(learned)], labels[learned], weights, HEAD)
        return head_logits(head, known[len(learned) :])

    def judged(trial: Trial | None) -> Callable[[str], dict[str, Any]]:
        def work(name: str) -> dict[str, Any]:
            started, inner = time.perf_counter(), []
            for fold, (_, _, within) in enumerate(parts):
                rest, out = within[0]
                inner.append(auc(labels[out], answer(trial, fold, True, rest, out)))
            print(f"{name:60} inner {np.mean(inner):.4f}", *(f"{each:.3f}" for each in inner), flush=True)
            return {"inner": inner, "seconds": round(time.perf_counter() - started, 1)}

        return work

    known = {FROZEN: None, **{trial.name: trial for trial in TRIALS}}
    rows = []
    for on in args.only or ("kinds", "cells"):
        names = [name for name, trial in known.items() if (trial.on if trial is not None else "kinds") == on]
        kept = args.cache / f"tuned-inner-{on}.jsonl"
        rows += list(kept_rows(kept, "trial", names, lambda name: judged(known[name])(name)))
    if args.only:
        return
    best = [
        max((row for row in rows if row["trial"].startswith(f"tuned on {on}")), key=lambda row: np.mean(row["inner"]))
        for on in ("kinds", "cells")
    ]

    def tested(name: str) -> dict[str, Any]:
        logit = np.empty(len(data))
        for fold, (learned, test, _) in enumerate(parts):
            logit[test] = answer(known[name], fold, False, learned, test)
        return {"logit": logit.tolist()}

    asked = [FROZEN, *(row["trial"] for row in best)]
    scores = {
        row["trial"]: scores_of(data, row["logit"])
        for row in kept_rows(args.cache / "tuned-tested.jsonl", "trial", asked, tested)
    }
    frozen, pair = scores[FROZEN].logit, kept_pair(data)
    against = dict.fromkeys(asked[1:], FROZEN)
    scores[PAIR] = scores_of(data, pair)
    for name in asked[1:]:
        scores[f"mean of frozen and {name}"] = scores_of(data, (frozen + scores[name].logit) / 2)
        scores[f"pair, its eye {name}"] = scores_of(data, pair + (scores[name].logit - frozen) / 2)
        against |= {f"mean of frozen and {name}": FROZEN, f"pair, its eye {name}": PAIR}
    told = []
    for name, each in scores.items():
        row = {"trial": name, "metrics": figures_of(each, SHOWN), "auc_by_fold": by_fold(data, each)}
        print(f"| {name} | {' | '.join(words(row['metrics'][key]) for key in SHOWN)} |", row["auc_by_fold"], flush=True)
        if name in against:
            row |= {"against": against[name], "minus": differences(scores[against[name]], each, SHOWN)}
            print(", ".join(f"{key} {words(row['minus'][key], sign='+')}" for key in SHOWN), flush=True)
        told.append(row)
    write_json(args.out, facts_of(data) | {
        "protocol": "group", "folds": len(parts), "split_seed": 0, "seed": SEED, "batch": BATCH,
        "per_kind": PER_KIND, "inner": rows, "tested": told,
    })  # fmt: skip


if __name__ == "__main__":
    main()
