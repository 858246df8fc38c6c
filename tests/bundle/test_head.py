"""A graph with another head is the graph that the network with that head would have been exported to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from bundle_factory import make_bundle
from leukoscope.bundle.export import ExplainedGraph, graph_bytes
from leukoscope.bundle.head import read_head, replace_head
from leukoscope.bundle.read import read_bundle
from leukoscope.errors import BundleError
from leukoscope.models import create_model


def run(graph: bytes, frames: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"frames": frames})  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["plain_cnn", "crse_cnn"])
def test_logit_and_heat_map_are_those_of_the_network_with_the_new_head(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model(name, widths=(4, 6, 8, 10))
    with torch.no_grad():
        for part in model.modules():  # as after training: a slope of the batch normalisation that is not 1
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
                part.weight.uniform_(0.5, 2)
    bundle = read_bundle(make_bundle(tmp_path / "b", graph=graph_bytes(model, 32, 32), frame=32))
    head = read_head(bundle)
    assert head.weight == pytest.approx(model.head.weight[0].detach().numpy())  # type: ignore[union-attr,index]
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=10), 0.75
    patched = replace_head(bundle, weight, bias)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight)[None])  # type: ignore[union-attr,operator]
        model.head.bias.fill_(bias)  # type: ignore[union-attr,operator]
    frames = rng.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    with torch.no_grad():
        reference = [each.numpy() for each in ExplainedGraph(model, 32).eval()(torch.from_numpy(frames))]
    for got, wanted, before in zip(run(patched, frames), reference, run(bundle.graph, frames), strict=True):
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-5)
        if got.shape != (3, 10):  # logit and heat map move, the embedding stays bit by bit
            assert np.abs(got - before).max() > 0.001
        else:
            assert np.array_equal(got, before)
    twice = replace_head(replace(bundle, graph=patched), head.weight, head.bias)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(run(twice, frames), run(bundle.graph, frames), strict=True))
    same = replace_head(bundle, head.weight, head.bias)
    assert all(np.array_equal(a, b) for a, b in zip(run(same, frames), run(bundle.graph, frames), strict=True))
    with pytest.raises(BundleError, match="finite head of 10"):
        replace_head(bundle, weight[:9], bias)
    with pytest.raises(BundleError, match="finite head of 10"):
        replace_head(bundle, weight * np.nan, bias)


def test_a_graph_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no linear unit on the embedding"):
        read_head(read_bundle(make_bundle(tmp_path / "b")))
