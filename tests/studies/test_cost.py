"""Costs against layers counted by hand, and turns taken fairly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bundle_factory import make_bundle, make_graph
from leukoscope.bundle.read import read_bundle
from leukoscope.errors import BundleError
from leukoscope.models import count_parameters, create_model
from leukoscope.models.registry import CellClassifier
from leukoscope.runs.recipe_row import Row
from leukoscope.studies.compare.cost import (
    ENGINES,
    Subject,
    count,
    count_operations,
    each_subject,
    interleave,
    peak_memory,
    subject_of_bundle,
    subject_of_row,
    time_all,
)


class Layers(CellClassifier):
    """A network of the layers given, then the mean over positions and one unit."""

    def __init__(self, layers: nn.Module, channels: int) -> None:
        super().__init__()
        self.layers, self.unit = layers, nn.Linear(channels, 1)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.unit(features.mean((2, 3)))


@pytest.mark.parametrize(
    ("layer", "channels", "side", "macs_per_output"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 8, 16, 3 * 9),
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), 8, 16, 3 * 9),  # a bias is no multiplication
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), 8, 8, 3 * 9),
        (nn.Conv2d(3, 6, 3, groups=3), 6, 14, 1 * 9),
        (nn.Conv2d(3, 5, 3, dilation=2), 5, 12, 3 * 9),
        (nn.Conv2d(3, 4, (1, 5), padding=(0, 2)), 4, 16, 3 * 5),
    ],
    ids=["plain", "no bias", "stride", "groups", "dilation", "asymmetric"],
)
def test_a_convolution_by_hand(layer: nn.Module, channels: int, side: int, macs_per_output: int) -> None:
    outputs = channels * side * side
    model = Layers(nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU()), channels)
    assert count_operations(model, 16) == (outputs * macs_per_output + channels, outputs + 1)


def test_plain_cnn_by_hand() -> None:
    """Eight 3x3 convolutions on sides 64, 32, 16 and 8, and one unit."""
    widths, macs, outputs, before = (32, 64, 128, 256), 0, 0, 3
    layers = [m for m in create_model("plain_cnn").modules() if isinstance(m, nn.Conv2d)]
    for index, width in enumerate(widths):
        side = 64 >> index
        for layer in (each for each in layers if each.out_channels == width):
            assert layer.in_channels in {before, width}
            macs += layer.in_channels * 9 * width * side**2
            outputs += width * side**2
        before = width
    assert count_operations(create_model("plain_cnn"), 64) == (macs + 256, outputs + 1)


def test_counting_leaves_the_network_as_it_was() -> None:
    model = create_model("crse_cnn").train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    twice = count_operations(model, 32), count_operations(model, 32)
    assert twice[0] == twice[1]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.fixture(scope="module")
def subject() -> Subject:
    overrides = ("input.size=24", "input.preparation.frame_size=48")
    return subject_of_row("small", Row("small", model="plain_cnn", overrides=overrides))


def test_a_row_needs_no_training(subject: Subject) -> None:
    found = count(subject)
    assert found.parameters == count_parameters(create_model("plain_cnn")) == 389_633
    assert found.file_bytes == len(subject.bundle.graph) > 4 * found.parameters
    assert found.input_size == 24
    assert (found.macs, found.activations) == count_operations(create_model("plain_cnn"), 24)


def test_a_network_that_cannot_be_built_costs_the_others_nothing(subject: Subject, tmp_path: Path) -> None:
    foreign = make_bundle(tmp_path / "b")
    found, faults = each_subject(
        {
            "small": lambda: subject,
            "unknown": lambda: subject_of_row("unknown", Row("unknown", model="crse")),
            "foreign": lambda: subject_of_bundle("foreign", read_bundle(foreign)),
        }
    )
    assert found == [subject]
    assert "use one of: crse_cnn" in faults["unknown"]
    assert "does not say which network" in faults["foreign"]


def test_calls_take_turns() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    taken = interleave(calls, rounds=(2, 4), seconds=1e9)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert [len(taken[name]) for name in "abc"] == [4, 4, 4]
    order.clear()
    taken = interleave(calls, rounds=(2, 4), seconds=0.0)
    assert [len(each) for each in taken.values()] == [2, 2, 2]
    assert all(wall >= 0 and cpu >= 0 for times in taken.values() for wall, cpu in times)


def test_both_engines_are_timed_on_the_same_work(subject: Subject) -> None:
    found = time_all([subject], batches=(1, 2), threads=(1,), rounds=(2, 3), seconds=0.01)
    assert [(t.engine, t.batch, t.threads) for t in found] == [(e, b, 1) for b in (1, 2) for e in ENGINES]
    assert all(0 < t.low <= t.median <= t.high and t.cpu > 0 and 2 <= t.rounds <= 3 for t in found)


def test_peak_memory_is_that_of_the_child_alone(subject: Subject) -> None:
    ballast = np.ones(48 * 2**20)  # 384 MiB here must not show there
    one, many = peak_memory(subject, 1), peak_memory(subject, 256)
    assert 10 < one < 300 < ballast.nbytes / 2**20
    assert many > one + 256 * 48 * 48 * 3 / 2**20
    broken = Subject("broken", subject.model, read_like(subject, make_graph(48)[:-40]))
    with pytest.raises(BundleError, match="broken cannot be run in a process of its own"):
        peak_memory(broken, 1)


def read_like(subject: Subject, graph: bytes) -> object:
    return type(subject.bundle)(subject.bundle.folder, subject.bundle.facts, graph)
