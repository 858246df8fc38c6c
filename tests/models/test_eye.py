"""The frozen trunk seen through the cell's mask: statistics by hand, heat maps against autograd, heads, bad weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import save_file
from sklearn.svm import SVC

from leukoscope.bundle.export import graph_bytes
from leukoscope.errors import DataError, ModelError, RecipeError
from leukoscope.models import closed_form_cam, create_model
from leukoscope.models.compact import onto_cell, share_of, summing_to
from leukoscope.models.eye import KINDS, Eye
from leukoscope.models.masked import MaskedTrunk, masked_statistics
from leukoscope.models.trunk import import_timm
from leukoscope.models.weights import load_weights
from leukoscope.training import features
from leukoscope.training.features import cell_statistics
from leukoscope.training.heads import HeadChoice, balance_weights, fit_head, head_logits, left_out_logits
from leukoscope.training.recipe import Augmentation, load_recipe
from timm_presence import NO_TIMM, no_timm

pytestmark = pytest.mark.skipif(no_timm(), reason=NO_TIMM)
SIDE = 96


def cells(count: int = 3, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    """Coloured discs of differing size and texture on black, float in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*(torch.arange(side) - side / 2,) * 2, indexing="ij")
    radius = side * (0.2 + 0.15 * torch.rand(count, 1, 1, generator=generator))
    inside = ((y**2 + x**2).sqrt() < radius).float()[:, None]
    return inside * (0.2 + 0.7 * torch.rand(count, 3, side, side, generator=generator))


def frames(count: int, seed: int = 0) -> np.ndarray:
    return (cells(count, seed=seed) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def eye(kind: str = "radial", **arguments: object) -> Eye:
    torch.manual_seed(5)
    made = create_model("eye", kind=kind, components=8, units=12, **arguments)
    assert isinstance(made, Eye)
    return made.eval()


def test_statistics_are_those_of_the_cells_own_positions() -> None:
    features = torch.randn(2, 5, 6, 6)
    share = (torch.rand(2, 1, 6, 6) > 0.5).float()
    mean, deviation = masked_statistics(features, share)
    for n in range(2):
        own = features[n][:, share[n, 0] > 0]
        torch.testing.assert_close(mean[n], own.mean(1))
        torch.testing.assert_close(deviation[n], own.std(1, correction=0), rtol=1e-4, atol=1e-4)


def test_a_position_half_in_the_cell_counts_half() -> None:
    features = torch.tensor([[[[1.0, 4.0]]]])
    mean, deviation = masked_statistics(features, torch.tensor([[[[1.0, 0.5]]]]))
    assert mean.item() == pytest.approx(2.0)
    assert deviation.item() == pytest.approx(2**0.5, rel=1e-5)


def test_share_of_a_mask() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :3, :2] = 1
    assert share_of(mask, 2).tolist() == [[[[1.0, 0.0], [0.5, 0.0]]]]


def test_a_coarser_map_repeated_has_the_same_statistics() -> None:
    model, x = eye(), cells()
    torch.testing.assert_close(model.statistics(model.forward_features(x)), model.trunk.statistics(x))


@pytest.mark.parametrize("kind", ["linear", "mlp", "radial"])
@pytest.mark.parametrize("standardise", [False, True])
def test_heat_map_is_gradient_times_activation(kind: str, standardise: bool) -> None:
    model = eye(kind, standardise=standardise, rim=2)
    features = model.forward_features(cells()).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.forward_head(features).sum(), features)
    channels = sum(model.trunk.channels)  # behind them stand the shares, which are no evidence
    wanted = (gradient * features)[:, :channels].sum(1).detach()
    found = closed_form_cam(model, features).detach()
    assert float((found - wanted).abs().max()) < 1e-3 * float(wanted.abs().max())
    assert float(wanted.abs().max()) > 0


def test_there_is_no_heat_outside_the_cell() -> None:
    model, x = eye(), cells()
    heat = closed_form_cam(model, model.forward_features(x))
    share = share_of((x.amax(1, keepdim=True) > 0).float(), heat.shape[-1])[:, 0]
    deepest = share_of((x.amax(1, keepdim=True) > 0).float(), SIDE // 16)[:, 0]
    outside = (share == 0) & (torch.kron(deepest, torch.ones(2, 2)) == 0)
    assert outside.any()
    assert torch.equal(heat[outside], torch.zeros_like(heat[outside]))


def test_heat_is_dealt_out_in_proportion_to_the_cell() -> None:
    """By hand: two positions of two pixels a side, the first half cell, the second whole, no neighbours but these."""
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 0, :2] = 1  # half of the first position
    mask[0, 0, :2, 2:] = 1  # the whole second one
    heat = torch.zeros(1, 2, 2)
    heat[0, 0, 0] = 6.0
    alone = onto_cell(heat, mask, 0)[0]
    assert alone[0].tolist() == [3.0, 3.0, 0.0, 0.0]
    shared = onto_cell(heat, mask, 1)[0]  # six pixels of cell in the window
    torch.testing.assert_close(shared, mask[0, 0])


def test_what_is_nowhere_is_everywhere_in_the_cell() -> None:
    """By hand: a logit of 7, of which the places tell 3, and four pixels of cell."""
    mask, heat = torch.zeros(1, 1, 2, 3), torch.zeros(1, 2, 3)
    mask[0, 0, :, :2] = 1
    heat[0, 0] = torch.tensor([5.0, -2.0, 0.0])
    assert summing_to(heat, mask, torch.tensor([7.0]))[0].tolist() == [[6.0, -1.0, 0.0], [1.0, 1.0, 0.0]]
    assert torch.equal(summing_to(heat, torch.zeros_like(mask), torch.tensor([7.0])), heat)


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_sums_up_to_the_answer_and_lies_in_the_cell(kind: str) -> None:
    model, x = eye(kind=kind), cells()
    logit = model(x)[:, 0]
    shown = model.shown_map(closed_form_cam(model, model.forward_features(x)), x, logit)
    torch.testing.assert_close(shown.sum((1, 2)), logit, rtol=1e-3, atol=1e-3)
    assert not shown[x.amax(1) == 0].any()


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_heat_keeps_its_sum_and_leaves_the_surround(reach: int) -> None:
    mask = (cells(2)[:, :1] > 0).float()
    share = share_of(mask, SIDE // 8)[:, 0]
    heat = torch.randn(2, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(0)) * (share > 0)
    fine = onto_cell(heat, mask, reach)
    torch.testing.assert_close(fine.sum((1, 2)), heat.sum((1, 2)), rtol=1e-4, atol=1e-4)
    assert not fine[mask[:, 0] == 0].any()
    assert onto_cell(heat, mask[..., :-1, :-1], reach) is heat  # no whole number of pixels a position


def test_what_lies_outside_the_mask_decides_nothing() -> None:
    model = eye()
    features = model.forward_features(cells())
    channels = sum(model.trunk.channels)
    outside = (features[:, channels:] == 0).repeat_interleave(torch.tensor(model.trunk.channels), 1)
    changed = features.clone()
    changed[:, :channels][outside] += 100
    torch.testing.assert_close(model.forward_head(changed), model.forward_head(features))


def test_standardised_colours_hide_light_and_dye() -> None:
    x = cells() * 0.8
    tinted = x * torch.tensor([1.1, 0.9, 0.8])[:, None, None]
    blind, seeing = MaskedTrunk(standardise=True).eval(), MaskedTrunk().eval()
    with torch.inference_mode():
        apart = (blind.statistics(tinted) - blind.statistics(x)).norm() / blind.statistics(x).norm()
        plain = (seeing.statistics(tinted) - seeing.statistics(x)).norm() / seeing.statistics(x).norm()
    assert float(apart) < 0.2 * float(plain)


@pytest.mark.parametrize("kind", ["linear", "mlp", "radial"])
def test_a_fitted_head_answers_in_the_network_as_without_it(kind: str) -> None:
    random = np.random.default_rng(0)
    model, x = eye(kind), frames(40)
    statistics = model.trunk.statistics(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).detach().numpy()
    labels = random.integers(0, 2, 40)
    weights = balance_weights(labels, np.array(["a"] * 40), "loss")
    head = fit_head(statistics, labels, weights, HeadChoice(kind=kind, components=8, hidden=12))
    model.take_head(head)
    session = ort.InferenceSession(graph_bytes(model, SIDE, SIDE), providers=["CPUExecutionProvider"])
    logit, heat, embedding = session.run(None, {"frames": x})
    np.testing.assert_allclose(logit, head_logits(head, statistics), atol=2e-3)
    assert heat.shape == (40, SIDE, SIDE)
    assert not heat[x.max(axis=3) == 0].any()
    assert embedding.shape == (40, 8)
    again = create_model("eye", kind=kind, components=8, units=12)
    again.load_state_dict(model.state_dict())  # however many cells the head keeps
    assert torch.equal(again.eval()(cells()), model(cells()))


def test_radial_head_is_the_librarys_decision_function() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 50)
    statistics = (random.normal(size=(100, 20)) + labels[:, None]).astype(np.float32)
    head = fit_head(statistics, labels, np.ones(100), HeadChoice(components=20))
    standard = (statistics - statistics.mean(0)) / statistics.std(0)  # a turn of the axes changes no distance
    library = SVC(gamma="scale").fit(standard, labels)
    np.testing.assert_allclose(head_logits(head, statistics), library.decision_function(standard), atol=5e-3)  # halves


def test_groups_weigh_by_the_root_of_their_size() -> None:
    labels, groups = np.array([0, 0, 0, 0, 0, 1]), np.array(["a", "a", "a", "a", "b", "c"])
    weights = balance_weights(labels, groups, "groups")
    assert weights.sum() == pytest.approx(6)
    assert weights[5] == pytest.approx(3)  # each class half
    assert weights[:4].sum() == pytest.approx(2 * weights[4])  # root of 4 to root of 1
    assert balance_weights(labels, groups, "none").tolist() == [1] * 6


def test_left_out_answers_know_nothing_of_the_group() -> None:
    """Groups that can be told apart, labels that are chance by group: a head that saw them would be right."""
    random = np.random.default_rng(2)
    groups = np.repeat([f"g{k}" for k in range(12)], 15)
    labels = np.repeat(np.arange(12) % 2, 15)
    statistics = (np.repeat(random.normal(size=(12, 30)) * 5, 15, 0) + random.normal(size=(180, 30))).astype(np.float32)
    choice = HeadChoice(components=10, parts=6)
    head = fit_head(statistics, labels, np.ones(180), choice)
    assert ((head_logits(head, statistics) > 0) == labels).mean() > 0.95
    left_out = left_out_logits(statistics, labels, groups, choice, "loss")
    assert ((left_out > 0) == labels).mean() < 0.8
    with pytest.raises(DataError, match="fewer than two patient groups"):
        left_out_logits(statistics, labels, np.where(labels == 1, "one", groups), choice, "loss")


def test_statistics_are_kept_and_a_killed_computation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_PART", 4)
    trunk, x = eye().trunk, frames(10)
    first = cell_statistics(x, trunk, tmp_path, jobs=1)
    wanted = trunk.statistics(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).detach().numpy()
    np.testing.assert_allclose(first, wanted, rtol=1e-3, atol=1e-4)
    (entry,) = tmp_path.glob("statistics-*")
    middle = entry / "00000004"
    middle.unlink()
    kept = (entry / "00000008").stat().st_mtime_ns
    assert np.array_equal(cell_statistics(x, trunk, tmp_path, jobs=1), first)
    assert middle.exists()
    assert (entry / "00000008").stat().st_mtime_ns == kept
    damaged = bytearray(middle.read_bytes())
    for place in (200, 500, 900):  # numbers that stay finite
        damaged[place] ^= 1
    middle.write_bytes(damaged)
    assert np.array_equal(cell_statistics(x, trunk, tmp_path, jobs=1), first)
    assert middle.read_bytes() != damaged
    turned = cell_statistics(x, trunk, tmp_path, turns=1, jobs=1)
    np.testing.assert_array_equal(turned, cell_statistics(np.rot90(x, 1, axes=(1, 2)), trunk, tmp_path, jobs=1))
    dyed = cell_statistics(x, trunk, tmp_path, changes=Augmentation(stain=0.1), seed=1, jobs=1)
    assert not np.allclose(dyed, first)
    assert np.array_equal(dyed, cell_statistics(x, trunk, tmp_path, changes=Augmentation(stain=0.1), seed=1, jobs=1))


def test_weights_of_the_whole_network_fill_the_trunk(tmp_path: Path) -> None:
    timm = import_timm()
    torch.manual_seed(7)
    whole = timm.create_model("tf_efficientnet_lite0")
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    model = eye()
    loaded = load_weights(model, tmp_path / "w.safetensors")
    assert loaded.sha256 is not None
    assert set(loaded.fresh) == {k for k in model.state_dict() if not k.startswith("features.trunk.")}
    x = cells()
    y = whole.eval().bn1(whole.conv_stem((x - 0.5) / 0.5))
    for block in whole.blocks[:5]:
        y = block(y)
    torch.testing.assert_close(model.trunk.eval()(x)[0][2], y)


def test_bad_weights_say_what_to_fetch(tmp_path: Path) -> None:
    timm = import_timm()
    model = eye()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(model, tmp_path / "absent.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"timm/tf_efficientnet_lite0.in1k.*2b4a5f7e"):
        load_weights(model, tmp_path / "torn.safetensors")
    save_file(timm.create_model("tf_efficientnet_lite2").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="of another network than tf_efficientnet_lite0"):
        load_weights(model, tmp_path / "other.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_bad_choices() -> None:
    with pytest.raises(ModelError, match="cannot be cut at a stage"):
        eye(trunk="resnet18")
    with pytest.raises(ModelError, match="stages"):
        eye(stages=(5, 3))
    with pytest.raises(ModelError, match="no head is called"):
        eye("forest")
    with pytest.raises(RecipeError, match="the network `eye` alone"):
        load_recipe("eye", ("model.name=compact_cnn",))
    with pytest.raises(RecipeError, match=r"model.arguments.components is 32, the head has 64"):
        load_recipe("eye", ("model.arguments.components=32", "head.components=64"))
    three = np.zeros((3, 10), np.float32)
    with pytest.raises(DataError, match="components"):
        fit_head(three, np.array([0, 1, 1]), np.ones(3), HeadChoice(components=8))
    with pytest.raises(DataError, match="of one class"):
        fit_head(three, np.array([1, 1, 1]), np.ones(3), HeadChoice(components=2))


def test_supports_are_stored_in_half_their_size_and_nothing_is_lost() -> None:
    model = eye("radial")
    model.take_head({
        "supports": np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float16).astype(np.float32),
        "head.weight": np.ones((1, 2000), np.float32),
    })  # fmt: skip
    data = graph_bytes(model, SIDE, SIDE)
    stored = {each.name: each for each in onnx.load_from_string(data).graph.initializer}
    (half,) = (each for name, each in stored.items() if name.endswith(".half"))
    assert (half.data_type, len(half.raw_data)) == (onnx.TensorProto.FLOAT16, 2000 * 8 * 2)
    x = frames(2)
    logit = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(["logit"], {"frames": x})[0]
    wanted = model(torch.from_numpy(x).permute(0, 3, 1, 2) / 255)[:, 0].detach().numpy()
    np.testing.assert_allclose(logit, wanted, rtol=1e-4, atol=1e-3)
