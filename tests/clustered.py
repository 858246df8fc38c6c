"""Made-up answers whose pictures resemble each other within a patient group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from leukoscope.metrics.scores import Scores

MakeScores = Callable[..., Scores]


def clustered_scores(
    *, blast_groups: int = 7, normal_groups: int = 5, mixed_groups: int = 0, cells: int = 30, seed: int = 0
) -> Scores:
    """About ``cells`` pictures per group, with a group effect as large as the noise of a picture, and tied scores."""
    rng = np.random.default_rng(seed)
    label, logit, group = [], [], []
    kinds = ["b"] * blast_groups + ["n"] * normal_groups + ["m"] * mixed_groups
    for number, kind in enumerate(kinds):
        n = int(rng.integers(cells // 2, cells * 3 // 2 + 1))
        truth = {"b": np.ones(n), "n": np.zeros(n), "m": np.arange(n) % 2}[kind]
        label.append(truth)
        logit.append(np.round(2 * truth - 1 + rng.normal(0, 1) + rng.normal(0, 1, n), 1))
        group.append(np.full(n, f"{kind}{number}"))
    z, names = np.concatenate(logit), np.concatenate(group)
    paths = tuple(f"{name}/{row}.png" for row, name in enumerate(names))
    return Scores(paths, np.concatenate(label), 1 / (1 + np.exp(-z)), z, names, names)
