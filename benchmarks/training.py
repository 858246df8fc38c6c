"""What a training step costs, in mixed precision with channels last and in plain fp32, side by side in one run.

Each step augments, goes forward and backward and updates, on a batch of 32, as `leukoscope train` does. From it follows
how long an epoch takes. Usage:

    python benchmarks/training.py [--sizes 112 224] [--steps 4] [--pictures 4102]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from leukoscope.files import write_json
from leukoscope.machine import describe_machine
from leukoscope.models import create_model
from leukoscope.training import augment
from leukoscope.training.recipe import load_recipe
from leukoscope.training.runtime import Runtime, batch_loss, choose_dtype

BATCH = 32


def stepper(name: str, size: int, runtime: Runtime, *, channels_last: bool) -> Callable[[], None]:
    """A function that makes one training step."""
    recipe = load_recipe("paper")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = create_model(name).to(runtime.device, memory_format=layout).train()
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
        loss.backward()
        optimizer.step()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    """Time both sides in turn; print and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--pictures", type=int, default=4102, help="pictures of an epoch")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/training.json"))
    args = parser.parse_args()
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
