"""Which pictures an epoch shows, in which order, and what each weighs.

Pictures for the loop: from the frame cache to batches on the device.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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


class FrameSource:
    """Pictures of one part of the data, handed out in batches on the device.

    Args:
        frames: uint8 [N, S, S, 3]; a memory map will do.
        labels: int64 [N], 0 normal, 1 blast.
        indices: int64, the pictures of this part.
        device: on a GPU the whole part is kept in its memory.
        groups: patient group of each picture, strings [N]; needed to balance groups only.
        targets: what to learn instead of the labels, float [N] in 0..1; None: the labels.
    """

    def __init__(
        self,
        frames: NDArray[np.uint8],
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        device: torch.device,
        groups: NDArray[np.str_] | None = None,
        targets: NDArray[np.float64] | None = None,
    ) -> None:
        self.labels = labels[indices]
        self.groups = None if groups is None else groups[indices]
        chosen = self.labels if targets is None else targets[indices]
        self._targets = torch.from_numpy(chosen).float().to(device)
        self._indices = indices
        self._frames = frames
        self._resident = torch.from_numpy(frames[indices]).to(device) if device.type == "cuda" else None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures uint8 [B, S, S, 3] and targets float32 [B] of the given positions, on the device."""
        targets = self._targets[positions.to(self._targets.device)]
        if self._resident is not None:
            return self._resident[positions.to(self._resident.device)], targets
        return torch.from_numpy(self._frames[self._indices[positions.numpy()]]), targets
