"""State of a run on disk: safetensors for numbers, JSON for the rest, replaced whole so that a kill loses one epoch."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leukoscope.errors import TrainingError
from leukoscope.files import atomic_folder, read_checked_json, write_checked_json
from leukoscope.models import CellClassifier, create_model
from leukoscope.training.recipe import Recipe

_PREFIX = "epoch-"


@dataclass(slots=True)
class TrainingState:
    """What a run knows besides tensors.

    Attributes:
        epoch: epochs finished.
        best_epoch: the one whose weights are kept, 0 before the first.
        best_loss: its validation loss.
        history: one dict of figures per epoch.
        scaler: state of the gradient scaler, empty unless training in fp16.
        finished: no epoch is left to do.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
    finished: bool = False


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    best: dict[str, Tensor],
    average: dict[str, Tensor] | None,
    optimizer: torch.optim.Optimizer,
    progress: TrainingState,
) -> None:
    """Write everything that a later process needs to go on as if this one had never stopped."""
    state = optimizer.state_dict()
    tensors, scalars = _split_optimizer(state["state"])
    with atomic_folder(folder / f"{_PREFIX}{progress.epoch:04d}") as temporary:
        _save(_contiguous(model.state_dict()), temporary / "model.safetensors")
        _save(best, temporary / "best.safetensors")
        if average is not None:
            _save(_contiguous(average), temporary / "average.safetensors")
        _save(tensors, temporary / "optimizer.safetensors")
        optimizer_state = {"scalars": scalars, "param_groups": state["param_groups"]}
        _write_state(temporary, {"progress": asdict(progress), "optimizer": optimizer_state})
    drop_older(folder)


def drop_older(folder: Path) -> None:
    """Remove all checkpoints but the newest."""
    for old in sorted(folder.glob(f"{_PREFIX}*"))[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def save_finished(folder: Path, model: nn.Module, progress: TrainingState) -> None:
    """Write the state of a run that nothing is left to do for: its weights and its figures."""
    with atomic_folder(folder / f"{_PREFIX}{progress.epoch:04d}") as temporary:
        _save(_contiguous(model.state_dict()), temporary / "best.safetensors")
        _write_state(temporary, {"progress": asdict(progress)})


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor], dict[str, Tensor] | None] | None:
    """Put the newest checkpoint's state into ``model`` and ``optimizer``.

    Returns:
        The progress, the best weights so far and the running mean of the weights if there is one; None where there is
        no checkpoint.

    Raises:
        TrainingError: the checkpoint is damaged or of another network.
    """
    checkpoints = sorted(folder.glob(f"{_PREFIX}*"))
    if not checkpoints:
        return None
    newest = checkpoints[-1]
    try:
        state = read_state(newest)
        model.load_state_dict(load_file(newest / "model.safetensors"))
        best = load_file(newest / "best.safetensors")
        optimizer.load_state_dict(
            {
                "state": _join_optimizer(load_file(newest / "optimizer.safetensors"), state["optimizer"]["scalars"]),
                "param_groups": state["optimizer"]["param_groups"],
            }
        )
        average = None
        if (newest / "average.safetensors").exists():
            device = next(model.parameters()).device
            average = {k: v.to(device) for k, v in load_file(newest / "average.safetensors").items()}
        return TrainingState(**state["progress"]), best, average
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            f"the checkpoint cannot be used ({error})", path=newest, remedy="remove this folder or train into a new one"
        ) from error


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # of a full disk too
        raise OSError(str(error)) from error


def _write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write what is no tensor, and the checksums of all."""
    write_checked_json(folder / "state.json", state, sorted(folder.glob("*.safetensors")))


def read_state(folder: Path) -> dict[str, Any]:
    """What of a checkpoint is no tensor: its ``progress``, and how the optimiser stands.

    Raises:
        ValueError: a file is not what was written.
        OSError: a file cannot be read.
    """
    file = folder / "state.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(found, dict) and {"progress"} <= set(found) <= {"progress", "optimizer"}:
        return found  # from before there were checksums
    state: dict[str, Any] = read_checked_json(file)
    return state


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state on the CPU."""
    return {k: v.clone() for k, v in _contiguous(model.state_dict()).items()}


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in state.items()}


def _split_optimizer(state: dict[int, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, values in state.items():
        for name, value in values.items():
            key = f"{index}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value.detach().cpu().contiguous()
            else:
                scalars[key] = value
    return tensors, scalars


def _join_optimizer(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **scalars}.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    return state


def best_network(folder: Path, recipe: Recipe) -> tuple[CellClassifier, int]:
    """A recipe's network with the best weights so far.

    Args:
        folder: of the checkpoints.
        recipe: as it is trained.

    Returns:
        Network in evaluation mode on the CPU, number of finished epochs.

    Raises:
        TrainingError: there is no checkpoint yet, or it is damaged.
    """
    checkpoints = sorted(folder.glob(f"{_PREFIX}*"))
    if not checkpoints:
        raise TrainingError(
            "no checkpoint here", path=folder, remedy="give the folder of a run with at least one finished epoch"
        )
    try:
        model = create_model(recipe.model.name, **recipe.model.arguments)
        model.load_state_dict(load_file(checkpoints[-1] / "best.safetensors"))
        epochs = int(read_state(checkpoints[-1])["progress"]["epoch"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"the run is damaged ({error})", path=folder, remedy="train it again") from error
    return model.eval(), epochs
