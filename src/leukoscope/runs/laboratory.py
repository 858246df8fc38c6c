"""Adapting a bundle to a laboratory: its cells through the graph once, all steps fitted, a bundle with its parent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.head import GraphHead
from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import LabelsFacts, ParentFacts, StepFacts
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.patients import unknown_patient
from leukoscope.datasets.record import class_of
from leukoscope.errors import DataError
from leukoscope.fitting.gate import GateCells, GateChoice, choose_gate
from leukoscope.fitting.head import BIAS_ALONE, PULLS
from leukoscope.fitting.laboratory import Adaptation, Home, LocalCells, check_cells, fit_laboratory
from leukoscope.fitting.mixture import mixture_warning
from leukoscope.fitting.moments import Moments
from leukoscope.inference.answer import Answer
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.scores import Scores
from leukoscope.runs.measure import answers_of


@dataclass(frozen=True, slots=True, eq=False)
class Laboratory:
    """Cells of one laboratory as a bundle sees them.

    Attributes:
        name: of the cells.
        labelled: those with a label.
        measured: what a gate measures of them, and of those without a label; None where too few can be measured.
        unlabelled: embeddings of those without a label, float64 [M, E].
        unreadable: pictures that gave no answer, and why.
        turned_down: how many of the labelled the bundle's gate turns down.
        warning: that two laboratories look mixed; None where not.
    """

    name: str
    labelled: LocalCells
    measured: GateCells | None
    unlabelled: NDArray[np.float64]
    unreadable: tuple[tuple[object, object], ...]
    turned_down: int
    warning: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """What an adaptation found, before anything is written."""

    found: Adaptation
    gate: GateChoice


def read_laboratory(
    bundle: Bundle,
    data: Manifest,
    others: Sequence[Path] = (),
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Laboratory:
    """Ask a bundle about the cells of a laboratory.

    Args:
        bundle: the bundle.
        data: labelled cells.
        others: pictures without a label: cells on black, crops or fields.
        threads: to use.
        progress: called with the number of pictures newly done.

    Raises:
        DataError: none of the labelled cells can be read, or they are too few or one-sided; see ``check_cells``; or
            labels contradict the pictures' names.
    """
    check_names(data)
    classifier = Classifier(bundle, threads=threads)
    found = answers_of(classifier, data, quality=True, progress=progress)
    scores, good = found.scores, found.good
    lost = [(a.path, a.error) for a in found.unreadable]
    cells = LocalCells(scores, found.embeddings())
    check_cells(cells)
    more = list(classifier.predict_many(others, progress=progress, quality=True, fields=True))
    lost += [(a.path, a.error) for a in more if a.error is not None]
    seen = [a for a in more if a.embedding is not None]
    size = cells.embedding.shape[1]
    groups = [*scores.group.tolist(), *(unknown_patient(f"{k} {a.name}") for k, a in enumerate(seen))]
    return Laboratory(
        data.name, cells, measured_cells([*good, *seen], groups),
        np.array([a.embedding for a in seen], dtype=np.float64).reshape(-1, size), tuple(lost),
        sum(a.gate == "turned down" for a in good), _warning(good, scores),
    )  # fmt: skip


def check_names(data: Manifest) -> None:
    """Refuse labels that contradict what the pictures' names end with, as ``UID_H3_1_2_hem.bmp`` and ``7-blast.png``.

    Raises:
        DataError: any does.
    """
    amiss = []
    for record in data.records:
        word = re.split(r"[_\- ]", PurePosixPath(record.path).stem)[-1]
        told = class_of(word) if word.isalpha() and len(word) > 2 else None
        if told is not None and record.label is not None and told != record.label:
            amiss.append(record.path)
    if amiss:
        raise DataError(
            f"the labels of {len(amiss)} of {len(data)} cells contradict their names, the first of {amiss[0]}",
            path=data.root,
            remedy="mend the labels or rename the pictures; nothing can be learnt from cells labelled both ways",
        )


def adapt_bundle(bundle: Bundle, laboratory: Laboratory, *, keep_head: bool = False, seed: int = 0) -> Adapted:
    """Fit all steps to a laboratory's cells; nothing is written.

    Args:
        bundle: the bundle.
        laboratory: its cells.
        keep_head: of the head the bias alone is fitted, which learns nothing of the patients that gave the labels.
        seed: see ``fit_laboratory``.

    Raises:
        MissingExtraError: onnx or scikit-learn is not installed.
        BundleError: the graph's head is of no known form.
        DataError: the cells are too few or one-sided.
    """
    moments = Moments.of_training(bundle.facts.gate)
    head = GraphHead(bundle)
    home = None if moments is None else Home(head.logits, moments, laboratory.unlabelled)
    found = fit_laboratory(
        laboratory.labelled, bundle.facts.decision, data=laboratory.name, home=home, seed=seed,
        pulls=BIAS_ALONE if keep_head else PULLS,
    )  # fmt: skip
    if laboratory.measured is None:
        return Adapted(found, GateChoice(None, None, None, "too few cells can be measured for a gate"))
    try:
        gate = choose_gate(bundle.facts.gate, laboratory.measured, data=laboratory.name)
    except DataError as error:
        gate = GateChoice(None, None, None, error.what)
    return Adapted(found, gate)


def write_adapted(bundle: Bundle, laboratory: Laboratory, adapted: Adapted, out: Path) -> None:
    """Write the adapted bundle, whole or not at all; it names its parent and what was measured.

    Raises:
        LeukoscopeError: the folder cannot be written.
    """
    facts, found, gate = bundle.facts, adapted.found, adapted.gate
    graph = GraphHead(bundle).changed(found.change)
    steps = [
        StepFacts(name=s.name, choice=s.choice, kept=s.kept, without=s.without, with_it=s.with_it) for s in found.steps
    ]
    steps.append(
        StepFacts(
            name="gate fitted", choice=gate.why or "to the laboratory's cells", kept=gate.gate is not None,
            without=gate.before, with_it=gate.after,
        )
    )  # fmt: skip
    parent = ParentFacts(
        name=facts.name,
        files=dict(facts.files),
        data=laboratory.name,
        cells=len(laboratory.labelled.scores),
        blasts=int(laboratory.labelled.scores.label.sum()),
        units=found.units,
        by_patient=laboratory.labelled.by_patient,
        strength=found.pull.strength if math.isfinite(found.pull.strength) else None,
        trust=found.pull.trust,
        unlabelled=len(laboratory.unlabelled),
        steps=steps,
        curve=[LabelsFacts(cells=c.cells, auc=c.auc, least=c.least, most=c.most) for c in found.curve],
        warnings=[] if laboratory.warning is None else [f"**{laboratory.warning}.**"],
        before=found.before,
        after=found.after,
        gain=found.gain,
        forced=not found.better,
    )
    made = bundle.with_facts(
        graph=graph, decision=found.rule, gate=gate.gate or facts.gate, name=f"{facts.name}-adapted", parent=parent
    )
    made.write(out)


def _measures(answers: Sequence[Answer]) -> NDArray[np.float64]:
    return np.array([list(a.quality.values.values()) for a in answers if a.quality is not None], dtype=np.float64)


def measured_cells(answers: Sequence[Answer], groups: Sequence[str]) -> GateCells | None:
    """What a gate measures; None where that is of too few cells or of one group."""
    pairs = [(a, g) for a, g in zip(answers, groups, strict=True) if a.quality is not None]
    whole = [a for a, _ in pairs]
    try:
        return GateCells(
            _measures(whole), np.array([a.quality.stain for a in whole if a.quality is not None], dtype=np.float64),
            np.array([a.embedding for a in whole], dtype=np.float64), np.array([g for _, g in pairs]),
            np.zeros(len(whole), dtype=np.bool_),
            np.array([(a.quality.side or 0) if a.quality is not None else 0 for a in whole], dtype=np.int64),
        )  # fmt: skip
    except DataError:
        return None


def _warning(answers: Sequence[Answer], scores: Scores) -> str | None:
    rows = np.array([a.quality is not None for a in answers], dtype=np.bool_)
    stain = np.array([a.quality.stain for a in answers if a.quality is not None], dtype=np.float64)
    if not rows.any():
        return None
    return mixture_warning(np.column_stack([_measures(answers), stain]), scores.label[rows])
