"""Statistics of a frozen trunk, computed once for each cell and kept: what heads are fitted on in seconds.

The trunk runs as an ONNX graph, which takes a tenth of PyTorch's time on a CPU. Rows are written in parts, each whole
or not at all, so that a killed computation goes on where it stopped. A part begins with the SHA-256 of the rest; one
that is damaged is computed anew.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import onnxruntime as ort
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from leukoscope.errors import TrainingError
from leukoscope.files import write_bytes
from leukoscope.machine import cpu_count
from leukoscope.models.deployed import quiet_export
from leukoscope.models.masked import MaskedTrunk
from leukoscope.progress import SILENT, Progress
from leukoscope.training import augment
from leukoscope.training.batches import generator_for
from leukoscope.training.heads import Shaken
from leukoscope.training.recipe import Augmentation

_PART: Final = 512  # rows of a file
_BATCH: Final = 16  # cells at once: what fits the processor's cache
_FORMAT: Final = 1  # raised whenever the same cells would give other numbers
_SHAKEN: Final = 1500  # cells

#: What another preparation does, by the kinds of `Steadying`.
SHAKES: Final[Mapping[str, Augmentation]] = MappingProxyType(
    {
        "dyes": Augmentation(gamma=0.25, stain=0.12, brightness=0.15, channels=0.1, saturation=0.1),
        "detail": Augmentation(sharpness=0.9, compression=60),
        "outline": Augmentation(outline=2.5, scraps=0.6),
        "size": Augmentation(zoom=0.15),
    }
)


def cell_statistics(
    frames: NDArray[np.uint8],
    trunk: MaskedTrunk,
    folder: Path,
    *,
    turns: int = 0,
    changes: Augmentation | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> NDArray[np.float32]:
    """The trunk's statistics of every frame, from the cache where they are there.

    Args:
        frames: uint8 [N, S, S, 3], the cells on black.
        trunk: in evaluation mode, on the CPU.
        folder: where caches lie; made if absent. An entry is named by all that decides its numbers.
        turns: quarter turns of each cell before it is seen.
        changes: one draw of these changes for each cell, or None.
        seed: of the draws.
        jobs: threads.
        progress: shows how many cells are done.

    Returns:
        float32 [N, D]; see `MaskedTrunk.statistics`.

    Raises:
        TrainingError: a number is not finite.
    """
    entry = folder / f"statistics-{_key(frames, trunk, turns, changes, seed)}"
    entry.mkdir(parents=True, exist_ok=True)
    parts = []
    with FileLock(entry / "lock"), progress.stage("computing features", len(frames)) as advance:
        session: ort.InferenceSession | None = None
        for start in range(0, len(frames), _PART):
            file, rows = entry / f"{start:08d}", frames[start : start + _PART]
            kept = read_part(file, len(rows))
            if kept is None:
                if session is None:
                    session = onnx_session(_Statistics(trunk).eval(), (3, *frames.shape[1:3]), jobs)
                found = [
                    session.run(None, {"cells": _seen(rows[k : k + _BATCH], turns, changes, (seed, start + k))})[0]
                    for k in range(0, len(rows), _BATCH)
                ]
                kept = np.concatenate(found).astype(np.float32)
                if not np.isfinite(kept).all():
                    raise TrainingError("the network's features are not finite", path=trunk.name)
                write_part(file, kept)
            parts.append(kept)
            advance(len(rows))
    return np.concatenate(parts)


def write_part(file: Path, rows: NDArray[np.float32]) -> None:
    """Keep rows, float32 [N, D], with their checksum."""
    text = io.BytesIO()
    np.save(text, rows)
    data = text.getvalue()
    write_bytes(file, hashlib.sha256(data).digest() + data)


def read_part(file: Path, count: int) -> NDArray[np.float32] | None:
    """What `write_part` kept, float32 [count, D]; None where it is not there, or not as it was written."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    rows: NDArray[np.float32] = np.load(io.BytesIO(data[32:]), allow_pickle=False)
    return rows if len(rows) == count else None


def shaken_statistics(
    frames: NDArray[np.uint8],
    statistics: NDArray[np.float32],
    trunk: MaskedTrunk,
    folder: Path,
    kinds: Collection[str],
    *,
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> Shaken:
    """What changes of some kinds do to the statistics of up to 1,500 of the cells, evenly spread.

    Args:
        frames: as `cell_statistics`.
        statistics: of all of them, float32 [N, D].
        trunk: as there.
        folder: as there.
        kinds: keys of `SHAKES`.
        jobs: threads.
        progress: shows how many cells are done, for each kind.
    """
    rows = np.arange(0, len(frames), -(-len(frames) // _SHAKEN))
    some = np.ascontiguousarray(frames[rows])
    return Shaken(rows, {
        kind: cell_statistics(some, trunk, folder, changes=SHAKES[kind], seed=1, jobs=jobs, progress=progress)
        - statistics[rows]
        for kind in kinds
    })  # fmt: skip


def _seen(
    rows: NDArray[np.uint8], turns: int, changes: Augmentation | None, seed: tuple[int, int]
) -> NDArray[np.float32]:
    pictures = augment.to_float(torch.from_numpy(np.rot90(rows, turns, axes=(1, 2)).copy()))
    if changes is not None:
        pictures = augment.apply(pictures, augment.draw(len(rows), changes, generator_for("statistics", *seed)))
    return np.ascontiguousarray(pictures.numpy())


def _key(frames: NDArray[np.uint8], trunk: MaskedTrunk, turns: int, changes: Augmentation | None, seed: int) -> str:
    found = hashlib.sha256(repr((
        _FORMAT, trunk.name, trunk.stages, trunk.standardise, trunk.rim, frames.shape, turns % 4,
        None if changes is None else (changes.model_dump(), seed),
    )).encode())  # fmt: skip
    for name, tensor in trunk.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    for start in range(0, len(frames), _PART):
        found.update(np.ascontiguousarray(frames[start : start + _PART]).data)
    return found.hexdigest()[:32]


class _Statistics(nn.Module):
    def __init__(self, trunk: MaskedTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, cells: Tensor) -> Tensor:
        return self.trunk.statistics(cells)


def onnx_session(network: nn.Module, shape: tuple[int, ...], jobs: int | None) -> ort.InferenceSession:
    """A network as an ONNX graph that takes ``cells``, float32 [N, *shape], on so many threads."""
    with quiet_export():
        program = torch.onnx.export(
            network, (torch.zeros(2, *shape),), dynamo=True, verbose=False, opset_version=18,
            input_names=["cells"], dynamic_shapes={"cells": {0: torch.export.Dim("cells", min=1)}},
        )  # fmt: skip
    assert program is not None
    options = ort.SessionOptions()
    options.intra_op_num_threads = jobs or cpu_count()
    return ort.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
