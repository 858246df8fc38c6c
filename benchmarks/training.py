"""What a training step costs, in mixed precision with channels last and in plain fp32, side by side in one run.

Each step augments, goes forward and backward and updates, on a batch of 32, as `leukoscope train` does. From it follows
how long an epoch takes. Usage:

    python benchmarks/training.py [--sizes 112 224] [--steps 4] [--pictures 4102]
    python benchmarks/training.py --parts [--steps 20] --out docs/figures/training_parts.json

`--parts` takes steps on the CPU as `leukoscope train` does, frames from a memory map on disk, and says what share of a
step goes into fetching them, into augmentation, and into the network.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _common import command_line, load_of_machine
from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.models import create_model
from leukoscope.training import augment
from leukoscope.training.batches import FrameSource
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import Runtime, batch_loss, choose_dtype

BATCH = 32


def stepper(name: str, size: int, runtime: Runtime, *, channels_last: bool) -> Callable[[], None]:
    """A function that makes one training step."""
    recipe = load_recipe("paper")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = create_model(name).to(runtime.device).to(memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters(), recipe.optimizer.learning_rate)
    frames = torch.randint(0, 256, (BATCH, size, size, 3), dtype=torch.uint8, device=runtime.device)
    labels = torch.randint(0, 2, (BATCH,), device=runtime.device).float()
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        pictures = augment.apply(augment.to_float(frames), augment.draw(BATCH, recipe.augment, generator))
        if not channels_last:
            pictures = pictures.contiguous()
        with runtime.autocast():
            loss = batch_loss(model(pictures), labels, (1.0, 1.0)) / BATCH
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()

    return step


PARTS = ("fetch", "augment", "network")


def parts(model_name: str, recipe_name: str, size: int, steps: int, folder: Path) -> dict[str, Any]:
    """Milliseconds of processor time and of the wall clock of each part of a step, medians, and their shares."""
    recipe = load_recipe(recipe_name)
    count = 16 * recipe.batch_size
    stored = np.lib.format.open_memmap(folder / "frames.npy", "w+", np.uint8, (count, size, size, 3))
    stored[:] = np.random.default_rng(0).integers(0, 256, stored.shape, np.uint8)
    stored.flush()
    frames = np.load(folder / "frames.npy", mmap_mode="r")
    device = torch.device("cpu")
    runtime = Runtime(device, choose_dtype("auto", device))
    labels = np.arange(count) % 2
    source = FrameSource(frames, labels, np.arange(count), device)
    arguments = recipe.model.arguments if recipe.model.name == model_name else {}
    model = create_model(model_name, **arguments).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), recipe.optimizer.learning_rate)
    generator = torch.Generator().manual_seed(0)
    order = torch.split(torch.randperm(count, generator=generator), recipe.batch_size)
    taken: dict[str, list[list[float]]] = {"cpu_ms": [], "wall_ms": []}
    for step in range(steps + 1):
        marks = [(time.process_time(), time.perf_counter())]
        batch, targets = source.batch(order[step % len(order)])
        marks.append((time.process_time(), time.perf_counter()))
        pictures = augment.apply(augment.to_float(batch), augment.draw(len(batch), recipe.augment, generator))
        marks.append((time.process_time(), time.perf_counter()))
        with runtime.autocast():
            loss = batch_loss(model(pictures), targets, (1.0, 1.0), recipe.label_smoothing) / len(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        marks.append((time.process_time(), time.perf_counter()))
        if step:  # the first is a warm-up
            for key, column in zip(taken, zip(*marks, strict=True), strict=True):
                taken[key].append([1e3 * (b - a) for a, b in itertools.pairwise(column)])
    result: dict[str, Any] = {"model": model_name, "recipe": recipe_name, "size": size, "batch": recipe.batch_size}
    for key, rows in taken.items():
        middle = np.median(rows, axis=0)
        result[key] = dict(zip(PARTS, middle.round(2).tolist(), strict=True))
        result[f"share_of_{key.removesuffix('_ms')}"] = dict(
            zip(PARTS, (middle / middle.sum()).round(4).tolist(), strict=True)
        )
    return result


def main() -> None:
    """Time both sides in turn; print and write the medians."""
    parser = command_line(
        __doc__, sizes=(112, 224), steps=4, pictures=4102, out=Path("docs/figures/training.json"), parts=False
    )
    args = parser.parse_args()
    if args.parts:
        with tempfile.TemporaryDirectory() as folder:
            found = [
                parts(*row, args.steps, Path(folder))
                for row in (("compact_cnn", "champion", 128), ("crse_cnn", "paper", 112))
            ]
        machine = f"{describe_machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
        write_json(args.out, {"machine": machine, "load": load_of_machine(), "steps": args.steps, "rows": found})
        print(found)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = choose_dtype("auto", device)
    rows = []
    for name in ("plain_cnn", "crse_cnn"):
        for size in args.sizes:
            sides = {
                "mixed": stepper(name, size, Runtime(device, dtype), channels_last=True),
                "fp32": stepper(name, size, Runtime(device, torch.float32), channels_last=False),
            }
            times: dict[str, list[float]] = {side: [] for side in sides}
            for turn in range(args.steps + 1):
                for side, step in sides.items():
                    start = time.perf_counter()
                    step()
                    if turn:  # the first of each is a warm-up
                        times[side].append(time.perf_counter() - start)
            medians = {side: statistics.median(each) for side, each in times.items()}
            row = {
                "model": name,
                "size": size,
                "seconds_per_step": {side: round(value, 4) for side, value in medians.items()},
                "ratio_fp32_to_mixed": round(medians["fp32"] / medians["mixed"], 2),
                "seconds_per_epoch_mixed": round(medians["mixed"] * args.pictures / BATCH, 1),
            }
            rows.append(row)
            print(
                f"{name:<10} {size:>4} px  mixed {medians['mixed']:.3f} s/step  fp32 {medians['fp32']:.3f} s/step  "
                f"ratio {row['ratio_fp32_to_mixed']}  epoch of {args.pictures}: {row['seconds_per_epoch_mixed']} s"
            )
    machine = f"{describe_machine()}, torch {torch.__version__}, mixed = {str(dtype).removeprefix('torch.')}"
    write_json(args.out, {"machine": machine, "batch": BATCH, "pictures": args.pictures, "rows": rows})


if __name__ == "__main__":
    main()
