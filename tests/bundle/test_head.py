"""A graph with a changed head is the graph that the network with that head would have been exported to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from bundle_factory import make_bundle
from leukoscope.bundle.export import ExplainedGraph, graph_bytes
from leukoscope.bundle.head import GraphHead, HeadChange
from leukoscope.bundle.read import read_bundle
from leukoscope.errors import BundleError
from leukoscope.models import create_model
from timm_presence import NO_TIMM, no_timm


def run(graph: bytes, frames: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"frames": frames})  # type: ignore[no-any-return]


def some_change(size: int, rng: np.random.Generator) -> HeadChange:
    return HeadChange(rng.uniform(0.5, 2, size), rng.normal(size=size), 0.7, rng.normal(size=size), 0.75)


@pytest.mark.parametrize("name", ["plain_cnn", "crse_cnn", "compact_cnn"])
def test_logit_and_heat_map_are_those_of_the_network_with_the_new_head_twice(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model(name, widths=(4, 6, 8, 10))
    with torch.no_grad():
        for part in model.modules():  # as after training: a slope of the batch normalisation that is not 1
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
                part.weight.uniform_(0.5, 2)
    bundle = read_bundle(make_bundle(tmp_path / "b", graph=graph_bytes(model, 32, 32), frame=32))
    rng = np.random.default_rng(0)
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    frames[:, 3:27, 5:30] = rng.integers(1, 256, (3, 24, 25, 3))
    first = before = run(bundle.graph, frames)
    changed = bundle
    for change in (some_change(10, rng), some_change(10, rng)):
        head = GraphHead(changed)
        assert head.logits(before[2]) == pytest.approx(before[0], abs=1e-5)
        changed = replace(changed, graph=head.changed(change))
        with torch.no_grad():
            along = 0.7 * model.head.weight[0] + torch.from_numpy(change.weight)  # type: ignore[union-attr,index]
            model.head.bias.copy_(0.7 * model.head.bias + 0.75 + along @ torch.from_numpy(change.shift))  # type: ignore[union-attr,operator]
            model.head.weight.copy_((along * torch.from_numpy(change.scale))[None])  # type: ignore[union-attr,operator]
            reference = [each.numpy() for each in ExplainedGraph(model, 32).eval()(torch.from_numpy(frames))]
        after = run(changed.graph, frames)
        for got, wanted, old in zip(after[:2], reference, before, strict=False):  # logit and heat map move
            assert got == pytest.approx(wanted, rel=1e-4, abs=1e-4)
            assert np.abs(got - old).max() > 0.001
        assert np.array_equal(after[2], first[2])  # the embedding stays bit by bit
        if name == "compact_cnn":  # the changed answer, too, is all on the map
            assert after[1].sum((1, 2)) == pytest.approx(after[0], rel=1e-4, abs=1e-4)
        before = after
    same = GraphHead(changed).changed(HeadChange.none(10))
    assert all(np.array_equal(a, b) for a, b in zip(run(same, frames), before, strict=True))
    refuses(GraphHead(changed), change)


@pytest.mark.skipif(no_timm(), reason=NO_TIMM)
@pytest.mark.parametrize("kind", ["linear", "mlp", "radial", "pair"])
def test_a_head_of_any_kind_changes_with_its_heat_map_twice(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    made = ("pair", {"widths": (2, 3, 4, 5)}) if kind == "pair" else ("eye", {"kind": kind})
    model = create_model(made[0], **made[1], components=8, units=12).eval()  # type: ignore[arg-type]
    model.halved = ()  # numbers as they are
    size, side = (9, 85) if kind == "pair" else (8, 96)
    rng = np.random.default_rng(1)
    frames = np.zeros((3, side, side, 3), np.uint8)
    frames[:, 20:70, 30:80] = rng.integers(40, 256, (3, 50, 50, 3))
    bundle = read_bundle(make_bundle(tmp_path / "b", graph=graph_bytes(model, side, side), frame=side))
    head, changes = GraphHead(bundle), [some_change(size, rng), some_change(size, rng)]
    logit, _, embedding = run(bundle.graph, frames)
    assert head.logits(embedding) == pytest.approx(logit, abs=1e-4)

    def wanted(features: torch.Tensor, done: list[HeadChange]) -> torch.Tensor:
        """Each change sees the embedding aligned by those that came after it."""
        seen, added, trust = model.embed(features), torch.zeros(()), 1.0
        for change in reversed(done):
            seen = seen * torch.from_numpy(change.scale).float() + torch.from_numpy(change.shift).float()
            added = added + trust * (seen @ torch.from_numpy(change.weight).float() + change.bias)
            trust *= change.trust
        return trust * model.answer(seen)[:, 0] + added  # type: ignore[operator]

    once = replace(bundle, graph=head.changed(changes[0]))
    twice = replace(bundle, graph=GraphHead(once).changed(changes[1]))
    x = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    features = model.forward_features(x).detach().requires_grad_()
    for changed, done in ((once, changes[:1]), (twice, changes)):
        told, heat, seen = run(changed.graph, frames)
        expected = wanted(features, done)
        (gradient,) = torch.autograd.grad(expected.sum(), features)
        evidence, shares = gradient * features, slice(sum(model.trunk.channels), sum(model.trunk.channels) + 3)  # type: ignore[union-attr]
        local = evidence.sum(1) - evidence[:, shares].sum(1)
        by_hand = model.shown_map(local, x, expected).detach().numpy()  # the changed answer, too, is all on the map
        assert told == pytest.approx(expected.detach().numpy(), rel=1e-3, abs=1e-3)
        assert np.abs(heat - by_hand).max() < 1e-3 * np.abs(by_hand).max()
        assert np.array_equal(seen, embedding)
        assert GraphHead(changed).logits(seen) == pytest.approx(told, rel=1e-3, abs=1e-3)
    refuses(head, changes[0])


def refuses(head: GraphHead, change: HeadChange) -> None:
    with pytest.raises(BundleError, match=f"finite change of {head.size}"):
        head.changed(replace(change, weight=change.weight[1:]))
    with pytest.raises(BundleError, match=f"finite change of {head.size}"):
        head.changed(replace(change, weight=change.weight * np.nan))


def test_a_graph_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no linear unit on the embedding"):
        GraphHead(read_bundle(make_bundle(tmp_path / "b")))
