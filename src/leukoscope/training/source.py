"""Pictures for the loop: from the frame cache to batches on the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
