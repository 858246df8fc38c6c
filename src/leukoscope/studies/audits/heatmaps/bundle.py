"""Testing the heat maps of a bundle: its graph, the same graph with random layers, and the cells to ask it about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from leukoscope.bundle.read import Bundle
from leukoscope.cells.frame import Preparation, cell_mask, frame_cell, prepare
from leukoscope.cells.read import read_picture
from leukoscope.cells.segment import segment
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import BundleError, DataError
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import Estimate, Resampling
from leukoscope.metrics.counts import Array
from leukoscope.progress import SILENT, Progress
from leukoscope.studies.audits.heatmaps.audit import Explanations, Randomised, audit_explanations
from leukoscope.studies.audits.heatmaps.cells import Cells, Explain, Frames, Mask, side_of
from leukoscope.studies.audits.heatmaps.place import chance, place_figures
from leukoscope.studies.audits.heatmaps.randomise import random_layers
from leukoscope.studies.audits.heatmaps.sanity import maps_of
from leukoscope.studies.audits.rules import mean_estimates
from leukoscope.studies.audits.sample import sample_cells

DRAWS = 3  # of random layers
_GREY, _WHITE = 100, 200  # levels of a drawn mask: cytoplasm, nucleus


def load_cells(
    data: Manifest, preparation: Preparation, *, count: int, seed: int = 0, progress: Progress = SILENT
) -> tuple[Cells, tuple[tuple[str, str], ...]]:
    """A sample of labelled cells, prepared and divided into their parts; and the pictures that could not be read.

    Args:
        data: labelled pictures.
        preparation: of the bundle.
        count: how many cells at most; they are all held in memory, 0.8 MB each at 450 px.
        seed: of the sample.
        progress: shows how many are read.

    Raises:
        DataError: no picture can be read.
    """

    def take(path: Path) -> tuple[Frames, Mask, Mask | None]:
        rgb = read_picture(path).rgb
        frame, parts = prepare(rgb, preparation), segment(frame_cell(rgb, preparation.frame_size))
        return frame, parts.outline, parts.nucleus if parts.cytoplasm_visible else None

    sample = sample_cells(data, take, count=count, seed=seed, progress=progress)
    frames, outlines, nuclei = zip(*sample.taken, strict=True)
    cells = Cells(np.stack(frames), np.stack(outlines), nuclei, sample.part.labels(), sample.part.groups())
    return cells, sample.unreadable


def ask_of(classifier: Classifier) -> Callable[[Frames], Array]:
    """The logits of a bundle, as the tests ask for them."""
    return lambda frames: classifier.predict_frames(frames)[0].astype(np.float64)


def explain_of(classifier: Classifier) -> Explain:
    """The maps of a bundle's graph, as the tests ask for them."""
    return lambda frames: classifier.predict_frames(frames)[1].astype(np.float64)


def relative_of(classifier: Classifier) -> Explain:
    """The maps of a bundle's graph less its map of an empty frame: what the cell adds to what black says."""
    size = classifier.bundle.facts.preparation.frame_size
    empty = classifier.predict_frames(np.zeros((1, size, size, 3), np.uint8))[1].astype(np.float64)
    return lambda frames: classifier.predict_frames(frames)[1].astype(np.float64) - empty


def randomised(bundle: Bundle, *, draws: int = DRAWS, seed: int = 0, threads: int | None = None) -> list[Randomised]:
    """The bundle with ever more of its layers random, from the top downwards.

    Raises:
        MissingExtraError: onnx is not installed.
        BundleError: the graph is none that `leukoscope export` writes.
    """
    made: dict[tuple[int, int], list[Explain]] = {}
    for draw in range(draws):
        for layers, of, graph in random_layers(bundle.graph, seed=seed + draw):
            other = Classifier(replace(bundle, graph=graph), threads=threads)
            made.setdefault((layers, of), []).append(explain_of(other))
    return [Randomised(layers, of, tuple(each)) for (layers, of), each in sorted(made.items())]


def explain_bundle(
    classifier: Classifier,
    cells: Cells,
    *,
    shuffled: Classifier | None = None,
    others: dict[str, Explain] | None = None,
    masks: Path | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    context: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Explanations:
    """Test a bundle's heat maps on cells of patients that it has not seen.

    Args:
        classifier: the bundle.
        cells: from :func:`load_cells`.
        shuffled: a bundle of the same network trained on shuffled labels.
        others: further explanations of the same network, measured beside its own.
        masks: folder of pictures with drawn masks, see :func:`drawn_cells`.
        draws: how often random layers are drawn; 0 leaves the test out.
        seed: of everything random.
        context: facts to show.
        progress: told each step.

    Raises:
        BundleError: the bundle from shuffled labels sees pictures prepared in another way.
    """
    if shuffled is not None and shuffled.bundle.facts.preparation != classifier.bundle.facts.preparation:
        raise BundleError(
            "prepares pictures in another way than the bundle that is audited, so both cannot be asked about the same",
            path=shuffled.bundle.folder,
            remedy="train it by the recipe of that bundle, with the labels in random order",
        )
    tests = randomised(classifier.bundle, draws=draws, seed=seed, threads=classifier.threads) if draws else []
    facts = classifier.bundle.facts
    found = audit_explanations(
        cells,
        ask_of(classifier),
        explain_of(classifier),
        randomised=tests,
        shuffled=None if shuffled is None else explain_of(shuffled),
        others=others,
        seed=seed,
        context={"model": facts.name, "machine": describe_machine(), **(context or {})},
        progress=progress,
    )
    # The order of the fields within a cell is the same, and so are faithfulness and turning: only the place is new.
    extra = {"less the empty frame": _places(classifier, relative_of(classifier), cells)[0]}
    if masks is not None:
        progress.say("drawn masks")
        drawn = drawn_cells(masks, facts.preparation, float(np.median(cells.outline.sum(axis=(1, 2)))))
        own, none = _places(classifier, explain_of(classifier), drawn)
        less, _ = _places(classifier, relative_of(classifier), drawn)
        extra |= {"map, drawn masks": own, "less the empty frame, drawn masks": less, "chance, drawn masks": none}
    return replace(found, figures=found.figures | extra)


def _places(classifier: Classifier, explain: Explain, cells: Cells) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Where maps lie, and where maps that know nothing would."""
    plan = Resampling.by_group(cells.label, cells.group)
    side = side_of(np.concatenate([ask_of(classifier)(cells.frames[i : i + 8]) for i in range(0, len(cells), 8)]))
    figures = place_figures(cells, maps_of(cells, explain), side)
    return mean_estimates(figures, plan), mean_estimates(chance(cells), plan)


def drawn_cells(folder: Path, preparation: Preparation, area: float) -> Cells:
    """Cells whose nucleus and outline were drawn by hand, cut out, and scaled to one area.

    Args:
        folder: holds, at any depth, pairs `NAME.png` and `NAME.mask.png`: 0 surround, grey cytoplasm, white nucleus.
        preparation: of the bundle.
        area: of every cell in pixels of the frame, as the bundle's own cells have.

    Returns:
        The cells; labels are unknown and written as 0, every picture is its own group.

    Raises:
        DataError: there are no such pairs, a mask has another size than its picture, or names no cell.
    """
    pictures = sorted(path for path in folder.rglob("*.png") if path.with_suffix(".mask.png").is_file())
    if not pictures:
        raise DataError("no pairs of NAME.png and NAME.mask.png", path=folder, remedy="give the folder that holds them")
    frames, outlines, nuclei = [], [], []
    for path in pictures:
        rgb = read_picture(path).rgb
        levels = np.asarray(Image.open(path.with_suffix(".mask.png")).convert("L"))
        if levels.shape != rgb.shape[:2]:
            raise DataError(
                f"the mask has {levels.shape[0]} x {levels.shape[1]} pixels, the picture "
                f"{rgb.shape[0]} x {rgb.shape[1]}",
                path=path,
                remedy="leave the pair out, or draw the mask on this picture",
            )
        if not (levels >= _GREY).any():
            raise DataError("the mask names no cell", path=path, remedy="leave the pair out")
        frame, inside, deep = _scaled(rgb, levels, preparation.frame_size, area)
        frames.append(prepare(frame, preparation))
        outlines.append(inside)
        nuclei.append(deep if deep.any() else None)
    count = len(frames)
    group = np.array([str(path.relative_to(folder)) for path in pictures])
    return Cells(np.stack(frames), np.stack(outlines), tuple(nuclei), np.zeros(count, np.int64), group)


def _scaled(rgb: Frames, levels: Frames, size: int, area: float) -> tuple[Frames, Mask, Mask]:
    """The cell alone on black in the middle of a frame, its outline and its nucleus."""
    cell = levels >= _GREY
    left, top, width, height = cv2.boundingRect(cell.view(np.uint8))
    scale = float(np.sqrt(area / np.count_nonzero(cell)))
    centre = (left + (width - 1) / 2, top + (height - 1) / 2)
    matrix = np.array([[scale, 0, (size - 1) / 2 - scale * centre[0]], [0, scale, (size - 1) / 2 - scale * centre[1]]])
    picture = np.asarray(cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)
    drawn = np.asarray(cv2.warpAffine(levels, matrix, (size, size), flags=cv2.INTER_NEAREST), np.uint8)
    inside = drawn >= _GREY
    # At least a dim grey inside, so that no part of the cell passes for surround.
    frame = np.where(inside[..., None], np.maximum(picture, 12), 0).astype(np.uint8)
    inside = cell_mask(frame) & inside
    return frame, inside, (drawn >= _WHITE) & inside


def overlay_samples(classifier: Classifier, cells: Cells, count: int = 8) -> Sequence[tuple[str, Frames]]:
    """A few cells with their maps, as many of each class as there are: caption and uint8 RGB picture."""
    from leukoscope.inference.overlay import overlay  # noqa: PLC0415

    blasts, normals = np.flatnonzero(cells.label == 1), np.flatnonzero(cells.label == 0)
    chosen = [*blasts[: count // 2].tolist(), *normals[: count - count // 2].tolist()]
    logit, heatmap, _ = classifier.predict_frames(cells.frames[chosen])
    captions = (f"{'blast' if cells.label[i] else 'normal'}, logit {logit[k]:+.2f}" for k, i in enumerate(chosen))
    pictures = (overlay(cells.frames[i], heatmap[k], legend=True) for k, i in enumerate(chosen))
    return list(zip(captions, pictures, strict=True))
