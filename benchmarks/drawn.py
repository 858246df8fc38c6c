"""How drawn cells compare with real ones, and the numbers that they are drawn from.

Run: python benchmarks/drawn.py measure --data DIR --count 600 [--look src/leukoscope/datasets/look_cnmc2019.json]
     python benchmarks/drawn.py compare --data DIR --count 200 [--out docs/figures/drawn.json]
`measure` writes quantiles and correlations of the traits of C-NMC 2019's cells, --count of each kind drawn from all of
them, so that a patient with many cells counts as much as in the figures of a card; what the ruler itself does to them
is taken out by measuring drawn cells with it too. No model is asked. `compare` asks what tells drawn cells from other
real ones (logistic regression on the traits, and on what was not fitted: spectrum, percentiles of the colours, form and
chromatin), then what five folds of recipe `pair` made of real cells of unseen patients, and what the package's bundles
make of cells of this renderer and of the plain one, which tests draw.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import leukoscope
from _common import Needed, command_line, kept_answers, report
from leukoscope.bundle.read import PACKAGED
from leukoscope.cells.cutout import cutout_of_frame, view
from leukoscope.cells.frame import cell_mask, frame_cell
from leukoscope.cells.measure import UNITS, measure
from leukoscope.cells.read import read_picture
from leukoscope.cells.segment import divide
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.drawing import FULL, draw, draw_cell
from leukoscope.datasets.look import (
    BANDS,
    DEPTHS,
    HARMONICS,
    MIDDLES,
    SCALES,
    SHARES,
    TRAITS,
    ZONES,
    Look,
    Traits,
    kin,
)
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import Kind, render_cell
from leukoscope.files import write_text

Floats = NDArray[np.float64]
ROUNDS = 5  # of measuring drawn cells and taking out what the ruler adds
DRAWN = 120  # cells of each kind in a round
MOST = 8  # single figures that are named
LABELS: dict[Kind, int] = {"blast": 1, "normal": 0}
RENDERERS: dict[str, Callable[[int, Kind], NDArray[np.uint8]]] = {"plain": render_cell, "drawn": draw_cell}
TRAIT_NAMES = [
    "area", *(f"outline {a} to {b}" for a, b in HARMONICS), *(f"colour {c}" for c in "RGB"),
    *(f"ring {n} {c}" for n in range(len(DEPTHS)) for c in "RGB"),
    *(f"energy {n} in zone {z}" for z in range(len(ZONES)) for n in range(BANDS)),
    *(f"skew {n}" for n in range(BANDS)),
]  # fmt: skip
SCRAPS = 0.2  # share of the cells
RAGGED = len(HARMONICS)  # place of the finest harmonics of the outline among the traits


def traits_of(rgb: NDArray[np.uint8]) -> tuple[Traits, Floats]:
    """Traits of one cell in its frame, and the colour covariance of each band [7, 3, 3] for a mean variance of 1."""
    mask = cell_mask(rgb)
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    inside = np.pad(mask[top : top + height, left : left + width], 2)
    levels = np.pad(rgb[top : top + height, left : left + width], ((2, 2), (2, 2), (0, 0))).astype(np.float64)
    depth = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, 5)
    ring = np.clip(np.searchsorted(DEPTHS, depth, side="left") - 1, 0, len(DEPTHS) - 1)
    mean = levels[inside].mean(axis=0)
    number = ring[inside]
    count = np.bincount(number, minlength=len(DEPTHS))
    rings = np.stack(
        [np.bincount(number, levels[inside, c], len(DEPTHS)) / np.maximum(count, 1) for c in range(3)], axis=1
    )
    rings /= mean
    for narrow in np.flatnonzero(count < 20):  # a small cell is nowhere so deep
        rings[narrow] = rings[narrow - 1]
    expected = mean * np.stack([np.interp(depth, MIDDLES, rings[:, c]) for c in range(3)], axis=-1)
    relative = np.where(inside[..., None], levels / expected - 1, 0)
    core = depth > ZONES[0]
    zone = np.searchsorted(ZONES[1:], depth[core])
    inner = zone > 0  # the rim is edge as much as grain: its strength alone is measured
    least = max(20.0, 0.03 * core.sum())  # pixels; a small cell is nowhere so deep
    smooth = [each[core] for each in smoothed(np.dstack([relative, inside]).astype(np.float32))]
    energies, skews, hues = np.empty((len(ZONES), BANDS)), np.empty(BANDS), np.empty((BANDS, 3, 3))
    for band in range(BANDS):
        values = smooth[band] - smooth[band + 1] if band + 1 < BANDS else smooth[band]
        values = values - values[inner].mean(axis=0)
        hue = values[inner].T @ values[inner] / inner.sum()
        for place in range(len(ZONES)):
            within = values[zone == place]
            few = len(within) < least
            energies[place, band] = energies[place - 1, band] if few else np.log((within**2).mean() + 1e-9)
        hues[band] = hue / (np.trace(hue) / 3 + 1e-9)
        along = values[inner].mean(axis=1)
        skews[band] = np.clip((along**3).mean() / (along.std() ** 3 + 1e-12), -2.5, 2.5)
    return Traits(float(np.log(inside.sum())), outline(inside), np.log(mean), np.log(rings), energies, skews), hues


def smoothed(cell: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """R, G, B [H, W, 3] at each scale, the finest first: smoothed within the mask, which is the fourth channel."""
    height, width = cell.shape[:2]
    scales = [cell[..., :3]]
    for scale in SCALES:
        coarse = max(1, int(scale / 3))  # a wide blur needs no fine grid
        small = cv2.resize(cell, (width // coarse, height // coarse), interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(small, (0, 0), scale / coarse, borderType=cv2.BORDER_CONSTANT)
        full = cv2.resize(blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-6), (width, height))
        scales.append(np.asarray(full, np.float32))
    return scales


def outline(inside: NDArray[np.bool_]) -> Floats:
    """Logarithms of the outline's amplitudes by group of harmonics: radius from the centroid to the first way out."""
    rows, columns = np.nonzero(inside)
    y, x = rows.mean(), columns.mean()
    reach = max(inside.shape)
    turned = cv2.warpPolar(
        inside.view(np.uint8), (4 * reach, 720), (x, y), reach, cv2.WARP_POLAR_LINEAR | cv2.INTER_NEAREST
    )
    turned[:, -1] = 0
    radius = np.argmin(turned, axis=1) / 4
    height = 2 * np.abs(np.fft.rfft(radius / np.sqrt(inside.sum() / np.pi))) / 720
    return np.array([np.log(np.sqrt((height[a : b + 1] ** 2).mean()) + 1e-5) for a, b in HARMONICS])


def all_traits(frames: Any) -> tuple[Floats, Floats]:
    """Traits [N, `TRAITS`] and colour covariances [N, 7, 3, 3] of many cells."""
    rows, hues = zip(*(traits_of(frame) for frame in frames), strict=True)
    return np.stack([row.row() for row in rows]), np.stack(hues)


def quantiles(rows: Floats) -> Floats:
    """Of each column, at `SHARES`."""
    return np.asarray(np.quantile(rows, SHARES, axis=0, method="hazen").T)


def fitted(rows: Floats, hues: Floats, groups: NDArray[Any]) -> Look:
    """The look of cells."""
    scores = norm.ppf((rankdata(rows, axis=0) - 0.5) / len(rows))
    correlation = np.corrcoef(scores.T)
    factor = np.linalg.cholesky((1 - 1e-3) * correlation + 1e-3 * np.eye(TRAITS))
    white = np.linalg.solve(factor, (scores / scores.std(axis=0)).T).T
    return Look(quantiles(rows), factor, kinship(white, groups), np.stack([columns(hue) for hue in hues.mean(axis=0)]))


def kinship(scores: Floats, groups: NDArray[Any]) -> float:
    """The share of the variance of scores [N, D] that lies between groups: one-way analysis of variance, mean of D."""
    names, at, counts = np.unique(groups, return_inverse=True, return_counts=True)
    centres = np.stack([scores[at == place].mean(axis=0) for place in range(len(names))])
    within = ((scores - centres[at]) ** 2).sum(axis=0) / (len(at) - len(names))
    between = (counts[:, None] * (centres - scores.mean(axis=0)) ** 2).sum(axis=0) / (len(names) - 1)
    cells = (len(at) - (counts**2).sum() / len(at)) / (len(names) - 1)  # of a group, where they differ in size
    own = ((between - within) / cells).mean()
    return float(np.clip(own / (own + within.mean()), 0, 0.95))


def columns(hue: Floats) -> Floats:
    """A square root of a colour covariance [3, 3]: columns by falling variance."""
    values, vectors = np.linalg.eigh(hue)
    vectors = vectors * np.sign(vectors.sum(axis=0))
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1])


def asked(look: Look, seed: int) -> list[tuple[np.random.Generator, Traits]]:
    """Of each of `DRAWN` cells its traits, and what draws the rest: of one seed, the same scores whatever the look."""
    found = []
    for number in range(DRAWN):
        rng = np.random.default_rng((seed, number))
        found.append((rng, look.cell(rng, kin(rng))))
    return found


def corrected(target: Look, seed: int) -> Look:
    """The look whose drawn cells measure as the target: quantiles and colours brought over by rounds.

    The drawn cells of a round are compared with what the target asks of these very cells, not with all its cells: so
    what is taken out is what drawing and measuring do, and not the chance by which cells were drawn.
    """
    want: Floats = np.stack([traits.row() for _, traits in asked(target, seed)])
    goal, width = quantiles(want), target.quantiles[:, 6] - target.quantiles[:, 2]
    hue_goal = np.einsum("bik,bjk->bij", target.hues, target.hues)
    look = target
    for number in range(ROUNDS):
        rows, hues = all_traits(draw(rng, traits, look.hues, FULL) for rng, traits in asked(look, seed))
        off = quantiles(rows) - goal
        farthest = np.divide(np.abs(off[:, 4]), width, out=np.zeros(TRAITS), where=width > 0)  # 0: cut off at its end
        print(
            f"round {number}: medians off by {farthest.mean():.3f} of the width from 10 to 90 %, at most "
            f"{farthest.max():.2f} ({TRAIT_NAMES[farthest.argmax()]})",
            flush=True,
        )
        now = np.einsum("bik,bjk->bij", look.hues, look.hues)
        nearer = [columns(_positive(now[b] + hue_goal[b] - hues[:, b].mean(axis=0))) for b in range(BANDS)]
        step = np.apply_along_axis(
            lambda row: np.convolve(np.pad(row, 1, mode="edge"), [0.25, 0.5, 0.25], "valid"), 1, off
        )
        look = Look(np.sort(look.quantiles - step, axis=1), target.factor, target.kinship, np.stack(nearer))
    return look


def _positive(hue: Floats) -> Floats:
    values, vectors = np.linalg.eigh(hue)
    hue = (vectors * np.maximum(values, 1e-4)) @ vectors.T
    return np.asarray(hue * 3 / np.trace(hue))


def to_json(look: Look) -> dict[str, Any]:
    """A look as the package ships it."""
    return {
        "quantiles": look.quantiles.ravel().round(3).tolist(),
        "kinship": round(look.kinship, 3),
        "hues": look.hues.ravel().round(4).tolist(),
        "factor": look.factor[np.tril_indices(TRAITS)].round(3).tolist(),
    }


# What tells drawn cells from real ones.


def unfitted(rgb: NDArray[np.uint8]) -> tuple[Floats, list[str]]:
    """What no trait was fitted to: spectrum, percentiles and correlation of the colours, form and chromatin; names."""
    mask = cell_mask(rgb)
    rows, columns_ = np.nonzero(mask)
    y, x = int(rows.mean()), int(columns_.mean())
    middle = rgb[y - 32 : y + 32, x - 32 : x + 32].astype(np.float64)
    taper = np.outer(np.hanning(64), np.hanning(64))[..., None]
    power = (np.abs(np.fft.fft2((middle / middle.mean(axis=(0, 1)) - 1) * taper, axes=(0, 1))) ** 2).mean(axis=2)
    ring = np.round(np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)) * 64).astype(int)
    edges = (1, 2, 3, 5, 7, 10, 14, 19, 25, 32)
    spectrum = [np.log(power[(ring >= a) & (ring < b)].mean() + 1e-9) for a, b in pairwise(edges)]
    inside = rgb[mask].astype(np.float64)
    shares = (1, 5, 25, 50, 75, 95, 99)
    levels = np.percentile(inside, shares, axis=0)
    joint = np.asarray(np.corrcoef(inside.T))[np.triu_indices(3, 1)]
    told = measure(divide(view(cutout_of_frame(rgb)))).values
    names = [f"power at {a} to {b - 1} waves in 64 px" for a, b in pairwise(edges)]
    names += [f"{c} at {p} %" for p in shares for c in "RGB"] + [
        "correlation R G",
        "correlation R B",
        "correlation G B",
    ]
    form = [name for name in UNITS if not name.endswith(("_um", "_um2"))]
    values = [*(told[name] for name in form), float(told["nucleus_share"] is not None)]
    return np.array([*spectrum, *levels.ravel(), *joint, *(np.nan if v is None else v for v in values)]), [
        *names,
        *form,
        "cytoplasm can be told apart",
    ]


def told_apart(real: Floats, made: Floats, names: list[str]) -> dict[str, Any]:
    """AUC of drawn against real by logistic regression in five folds, and of the single figures that tell most."""
    values, labels = np.concatenate([real, made]), np.repeat([0, 1], [len(real), len(made)])
    values = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
    alone = {n: round(float(roc_auc_score(labels, v)), 3) for n, v in zip(names, values.T, strict=True)}
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    scores = cross_val_predict(model, values, labels, cv=5, method="decision_function")
    most = sorted(alone, key=lambda n: -abs(alone[n] - 0.5))[:MOST]
    return {"auc": round(float(roc_auc_score(labels, scores)), 3), "alone": {n: alone[n] for n in most}}


def compare(data: Manifest, count: int, seed: int) -> dict[str, Any]:
    """What tells drawn from real, of each kind; then what both bundles make of cells of both renderers."""
    found: dict[str, Any] = {}
    areas: dict[int, Floats] = {}
    for kind, label in LABELS.items():
        chosen = data.select(np.flatnonzero(data.labels() == label))
        frames = [frame_cell(read_picture(path).rgb) for path in chosen.paths()]
        made = [draw_cell(seed + number, kind) for number in range(count)]
        traits = [all_traits(cells)[0] for cells in (frames, made)]
        others = [np.stack([unfitted(cell)[0] for cell in cells]) for cells in (frames, made)]
        found[kind] = {
            "real": len(frames),
            "drawn": count,
            "by traits": told_apart(traits[0], traits[1], TRAIT_NAMES),
            "by what was not fitted": told_apart(others[0], others[1], unfitted(made[0])[1]),
        }
        areas[label] = traits[0][:, 0]
    truth, area = np.repeat([0, 1], [len(areas[0]), len(areas[1])]), np.concatenate([areas[0], areas[1]])
    found["real"] = {"auc of area alone": round(float(roc_auc_score(truth, area)), 3)} | unseen()
    found["answers"] = {name: answers(name, count, seed) for name in RENDERERS}
    return found


def unseen() -> dict[str, Any]:
    """Of real cells of unseen patients the share on the right side, of all and in the mean of the patient groups.

    From the kept answers of the five folds of recipe `pair`, whose threshold is 0.5.
    """
    scores = kept_answers("pair")
    right = (scores.probability >= 0.5) == scores.label
    found: dict[str, Any] = {}
    for kind, label in LABELS.items():
        own = scores.label == label
        groups = scores.group[own]
        each = [float(right[own][groups == name].mean()) for name in np.unique(groups)]
        found[kind] = {"right": round(float(right[own].mean()), 3), "mean of groups": round(float(np.mean(each)), 3)}
    return found


def answers(renderer: str, count: int, seed: int) -> dict[str, Any]:
    """What the bundles of the package make of ``count`` cells of each kind that nobody is."""
    cells = {kind: [RENDERERS[renderer](seed + number, kind) for number in range(count)] for kind in LABELS}
    labels = np.repeat(list(LABELS.values()), count)
    areas = [float((cell.max(axis=2) > 0).sum()) for each in cells.values() for cell in each]
    found: dict[str, Any] = {"auc of area alone": round(float(roc_auc_score(labels, areas)), 3)}
    for name in PACKAGED:
        classifier = leukoscope.load(name)
        each = {kind: list(classifier.predict_many(made)) for kind, made in cells.items()}
        logits = [answer.logit for kind in LABELS for answer in each[kind]]
        threshold = classifier.bundle.facts.decision.threshold
        found[name] = {"auc": round(float(roc_auc_score(labels, logits)), 3)} | {
            kind: {
                "share on the right side of the threshold": round(
                    float(np.mean([((a.probability or 0) >= threshold) == (kind == "blast") for a in given])), 3
                ),
                "decided": dict(Counter(answer.decision for answer in given)),
            }
            for kind, given in each.items()
        }
    return found


def some(data: Manifest, count: int, seed: int, *, others: bool) -> Manifest:
    """``count`` cells of each kind drawn from all; ``others`` come from the other end of the same shuffled list."""
    chosen = []
    for label in LABELS.values():
        shuffled = np.random.default_rng((seed, label)).permutation(np.flatnonzero(data.labels() == label))
        chosen.append(shuffled[-count:] if others else shuffled[:count])
    return data.select(np.sort(np.concatenate(chosen)))


def main() -> None:
    """Measure the looks, or compare drawn with real cells."""
    parser = command_line(
        __doc__, data=Needed(), seed=0, count=200, out=Path, look=Path("src/leukoscope/datasets/look_cnmc2019.json")
    )
    parser.add_argument("task", choices=("measure", "compare"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    manifest = read_dataset(args.data)
    data = some(manifest.labelled(), args.count, args.seed, others=args.task == "compare")
    labels, groups = data.labels(), data.groups()
    facts = {
        "data": manifest.name,
        "fingerprint": manifest.fingerprint(),
        "cells": {kind: int((labels == label).sum()) for kind, label in LABELS.items()},
        "groups": {kind: len(set(groups[labels == label])) for kind, label in LABELS.items()},
        "seed": args.seed,
    }
    if args.task == "compare":
        report(facts | compare(data, args.count, 1000 * (args.seed + 1)), args.out)
        return
    rows, hues = all_traits(frame_cell(read_picture(path).rgb) for path in data.paths())
    looks = {}
    for kind, label in LABELS.items():
        ours = labels == label
        # Not the most ragged outlines: they are those of cells cut out with scraps of a neighbour, which are not drawn.
        ours &= rows[:, RAGGED] <= np.quantile(rows[ours, RAGGED], 1 - SCRAPS)
        looks[kind] = to_json(corrected(fitted(rows[ours], hues[ours], groups[ours]), args.seed + 1))
    write_text(args.look, json.dumps(facts | {"looks": looks}) + "\n")


if __name__ == "__main__":
    main()
