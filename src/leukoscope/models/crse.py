"""The network of the paper's title: the plain one with residual connections and squeeze-and-excitation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from leukoscope.models.blocks import ConvBlock, glorot_
from leukoscope.models.plain import PAPER
from leukoscope.models.registry import CellClassifier, register


@register(
    "crse_cnn",
    summary="plain_cnn with residual connections and squeeze-and-excitation, each switchable",
    source=f"{PAPER}, title; placement and ratio are ours, the paper gives none",
    input_size=224,
    widths=(32, 64, 128, 256),
    residual=True,
    se=True,
    se_ratio=16,
    dropout=0.5,
)
class CRSECNN(CellClassifier):
    """Four residual squeeze-and-excitation blocks with max pooling 2x2; average pooling, dropout, one unit.

    The explained activation is the output of the last residual block, before its pooling. With ``residual=False`` and
    ``se=False`` the function is that of ``plain_cnn``.

    Args:
        widths: filters of the four blocks.
        residual: add the projected input to each block's output.
        se: gate each block's branch by squeeze-and-excitation.
        se_ratio: reduction of the gate.
        dropout: probability of dropping an element of the embedding while training.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        residual: bool = True,
        se: bool = True,
        se_ratio: int = 16,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        ins = (3, *widths[:-1])
        self.blocks = nn.ModuleList(
            ConvBlock(i, o, residual=residual, se=se, se_ratio=se_ratio) for i, o in zip(ins, widths, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], 1)
        glorot_(self)

    @property
    def last_conv(self) -> nn.Module:
        """The last residual block, whose output is explained."""
        return self.blocks[-1]

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the last block's output, float [N, C, S/8, S/8]."""
        for index, block in enumerate(self.blocks):
            x = block(F.max_pool2d(x, 2) if index else x)
        return x

    def embed(self, features: Tensor) -> Tensor:
        """Max-pool and average: float [N, C]."""
        return F.max_pool2d(features, 2).mean((2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logit, float [N, 1]."""
        return self.head(self.dropout(self.embed(features)))  # type: ignore[no-any-return]

    def cam_weights(self) -> Tensor:
        """Closed form, float [C]: only pooling and the unit follow, so the sum over positions is the unit's weight."""
        return self.head.weight[0]
