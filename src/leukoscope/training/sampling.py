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


def epoch_order(labels: NDArray[np.int64], balance: str, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of an epoch, int64 [N]: a permutation, or with ``balance="sample"`` as many of each class, drawn again."""
    random = np.random.default_rng(seed_for("order", seed, epoch))
    if balance != "sample":
        return random.permutation(len(labels))
    classes = [np.flatnonzero(labels == c) for c in (0, 1)]
    counts = (len(labels) // 2, len(labels) - len(labels) // 2)
    drawn = [
        np.concatenate([random.permutation(members) for _ in range(-(-count // len(members)))])[:count]
        for members, count in zip(classes, counts, strict=True)
    ]
    return random.permutation(np.concatenate(drawn))


def class_weights(labels: NDArray[np.int64], balance: str) -> tuple[float, float]:
    """Loss weight of a normal and of a blast picture; their mean over the pictures is 1."""
    if balance != "loss":
        return 1.0, 1.0
    blasts = int(labels.sum())
    return len(labels) / (2 * (len(labels) - blasts)), len(labels) / (2 * blasts)
