"""Networks of timm: what is kept of them, what is said of them, and one all the way to an answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from leukoscope.cli import main
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import MissingExtraError, ModelError
from leukoscope.inference.classifier import Classifier, load
from leukoscope.models import closed_form_cam, count_parameters, create_model, model_spec
from leukoscope.models.weights import check_size
from timm_presence import needs_timm

SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for name in ("vgg16", "timm:mobilenetv3_small_100"):
        with pytest.raises(MissingExtraError, match=r"pip install 'leukoscope\[backbones\]'"):
            create_model(name)
    assert model_spec("vgg16").extra == "backbones"  # what it is can be read without
    told = leukoscope("models", "timm:mobilenetv3_small_100")
    assert (told.exit_code, "leukoscope[backbones]" in told.output) == (2, True)


@needs_timm
def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"timm has no network 'mobilenetv3_smal_100'; use one of: timm:mobilenetv3_s"):
        create_model("timm:mobilenetv3_smal_100")
    with pytest.raises(ModelError, match=r"timm has no weights 'tv' of vgg16; use one of: vgg16\.tv_in1k"):
        model_spec("timm:vgg16.tv")
    with pytest.raises(ModelError, match=r"timm cannot build test_vit with .*no_such_option"):
        create_model("timm:test_vit", options={"no_such_option": 1})
    with pytest.raises(ModelError, match="no model is called 'vgg61'; use one of: vgg16"):
        create_model("vgg61")


@needs_timm
def test_what_is_said_of_the_rivals_is_what_timm_says() -> None:
    for name in ("vgg16", "resnetv2_101", "densenet201", "inception_v3", "wide_resnet50_2"):
        ours, timms = model_spec(name), model_spec(f"timm:{name}")
        assert ours.weights is not None
        assert timms.weights is not None
        assert (ours.input_size, ours.arguments, ours.weights.hub) == (
            timms.input_size,
            timms.arguments,
            timms.weights.hub,
        )
        assert ours.weights.licence.lower() == timms.weights.licence.lower()
    assert model_spec("inception_v3").input_size == 299


@needs_timm
def test_the_trunk_is_timms_and_normalisation_is_inside() -> None:
    import timm  # noqa: PLC0415

    torch.manual_seed(0)
    model = create_model("timm:test_byobnet").eval()
    reference = timm.create_model("test_byobnet", num_classes=0).eval()
    reference.load_state_dict(model.trunk.net.state_dict(), strict=False)
    facts = timm.get_pretrained_cfg("test_byobnet")
    x = torch.rand(2, 3, 96, 96)
    mean, std = (torch.tensor(v)[:, None, None] for v in (facts.mean, facts.std))
    expected = reference.forward_features((x - mean) / std)
    torch.testing.assert_close(model.forward_features(x), expected)
    torch.testing.assert_close(model.embed(expected), reference((x - mean) / std))  # timm pools this one by the mean


@needs_timm
@pytest.mark.parametrize(
    ("name", "arguments", "size", "side"),
    [
        ("timm:test_vit", {"image_size": 64}, 64, 4),
        ("timm:test_convnext", {}, 64, 2),
        ("timm:swin_tiny_patch4_window7_224", {"image_size": 224, "options": SWIN}, 224, 7),
    ],
)
def test_every_layout_becomes_a_map_in_its_place(name: str, arguments: dict, size: int, side: int) -> None:
    torch.manual_seed(0)
    model = create_model(name, **arguments).eval()
    x = torch.rand(2, 3, size, size)
    features = model.forward_features(x).detach().requires_grad_()
    assert features.shape == (2, model.cam_weights().shape[0], side, side)
    gradient = torch.autograd.grad(model.forward_head(features).sum(), features)[0]
    reference = (gradient.mean((2, 3), keepdim=True) * features).sum(1)
    torch.testing.assert_close(closed_form_cam(model, features), reference, rtol=1e-4, atol=1e-6)
    assert not [n for n, p in model.named_parameters() if "head" in n and not n.startswith("head.")]
    # A light put into the lower left corner shows most in the lower left of the map, not mirrored or transposed.
    lit = x.clone()
    lit[:, :, -size // 8 :, : size // 8] = 1 - lit[:, :, -size // 8 :, : size // 8]
    change = (model.forward_features(lit) - features).detach().abs().sum((0, 1))
    assert divmod(int(change.argmax()), side) == (side - 1, 0)


@needs_timm
def test_a_fixed_size_is_said_with_its_remedy() -> None:
    name = "timm:vit_tiny_patch16_224"
    model = create_model(name)
    with pytest.raises(ModelError, match=r"takes no pictures of 64 px .*--set model\.arguments\.image_size=64"):
        check_size(model, name, 64)
    with pytest.raises(ModelError, match=r"inception_v3 takes no pictures of 48 px .*--set input\.size=299$"):
        check_size(create_model("inception_v3"), "inception_v3", 48)


@needs_timm
def test_models_counts_parameters_without_building(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = leukoscope("models", "timm:test_efficientnet")
    assert shown.exit_code == 0, shown.output
    assert f"parameters: {count_parameters(create_model('timm:test_efficientnet')):,} trainable" in shown.output
    assert "published weights: timm/test_efficientnet." in shown.output
    listed = leukoscope("models").output.splitlines()
    assert [line.split()[1] for line in listed if line.startswith("vgg16 ")] == ["14,715,201"]


@needs_timm
@pytest.mark.slow
def test_from_a_file_of_weights_to_an_answer(tmp_path: Path) -> None:
    """Train in stages from a file, resume with other weights, export, measure and predict."""
    torch.manual_seed(1)
    teacher, weights = create_model("timm:test_efficientnet"), tmp_path / "teacher.safetensors"
    state = {k: v for k, v in teacher.trunk.net.state_dict().items() if v.numel() and "num_batches" not in k}
    save_file(state, weights, metadata={"license": "CC0-1.0"})
    cells, out = tmp_path / "cells", tmp_path / "run"
    write_synthetic(cells, count=48, seed=1, layout="cnmc", subjects=12)
    settings = ("input.size=48", "split.folds=3", "stages.frozen_epochs=1", "stages.batch_norm=frozen")
    command = ["train", "--data", cells, "--recipe", "transfer", "--model", "timm:test_efficientnet", "--epochs", 2]
    command += ["--out", out, "--cache", tmp_path / "cache", *(part for each in settings for part in ("--set", each))]
    done = leukoscope(*command, "--weights", weights)
    assert done.exit_code == 0, done.output
    facts = json.loads((out / "bundle" / "bundle.json").read_text())
    start = facts["training"]["weights"]
    assert (start["source"], start["licence"]) == ("file:teacher.safetensors", "CC0-1.0")
    assert "Started from the weights file:teacher.safetensors" in (out / "bundle" / "README.md").read_text()
    assert str(tmp_path) not in json.dumps(facts)

    save_file({k: v + 1 for k, v in state.items()}, weights)
    again = leukoscope(*command, "--weights", weights)
    assert again.exit_code != 0
    assert "the folder holds another run (differs in: weights)" in again.output
    refused = leukoscope(*command, "--weights", weights, "--weights-sha256", start["sha256"])
    assert "its SHA-256 is" in refused.output

    classifier = load(out / "bundle")
    assert isinstance(classifier, Classifier)
    answer = classifier.predict(sorted(cells.rglob("UID_*"))[0])
    assert 0 <= answer.probability <= 1
    assert np.isfinite(answer.heatmap).all()
