"""Which pictures an epoch shows, in which order, and what each weighs."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed from parts such as ("order", seed, epoch): nothing but these parts decides the draw.

    A run that resumes therefore needs no stored generator state.
    """
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


def generator_for(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by :func:`seed_for`."""
    return torch.Generator().manual_seed(seed_for(*parts))


def epoch_order(
    labels: NDArray[np.int64], balance: str, seed: int, epoch: int, *, groups: NDArray[np.str_] | None = None
) -> NDArray[np.int64]:
    """Order of an epoch, int64 [N].

    | balance | what an epoch shows |
    |---|---|
    | `none`, `loss` | each picture once |
    | `sample` | as many pictures of each class |
    | `groups` | as many of each class, and of each patient group in proportion to the root of its size |

    The root lies between showing every patient as often, which repeats the cells of small ones, and every picture as
    often, which lets a few large patients rule. Pictures are repeated no more often than needed.
    """
    random = np.random.default_rng(seed_for("order", seed, epoch))
    if balance not in {"sample", "groups"}:
        return random.permutation(len(labels))
    if balance == "groups" and groups is None:
        raise ValueError("balancing groups needs the group of each picture")
    strata = labels.astype(str) if groups is None or balance == "sample" else groups.astype(str)
    drawn = []
    for label, count in ((0, len(labels) // 2), (1, len(labels) - len(labels) // 2)):
        names, sizes = np.unique(strata[labels == label], return_counts=True)
        shares = np.sqrt(sizes) / np.sqrt(sizes).sum() * count
        counts = np.floor(shares).astype(np.int64)
        counts[random.permutation(len(names))[: count - counts.sum()]] += 1
        for name, wanted in zip(names, counts.tolist(), strict=True):
            members = np.flatnonzero((labels == label) & (strata == name))
            rounds = [random.permutation(members) for _ in range(-(-wanted // len(members)))]
            drawn.append(np.concatenate(rounds)[:wanted] if rounds else members[:0])
    return random.permutation(np.concatenate(drawn))


def class_weights(labels: NDArray[np.int64], balance: str) -> tuple[float, float]:
    """Loss weight of a normal and of a blast picture; their mean over the pictures is 1."""
    if balance != "loss":
        return 1.0, 1.0
    blasts = int(labels.sum())
    return len(labels) / (2 * (len(labels) - blasts)), len(labels) / (2 * blasts)
