"""The same network in the operations that ONNX Runtime runs fastest on a CPU; only the graph of a bundle has this form.

ONNX Runtime keeps what flows between convolutions in blocks of channels. Any operation that it cannot do on blocks
makes it reorder all numbers and reorder them back, which took a fifth of the time of a compact network. Pooling, 1x1
convolutions, enlargement by repetition and products of equal shape it can do on blocks; linear layers and products with
one number per channel it cannot.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leukoscope.models.blocks import SqueezeExcite
from leukoscope.models.registry import CellClassifier


class BlockwiseGate(nn.Module):
    """Squeeze-and-excitation as pooling, two 1x1 convolutions and a product of equal shapes.

    Args:
        gate: with the weights to use.
    """

    def __init__(self, gate: SqueezeExcite) -> None:
        super().__init__()
        self.reduce = _pointwise(gate.reduce)
        self.expand = _pointwise(gate.expand)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel of float [N, C, h, w] by its gate in 0..1."""
        height, width = x.shape[2:]
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(F.avg_pool2d(x, (height, width))))))
        return x * F.interpolate(gate, scale_factor=(float(height), float(width)), mode="nearest")


def deployed(model: CellClassifier) -> CellClassifier:
    """A copy of a network for export; its answers differ by rounding alone.

    Args:
        model: on the CPU, in evaluation mode.
    """
    twin = copy.deepcopy(model)
    for parent in list(twin.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, SqueezeExcite):
                setattr(parent, name, BlockwiseGate(part))
    return twin.eval()


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    """A linear layer as a 1x1 convolution with the same numbers."""
    made = nn.Conv2d(linear.in_features, linear.out_features, 1)
    with torch.no_grad():
        made.weight.copy_(linear.weight[:, :, None, None])
        assert made.bias is not None
        made.bias.copy_(linear.bias)
    return made


@contextlib.contextmanager
def quiet_export() -> Iterator[None]:
    """Export to ONNX without the exporter's talk."""
    # The exporter reports absent packages (torchvision) and its own deprecations; neither concerns the user.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
