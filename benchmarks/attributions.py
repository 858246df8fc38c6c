"""Reference explanations of a network by its gradients, from captum: what the map of a bundle's graph is compared with.

They need the network itself, from the checkpoint of a run, and take a backward pass or many forward passes a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import torch.nn.functional as F
from torch import Tensor, from_numpy, nn

from leukoscope.cells.frame import resize_frame
from leukoscope.errors import ModelError
from leukoscope.models import CellClassifier
from leukoscope.studies.audits.heatmaps.cells import Explain, Frames

METHODS = ("gradcam", "hirescam", "hirescam finer", "integrated gradients", "occlusion")


def reference(method: str, model: CellClassifier, input_size: int) -> Explain:
    """A way to explain a network's logit, as a function of prepared frames.

    | method | map |
    |---|---|
    | `gradcam` | mean gradient of each channel times its activation (Selvaraju et al. 2017), by a backward pass |
    | `hirescam` | gradient times activation, position by position (Draelos & Carin 2020) |
    | `hirescam finer` | the same at the layer before the last reduction: twice as many fields along a side |
    | `integrated gradients` | from a black frame, 16 steps (Sundararajan et al. 2017), summed over patches |
    | `occlusion` | fall of the logit when a patch takes the cell's mean colour (after Zeiler & Fergus 2014) |

    All are signed, positive for blast. LayerCAM (Jiang et al. 2021), positive gradient times activation, less the same
    for the other class, is HiResCAM term by term.

    Args:
        method: one of the above.
        model: in evaluation mode, on the CPU.
        input_size: side in pixels to which frames are resized, as in training.

    Raises:
        ModelError: no method has this name, or the network has no finer layer.
    """
    halves = _Halves(model)
    made: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "gradcam": lambda: captum.attr.LayerGradCam(halves, halves.features).attribute,
        "hirescam": lambda: captum.attr.LayerGradientXActivation(halves, halves.features).attribute,
        "hirescam finer": lambda: captum.attr.LayerGradientXActivation(halves, _layer_before(model)).attribute,
        "integrated gradients": lambda: (
            lambda x: _by_patch(captum.attr.IntegratedGradients(_logit(model)).attribute(x, n_steps=16))
        ),
        "occlusion": lambda: lambda x: _by_patch(_occlusion(captum.attr.Occlusion(_logit(model)), x)),
    }
    if method not in made:
        raise ModelError(f"no explanation is called {method!r}", remedy=f"use {', '.join(METHODS)}")
    explain = made[method]()
    return lambda frames: np.asarray(explain(_input(frames, input_size)).sum(1).detach().numpy(), np.float64)


class _Halves(nn.Module):
    """A network as the two halves between which it is explained: captum asks for the layer as a module."""

    def __init__(self, model: CellClassifier) -> None:
        super().__init__()
        self.model, self.features = model, _Features(model)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_head(self.features(x))[:, 0]


class _Features(nn.Module):
    def __init__(self, model: CellClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_features(x)


def _input(frames: Frames, size: int) -> Tensor:
    small = np.stack([resize_frame(frame, size) for frame in frames])
    return from_numpy(small).permute(0, 3, 1, 2).float() / 255


def _logit(model: CellClassifier) -> Callable[[Tensor], Tensor]:
    return lambda x: model(x)[:, 0]


def patches(size: int) -> int:
    """Fields along each side of the maps of pixels, and patches of the occlusion: as many as divide the picture.

    >>> [patches(size) for size in (128, 112, 56, 100)]
    [16, 16, 14, 14]
    """
    return 16 if size % 16 == 0 else 14


def _occlusion(occluder: captum.attr.Occlusion, x: Tensor) -> Any:
    """Patches in the mean colour of the pixels that are not black: black is the surround, and size is a cue."""
    side = x.shape[-1] // patches(x.shape[-1])
    inside = (x > 0).any(dim=1, keepdim=True)
    colour = (x * inside).sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp(min=1)
    return occluder.attribute(
        x, sliding_window_shapes=(3, side, side), strides=(3, side, side), baselines=colour * inside
    )


def _by_patch(pixels: Tensor) -> Tensor:
    """Mean over each patch of the sum over colours, [N, 1, P, P]."""
    return F.adaptive_avg_pool2d(pixels.sum(1, keepdim=True), patches(pixels.shape[-1]))


def _layer_before(model: CellClassifier) -> Any:
    """The last block or normalisation before the one that is explained."""
    for name in ("blocks", "norms"):
        parts = getattr(model, name, None)
        if parts is not None and len(parts) > 1:
            return parts[-2]
    raise ModelError(f"{type(model).__name__} has no finer layer that is known", remedy="explain its last one")
