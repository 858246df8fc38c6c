"""Where and how training runs: device, precision, and several processes started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from leukoscope.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Runtime:
    """One process of a training run.

    Attributes:
        device: where the network lives.
        dtype: what autocast computes in; float32 means no autocast.
        rank: number of this process, 0 is the one that writes files.
        world: number of processes.
    """

    device: torch.device
    dtype: torch.dtype
    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision for a forward pass."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def share(self, indices: Tensor) -> Tensor:
        """This process's part of a batch of positions."""
        return indices.tensor_split(self.world)[self.rank]

    def sum(self, values: Tensor) -> Tensor:
        """Sum over processes."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def describe(self) -> str:
        """Device, precision and processes in words."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}, {self.world} process{'es' if self.world > 1 else ''}"


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Turn ``auto``, ``fp32``, ``bf16`` or ``fp16`` into a dtype that the device computes fast.

    Raises:
        TrainingError: fp16 was asked for on a CPU, where gradients would underflow without a scaler.
    """
    if precision == "fp32":
        return torch.float32
    if precision == "fp16":
        if device.type != "cuda":
            raise TrainingError("fp16 training needs a GPU", remedy="use --set precision=bf16 or fp32")
        return torch.float16
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    fast = torch.cpu.get_capabilities().get("avx512_bf16", False) if hasattr(torch.cpu, "get_capabilities") else False
    return torch.bfloat16 if fast else torch.float32


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"{name!r} is no device", remedy="use --device cpu or cuda") from error
    if device.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise TrainingError(f"there is no device {name}", remedy="use --device cpu")
        return torch.device("cuda", index)
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, NotImplementedError, AssertionError) as error:  # torch's backends raise each its own
        raise TrainingError(f"there is no device {name}", remedy="use --device cpu") from error
    return device


@contextmanager
def start_runtime(precision: str, device: str = "auto") -> Iterator[Runtime]:
    """Join the processes that torchrun started, if any; choose device and precision.

    Raises:
        TrainingError: the device does not exist.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = _device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Runtime(chosen, choose_dtype(precision, chosen), rank, world)
    finally:
        if world > 1:
            dist.destroy_process_group()


def share_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Make every batch normalisation of a network normalise over all processes, in place, keeping names and state.

    Raises:
        TrainingError: the processes run on the CPU, for which PyTorch has no such normalisation.
    """
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return
    if device.type != "cuda":
        raise TrainingError(
            "several processes on the CPU cannot normalise over one batch", remedy="use one process, or GPUs"
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]


def batch_loss(logits: Tensor, labels: Tensor, weights: tuple[float, float], smoothing: float = 0.0) -> Tensor:
    """Sum of the class-weighted binary cross-entropy over a batch.

    Args:
        logits: float [N, 1].
        labels: float [N], 0 or 1, or in between on the side of the label.
        weights: of a normal and of a blast picture.
        smoothing: share of each label that is spread over both classes (Szegedy et al. 2016).
    """
    each = torch.where(labels > 0.5, weights[1], weights[0])
    targets = labels * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits[:, 0].float(), targets, weight=each, reduction="sum")
