"""Asking a bundle about cells with one cue taken away or left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.cells.frame import Preparation, cell_mask, clahe, frame_cell
from leukoscope.cells.read import read_picture
from leukoscope.datasets.dataset import Manifest
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.progress import SILENT, Progress
from leukoscope.studies.audits.sample import sample_cells
from leukoscope.studies.audits.shortcuts.audit import Shortcuts, audit_shortcuts
from leukoscope.studies.audits.shortcuts.variants import VARIANTS, Frame, Mask, Typical, mean_colour, vary


@dataclass(frozen=True, slots=True)
class ShortcutRun:
    """What came out.

    Attributes:
        result: figures and verdict.
        unreadable: path and reason of pictures that could not be read.
        samples: caption and picture of the variants of one blast and one normal cell.
        groups: patient group of each cell that was asked about.
    """

    result: Shortcuts
    unreadable: tuple[tuple[str, str], ...]
    samples: tuple[tuple[str, Frame], ...]
    groups: tuple[str, ...]


def shortcut_bundle(
    classifier: Classifier,
    data: Manifest,
    *,
    count: int,
    seed: int = 0,
    context: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> ShortcutRun:
    """Measure a bundle on variants of cells of patients that it has not seen.

    The pictures are read twice: first for what is typical of them, then for the answers; none is kept.

    Args:
        classifier: the bundle.
        data: labelled pictures.
        count: how many at most, of as many patient groups as there are.
        seed: of the sample, of what is shuffled, and of the bootstrap.
        context: facts to show.
        progress: shows how many pictures are read, in two stages.

    Raises:
        DataError: no picture can be read, or all are of one class.
    """
    preparation = classifier.bundle.facts.preparation

    def take(path: Path) -> tuple[float, tuple[float, float, float]]:
        frame, mask = _framed(path, preparation)
        return float(np.count_nonzero(mask)), mean_colour(frame, mask)

    sample = sample_cells(data, take, count=count, seed=seed, progress=progress)
    part, paths = sample.part, sample.part.paths()
    areas, colours = zip(*sample.taken, strict=True)
    red, green, blue = np.mean(colours, axis=0).tolist()
    typical = Typical(float(np.median(areas)), (red, green, blue))
    lender = np.random.default_rng(seed).permutation(len(paths))
    logits = np.empty((len(paths), len(VARIANTS)))
    black = True
    samples: dict[int, tuple[tuple[str, Frame], ...]] = {}
    with progress.stage("asking about variants", len(paths)) as advance:
        for row, path in enumerate(paths):
            frame, mask = _framed(path, preparation)
            black = black and not frame[~mask].any()
            other = colours[lender[row]]
            changed = (vary(name, frame, mask, typical, other, np.random.default_rng((seed, row))) for name in VARIANTS)
            frames = np.stack([equalised(each, preparation) for each in changed])
            logits[row] = classifier.predict_frames(frames)[0]
            label = int(part.labels()[row])
            if label not in samples:
                word = "blast" if label else "normal"
                shown = zip(VARIANTS, frames, logits[row], strict=True)
                samples[label] = tuple((f"{word}, {name}: logit {z:+.2f}", each) for name, each, z in shown)
            advance(1)
    result = audit_shortcuts(
        {name: logits[:, column] for column, name in enumerate(VARIANTS)},
        np.array(areas),
        part.labels(),
        part.groups(),
        black=black,
        seed=seed,
        context={
            "model": classifier.bundle.facts.name,
            "machine": describe_machine(),
            "typical_area_px": typical.area,
            **(context or {}),
        },
    )
    samples_of_both = samples.get(1, ()) + samples.get(0, ())
    return ShortcutRun(result, sample.unreadable, samples_of_both, tuple(part.groups().tolist()))


def equalised(frame: Frame, preparation: Preparation) -> Frame:
    """The rest of the preparation, after framing. A cell scaled or blackened must not be framed anew."""
    if preparation.clahe is None:
        return frame
    return clahe(frame, clip_limit=preparation.clahe.clip_limit, tiles=preparation.clahe.tiles)


def _framed(path: Path, preparation: Preparation) -> tuple[Frame, Mask]:
    frame = frame_cell(read_picture(path).rgb, preparation.frame_size)
    return frame, cell_mask(frame)
