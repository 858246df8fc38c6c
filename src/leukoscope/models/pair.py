"""An `eye` and a compact network in one graph, each shown its own view of the frame: one sees colour, the other not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from leukoscope.errors import ModelError
from leukoscope.models.compact import CompactCNN, cell_mask, enlarged_onto, onto_cell, share_of, summing_to
from leukoscope.models.eye import REACH, Eye, Features
from leukoscope.models.masked import MaskedTrunk
from leukoscope.models.registry import HubWeights, ModelSpec, add_spec
from leukoscope.models.resize import resize

FRAME: Final = 340  # pixels of the frame, which are those of the compact network's own
CROP: Final = 320  # of it, about its middle: the frame of recipe `eye`
EYE_SIZE: Final = 288  # to which that is resized
COMPACT_SIZE: Final = 112  # to which the whole frame is resized
_STEP: Final = 85  # pixels: of a frame of any multiple of it the sizes above are whole numbers


def both_views(frames: Tensor) -> tuple[Tensor, Tensor]:
    """What the eye, and what the compact network is shown of frames.

    Args:
        frames: RGB [N, S, S, 3], uint8 or whole numbers 0..255.

    Returns:
        float [N, 3, s, s] in 0..1, each of its own size.

    Raises:
        ModelError: S is no multiple of 85.
    """
    side = frames.shape[1]
    if side % _STEP:
        raise ModelError(f"a pair is shown frames of {FRAME} px, not of {side}", remedy=f"give it {FRAME} px")
    crop, eye, compact = (side * size // FRAME for size in (CROP, EYE_SIZE, COMPACT_SIZE))
    start = (side - crop) // 2
    middle = frames[:, start : start + crop, start : start + crop]
    # Rounded, because both were trained on frames stored as 8-bit numbers.
    return resize(middle, eye).round() / 255, resize(frames, compact).round() / 255


def levels_of(x: Tensor) -> Tensor:
    """Frames, whole numbers [N, S, S, 3], of float [N, 3, S, S] in 0..1."""
    return (x * 255).round().permute(0, 2, 3, 1)


class Sheet(Features):
    """The maps of an eye, and below them on the same sheet those of a compact network, which are of another size.

    Args:
        trunk: see `MaskedTrunk`.
        compact: its last convolution's output is seen.
    """

    def __init__(self, trunk: MaskedTrunk, compact: CompactCNN) -> None:
        super().__init__(trunk)
        self.compact = compact

    def forward(self, x: Tensor) -> Tensor:
        """Map frames, float [N, 3, S, S] in 0..1, to float [N, sum C + stages, h + k, h], 0 right of the k columns."""
        maps, below = self.apart(*both_views(levels_of(x)))
        room = (0, maps.shape[3] - below.shape[3], 0, 0, 0, maps.shape[1] - below.shape[1])
        return torch.cat([maps, F.pad(below, room)], 2)

    def apart(self, whole: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """Both maps of both views, each of its own size."""
        return super().forward(whole), self.compact.forward_features(small)


class Pair(Eye):
    """The mean of the logits of an `Eye` with a radial head and of a `CompactCNN`, half and half.

    The embedding is the eye's components and, as its last number, the compact network's own logit.

    Args:
        trunk: see `Eye`.
        stages: see `Eye`.
        components: see `Eye`.
        units: see `Eye`.
        widths: of the compact network.
    """

    halved = ("features.trunk",)

    def __init__(
        self,
        trunk: str = "tf_efficientnet_lite0",
        stages: Sequence[int] = (3, 4, 5),
        components: int = 64,
        units: int = 64,
        widths: tuple[int, ...] = (16, 32, 64, 96),
    ) -> None:
        super().__init__(trunk, stages, components=components, units=units)
        compact = CompactCNN(tuple(widths))
        compact.head = nn.Identity()  # type: ignore[assignment]  # its unit is the last row of `project`
        self.features = Sheet(self.trunk, compact)
        self.components, self.statistics_of_eye = components, 2 * sum(self.trunk.channels)
        self.project = nn.Linear(self.statistics_of_eye + widths[-1], components + 1)

    @property
    def compact(self) -> CompactCNN:
        """The second network, without its unit."""
        found = self.features.compact
        assert isinstance(found, CompactCNN)
        return found

    def statistics(self, features: Tensor) -> Tensor:
        """Of the trunk's maps, and the means of the compact network's, float [N, 2 sum C + C of the compact one]."""
        maps, below = self._parts(features)
        return self._statistics_of(maps, below)

    def answer(self, seen: Tensor) -> Tensor:
        """Logit, float [N, 1]: the mean of both."""
        ours, theirs = torch.split(seen, [self.components, 1], 1)
        return (super().answer(ours) + theirs) / 2

    def slopes(self, seen: Tensor) -> Tensor:
        """Gradient of the logit by the embedding, float [N, K + 1]."""
        ours, theirs = torch.split(seen, [self.components, 1], 1)
        return torch.cat([super().slopes(ours), torch.ones_like(theirs)], 1) / 2

    def heat_of(self, features: Tensor, slopes: Tensor) -> Tensor:
        """As of an `Eye`, and below it the compact network's."""
        maps, below = self._parts(features)
        ours, theirs = self._heats_of(maps, below, slopes)
        return torch.cat([ours, F.pad(theirs, (0, ours.shape[2] - theirs.shape[2]))], 1)

    def shown_map(self, heat: Tensor, x: Tensor, logit: Tensor) -> Tensor:
        """Both maps over the cell alone, as fine as the eye's pixels, together the logit, float [N, s, s]."""
        side = heat.shape[2]
        whole, _ = both_views(levels_of(x))
        return self._laid(heat[:, :side], heat[:, side:, : heat.shape[1] - side], whole, logit)

    def explained(self, frames: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """As of any network, without a sheet, whose making costs a quarter of the time."""
        del size
        whole, small = both_views(frames)
        assert isinstance(self.features, Sheet)
        maps, below = self.features.apart(whole, small)
        seen = self.project(self._statistics_of(maps, below))
        logit = self.answer(seen)[:, 0]
        ours, theirs = self._heats_of(maps, below, self.slopes(seen) @ self.project.weight)
        return logit, self._laid(ours, theirs, whole, logit), seen

    @torch.no_grad()
    def join(self, head: Mapping[str, NDArray[Any]], compact: CompactCNN) -> None:
        """Take over the head of an eye and a trained network.

        Args:
            head: as `leukoscope.training.heads.fit_head` gives it.
            compact: of the same widths.
        """
        own = {name: each for name, each in compact.state_dict().items() if not name.startswith("head.")}
        self.compact.load_state_dict(own)
        self.take_head({name: each for name, each in head.items() if not name.startswith("project.")})
        weight, bias = (torch.as_tensor(head[f"project.{name}"]) for name in ("weight", "bias"))
        self.project.weight.zero_()
        self.project.weight[:-1, : self.statistics_of_eye] = weight
        self.project.weight[-1, self.statistics_of_eye :] = compact.head.weight[0]
        self.project.bias.copy_(torch.cat([bias, compact.head.bias]))

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The eye's maps, and the compact network's, of a sheet."""
        side, channels = features.shape[3], self.project.in_features - self.statistics_of_eye
        return features[:, :, :side], features[:, :channels, side:, : features.shape[2] - side]

    def _statistics_of(self, maps: Tensor, below: Tensor) -> Tensor:
        return torch.cat([super().statistics(maps), self.compact.embed(below)], 1)

    def _heats_of(self, maps: Tensor, below: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of both, each of its own size; the compact network's are its features by the slopes of means."""
        mine, theirs = slopes[:, : self.statistics_of_eye], slopes[:, self.statistics_of_eye :, None, None]
        return super().heat_of(maps, mine), (below * theirs).sum(1) / (below.shape[2] * below.shape[3])

    def _laid(self, ours: Tensor, theirs: Tensor, whole: Tensor, logit: Tensor) -> Tensor:
        """Both maps over the frame; see `shown_map`."""
        mask = cell_mask(whole, max(self.trunk.rim, 1))
        ours = onto_cell(ours, mask, REACH)
        around = ours.shape[2] * FRAME // CROP - ours.shape[2]
        ours, share = (
            F.pad(each, (around // 2, around - around // 2) * 2) for each in (ours, share_of(mask, ours.shape[2]))
        )
        return summing_to(ours + enlarged_onto(theirs, share), share, logit)


add_spec(
    ModelSpec(
        name="pair",
        build=Pair,
        summary="an eye and a compact_cnn in one graph, each shown its own view of the frame",
        source="ours; see eye and compact_cnn",
        input_size=FRAME,
        arguments={
            "trunk": "tf_efficientnet_lite0",
            "stages": (3, 4, 5),
            "components": 64,
            "units": 64,
            "widths": (16, 32, 64, 96),
        },
        extra="backbones",
        weights=HubWeights("timm/tf_efficientnet_lite0.in1k", "Apache-2.0"),
    )
)
