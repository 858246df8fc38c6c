"""Training over three simulated sites of C-NMC 2019 patients: a part of `laboratories.py`, which runs it.

Whole patient groups are dealt to the sites by a seed; each site's pictures get a finish of their own (exposure, tints,
contrast, focus, compression), so that the sites differ as laboratories do. Features are those of a frozen ImageNet
trunk, which saw none of the cells. Each of five committed folds leaves whole patient groups out, of all sites; heads
are fitted on the others: joined, over the sites by rounds of sums, over two of them after one was killed in round 1,
and at each site alone. The small network learns the first fold only, for as many rounds of one epoch as the joined
training has epochs.

The attacker has the mean embedding of a patient's blasts, or normal cells, and the sums that a site sent in round 0,
and guesses from how near the two lie whether the patient is among the site's: the patients left out are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from _common import auc, figures_of, scores_of
from baselines import split_of  # the script beside this one
from leukoscope.cells.frame import Preparation
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.federation.heads import LinearHead, combine_heads, head_round
from leukoscope.federation.rounds import LocalRound, combine
from leukoscope.models import create_model
from leukoscope.models.masked import MaskedTrunk
from leukoscope.training.batches import FrameSource, seed_for
from leukoscope.training.features import cell_statistics
from leukoscope.training.loop import predict
from leukoscope.training.recipe import load_recipe
from leukoscope.training.rounds import local_round
from leukoscope.training.runtime import Runtime

FOLDS, ROUNDS = 5, 12
CROP, SIZE = 320, 288  # pixels of the frame, and of the trunk's input
SMALL, SMALL_SIZE, EPOCHS = "champion", 64, 8
Frames = NDArray[np.uint8]


def finish(frames: Frames, site: int) -> Frames:
    """The pictures as a site's camera and stain show them; black stays black. Site 0 shows them as they are.

    >>> finish(np.zeros((1, 8, 8, 3), np.uint8), 1).max()
    np.uint8(0)
    """
    if site == 0:
        return frames
    gains, gamma = (((0.92, 0.85, 1.05), 1.15), ((1.08, 1.0, 0.9), 0.85))[site - 1]
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * np.array(gains)
    table = (levels.clip(0, 1) * 255).round().astype(np.uint8)
    made = np.empty_like(frames)
    for row, frame in enumerate(frames):
        shown = np.stack([table[frame[..., c], c] for c in range(3)], axis=-1)
        if site == 1:
            shown = cv2.GaussianBlur(shown, (0, 0), 0.8)
        else:
            _, packed = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 70])
            shown = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        made[row] = np.where(frame.any(axis=-1, keepdims=True), shown, 0)
    return made


def finished(data: Manifest, home: NDArray[np.int64], size: int, cache: Path, jobs: int | None) -> Frames:
    """All pictures, each with the finish of its site, [N, size, size, 3]."""
    frames = np.array(open_cache(data, Preparation(frame_size=CROP), size, cache, jobs=jobs).frames)
    for site in range(int(home.max()) + 1):
        frames[home == site] = finish(frames[home == site], site)
    return frames


def heads(
    x: NDArray[np.float32], data: Manifest, home: NDArray[np.int64], sites: Sequence[str]
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Figures of all ways of fitting a linear head, and the logits of the head over all sites."""
    labels, groups = data.labels(), data.groups()
    count = len(sites)
    ways = ["joined", "federated", f"federated, {sites[-1]} killed in round 1", "federated, round 0 alone"]
    ways += [f"{name} alone" for name in sites]
    logit = {way: np.empty(len(data)) for way in ways}
    apart, members, rounds = 0.0, [], []
    for fold in range(FOLDS):
        learned, test = split_of(data, fold, FOLDS)
        parts = [learned[home[learned] == site] for site in range(count)]

        def asked(head: LinearHead | None, rows: NDArray[np.int64]) -> LocalRound:
            return head_round(head, x[rows], labels[rows], groups[rows])

        def fitted(places: Sequence[NDArray[np.int64]], killed: int | None = None, most: int = ROUNDS) -> LinearHead:
            head: LinearHead | None = None
            for number in range(most):
                there = [rows for site, rows in enumerate(places) if killed is None or number == 0 or site != killed]
                head = combine_heads(head, [asked(head, rows) for rows in there], same_sites=number != 1)
                if head.done:
                    rounds.append(number + 1)
                    break
            assert head is not None
            return head

        made = {
            "joined": fitted([learned]), "federated": fitted(parts),
            ways[2]: fitted(parts, killed=count - 1), ways[3]: fitted(parts, most=1),
            **{f"{name} alone": fitted([part]) for name, part in zip(sites, parts, strict=True)},
        }  # fmt: skip
        for way, head in made.items():
            logit[way][test] = head.logits(x[test])
        apart = max(apart, float(np.abs(made["joined"].plain()[0] - made["federated"].plain()[0]).max()))
        for site, rows in enumerate(parts):
            members += attack(asked(None, rows), x, labels, groups, rows, test[home[test] == site])
    tables = {way: scores_of(data, each) for way, each in logit.items()}
    value = {way: auc(labels, each) for way, each in logit.items()}
    found: dict[str, Any] = {
        "trunk": "tf_efficientnet_lite0", "numbers": x.shape[1], "folds": FOLDS,
        "rounds": [int(np.min(rounds)), int(np.max(rounds))],
        "largest_difference": {
            "weights": apart, "logits": float(np.abs(logit["joined"] - logit["federated"]).max()),
        },
        "payload_kb": {"round 0": round(2 * (1 + x.shape[1] + x.shape[1] ** 2) * 8 / 1e3, 1),
                       "later": round(2 * (2 + (x.shape[1] + 1) + (x.shape[1] + 1) ** 2) * 8 / 1e3, 1)},
        "rows": {way: {**figures_of(tables[way], ("auc", "subject_auc", "sensitivity", "specificity")),
                       "of_joined_auc": round(value[way] / value["joined"], 5)} for way in ways},
        "membership_auc_of_sums": round(auc(*map(np.array, zip(*members, strict=True))), 3),
    }  # fmt: skip
    return found, logit["federated"]


def attack(
    sent: LocalRound, x: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.str_],
    inside: NDArray[np.int64], outside: NDArray[np.int64],
) -> list[tuple[int, float]]:  # fmt: skip
    """Whether a patient is among a site's, and how near its mean lies to the site's of the class, by pairs."""
    found = []
    for label in (0, 1):
        count, total, square = (sent.weights[name][label] for name in ("count", "sum", "square"))
        mean = total / count
        spread = np.sqrt(np.maximum(np.diag(square) / count - mean**2, 1e-12))
        for rows, member in ((inside, 1), (outside, 0)):
            of_class = rows[labels[rows] == label]
            for group in np.unique(groups[of_class]):
                own = x[of_class[groups[of_class] == group]].mean(axis=0)
                found.append((member, -float((((own - mean) / spread) ** 2).mean())))
    return found


def network(data: Manifest, home: NDArray[np.int64], frames: Frames, count: int) -> dict[str, Any]:
    """A small network on the first fold: rounds over the sites against as many epochs on the joined cells."""
    recipe = load_recipe(SMALL, (f"epochs={EPOCHS}", f"input.size={SMALL_SIZE}", "precision=fp32"))
    runtime = Runtime(torch.device("cpu"), torch.float32)
    labels, groups = data.labels(), data.groups()
    learned, test = split_of(data, 0, FOLDS)

    def source(rows: NDArray[np.int64]) -> FrameSource:
        return FrameSource(frames, labels, rows, runtime.device, groups)

    torch.manual_seed(seed_for("weights", recipe.seed))
    model = create_model(recipe.model.name, **recipe.model.arguments)
    start = {name: each.numpy().copy() for name, each in model.state_dict().items()}
    ways = {
        "joined": [source(learned)],
        "federated": [source(learned[home[learned] == site]) for site in range(count)],
        "federated, killed": [source(learned[home[learned] == site]) for site in range(count)],
    }
    found: dict[str, Any] = {"network": recipe.model.name, "input": SMALL_SIZE, "rounds": EPOCHS, "cells": len(data)}
    for way, sources in ways.items():
        weights = start
        for number in range(EPOCHS):
            there = sources[:-1] if way.endswith("killed") and number == 1 else sources
            made = [
                LocalRound(*local_round(weights, recipe, site, model, each, runtime, number=number))
                for site, each in enumerate(there)
            ]
            weights = combine(made)
            print(f"{way}: round {number + 1} of {EPOCHS}", flush=True)
        model.load_state_dict({name: torch.from_numpy(np.array(each)) for name, each in weights.items()})
        logits = predict(model, source(test), 64, runtime).numpy().astype(np.float64)
        found[way] = round(auc(labels[test], logits), 4)
    found["of_joined_auc"] = round(found["federated"] / found["joined"], 4)
    return found


def training_figures(
    data: Manifest, home: NDArray[np.int64], sites: Sequence[str], weights: Path, cache: Path, jobs: int | None,
    small: int,
) -> dict[str, Any]:  # fmt: skip
    """All of it; ``small`` is the number of cells that the network learns from and is asked about."""
    trunk = MaskedTrunk("tf_efficientnet_lite0", (3, 4, 5))
    trunk.load(weights)
    x = cell_statistics(finished(data, home, SIZE, cache, jobs), trunk.eval(), cache, jobs=jobs)
    found, _ = heads(x, data, home, sites)
    for way, row in found["rows"].items():
        print(f"{way:36} AUC {row['auc']['value']:.4f}, {row['of_joined_auc']:.4f} of the joined", flush=True)
    told: dict[str, Any] = {"cells": len(data), "heads": found}
    if small:
        kept = np.sort(np.random.default_rng(0).permutation(len(data))[:small])
        part = data.select(kept)
        told["network"] = network(part, home[kept], finished(part, home[kept], SMALL_SIZE, cache, jobs), len(sites))
    return told
