"""A checkpoint that is not the one that was written is refused, whichever bit of it is another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leukoscope.errors import LeukoscopeError, TrainingError
from leukoscope.training import checkpoint
from leukoscope.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint, weights_of


def parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, optimizer = parts()
    progress = TrainingState(epoch=1, best_epoch=1, best_loss=0.5, history=[{"epoch": 1, "val_loss": 0.5}])
    save_checkpoint(tmp_path, model, weights_of(model), weights_of(model), optimizer, progress)
    return tmp_path / "epoch-0001"


def test_it_is_read_back(saved: Path) -> None:
    model, optimizer = parts()
    found = load_checkpoint(saved.parent, model, optimizer)
    assert found is not None
    assert (found[0].epoch, found[0].history) == (1, [{"epoch": 1, "val_loss": 0.5}])


@pytest.mark.parametrize("name", ["model", "best", "average", "optimizer", "state"])
def test_no_flipped_bit_goes_unnoticed(saved: Path, name: str) -> None:
    file = saved / (f"{name}.safetensors" if name != "state" else "state.json")
    content = file.read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(content), 60, replace=False).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(TrainingError, match="the checkpoint cannot be used"):
            load_checkpoint(saved.parent, *parts())


def test_one_from_before_there_were_checksums_is_read(saved: Path) -> None:
    state = json.loads(json.loads((saved / "state.json").read_text())["text"])["value"]
    (saved / "state.json").write_text(json.dumps(state))
    assert load_checkpoint(saved.parent, *parts()) is not None


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise checkpoint.SafetensorError("Error while serializing: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    model, optimizer = parts()
    with pytest.raises(LeukoscopeError, match=r"cannot be written .*No space left.*; free disk space"):
        save_checkpoint(tmp_path, model, weights_of(model), None, optimizer, TrainingState(epoch=1))
    assert list(tmp_path.iterdir()) == []
