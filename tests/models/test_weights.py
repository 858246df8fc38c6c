"""Weights from files: what fits goes in, what does not is named, and nothing is half loaded."""

from __future__ import annotations

import copy
import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from leukoscope.errors import ModelError
from leukoscope.models import CellClassifier, create_model
from leukoscope.models.weights import check_size, fetch_weights, load_weights, start_weights
from timm_presence import needs_timm

SMALL = {"widths": (4, 8), "dropout": 0.0}


def small(seed: int) -> CellClassifier:
    torch.manual_seed(seed)
    return create_model("plain_cnn", **SMALL).eval()


def same(a: CellClassifier, b: CellClassifier) -> bool:
    x = torch.rand(2, 3, 32, 32)
    return torch.equal(a(x), b(x))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_of_the_same_network_goes_in_whole(tmp_path: Path, suffix: str) -> None:
    teacher, model, path = small(1), small(2), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in teacher.state_dict().items()}}, path)
    else:
        save_file(teacher.state_dict(), path, metadata={"license": "CC0-1.0"})
    assert not same(teacher, model)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_weights(model, path, digest.upper())
    assert same(teacher, model)
    assert (loaded.source, loaded.sha256, loaded.fresh) == (f"file:w{suffix}", digest, ())
    assert loaded.licence == (None if suffix == ".pth" else "CC0-1.0")


def test_a_file_without_a_head_or_with_another_leaves_the_random_one(tmp_path: Path) -> None:
    teacher, path = small(1), tmp_path / "w.safetensors"
    state = {k: v for k, v in teacher.state_dict().items() if not k.startswith("head.")}
    for given in (state, {**state, "head.weight": torch.zeros(1000, 8), "head.bias": torch.zeros(1000)}):
        save_file(given, path)
        model = small(2)
        head = copy.deepcopy(model.head.state_dict())
        loaded = load_weights(model, path)
        assert loaded.fresh == ("head.weight", "head.bias")
        assert all(torch.equal(v, head[k]) for k, v in model.head.state_dict().items())
        assert torch.equal(model.convs[0].weight, teacher.convs[0].weight)  # type: ignore[index, union-attr]


def test_misfits_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = small(1).state_dict()
    faults = {
        r"convs\.0\.weight is \[4, 3, 5, 5\] where the network has \[4, 3, 3, 3\]": {
            **state,
            "convs.0.weight": torch.zeros(4, 3, 5, 5),
        },
        r"convs\.1\.bias is missing \(and 1 more\)": {
            k: v for k, v in state.items() if k not in {"convs.1.bias", "norms.0.weight"}
        },
        r"the network has no convs\.2\.bias": {**state, "convs.2.bias": torch.zeros(8)},
    }
    for message, given in faults.items():
        save_file(given, path)
        model = small(2)
        before = copy.deepcopy(model)
        with pytest.raises(ModelError, match=message):
            load_weights(model, path)
        assert same(model, before)


def test_a_wrong_hash_a_damaged_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(small(1).state_dict(), path)
    with pytest.raises(ModelError, match=r"its SHA-256 is [0-9a-f]{64}, not abc"):
        load_weights(small(2), path, "abc")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="no weights can be read from it"):
        load_weights(small(2), path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(small(2), tmp_path / "absent.pth")
    (tmp_path / "w.h5").write_bytes(b"HDF")
    with pytest.raises(ModelError, match="not a file of weights by its name"):
        load_weights(small(2), tmp_path / "w.h5")
    torch.save({"epoch": 3}, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match="holds no table of named tensors"):
        load_weights(small(2), tmp_path / "odd.pt")


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    evil, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"weight": _Evil(trace)}, evil)
    with pytest.raises(ModelError, match="no weights can be read from it"):
        load_weights(small(2), evil)
    evil.write_bytes(pickle.dumps(_Evil(trace), protocol=2))
    with pytest.raises(ModelError, match="no weights can be read from it"):
        load_weights(small(2), evil)
    assert not trace.exists()


def test_our_own_networks_start_at_random_unless_told(tmp_path: Path) -> None:
    model = small(1)
    assert start_weights(model, "plain_cnn").source == "none"
    with pytest.raises(ModelError, match="plain_cnn has no published weights; use --weights none"):
        start_weights(model, "plain_cnn", "hub")
    with pytest.raises(ModelError, match="a hash was given, but no weights"):
        start_weights(model, "plain_cnn", "none", "abc")


def test_a_size_that_a_network_cannot_take_is_said_before_training() -> None:
    model = create_model("plain_cnn").train()
    check_size(model, "plain_cnn", 32)
    assert model.training
    with pytest.raises(ModelError, match=r"plain_cnn takes no pictures of 4 px .* use --set input.size=224"):
        check_size(model, "plain_cnn", 4)


@needs_timm
def test_a_trunk_takes_timms_own_file_and_leaves_its_classifier(tmp_path: Path) -> None:
    import timm  # noqa: PLC0415

    torch.manual_seed(1)
    published = timm.create_model("mobilenetv3_small_050", num_classes=10).eval()
    path = tmp_path / "w.safetensors"
    save_file({k: v for k, v in published.state_dict().items() if not k.endswith("num_batches_tracked")}, path)
    model = create_model("timm:mobilenetv3_small_050", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)).eval()
    loaded = load_weights(model, path)
    assert loaded.fresh == ("head.weight", "head.bias")
    assert set(loaded.left_out) >= {"trunk.net.classifier.weight", "trunk.net.conv_head.weight"}
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model.forward_features(x), published.forward_features((x - 0.5) / 0.25))
    # A checkpoint of the whole of ours goes in, too, head and all.
    save_file(model.state_dict(), path)
    again = create_model("timm:mobilenetv3_small_050", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)).eval()
    assert load_weights(again, path).fresh == ()
    assert torch.equal(again(x), model(x))
    with pytest.raises(ModelError, match="the weights are of another network"):
        load_weights(create_model("timm:mobilenetv3_small_075"), path)


@needs_timm
def test_offline_the_hub_says_how_to_fetch_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants  # noqa: PLC0415

    from leukoscope.models import model_spec  # noqa: PLC0415

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    weights = model_spec("vgg16").weights
    assert weights is not None
    with pytest.raises(ModelError, match=r"vgg16\.tv_in1k cannot be fetched .*model\.safetensors .*--weights FILE"):
        fetch_weights(weights)
