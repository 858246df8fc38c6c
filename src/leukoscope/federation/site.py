"""What a site does in a training round: its own cells' embeddings once, sums of them by the centre's state, a log."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import Bundle
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.patients import picture_of
from leukoscope.datasets.split import carve_groups
from leukoscope.errors import DataError
from leukoscope.federation.heads import Balance, LinearHead, head_round
from leukoscope.federation.parcel import Parcel
from leukoscope.files import write_bytes
from leukoscope.inference.classifier import Classifier
from leukoscope.keys import SiteKey
from leukoscope.runs.measure import answers_of

FEWEST_CELLS: Final = 20
FEWEST_PATIENTS: Final = 2  # of each class that is there: the sums of one patient are that patient's own


@dataclass(frozen=True, slots=True, eq=False)
class SiteCells:
    """Embeddings of a site's labelled cells.

    Attributes:
        features: float64 [N, E].
        labels: int64 [N], 1 blast.
        groups: patient of each cell, [N].
    """

    features: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]


def site_cells(
    bundle: Bundle,
    data: Manifest,
    cache: Path,
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> SiteCells:
    """Embeddings of all cells that can be read, kept for the next round.

    Args:
        bundle: that all sites have agreed on.
        data: labelled cells of known patients.
        cache: folder.
        threads: to use.
        progress: called with the number of pictures newly answered.

    Raises:
        DataError: cells are too few, of unknown patients, or a class is of one patient only; no picture can be read.
    """
    if any(picture_of(group) is not None for group in data.groups().tolist()):
        raise DataError(
            "cells are of patients whom nobody knows", path=data.root,
            remedy="name them: a table path,label,subject; patients weigh in training, and must not stand on two sides",
        )  # fmt: skip
    name = hashlib.sha256(f"1 {bundle.digest} {data.fingerprint()}".encode()).hexdigest()[:32]
    kept = cache / "federation" / f"{name}.npz"
    if kept.exists():
        try:
            with np.load(kept) as held:
                cells = SiteCells(held["features"], held["labels"], held["groups"])
        except (OSError, ValueError, KeyError):
            kept.unlink(missing_ok=True)
            return site_cells(bundle, data, cache, threads=threads, progress=progress)
    else:
        found = answers_of(Classifier(bundle, threads=threads), data, progress=progress)
        cells = SiteCells(found.embeddings(), found.scores.label, found.scores.group)
        content = io.BytesIO()
        np.savez(content, features=cells.features, labels=cells.labels, groups=cells.groups)
        write_bytes(kept, content.getvalue())
    if len(cells.labels) < FEWEST_CELLS:
        raise DataError(f"{len(cells.labels)} cells are too few to train on", remedy=f"label {FEWEST_CELLS} or more")
    for label, word in ((1, "blasts"), (0, "normal cells")):
        patients = np.unique(cells.groups[cells.labels == label])
        if len(patients) in range(1, FEWEST_PATIENTS):
            raise DataError(
                f"all {word} are of one patient: their sums would be that patient's own",
                remedy=f"add cells of other patients, or leave these {word} out",
            )
    return cells


def kept_aside(data: Manifest, share: float, seed: int) -> tuple[Manifest, Manifest]:
    """Cells to train on, and those of whole patients kept aside to measure on; alike in every round.

    Raises:
        DataError: a class stands in too few patients for that.
    """
    if share <= 0:
        return data, data.select(np.zeros(0, np.int64))
    aside = carve_groups(data.labels(), data.groups(), share, seed)
    return data.select(~aside), data.select(aside)


def site_parcel(
    state: Parcel | None, cells: SiteCells, *, site: str, model: str, key: SiteKey, balance: Balance = "groups"
) -> Parcel:
    """The file that a site sends in a round.

    Args:
        state: the centre's newest; None: round 0.
        cells: of the site.
        site: its name.
        model: digest of the bundle.
        key: of the site.
        balance: see `head_round`; after round 0 the state's own counts.

    Raises:
        DataError: the state is of another bundle, holds no head, or has one of another size.
    """
    head: LinearHead | None = None
    if state is not None:
        if state.head.model != model:
            raise DataError(
                f"the centre's state is of another bundle ({state.head.model[:12]}) than this site's ({model[:12]})",
                remedy="use the bundle that all have agreed on",
            )
        head = LinearHead.from_arrays(state.arrays)
        if len(head.weight) != cells.features.shape[1]:
            raise DataError(
                f"the state's head is of {len(head.weight)} numbers, embeddings have {cells.features.shape[1]}",
                remedy="ask the centre",
            )
        balance = "none" if state.head.facts.get("balance") == "none" else "groups"
    made = head_round(head, cells.features, cells.labels, cells.groups, balance)
    return Parcel.of(
        made.weights, key, kind="round", sender=site, round=0 if state is None else state.head.round,
        base="" if state is None else state.digest, model=model, cells=len(cells.labels), patients=made.patients,
        facts={"balance": balance, "blasts": float((cells.labels == 1).sum()), **made.metrics},
    )  # fmt: skip


def log_sent(parcel: Parcel, out: Path, log: Path) -> list[str]:
    """Write a line about what leaves the site to its log, and say it in words."""
    head, size = parcel.head, len(parcel.to_bytes())
    told: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "file": str(out), "bytes": size,
        "digest": parcel.digest, **head.model_dump(mode="json", include={"sender", "round", "base", "model", "cells", "patients", "facts"}),  # noqa: E501
        "arrays": {each.name: list(each.shape) for each in head.arrays},
    }  # fmt: skip
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")
    arrays = ", ".join(f"{each.name} {list(each.shape)}" for each in head.arrays)
    return [
        f"round {head.round}: sums over {head.cells:,} cells of {head.patients} patients: {arrays}",
        f"{size / 1e3:.1f} kB leave the laboratory if you send {out}; no picture, no cell, no name of a patient",
    ]
