"""The network of the paper's section IV: four plain convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leukoscope.models.blocks import glorot_
from leukoscope.models.registry import CellClassifier, register

PAPER = '"Custom Residual SE-CNN for Acute Lymphoblastic Leukemia Detection from Microscopic Images"'


@register(
    "plain_cnn",
    summary="four 3x3 convolutions with ReLU, batch normalisation and max pooling; one linear unit",
    source=f"{PAPER}, section IV",
    input_size=224,
    widths=(32, 64, 128, 256),
    dropout=0.5,
)
class PlainCNN(CellClassifier):
    """Conv 3x3 + ReLU, batch normalisation, max pooling 2x2, four times; average pooling, dropout, one unit.

    The explained activation is the output of ``last_conv`` after its ReLU, before its batch normalisation, as a Keras
    layer of that name would give it.

    Args:
        widths: filters of the four convolutions.
        dropout: probability of dropping an element of the embedding while training.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256), dropout: float = 0.5) -> None:
        super().__init__()
        ins = (3, *widths[:-1])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(ins, widths, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], 1)
        glorot_(self)

    @property
    def last_conv(self) -> nn.Module:
        """The convolution whose activation is explained."""
        return self.convs[-1]

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the activation of ``last_conv``, float [N, C, S/8, S/8]."""
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = torch.relu(conv(x))
            if index < len(self.convs) - 1:
                x = F.max_pool2d(norm(x), 2)
        return x

    def embed(self, features: Tensor) -> Tensor:
        """Normalise, max-pool and average: float [N, C]."""
        return F.max_pool2d(self.norms[-1](features), 2).mean((2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logit, float [N, 1]."""
        return self.head(self.dropout(self.embed(features)))  # type: ignore[no-any-return]

    def cam_weights(self) -> Tensor:
        """Closed form, float [C].

        Each pooling window passes its gradient to exactly one position, whichever it is, so the sum over positions
        is the unit's weight times the slope of the batch normalisation.
        """
        norm = self.norms[-1]
        assert isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm)
        assert norm.running_var is not None
        slope = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return self.head.weight[0] * slope
