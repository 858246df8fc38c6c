"""The form of a network that goes into a graph: the same answers, in operations that keep blocks of channels."""

from __future__ import annotations

import torch

from leukoscope.models import create_model
from leukoscope.models.blocks import SqueezeExcite
from leukoscope.models.deployed import BlockwiseGate, deployed


def test_a_gate_on_blocks_is_squeeze_and_excitation() -> None:
    torch.manual_seed(0)
    gate = SqueezeExcite(24, ratio=4)
    x = torch.randn(3, 24, 7, 9)
    torch.testing.assert_close(BlockwiseGate(gate)(x), gate(x))
    assert (gate(x) - x).abs().max() > 0.1


def test_the_network_itself_is_left_as_it_was() -> None:
    model = create_model("compact_cnn", widths=(4, 8)).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    twin = deployed(model)
    assert {type(block.se) for block in twin.blocks} == {BlockwiseGate}  # type: ignore[union-attr]
    assert {type(block.se) for block in model.blocks} == {SqueezeExcite}  # type: ignore[union-attr]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
