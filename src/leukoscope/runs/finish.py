"""From trained weights to a measured bundle: export, calibrate on the validation part, measure on the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leukoscope.bundle.decision import logit_at
from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import DecisionFacts, SubjectFacts
from leukoscope.datasets.facts import caveats, licences
from leukoscope.errors import DataError, TrainingError
from leukoscope.fitting.patients import DECIDED, fit_deciding, patients_of, subject_errors
from leukoscope.inference.classifier import Classifier
from leukoscope.metrics.evaluation import Evaluation
from leukoscope.metrics.provenance import Provenance
from leukoscope.progress import SILENT, Progress
from leukoscope.runs.calibrate import fit_rules_of_run
from leukoscope.runs.folds import FoldAnswers, fold_answers
from leukoscope.runs.measure import Measured, measure, measured_facts
from leukoscope.runs.run import Run
from leukoscope.runs.sets import by_set, write_figures


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


def _subject_rule(run: Run, bundle: Bundle, folds: FoldAnswers | None) -> SubjectFacts | None:
    """The rule for subjects on what networks left out said of them; None where they did not, or are too few."""
    left_out = run.left_out()
    if folds is not None:
        tables, data, protocol = folds.tables, folds.data, folds.protocol
    elif left_out is not None:
        tables, data = (left_out,), run.dataset.name
        protocol = "the training patients, each answered by a head that never saw it"
    else:
        return None
    logit = logit_at(bundle.facts.decision.threshold, bundle.facts.decision)
    try:
        patients = patients_of(tables, logit)
        rule = fit_deciding(patients, DECIDED, data=data, logit=logit, protocol=protocol)
    except DataError:
        return None
    parts = (False, True) if len(tables) > 1 else (False,)
    errors = [subject_errors(patients, rule, whole_parts=whole, decided=DECIDED) for whole in parts]
    return rule.model_copy(update={"errors": errors})


def finish_run(
    run: Run, name: str, *, folds: Sequence[Path] = (), notes: Sequence[str] = (), progress: Progress = SILENT
) -> Finished:
    """Export the run's bundle, calibrate it and fit its gate, measure it on the test part, and write all of it down.

    Calibration and figures are made through ONNX Runtime, from the bundle itself. It is written once, and last: a
    bundle that holds figures was finished.

    Args:
        run: trained.
        name: of the bundle.
        folds: runs of the same recipe, the folds of one split: what their networks said of the patients that this one
            learned from is what decision and patients' rule are fitted on.
        notes: what was found out while the data were read, to stand beside the figures.
        progress: shows how far the passes over pictures are.

    Raises:
        TrainingError: the run, or one of the folds, is not trained, or damaged.
        BundleError: the network cannot be written as ONNX.
        DataError: no picture of the test part can be read, or a fold does not belong to the run.
        LeukoscopeError: the folder cannot be written.
    """
    from leukoscope.bundle.export import graph_bytes  # noqa: PLC0415 - needs torch

    recipe, split, training = run.recipe, run.split, run.training
    if training is None:
        raise TrainingError("is not trained yet", path=run.folder, remedy="give its `leukoscope train` command again")
    model, _ = run.network()
    bare = Bundle.of(
        graph_bytes(model, recipe.input.size, recipe.input.preparation.frame_size),
        run.folder / "bundle",
        name=name,
        preparation=recipe.input.preparation,
        input_size=recipe.input.size,
        decision=DecisionFacts(threshold=recipe.threshold),
        training=training,
        data_licences=licences(run.dataset),
    )
    told = fold_answers(bare, folds) if folds else None
    left_out = None if told is None else told.of_groups(bare)
    rules = fit_rules_of_run(run, Classifier(bare), left_out=left_out, progress=progress)
    bundle = bare.with_facts(decision=rules.decision, gate=rules.gate)
    bundle = bundle.with_facts(subjects=_subject_rule(run, bundle, told))
    test = run.part("test")
    provenance = Provenance(
        protocol=split.protocol,
        data=run.dataset.name,
        fingerprint=training.data_fingerprint,
        fold=split.fold,
        seed=split.seed,
        model=name,
        trained_on=tuple(training.groups_trained),
        machine=training.machine,
        shortened=run.shortened,
        caveats=" ".join((*caveats(run.dataset), *notes)) or None,
    )
    with progress.stage("measuring on the test part", len(test)) as done:
        measured = measure(Classifier(bundle), test, provenance, progress=done)
    sets = by_set(measured.scores, test, bundle.facts.decision.threshold, measured.evaluation.provenance)
    write_figures(measured, sets, run.folder / "evaluation")
    figures = measured_facts(measured, data=run.dataset.name, protocol=split.protocol, fold=split.fold)
    written = bundle.with_facts(measured=[figures]).write(run.folder / "bundle")
    why = [None if fault is None else str(fault) for fault in (rules.uncalibrated, rules.ungated)]
    return Finished(written, measured, sets, *why)
