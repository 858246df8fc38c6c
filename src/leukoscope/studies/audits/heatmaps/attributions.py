"""Reference explanations of a network by its gradients: what the closed-form map of a bundle is compared with.

They need the network itself, from the checkpoint of a run, and take a backward pass or many forward passes a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from leukoscope.cells.frame import resize_frame
from leukoscope.errors import ModelError, missing_extra
from leukoscope.metrics.counts import Array
from leukoscope.studies.audits.heatmaps.cells import Explain, Frames

if TYPE_CHECKING:
    from torch import Tensor, nn

    from leukoscope.models import CellClassifier

METHODS = ("gradcam", "hirescam", "hirescam finer")
CAPTUM_METHODS = ("integrated gradients", "occlusion")


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
        MissingExtraError: captum is not installed, for the last two.
    """
    if method in METHODS:
        kind, _, finer = method.partition(" ")
        layer = _layer_before(model) if finer else model.last_conv
        return lambda frames: _at_layer(kind, model, layer, layer if finer else None, _input(frames, input_size))
    if method not in CAPTUM_METHODS:
        raise ModelError(f"no explanation is called {method!r}", remedy=f"use {', '.join(METHODS + CAPTUM_METHODS)}")
    try:
        import captum.attr  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra(f"explaining by {method}", "dev") from error
    made: dict[str, Callable[[Tensor], Tensor]] = {
        "integrated gradients": lambda x: captum.attr.IntegratedGradients(_logit(model)).attribute(x, n_steps=16),
        "occlusion": lambda x: _occlusion(captum.attr.Occlusion(_logit(model)), x),
    }
    return lambda frames: _by_patch(made[method](_input(frames, input_size)))


def _input(frames: Frames, size: int) -> Tensor:
    import torch  # noqa: PLC0415

    small = np.stack([resize_frame(frame, size) for frame in frames])
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255


def _logit(model: CellClassifier) -> Callable[[Tensor], Tensor]:
    return lambda x: model(x)[:, 0]


def patches(size: int) -> int:
    """Fields along each side of the maps of pixels, and patches of the occlusion: as many as divide the picture.

    >>> [patches(size) for size in (128, 112, 56, 100)]
    [16, 16, 14, 14]
    """
    return 16 if size % 16 == 0 else 14


def _occlusion(occluder: Any, x: Tensor) -> Tensor:
    """Patches in the mean colour of the pixels that are not black: black is the surround, and size is a cue."""
    side = x.shape[-1] // patches(x.shape[-1])
    inside = (x > 0).any(dim=1, keepdim=True)
    colour = (x * inside).sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp(min=1)
    found: Tensor = occluder.attribute(
        x, sliding_window_shapes=(3, side, side), strides=(3, side, side), baselines=colour * inside
    )
    return found


def _by_patch(pixels: Tensor) -> Array:
    import torch.nn.functional as F  # noqa: PLC0415

    return np.asarray(F.adaptive_avg_pool2d(pixels.sum(1), patches(pixels.shape[-1])).detach().numpy(), np.float64)


def _layer_before(model: CellClassifier) -> nn.Module:
    """The last block or normalisation before the one that is explained."""
    for name in ("blocks", "norms"):
        parts = getattr(model, name, None)
        if parts is not None and len(parts) > 1:
            layer: nn.Module = parts[-2]
            return layer
    raise ModelError(f"{type(model).__name__} has no finer layer that is known", remedy="explain its last one")


def _at_layer(kind: str, model: CellClassifier, layer: nn.Module, hook: nn.Module | None, x: Tensor) -> Array:
    """CAM of one kind at a layer; the features that the bundle explains where no hook is needed."""
    import torch  # noqa: PLC0415

    held: list[Tensor] = []
    with torch.enable_grad():
        if hook is None:
            activation = model.forward_features(x).detach().requires_grad_(True)
            logit = model.forward_head(activation)[:, 0]
        else:
            handle = layer.register_forward_hook(lambda _module, _args, out: held.append(out))
            try:
                logit = model(x)[:, 0]
            finally:
                handle.remove()
            activation = held[0]
        (gradient,) = torch.autograd.grad(logit.sum(), activation)
    if kind == "gradcam":
        found = (gradient.mean((2, 3), keepdim=True) * activation).sum(1)
    else:
        found = (gradient * activation).sum(1)
    return np.asarray(found.detach().numpy(), np.float64)
