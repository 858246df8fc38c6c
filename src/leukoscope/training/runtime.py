"""Where and how training runs: device, precision, and several processes started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

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


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes whose gradient is the sum over processes."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of the whole batch over all processes.

    PyTorch's own exists for GPUs only; this one needs nothing but a differentiable sum, so that several CPU processes
    learn what one process would.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = torch.tensor([values.numel() / values.shape[1]], device=x.device)
        sums = torch.cat([values.sum((0, 2, 3)), values.square().sum((0, 2, 3)), count])
        sums = _SumOverProcesses.apply(sums)  # type: ignore[no-untyped-call,unused-ignore]
        total = sums[-1]
        mean, square = (sums[:-1] / total).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * total / (total - 1), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(x.dtype)


def share_batch_norm(model: nn.Module) -> None:
    """Make every batch normalisation of a network normalise over all processes, in place, keeping names and state."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SharedBatchNorm


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
