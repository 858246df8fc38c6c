"""One contract suite over every registered network."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from leukoscope.bundle.export import ExplainedGraph, graph_bytes
from leukoscope.errors import ModelError
from leukoscope.models import CellClassifier, closed_form_cam, count_parameters, create_model, model_names, model_spec
from leukoscope.models.blocks import SqueezeExcite
from leukoscope.models.eye import Eye
from timm_presence import NO_TIMM, no_timm

SIZE = 64
LARGER = {"inception_v3": 96, "pair": 85}  # the smallest inputs are 75 and 85 px


def _names() -> list[object]:
    """All networks; those of timm are left out, with a reason, where timm is not installed."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(model_spec(name).extra is not None and no_timm(), reason=NO_TIMM))
        for name in model_names()
    ]


@pytest.fixture(scope="module", params=_names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def built(name: str) -> CellClassifier:
    """A network whose batch normalisations have seen data and have slopes of both signs, as after training."""
    torch.manual_seed(3)
    made = create_model(name)
    made.train()
    deep = count_parameters(made) > 10_000_000
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                if deep:
                    # Random layers of this kind make small differences grow with depth (Yang et al., ICLR 2019), until
                    # rounding decides the logit. Most units above zero, as in trained ones: they stay small.
                    module.weight.normal_(0.8, 0.1)
                    module.bias.normal_(1, 0.1)
                    module.momentum = None  # the mean over the batches: a few of them move the statistics all the way
                else:
                    module.weight.normal_(0.2, 1)
                    module.bias.normal_()
        for _ in range(3):
            made(pictures(name, 8, seed=2))
    return made.eval()


@pytest.fixture
def model(built: CellClassifier) -> CellClassifier:
    return built


def pictures(name: str, count: int = 3, size: int = SIZE, seed: int = 1) -> torch.Tensor:
    """Coloured clouds of differing contrast, float in 0..1.

    Pictures of pure noise are all alike to a deep network: its statistics would have next to no variance, and whatever
    is divided by it, rounding included, would be blown up.
    """
    size = max(size, LARGER.get(name, 0))
    generator = torch.Generator().manual_seed(seed)
    clouds = F.interpolate(torch.rand(count, 3, 8, 8, generator=generator), size=(size, size), mode="bilinear")
    return clouds * (0.3 + 0.7 * torch.rand(count, 1, 1, 1, generator=generator))


def test_shapes(name: str, model: CellClassifier) -> None:
    x = pictures(name)
    features = model.forward_features(x)
    assert model(x).shape == (3, 1)
    assert features.ndim == 4
    if model.constant_slopes:
        assert features.shape[:2] == (3, model.cam_weights().shape[0])
    assert closed_form_cam(model, features).shape == (3, *features.shape[2:])
    assert model.embed(features).ndim == 2
    assert torch.equal(model(x), model.forward_head(features))


def test_every_parameter_learns(name: str, model: CellClassifier) -> None:
    model = copy.deepcopy(model).train()
    model(pictures(name, 4)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
    assert any(p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_batch_of_one_gets_the_answer_of_the_batch(name: str, model: CellClassifier) -> None:
    x = pictures(name)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


def test_channels_last_is_the_same_function(name: str, model: CellClassifier) -> None:
    x = pictures(name)
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), other(x.to(memory_format=torch.channels_last)), rtol=1e-4, atol=1e-5)


def test_state_round_trip(name: str, model: CellClassifier) -> None:
    again = create_model(name).eval()
    again.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(model(pictures(name)), again(pictures(name)))


@pytest.mark.parametrize("size", [SIZE, 50])  # 50 leaves a row and a column outside the last pooling
def test_closed_form_cam_is_autograd_grad_cam(name: str, model: CellClassifier, size: int) -> None:
    x = pictures(name, size=size)
    features = model.forward_features(x).detach().requires_grad_()
    gradient = torch.autograd.grad(model.forward_head(features).sum(), features)[0]
    found = closed_form_cam(model, features).detach()
    if isinstance(model, Eye):  # its slopes differ from position to position; the shares of the mask are no evidence
        evidence = gradient * features
        channels, shares = sum(model.trunk.channels), len(model.trunk.channels)
        reference = (evidence.sum(1) - evidence[:, channels : channels + shares].sum(1)).detach()
        assert float((found - reference).abs().max() / reference.abs().max()) < 1e-3
        return
    reference = (gradient.mean((2, 3), keepdim=True) * features).sum(1).detach()
    assert float((found - reference).abs().max() / reference.abs().max()) < 1e-3
    for sign in (1, -1):  # Grad-CAM of either class, each with a hook on the whole network's own backward pass
        torch.testing.assert_close(F.relu(sign * found), _grad_cam(model, x, sign), rtol=1e-3, atol=1e-6)


def _grad_cam(model: CellClassifier, x: torch.Tensor, sign: int) -> torch.Tensor:
    """Grad-CAM as its paper describes it, from hooks on ``last_conv`` and a backward pass through everything."""
    kept: dict[str, torch.Tensor] = {}

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        activation = F.relu(output)  # the layer's activation belongs to it; on a rectified output this changes nothing
        activation.retain_grad()
        kept["activation"] = activation

    handle = model.last_conv.register_forward_hook(keep)
    model.forward_features(x)
    handle.remove()
    activation = kept["activation"]
    (sign * model.forward_head(activation)).sum().backward()
    assert activation.grad is not None
    return F.relu((activation.grad.mean((2, 3), keepdim=True) * activation).sum(1)).detach()


@pytest.mark.slow
def test_onnx_parity_for_any_batch(name: str, model: CellClassifier) -> None:
    size = pictures(name).shape[-1]
    # The resize inside the graph may round a pixel to the next level; the small networks show that it does no more.
    frame = size if model_spec(name).extra else 100
    data = graph_bytes(model, size, frame)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["logit", "heatmap", "embedding"]
    graph = ExplainedGraph(model, size)
    for count in (1, 5):
        frames = (pictures(name, count, frame) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        found = session.run(None, {"frames": frames})
        with torch.inference_mode():
            expected = [e.numpy() for e in graph(torch.from_numpy(frames))]
        rounding = 5 if model.halved else 1
        np.testing.assert_allclose(found[0], expected[0], atol=rounding * 1e-4)
        for f, e in zip(found[1:], expected[1:], strict=True):
            assert f.shape == e.shape
            assert np.abs(f - e).max() <= rounding * 1e-3 * np.abs(e).max()
    gates = sum(isinstance(module, SqueezeExcite) for module in model.modules())
    kinds = Counter(node.op_type for node in onnx.load_from_string(data).graph.node)
    if model_spec(name).extra is None:  # no linear layer but the head, as such would break up blocks of channels
        assert (kinds["Gemm"], kinds["Resize"], kinds["Einsum"]) == (1, gates, 0)
    assert b"/" + b"work" not in data  # no trace of the machine that exported it
    assert b"site-packages" not in data


def test_plain_cnn_has_the_papers_size() -> None:
    assert count_parameters(create_model("plain_cnn")) == 389_633


def test_crse_cnn_without_its_additions_is_plain_cnn() -> None:
    torch.manual_seed(0)
    crse, plain = create_model("crse_cnn", residual=False, se=False).eval(), create_model("plain_cnn").eval()
    assert count_parameters(crse) == count_parameters(plain)
    for block, conv, norm in zip(crse.blocks, plain.convs, plain.norms, strict=True):
        conv.load_state_dict(block.conv.state_dict())
        norm.load_state_dict(block.norm.state_dict())
    plain.head.load_state_dict(crse.head.state_dict())
    torch.testing.assert_close(crse(pictures("crse_cnn")), plain(pictures("crse_cnn")))


def test_each_addition_can_be_switched() -> None:
    sizes = {(r, s): count_parameters(create_model("crse_cnn", residual=r, se=s)) for r in (0, 1) for s in (0, 1)}
    assert len(set(sizes.values())) == 4
    # 1x1 projections without bias, and their batch normalisations
    projections = sum(i * o + 2 * o for i, o in ((3, 32), (32, 64), (64, 128), (128, 256)))
    assert sizes[1, 0] - sizes[0, 0] == projections == sizes[1, 1] - sizes[0, 1]


def test_unknown_names_and_arguments_are_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"no model is called 'crse_cn'; use one of: crse_cnn"):
        create_model("crse_cn")
    with pytest.raises(ModelError, match=r"plain_cnn has no argument depth; its arguments are: widths, dropout"):
        create_model("plain_cnn", depth=3)
    with pytest.raises(ModelError, match="cannot be built"):
        create_model("plain_cnn", widths="wide")
