"""Learning kinds of cells: that it learns, that what it learned is where a run starts from, and its faults."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from leukoscope.cli import main
from leukoscope.datasets.kinds import kind_of, read_kinds
from leukoscope.errors import DataError, TrainingError
from leukoscope.models import create_model
from leukoscope.models.weights import start_weights
from leukoscope.training.pretrain import pretrain, save_pretrained
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import Runtime

CPU = Runtime(torch.device("cpu"), torch.float32)
SMALL = (
    "model.arguments.widths=[4, 8]", "model.arguments.rim=0", "input.size=32", "epochs=8", "augment.sharpness=0",
    "optimizer.learning_rate=0.02",
)  # fmt: skip


def cell(kind: str, random: np.random.Generator, size: int = 64) -> NDArray[np.uint8]:
    """A disc on black: striped, or dotted."""
    y, x = np.mgrid[:size, :size]
    centre, radius = random.uniform(0.45, 0.55, 2) * size, random.uniform(0.3, 0.4) * size
    wave = np.sin(x * 0.8) if kind == "striped" else np.sin(x * 0.8) * np.sin(y * 0.8)
    grey = 120 + 70 * wave + random.normal(0, 6, (size, size))
    disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    return np.repeat(np.where(disc, grey, 0).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.fixture(scope="module")
def pictures() -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    random = np.random.default_rng(3)
    kinds = np.array(["striped", "dotted"] * 60)
    return np.stack([cv2.resize(cell(kind, random), (32, 32)) for kind in kinds]), kinds


def test_kinds_are_learned_and_shuffled_ones_are_not(
    pictures: tuple[NDArray[np.uint8], NDArray[np.str_]],
) -> None:
    frames, kinds = pictures
    recipe = load_recipe("champion", SMALL)
    torch.manual_seed(0)
    found = pretrain(create_model("compact_cnn", **recipe.model.arguments), recipe, frames, kinds, CPU)
    assert found.kinds == ("dotted", "striped")
    assert found.pictures == 108  # a tenth of each kind is held out
    assert found.history[-1]["held_out_accuracy"] >= 0.9
    torch.manual_seed(0)
    shuffled = np.random.default_rng(1).permutation(kinds)
    blind = pretrain(create_model("compact_cnn", **recipe.model.arguments), recipe, frames, shuffled, CPU)
    assert blind.history[-1]["held_out_accuracy"] <= 0.85
    assert blind.history[-1]["loss"] > found.history[-1]["loss"]


def test_a_run_starts_from_what_was_learned(
    pictures: tuple[NDArray[np.uint8], NDArray[np.str_]], tmp_path: Path
) -> None:
    frames, kinds = pictures
    recipe = load_recipe("champion", (*SMALL, "epochs=1"))
    states = []
    for name in ("a", "b"):
        torch.manual_seed(0)
        model = create_model("compact_cnn", **recipe.model.arguments)
        pretrain(model, recipe, frames, kinds, CPU)
        save_pretrained(model, tmp_path / f"{name}.safetensors", "CC BY 4.0")
        states.append(load_file(tmp_path / f"{name}.safetensors"))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])  # the seed decides
    assert not any(key.startswith("head.") for key in states[0])
    fresh = create_model("compact_cnn", **recipe.model.arguments)
    loaded = start_weights(fresh, "compact_cnn", str(tmp_path / "a.safetensors"))
    assert loaded.fresh == ("head.weight", "head.bias")
    assert loaded.licence == "CC BY 4.0"
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in states[0].items())


def test_one_kind_or_many_processes_are_refused(pictures: tuple[NDArray[np.uint8], NDArray[np.str_]]) -> None:
    frames, kinds = pictures
    recipe = load_recipe("champion", SMALL)
    model = create_model("compact_cnn", **recipe.model.arguments)
    with pytest.raises(DataError, match="no two kinds"):
        pretrain(model, recipe, frames[:4], np.array(["a"] * 4), CPU)
    with pytest.raises(TrainingError, match="one process"):
        pretrain(model, recipe, frames, kinds, Runtime(torch.device("cpu"), torch.float32, 0, 2))


def write_kinds(folder: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    for kind in ("striped", "dotted"):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(cell(kind, random)).save(folder / kind / f"{number:02d}.png")
    return folder


def test_folders_of_kinds(tmp_path: Path) -> None:
    folder = write_kinds(tmp_path / "kinds", 22)
    manifest = read_kinds(folder, per_kind=21)
    assert [kind_of(record) for record in manifest.records] == ["dotted"] * 21 + ["striped"] * 21
    assert {record.label for record in manifest.records} == {None}
    assert manifest.fingerprint() == read_kinds(folder, per_kind=21).fingerprint()
    assert manifest.fingerprint() != read_kinds(folder, per_kind=21, seed=1).fingerprint()
    with pytest.raises(DataError, match="is no folder"):
        read_kinds(folder / "absent")
    with pytest.raises(DataError, match="0 kinds are too few"):
        read_kinds(folder / "dotted")
    for path in sorted((folder / "dotted").iterdir())[:3]:
        path.unlink()
    with pytest.raises(DataError, match="19 pictures of dotted are too few"):
        read_kinds(folder)


def test_the_verb_writes_weights_and_names_what_it_left_out(tmp_path: Path) -> None:
    folder = write_kinds(tmp_path / "kinds", 24)
    (folder / "dotted" / "05.png").write_bytes(b"no picture")
    arguments = ["pretrain", "--data", str(folder), "--cache", str(tmp_path / "cache"), "--epochs", "1"]
    settings = [part for text in SMALL if "epochs" not in text for part in ("--set", text)]
    done = CliRunner().invoke(
        main, [*arguments, *settings, "--scale", "0.19", "--out", str(tmp_path / "w.safetensors")]
    )
    assert done.exit_code == 0, done.output
    assert "left out: dotted/05.png" in done.output
    assert "47 cells of 2 kinds (1 left out)" in done.output
    assert "blocks.0.conv.weight" in load_file(tmp_path / "w.safetensors")
    for more, message in (
        (["--out", str(tmp_path / "w.bin")], "end --out with .safetensors"),
        (["--out", str(tmp_path / "w2.safetensors"), "--scale", "0.001"], "makes frames of 0 px"),
    ):
        bad = CliRunner().invoke(main, [*arguments, *settings, *more])
        assert bad.exit_code != 0
        assert message in bad.output
    assert not (tmp_path / "w2.safetensors").exists()
