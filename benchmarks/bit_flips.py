"""Two thousand one-bit flips each in what decides an answer: is the damage noticed, or is another answer given?

    python benchmarks/bit_flips.py [--flips 2000] [--out FILE.json]

Graph, facts and card of the default bundle, every file of a checkpoint, both of a cache of frames, a part of a cache of
features, and what a stopped run goes on from: the record of a field, the row and the cells of a slide. A flip is
`noticed` where reading ends in our own error (or what was damaged is made anew), `harmless` where what is read is the
same; anything else is a fault, and the script ends with 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.bundle.seal import sealed
from leukoscope.cells.frame import Preparation
from leukoscope.datasets import cache as room
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.rendered_field import render_field
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.errors import LeukoscopeError
from leukoscope.files import sha256_of
from leukoscope.inference.classifier import load
from leukoscope.inference.folder import read_record
from leukoscope.slides.reading import read_row
from leukoscope.slides.stored import CELLS, FACTS, read_facts, stored_cells
from leukoscope.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint, weights_of
from leukoscope.training.features import read_part, write_part


def flip_each(file: Path, flips: int, read: Callable[[], Any], seed: int = 0) -> Counter[str]:
    """Flip that many bits of a file, one at a time; what reading it gave."""
    content = file.read_bytes()
    expected = read()
    counts: Counter[str] = Counter()
    for bit in np.random.default_rng(seed).integers(0, 8 * len(content), flips).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        try:
            counts["harmless" if read() == expected else "OTHER"] += 1
        except LeukoscopeError:
            counts["noticed"] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            counts[f"ENDS IN {type(error).__name__}"] += 1
    file.write_bytes(content)
    return counts


def bundle(folder: Path, flips: int) -> dict[str, Counter[str]]:
    """The default bundle."""
    shutil.copytree(default_bundle(), folder / "bundle")

    def read() -> tuple[str, bytes]:
        found = read_bundle(folder / "bundle")
        return found.facts.model_dump_json(), found.graph

    names = ("model.onnx", "bundle.json", "README.md")
    return {name: flip_each(folder / "bundle" / name, flips, read) for name in names}


def checkpoint(folder: Path, flips: int) -> dict[str, Counter[str]]:
    """A checkpoint of a small network with its optimiser and its running mean."""

    def parts() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.ones(2, 8)).sum().backward()
        optimizer.step()
        return model, optimizer

    model, optimizer = parts()
    state = TrainingState(epoch=3, best_epoch=2, best_loss=0.25, history=[{"epoch": 1, "val_loss": 0.5}])
    save_checkpoint(folder / "run", model, weights_of(model), weights_of(model), optimizer, state)

    def read() -> tuple[Any, ...]:
        model, optimizer = parts()
        found = load_checkpoint(folder / "run", model, optimizer)
        assert found is not None
        tensors = [found[1], found[2] or {}, model.state_dict()]
        plain = [sorted((name, each.tolist()) for name, each in part.items()) for part in tensors]
        return found[0], plain, repr(optimizer.state_dict())

    files = sorted((folder / "run" / "epoch-0003").iterdir())
    return {f"checkpoint/{file.name}": flip_each(file, max(1, flips // len(files)), read) for file in files}


def cache(folder: Path, flips: int) -> dict[str, Counter[str]]:
    """A cache of frames; where damage is noticed it is built anew, from the same pictures."""
    write_synthetic(folder / "cells", count=12, seed=1, layout="folders", subjects=4)
    manifest = read_dataset(folder / "cells")
    entry = room.open_cache(manifest, Preparation(), 32, folder / "cache").path

    def read() -> bytes:
        found = room._load(entry, len(manifest), 32)
        if found is None:
            raise LeukoscopeError("built anew")
        return found[0].tobytes() + json.dumps(found[1]).encode()

    return {f"cache/{name}": flip_each(entry / name, flips // 2, read) for name in ("frames.npy", "entry.json")}


def features(folder: Path, flips: int) -> dict[str, Counter[str]]:
    """A part of the features of a frozen trunk, which is computed anew where damage is noticed."""
    file = folder / "features"
    write_part(file, np.random.default_rng(2).normal(size=(40, 320)).astype(np.float32))

    def read() -> bytes:
        found = read_part(file, 40)
        if found is None:
            raise LeukoscopeError("computed anew")
        return found.tobytes()

    return {"cache/features": flip_each(file, flips, read)}


def results(folder: Path, flips: int) -> dict[str, Counter[str]]:
    """What runs on fields and slides go on from, and other verbs take; where damage is noticed it is made anew."""
    picture, _ = render_field(1, ["blast", "normal"], height=900, width=1200)
    record = load(default_bundle(), threads=1).read_field(picture).to_json()
    row, cells, facts = folder / "row", folder / CELLS, folder / FACTS
    row.write_bytes(sealed({"row": 0, "windows": [{"cells": record["cells"], "error": None}]})[0])
    cells.write_text("".join(json.dumps(cell) + "\n" for cell in record["cells"]))
    facts.write_bytes(sealed({"path": "a.svs", "cells_sha256": sha256_of(cells)})[0])
    file = folder / "field"
    file.write_bytes(sealed(record)[0])

    def kept() -> Any:
        found = read_record(file)
        if found is None:
            raise LeukoscopeError("read anew")
        return found

    return {
        "field/record": flip_each(file, flips, kept),
        "slide/row": flip_each(row, flips, lambda: read_row(row)),
        f"slide/{FACTS}": flip_each(facts, flips, lambda: read_facts(folder)),
        f"slide/{CELLS}": flip_each(cells, flips, lambda: list(stored_cells(folder, read_facts(folder)))),
    }


def main() -> None:
    """Run it and print the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Counter[str]] = {}
    for part in (bundle, checkpoint, cache, features, results):
        with tempfile.TemporaryDirectory() as folder:
            found |= part(Path(folder), given.flips)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(0 if all(set(each) <= {"noticed", "harmless"} for each in found.values()) else 1)


if __name__ == "__main__":
    main()
