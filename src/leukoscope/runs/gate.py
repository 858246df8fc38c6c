"""Fitting a bundle's gate on pictures: which of them to measure, and the measuring itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.gate import GateFacts
from leukoscope.datasets.dataset import Manifest
from leukoscope.fitting.gate import LEVEL, GateCells, fit_gate
from leukoscope.inference.classifier import Classifier

TRAINED = 1500  # pictures of groups trained on are enough: more move no limit, and each costs a pass through the graph


def gate_pictures(
    data: Manifest, trained: NDArray[np.int64], held_out: NDArray[np.int64], *, most: int = TRAINED, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which pictures to fit a gate on.

    Args:
        data: labelled pictures.
        trained: rows of groups that the network was trained on; of these at most ``most`` are taken, as evenly over the
            groups as they allow.
        held_out: rows of groups that it was not trained on; all are taken.
        most: pictures.
        seed: of the draw.

    Returns:
        Rows int64 [N], rising, and for each whether it is held out.
    """
    group = data.groups()[trained]
    turn = np.empty(len(trained), dtype=np.int64)  # place in the shuffled queue of its group
    order = np.random.default_rng(seed).permutation(len(trained))
    for name in np.unique(group):
        queue = order[group[order] == name]
        turn[queue] = np.arange(len(queue))
    taken = trained[order[np.argsort(turn[order], kind="stable")][:most]]
    rows = np.concatenate([taken, held_out]).astype(np.int64)
    rising = np.argsort(rows, kind="stable")
    return rows[rising], np.isin(rows[rising], held_out)


def measure_gate(
    classifier: Classifier,
    data: Manifest,
    held_out: NDArray[np.bool_],
    *,
    level: float = LEVEL,
    progress: Callable[[int], None] | None = None,
) -> GateFacts:
    """Measure pictures and fit a gate on them; unreadable ones are left out.

    Args:
        classifier: of the bundle, with or without a gate.
        data: pictures of whole cells of the kind that the bundle is meant for.
        held_out: bool [N], no weight was trained on the picture's group.
        level: share of such cells that may be turned down.
        progress: called with the number of pictures newly measured.

    Raises:
        DataError: the pictures are too few, of one group, or the network gives no finite embedding for them.
    """
    return fit_gate(gate_cells(classifier, data, held_out, progress=progress), data=data.name, level=level)


def gate_cells(
    classifier: Classifier,
    data: Manifest,
    held_out: NDArray[np.bool_],
    *,
    progress: Callable[[int], None] | None = None,
) -> GateCells:
    """What a gate measures of each readable picture; arguments and errors as `measure_gate`."""
    rows: list[int] = []
    values, stain, embedding, side = [], [], [], []
    for row, answer in enumerate(classifier.predict_many(data.paths(), progress=progress, quality=True)):
        if answer.quality is not None and answer.embedding is not None:
            rows.append(row)
            values.append(list(answer.quality.values.values()))
            stain.append(answer.quality.stain)
            embedding.append(answer.embedding)
            side.append(answer.quality.side or 0)
    return GateCells(
        np.array(values, dtype=np.float64),
        np.array(stain, dtype=np.float64),
        np.array(embedding, dtype=np.float64),
        data.groups()[rows],
        held_out[rows],
        np.array(side, dtype=np.int64),
    )
