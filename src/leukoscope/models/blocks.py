"""The parts that the networks are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Channel gate of Hu et al., "Squeeze-and-Excitation Networks" (CVPR 2018).

    Args:
        channels: channels in and out.
        ratio: reduction; the hidden layer has ``max(4, channels // ratio)`` units.
    """

    def __init__(self, channels: int, ratio: int = 16) -> None:
        super().__init__()
        hidden = max(4, channels // ratio)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of float [N, C, h, w] by its gate in 0..1."""
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(F.adaptive_avg_pool2d(x, 1).flatten(1)))))
        return x * gate[:, :, None, None]


class ConvBlock(nn.Module):
    """Conv 3x3 "same" + ReLU, batch normalisation, then optionally squeeze-and-excitation and a residual connection.

    The paper places batch normalisation after the ReLU. Where the width changes, the shortcut is a 1x1 projection with
    batch normalisation (He et al., CVPR 2016, option B). Squeeze-and-excitation acts on the branch before the addition,
    as in SE-ResNet.
    """

    def __init__(self, width_in: int, width_out: int, *, residual: bool, se: bool, se_ratio: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(width_out)
        self.se = SqueezeExcite(width_out, se_ratio) if se else None
        self.shortcut = (
            nn.Sequential(nn.Conv2d(width_in, width_out, 1, bias=False), nn.BatchNorm2d(width_out))
            if residual
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, width_in, h, w] to float [N, width_out, h, w]."""
        y: Tensor = self.norm(torch.relu(self.conv(x)))
        if self.se is not None:
            y = self.se(y)
        if self.shortcut is not None:
            y = torch.relu(y + self.shortcut(x))
        return y


def glorot_(model: nn.Module) -> None:
    """Initialise as Keras does, in place: Glorot-uniform kernels (Glorot & Bengio 2010), zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
