"""A pre-trained trunk whose feature maps are pooled inside the cell's mask, so that nothing outside it is evidence.

At the end of each chosen stage every channel is summarised by its mean and standard deviation over the positions of the
cell, each position weighed by the share of it that is cell. What lies outside has weight 0: it can neither decide nor
glow in a heat map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from leukoscope.errors import ModelError
from leukoscope.models.compact import cell_mask, share_of, standardise_cell
from leukoscope.models.trunk import import_timm


@dataclass(frozen=True, slots=True)
class TrunkKind:
    """A trunk that can be cut at a stage.

    Attributes:
        widths: channels at the end of each stage.
        sha256: of the published file of its ImageNet weights.
    """

    widths: tuple[int, ...]
    sha256: str


TRUNKS: Final = {
    "tf_efficientnet_lite0": TrunkKind(
        (16, 24, 40, 80, 112, 192, 320), "2b4a5f7e9a1870e2c41efd811c5b04f7e5843b32900a338e3f181204a324f9c6"
    ),
    "tf_efficientnet_lite2": TrunkKind(
        (16, 24, 48, 88, 120, 208, 352), "57fa2d5d0a66461c418d8710597621b83b62e7f1201624dd9b949ebd03382bf0"
    ),
}
STAGES: Final = 7
_FLOOR = 1e-6  # added to a variance before its root, whose slope is infinite at 0

#: Mean and standard deviation of red, green and blue inside the cells of C-NMC 2019, in 0..1: what a standardised cell
#: is painted with again, because a trunk of photographs expects colours.
PAINT_MEAN: Final = (0.46, 0.30, 0.55)
PAINT_SPREAD: Final = (0.14, 0.14, 0.10)


def masked_statistics(features: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the cell.

    Args:
        features: float [N, C, h, w].
        share: of each position that is cell, float [N, 1, h, w] in 0..1.

    Returns:
        Both float [N, C]. Without any cell, mean 0 and a deviation of 0.001.
    """
    area = share.sum((2, 3)).clamp_min(1e-3)
    mean = (features * share).sum((2, 3)) / area
    apart = features - mean[:, :, None, None]
    return mean, ((apart * apart * share).sum((2, 3)) / area + _FLOOR).sqrt()


class MaskedTrunk(nn.Module):
    """Stages of an EfficientNet-Lite and their statistics inside the cell.

    Args:
        name: one of `TRUNKS`.
        stages: 1 to 7, rising; the trunk is cut after the last.
        standardise: each colour is given the same mean and deviation in every cell first, so that nothing of the day's
            dye and light is left.
        rim: pixels of the input that are not counted inside the outline; see `cell_mask`.

    Raises:
        ModelError: no such trunk or stage.
        MissingExtraError: timm is not installed.
    """

    def __init__(
        self,
        name: str = "tf_efficientnet_lite0",
        stages: Sequence[int] = (3, 4, 5),
        *,
        standardise: bool = False,
        rim: int = 0,
    ) -> None:
        super().__init__()
        if name not in TRUNKS:
            raise ModelError(f"{name!r} cannot be cut at a stage", remedy=f"use one of: {', '.join(TRUNKS)}")
        chosen = tuple(int(each) for each in stages)
        if not chosen or list(chosen) != sorted(set(chosen)) or not 1 <= chosen[0] <= chosen[-1] <= STAGES:
            raise ModelError(f"stages {list(stages)} are not some of 1 to {STAGES}, rising")
        whole = import_timm().create_model(name, pretrained=False, num_classes=0)
        self.name, self.stages, self.standardise, self.rim = name, chosen, standardise, rim
        self.conv_stem, self.bn1 = whole.conv_stem, whole.bn1
        self.blocks = nn.ModuleList(list(whole.blocks)[: chosen[-1]])
        self.channels: tuple[int, ...] = tuple(TRUNKS[name].widths[stage - 1] for stage in chosen)

    def see(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the first convolution is given, and the cell's mask [N, 1, S, S], of float [N, 3, S, S] in 0..1."""
        mask = cell_mask(x, self.rim)
        if self.standardise:
            mean, spread = (x.new_tensor(each)[:, None, None] for each in (PAINT_MEAN, PAINT_SPREAD))
            x = (standardise_cell(x, 0)[:, :3] * spread + mean).clamp(0, 1) * cell_mask(x, 0)
        return (x - 0.5) / 0.5, mask

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Map pictures, float [N, 3, S, S] in 0..1, to the maps of the chosen stages and the cell's share of each."""
        seen, mask = self.see(x)
        y = self.bn1(self.conv_stem(seen))
        maps, shares = [], []
        for stage, block in enumerate(self.blocks, 1):
            y = block(y)
            if stage in self.stages:
                maps.append(y)
                shares.append(share_of(mask, y.shape[-1]))
        return maps, shares

    def statistics(self, x: Tensor) -> Tensor:
        """Means of all channels and then their deviations, stage by stage, float [N, 2 sum C]."""
        found = [each for maps, share in zip(*self(x), strict=True) for each in masked_statistics(maps, share)]
        return torch.cat(found, 1)

    def load(self, file: str | Path) -> int:
        """Take the trunk's weights from a file of the whole network in timm's names; all of them or none.

        Returns:
            How many tensors were taken.

        Raises:
            ModelError: the file is missing, damaged, or of another network.
        """
        path = Path(file)
        fetch = f"fetch model.safetensors of timm/{self.name}.in1k from the hub (SHA-256 {TRUNKS[self.name].sha256})"
        try:
            given = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"no weights can be read from it ({error})", path=path, remedy=fetch) from error
        wanted = self.state_dict()
        amiss = [
            key for key in wanted
            if not key.endswith("num_batches_tracked") and (key not in given or given[key].shape != wanted[key].shape)
        ]  # fmt: skip
        if amiss:
            raise ModelError(
                f"the weights are of another network than {self.name}: {amiss[0]} is missing or of another shape "
                f"({len(amiss)} such)",
                path=path, remedy=fetch,
            )  # fmt: skip
        taken = {key: given[key] for key in wanted if key in given}
        self.load_state_dict(taken, strict=False)
        return len(taken)
