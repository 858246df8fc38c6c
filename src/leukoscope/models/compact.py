"""The network under 100,000 parameters, which is shown of a cell only what its preparation does not decide."""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from leukoscope.models.blocks import ConvBlock, glorot_
from leukoscope.models.registry import CellClassifier, register


def cell_mask(x: Tensor, rim: int) -> Tensor:
    """Mask of the cell without its rim and without what is thin, float [N, 1, S, S] of 0 and 1.

    How jagged an outline is, and whether a halo or a scrap of a red cell hangs on it, is the work of the microscope's
    focus and of the segmentation; it differs between preparations. The mask is smoothed by two box filters of
    ``2 rim + 1`` pixels and cut where nine tenths of the neighbourhood is cell, about ``rim`` pixels inside.

    Args:
        x: float [N, C, S, S] in 0..1, exactly 0 outside the cell.
        rim: pixels; 0 keeps the outline as it is.
    """
    # In ONNX Runtime a third of the time of a maximum along an axis.
    brightest = reduce(torch.maximum, torch.split(x, 1, 1))
    mask = (brightest > 0).float()
    if rim == 0:
        return mask
    # A new channel axis is taken for planar memory; with the strides of channels last PyTorch pools five times slower.
    smooth = mask.squeeze(1).unsqueeze(1)
    for _ in range(2):
        smooth = F.avg_pool2d(smooth, 2 * rim + 1, 1, padding=rim)
    return (smooth > 0.9).float()


def standardise_cell(x: Tensor, rim: int) -> Tensor:
    """Give each colour within the cell mean 0 and standard deviation 1, and add the cell's mask as a last channel.

    What exposure, white balance and stain strength do to all of a cell is a gain of each colour; it differs between
    days more than between classes, and is taken away here.

    Args:
        x: float [N, C, S, S] in 0..1, exactly 0 outside the cell.
        rim: see :func:`cell_mask`.

    Returns:
        float [N, C + 1, S, S], exactly 0 outside the mask.
    """
    x = x.float()
    mask = cell_mask(x, rim)
    area = mask.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (x * mask).sum((2, 3), keepdim=True) / area
    deviation = (x - mean) * mask
    spread = ((deviation * deviation).sum((2, 3), keepdim=True) / area + 1e-4).sqrt()
    return torch.cat([deviation / spread, mask], 1)


def onto_cell(heat: Tensor, mask: Tensor, reach: int) -> Tensor:
    """Lay a coarse heat map over the pixels of the cell alone; the sum of all that has any near stays as it is.

    A position of a coarse map that straddles the outline would glow on both sides of it. So each position's heat is
    dealt out over the window of ``2 reach + 1`` positions a side around it, in proportion to how much of each is cell,
    and within a position evenly over the pixels that are cell.

    Args:
        heat: float [N, h, w]; a position without any cell in its window is left out.
        mask: of the cell, float [N, 1, S, S] of 0 and 1.
        reach: positions.

    Returns:
        float [N, S, S], 0 outside the mask; where S is no multiple of h, ``heat`` itself.
    """
    side = mask.shape[-1]
    step, rest = divmod(side, heat.shape[-1])
    if rest:
        return heat

    def around(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2 * reach + 1, 1, padding=reach)

    dealt = around(heat[:, None] / around(share_of(mask, heat.shape[-1])).clamp_min(1e-6)) / step**2
    fine: Tensor = F.interpolate(dealt, scale_factor=(float(step), float(step)), mode="nearest") * mask
    return fine[:, 0]


def enlarged_onto(heat: Tensor, share: Tensor) -> Tensor:
    """Lay a coarse heat map of the whole frame over the cell alone, interpolated linearly.

    What it says of the empty part tells how small the cell is: nothing of any place in it. That is left out.

    Args:
        heat: float [N, h, w].
        share: of the cell at each place, float [N, 1, S, S] in 0..1.

    Returns:
        float [N, S, S].
    """
    spread = torch.from_numpy(_enlargement(heat.shape[-1], share.shape[-1])).to(heat.device)
    return (spread @ heat @ spread.T) * share[:, 0]


@lru_cache(maxsize=4)
def _enlargement(few: int, many: int) -> NDArray[np.float32]:
    """Linear interpolation from few to many positions along one axis, [many, few]; each column sums up to 1."""
    step = many / few
    centre = (np.arange(few) + 0.5) * step
    weights = np.maximum(1 - np.abs(np.arange(many)[:, None] + 0.5 - centre) / step, 0)
    return np.asarray(weights / weights.sum(axis=0), dtype=np.float32)


def summing_to(heat: Tensor, mask: Tensor, logit: Tensor) -> Tensor:
    """Deal out evenly over the cell what a heat map lacks of the logit, so that it sums up to it.

    What belongs to no place of the cell is there everywhere: the constant of a head, what a curved head's gradient
    leaves untold, and what a network that averages over its whole frame says of the empty part, which tells the cell's
    extent. Which place of the cell speaks more for blast than which other does not change.

    Args:
        heat: float [N, h, w].
        mask: of the cell, float [N, 1, h, w] in 0..1.
        logit: float [N].

    Returns:
        float [N, h, w]; ``heat`` itself where a mask is empty.
    """
    lacking = (logit - heat.sum((1, 2))) / mask.sum((1, 2, 3)).clamp_min(1)
    return heat + lacking[:, None, None] * mask[:, 0]


def share_of(mask: Tensor, side: int) -> Tensor:
    """The share of each of side x side positions that a mask [N, 1, S, S] covers."""
    step, rest = divmod(mask.shape[-1], side)
    if rest:
        return F.adaptive_avg_pool2d(mask, side)
    return F.avg_pool2d(mask, step) if step > 1 else mask


@register(
    "compact_cnn",
    summary="crse_cnn with a quarter of the channels; a first layer evens out rim, brightness and stain",
    source="ours; blocks as crse_cnn",
    input_size=112,
    widths=(16, 32, 64, 96),
    se_ratio=16,
    residual=True,
    dropout=0.3,
    standardise=True,
    rim=3,
    grey=False,
)
class CompactCNN(CellClassifier):
    """Standardised cell, residual squeeze-and-excitation blocks with max pooling 2x2, average pooling, one unit.

    Plain 3x3 convolutions, because depthwise ones of the same size run several times slower on a CPU. The explained
    activation is the output of the last block; nothing is pooled after it but the mean.

    Args:
        widths: filters of each block.
        se_ratio: reduction of squeeze-and-excitation; 0 leaves it out.
        residual: whether a block's input is added to its output.
        dropout: probability of dropping an element of the embedding while training.
        standardise: see each cell through :func:`standardise_cell`.
        rim: pixels of the input that :func:`cell_mask` takes from the cell's outline.
        grey: see the mean of the three colours only.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 64, 96),
        se_ratio: int = 16,
        residual: bool = True,
        dropout: float = 0.3,
        standardise: bool = True,
        rim: int = 3,
        grey: bool = False,
    ) -> None:
        super().__init__()
        self.standardise, self.rim, self.grey = standardise, rim, grey
        ins = ((1 if grey else 3) + standardise, *widths[:-1])
        self.blocks = nn.ModuleList(
            ConvBlock(i, o, residual=residual, se=se_ratio > 0, se_ratio=max(se_ratio, 1))
            for i, o in zip(ins, widths, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], 1)
        glorot_(self)

    @property
    def last_conv(self) -> nn.Module:
        """The last residual block, whose output is explained."""
        return self.blocks[-1]

    def see(self, x: Tensor) -> Tensor:
        """What the first convolution is given of float [N, 3, S, S]: grey or not, standardised or not."""
        if self.grey:
            x = x.mean(1, keepdim=True)
        return standardise_cell(x, self.rim) if self.standardise else x

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the last block's output, float [N, C, S/8, S/8]."""
        x = self.see(x)
        for index, block in enumerate(self.blocks):
            x = block(F.max_pool2d(x, 2) if index else x)
        return x

    def embed(self, features: Tensor) -> Tensor:
        """Average: float [N, C]."""
        return features.mean((2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logit, float [N, 1]."""
        return self.head(self.dropout(self.embed(features)))  # type: ignore[no-any-return]

    def shown_map(self, heat: Tensor, x: Tensor, logit: Tensor) -> Tensor:
        """The heat over the cell's own pixels, without dust beside it, which sums up to the logit, float [N, S, S]."""
        mask = cell_mask(x, 1)
        return summing_to(enlarged_onto(heat, mask), mask, logit)

    def cam_weights(self) -> Tensor:
        """Closed form, float [C]: the mean and the unit follow, so the sum over positions is the unit's weight."""
        return self.head.weight[0]
