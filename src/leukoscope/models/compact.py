"""The network under 100,000 parameters: a strided stem and three residual squeeze-and-excitation blocks."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leukoscope.models.blocks import SqueezeExcite
from leukoscope.models.registry import CellClassifier, register


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first of which may halve the size, with squeeze-and-excitation and a shortcut.

    As the basic block of He et al. (CVPR 2016), option B; squeeze-and-excitation on the branch before the addition.
    """

    def __init__(self, width_in: int, width_out: int, *, stride: int, se_ratio: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
            nn.Conv2d(width_out, width_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
        )
        self.se = SqueezeExcite(width_out, se_ratio) if se_ratio else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width_in != width_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, width_in, h, w] to float [N, width_out, h / stride, w / stride]."""
        return torch.relu(self.se(self.branch(x)) + self.shortcut(x))


def cell_mask(x: Tensor, rim: int) -> Tensor:
    """Mask of the cell without its rim and without what is thin, float [N, 1, S, S] of 0 and 1.

    How jagged an outline is, and whether a halo or a scrap of a red cell hangs on it, is the work of the microscope's
    focus and of the segmentation; it differs between preparations. The mask is smoothed by two box filters of
    ``2 rim + 1`` pixels and cut where nine tenths of the neighbourhood is cell, about ``rim`` pixels inside.

    Args:
        x: float [N, 3, S, S] in 0..1, exactly 0 outside the cell.
        rim: pixels; 0 keeps the outline as it is.
    """
    mask = (x.amax(1, keepdim=True) > 0).float()
    if rim == 0:
        return mask
    smooth = mask
    for _ in range(2):
        smooth = F.avg_pool2d(smooth, 2 * rim + 1, 1, padding=rim)
    return (smooth > 0.9).float()


def standardise_cell(x: Tensor, rim: int) -> Tensor:
    """Give each colour within the cell mean 0 and standard deviation 1, and add the cell's mask as a fourth channel.

    What exposure, white balance and stain strength do to all of a cell is a gain of each colour; it differs between
    days more than between classes, and is taken away here.

    Args:
        x: float [N, 3, S, S] in 0..1, exactly 0 outside the cell.
        rim: see :func:`cell_mask`.

    Returns:
        float [N, 4, S, S], exactly 0 outside the mask.
    """
    x = x.float()
    mask = cell_mask(x, rim)
    area = mask.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (x * mask).sum((2, 3), keepdim=True) / area
    deviation = (x - mean) * mask
    spread = (deviation.square().sum((2, 3), keepdim=True) / area + 1e-4).sqrt()
    return torch.cat([deviation / spread, mask], 1)


@register(
    "compact_cnn",
    summary="strided stem, three residual squeeze-and-excitation blocks, one linear unit; 86,000 parameters",
    source="ours; blocks of He et al. (CVPR 2016) and Hu et al. (CVPR 2018)",
    input_size=128,
    widths=(24, 24, 40, 56),
    se_ratio=8,
    dropout=0.2,
    standardise=True,
    rim=3,
)
class CompactCNN(CellClassifier):
    """Stem 3x3 of stride 2, residual blocks of which all but the first halve the size, average pooling, one unit.

    Plain 3x3 convolutions, because depthwise ones of the same size run several times slower on a CPU.

    Args:
        widths: filters of the stem and of each block.
        se_ratio: reduction of squeeze-and-excitation; 0 leaves it out.
        dropout: probability of dropping an element of the embedding while training.
        standardise: see each cell through :func:`standardise_cell`.
        rim: pixels of the input that :func:`cell_mask` takes from the cell's outline.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (24, 24, 40, 56),
        se_ratio: int = 8,
        dropout: float = 0.2,
        standardise: bool = True,
        rim: int = 3,
    ) -> None:
        super().__init__()
        self.standardise, self.rim = standardise, rim
        self.stem = nn.Sequential(
            nn.Conv2d(4 if standardise else 3, widths[0], 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(i, o, stride=2 if index else 1, se_ratio=se_ratio)
            for index, (i, o) in enumerate(pairwise(widths))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def last_conv(self) -> nn.Module:
        """The last residual block, whose output is explained."""
        return self.blocks[-1]

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the last block's output, float [N, C, S/8, S/8]."""
        x = self.stem(standardise_cell(x, self.rim) if self.standardise else x)
        for block in self.blocks:
            x = block(x)
        return x

    def embed(self, features: Tensor) -> Tensor:
        """Average: float [N, C]."""
        return features.mean((2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logit, float [N, 1]."""
        return self.head(self.dropout(self.embed(features)))  # type: ignore[no-any-return]

    def cam_weights(self) -> Tensor:
        """Closed form, float [C]: the mean and the unit follow, so the sum over positions is the unit's weight."""
        return self.head.weight[0]
