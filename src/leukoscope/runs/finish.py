"""From trained weights to a measured bundle: export, calibrate on the validation part, measure on the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leukoscope.bundle.decision import sigmoid
from leukoscope.bundle.gate import GateFacts
from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.bundle.schema import DecisionFacts, MeasuredFacts, TrainingFacts, WeightsFacts
from leukoscope.datasets.digests import packed, pixel_digests
from leukoscope.datasets.facts import caveats, licences
from leukoscope.errors import DataError
from leukoscope.files import together
from leukoscope.fitting.decision import calibrate
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.evaluation import Evaluation
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.progress import SILENT, Progress
from leukoscope.runs.gate import gate_pictures, measure_gate
from leukoscope.runs.measure import Measured, measure, measured_facts, table_of, write_measured
from leukoscope.runs.sets import SETS_CSV, SETS_JSON, by_set, write_sets

if TYPE_CHECKING:
    from leukoscope.runs.train import Run


@dataclass(frozen=True, slots=True)
class Finished:
    """A run's bundle and its figures.

    Attributes:
        bundle: as it lies in the run's folder.
        measured: the evaluation on the test part, and its table.
        sets: of a combined data set, the figures of each one apart.
        uncalibrated: why the probabilities stay as the network states them, None if they were fitted.
        ungated: why no gate could be fitted, None if it was.
    """

    bundle: Bundle
    measured: Measured
    sets: Mapping[str, Evaluation]
    uncalibrated: str | None
    ungated: str | None


def finish_run(run: Run, name: str, *, notes: Sequence[str] = (), progress: Progress = SILENT) -> Finished:
    """Write the run's bundle, calibrate it and fit its gate, measure it on the test part, and write all of it down.

    Calibration and figures are made through ONNX Runtime, from the bundle itself. The figures enter the bundle last:
    a bundle that holds some was finished.

    Args:
        run: as trained.
        name: of the bundle.
        notes: what was found out while the data were read, to stand beside the figures.
        progress: shows how far the passes over pictures are.

    Raises:
        BundleError: the network cannot be written as ONNX.
        DataError: no picture of the test part can be read.
        LeukoscopeError: the folder cannot be written.
    """
    from leukoscope.bundle.export import graph_bytes, write_bundle  # noqa: PLC0415 - needs torch

    recipe, split = run.recipe, run.split
    facts = _training_facts(run)
    graph = graph_bytes(run.model, recipe.input.size, recipe.input.preparation.frame_size)
    folder = run.folder / "bundle"

    def write(decision: DecisionFacts, gate: GateFacts | None = None, *measured: MeasuredFacts) -> Bundle:
        write_bundle(
            folder,
            graph,
            name=name,
            preparation=recipe.input.preparation,
            input_size=recipe.input.size,
            decision=decision,
            gate=gate,
            training=facts,
            measured=measured,
            data_licences=licences(run.manifest),
        )
        return read_bundle(folder)

    bare = write(DecisionFacts(threshold=recipe.threshold))
    decision, uncalibrated = _calibrated(run, bare, progress)
    gate, ungated = _gate(run, bare, progress)
    bundle = write(decision, gate)
    test = run.manifest.select(split.test)
    provenance = Provenance(
        protocol=split.protocol,
        data=run.manifest.name,
        fingerprint=facts.data_fingerprint,
        fold=split.fold,
        seed=split.seed,
        model=name,
        trained_on=tuple(facts.groups_trained),
        machine=run.machine,
        shortened=run.shortened,
        caveats=" ".join((*caveats(run.manifest), *notes)) or None,
    )
    with progress.stage("measuring on the test part", len(test)) as done:
        measured = measure(Classifier(bundle), test, provenance, progress=done)
    sets = by_set(measured.scores, test, bundle.facts.decision.threshold, measured.evaluation.provenance)
    with together(run.folder / "evaluation", gone=() if sets else (SETS_JSON, SETS_CSV)) as place:
        write_measured(measured, place)
        write_sets(sets, place)
    figures = measured_facts(measured, data=run.manifest.name, protocol=split.protocol, fold=split.fold)
    return Finished(write(decision, gate, figures), measured, sets, uncalibrated, ungated)


def _training_facts(run: Run) -> TrainingFacts:
    recipe, split, groups = run.recipe, run.split, run.manifest.groups()
    return TrainingFacts(
        model=recipe.model.name,
        arguments=recipe.model.arguments,
        parameters=run.parameters,
        recipe=recipe.name,
        seed=recipe.seed,
        data=run.manifest.name,
        data_fingerprint=run.manifest.fingerprint(),
        pictures=len(split.train),
        groups_trained=sorted(set(groups[split.train].tolist())),
        groups_validated=sorted(set(groups[split.val].tolist())),
        shortened=run.shortened,
        weights=_weights(run),
        pixels=packed(pixel_digests(run.manifest.select(np.sort(np.concatenate([split.train, split.val]))).paths())),
        machine=run.machine,
    )


def _weights(run: Run) -> WeightsFacts | None:
    start = run.weights
    if start.sha256 is None:
        return None
    return WeightsFacts(source=start.source, sha256=start.sha256, licence=start.licence)


def _calibrated(run: Run, bundle: Bundle, progress: Progress) -> tuple[DecisionFacts, str | None]:
    """The rule of the run's bundle, and why where nothing can be fitted and it stays as it is.

    It is fitted on the validation part, or on answers of the training part by heads that never saw their patient.
    """
    part = run.manifest.select(run.split.val)
    try:
        if run.left_out is not None:
            part = run.manifest.select(run.left_out.rows)
            logits = run.left_out.logits
            scores = Scores(
                path=tuple(record.path for record in part.records), label=part.labels(), logit=logits,
                probability=sigmoid(logits), subject=part.subjects(), group=part.groups(),
            )  # fmt: skip
            return calibrate(scores, bundle.facts.decision, data=run.manifest.name, chose_epoch=False), None
        with progress.stage("calibrating on the validation part", len(part)) as done:
            scores, _ = table_of(Classifier(bundle), part, progress=done)
        steered = run.recipe.steered_by_validation
        return calibrate(scores, bundle.facts.decision, data=run.manifest.name, chose_epoch=steered), None
    except DataError as error:
        return bundle.facts.decision, str(error)


def _gate(run: Run, bundle: Bundle, progress: Progress) -> tuple[GateFacts | None, str | None]:
    """A gate fitted on training and validation part; None, and why, where none can be fitted."""
    rows, held_out = gate_pictures(run.manifest, run.split.train, run.split.val)
    try:
        with progress.stage("fitting the gate", len(rows)) as done:
            return measure_gate(Classifier(bundle), run.manifest.select(rows), held_out, progress=done), None
    except DataError as error:
        return None, str(error)
