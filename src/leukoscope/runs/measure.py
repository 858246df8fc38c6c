"""Running a bundle over labelled pictures and measuring its answers; which of them it has met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope._version import __version__
from leukoscope.bundle.decision import calibration_claim, refer_claim
from leukoscope.bundle.gate import NOT_CHECKED
from leukoscope.bundle.patients import subject_claim
from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import GRAPH_FILE, MeasuredFacts, WorstFacts
from leukoscope.datasets.combine import same_patients
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.digests import pixel_digests, unpacked
from leukoscope.errors import DataError
from leukoscope.fitting.gate_share import GateShare, gate_share
from leukoscope.inference.answer import Answer
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.overlay import overlay
from leukoscope.metrics.evaluation import Evaluation, evaluate
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.reports.wrong import MOST_SHOWN, WrongCell, wrong_rows

SHOWN = 220  # pixels, side of a wrong cell on the page
MARGIN = 1.2  # of the cell's reach from the middle of the frame
BATCH = 8  # more gains nothing on a CPU and costs memory


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a bundle said of labelled pictures: the table, its answers in the same order, and those that gave none."""

    scores: Scores
    good: list[Answer]
    unreadable: list[Answer]

    def embeddings(self) -> NDArray[np.float64]:
        """What the network makes of each picture of the table, float64 [N, E]."""
        return np.array([answer.embedding for answer in self.good], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a bundle is worth on some pictures.

    Attributes:
        evaluation: all figures.
        scores: the answers themselves.
        unreadable: pictures that gave none.
        gate: what the gate turned down; None where the bundle has none.
        embeddings: float64 [N, E] of the pictures of ``scores``.
        wrong: cells decided wrongly, the worst first, at most `MOST_SHOWN`, with their heat maps.
    """

    evaluation: Evaluation
    scores: Scores
    unreadable: list[Answer]
    gate: GateShare | None = None
    embeddings: NDArray[np.float64] | None = None
    wrong: tuple[WrongCell, ...] = ()


def measure(
    classifier: Classifier,
    data: Manifest,
    provenance: Provenance,
    *,
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """Run a bundle over all pictures of a labelled manifest, through the same path as `predict`, and measure it.

    What the bundle says of itself is added to ``provenance``, but audits that are already there stand.

    Raises:
        DataError: no picture can be read.
    """
    found = answers_of(classifier, data, progress=progress)
    scores, unreadable = found.scores, found.unreadable
    rule = classifier.bundle.facts.decision
    share: GateShare | None = None
    if classifier.bundle.facts.gate is not None:
        reasons = [[finding.reason for finding in answer.findings] for answer in found.good]
        share = gate_share(reasons, scores.label, scores.group)
    audits = tuple(each.model_dump(mode="json") for each in classifier.bundle.facts.audits)
    provenance = replace(
        provenance,
        graph=classifier.bundle.facts.files[GRAPH_FILE],
        software=__version__,
        probabilities=calibration_claim(rule),
        refer=refer_claim(rule) or None,
        gate=NOT_CHECKED if share is None else share.sentence(),
        subjects=subject_claim(classifier.bundle.facts),
        unreadable=len(unreadable) or None,
        audits=audits if provenance.audits is None else provenance.audits,
    )
    evaluation = evaluate(
        scores,
        provenance,
        threshold=rule.threshold,
        refer_from=None if rule.refer is None else rule.refer.low,
    )
    wrong = wrong_cells(classifier, data, scores, rule.threshold)
    return Measured(evaluation, scores, unreadable, share, found.embeddings(), wrong)


def wrong_cells(
    classifier: Classifier, data: Manifest, scores: Scores, threshold: float, count: int = MOST_SHOWN
) -> tuple[WrongCell, ...]:
    """The cells of ``scores`` on which a bundle was most surely wrong, asked again for their heat maps.

    Args:
        classifier: what answered.
        data: the pictures of ``scores``, and maybe others.
        scores: the answers.
        threshold: probability from which a cell is called blast.
        count: how many at most.
    """
    rows = wrong_rows(scores, threshold)[:count].tolist()
    place = {record.path: path for record, path in zip(data.records, data.paths(), strict=True)}
    answers = classifier.predict_many([place[scores.path[row]] for row in rows], batch_size=BATCH)
    told = []
    for row, answer in zip(rows, answers, strict=True):
        if answer.frame is None or answer.heatmap is None:  # gone since it was first asked
            continue
        told.append(
            WrongCell(
                path=scores.path[row],
                subject=str(scores.subject[row]),
                truth="blast" if scores.label[row] else "normal",
                probability=float(scores.probability[row]),
                picture=_small(answer.frame, _about(answer.frame)),
                overlay=_small(overlay(answer.frame, answer.heatmap), _about(answer.frame)),
            )
        )
    return tuple(told)


def _about(frame: NDArray[np.uint8]) -> slice:
    """Rows, and columns, of the smallest square about the frame's middle that holds the cell, with a margin.

    >>> frame = np.zeros((100, 100, 3), np.uint8)
    >>> frame[40:60, 30:60] = 90
    >>> _about(frame)
    slice(27, 73, None)
    """
    middle = len(frame) / 2
    ends = [np.flatnonzero(frame.any(axis=(1 - axis, 2)))[[0, -1]] + 0.5 for axis in (0, 1) if frame.any()]
    reach = max((float(np.abs(each - middle).max()) for each in ends), default=middle)
    half = min(int(middle), int(reach * MARGIN))
    return slice(int(middle) - half, int(middle) + half)


def _small(picture: NDArray[np.uint8], part: slice) -> bytes:
    """The part of a picture that a page shows, WebP of `SHOWN` pixels square."""
    small = cv2.resize(picture[part, part], (SHOWN, SHOWN), interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(".webp", small[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 88])
    if not done:
        raise DataError("the picture of a cell cannot be encoded")
    return content.tobytes()


def table_of(
    classifier: Classifier, data: Manifest, *, progress: Callable[[int], None] | None = None
) -> tuple[Scores, list[Answer]]:
    """Answers of a bundle on all pictures of a labelled manifest, and those that gave none.

    Raises:
        DataError: no picture can be read.
    """
    found = answers_of(classifier, data, progress=progress)
    return found.scores, found.unreadable


def answers_of(
    classifier: Classifier, data: Manifest, *, quality: bool = False, progress: Callable[[int], None] | None = None
) -> Answered:
    """Answers of a bundle on all pictures of a labelled manifest, without their frames and maps.

    Args:
        classifier: what answers.
        data: labelled pictures.
        quality: measure each picture as a gate does, also where the bundle has none.
        progress: called with the number of pictures newly answered.

    Raises:
        DataError: no picture can be read.
    """
    stream = classifier.predict_many(data.paths(), batch_size=BATCH, progress=progress, quality=quality)
    # Without frames, 0.6 MB each.
    answers = [replace(answer, cell=replace(answer.cell, frame=None), heatmap=None) for answer in stream]
    rows = np.flatnonzero([answer.logit is not None for answer in answers])
    unreadable = [answer for answer in answers if answer.logit is None]
    if not len(rows):
        why = unreadable[0].error if unreadable else "there are none"
        raise DataError("none of the pictures can be read", path=data.root, remedy=why)
    kept = data.select(rows)
    good = [answers[row] for row in rows.tolist()]
    scores = Scores(
        path=tuple(record.path for record in kept.records),
        label=kept.labels(),
        probability=np.array([answer.probability for answer in good], dtype=np.float64),
        logit=np.array([answer.logit for answer in good], dtype=np.float64),
        subject=kept.subjects(),
        group=kept.groups(),
    )
    return Answered(scores, good, unreadable)


def measured_facts(measured: Measured, *, data: str, protocol: str, fold: int) -> MeasuredFacts:
    """What of an evaluation goes into a bundle."""
    referral, worst = measured.evaluation.referral, measured.evaluation.worst
    figures = {**measured.evaluation.metrics, **(referral.figures if referral else {})}
    if measured.gate is not None:
        figures["turned_down"] = measured.gate.turned_down
    return MeasuredFacts(
        data=data,
        protocol=protocol,
        fold=fold,
        pictures=len(measured.scores.path),
        groups=sorted(set(measured.scores.group.tolist())),
        metrics=figures,
        worst_subject=None
        if worst is None
        else WorstFacts(subject=worst.subject, accuracy=worst.accuracy, cells=worst.n),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a data set a bundle has met.

    Attributes:
        trained: bool [N], pictures of patients that it was trained or validated on, or whose pixels it was.
        calibrated: bool [N], pictures of patients that its probabilities or its band were fitted on.
        copies: how many of the former are known by their pixels alone, under another name.
    """

    trained: NDArray[np.bool_]
    calibrated: NDArray[np.bool_]
    copies: int

    @property
    def any(self) -> NDArray[np.bool_]:
        """Pictures met in any way, bool [N]."""
        return self.trained | self.calibrated

    def words(self) -> str:
        """The copies in a sentence; empty where there are none."""
        if not self.copies:
            return ""
        are = "1 picture is a copy" if self.copies == 1 else f"{self.copies:,} pictures are copies"
        return f"{are}, under other names, of what the bundle was trained on."


def seen_by(bundle: Bundle, data: Manifest) -> Seen:
    """Which pictures of a data set a bundle has met.

    Patients are told apart by data set and group, also where one of the sets is a combination that holds the other;
    beside that, a picture whose pixels were trained on is known whatever it and its patient are called.
    """
    training, fitted = bundle.facts.training, bundle.facts.decision.calibration
    groups = data.groups()
    trained = np.zeros(len(data), dtype=np.bool_)
    copies = 0
    if training is not None:
        met = same_patients(training.data, (*training.groups_trained, *training.groups_validated), data)
        trained = np.isin(groups, list(met))
        if training.pixels is not None and not trained.all():
            rest = np.flatnonzero(~trained)
            known = np.isin(pixel_digests(data.select(rest).paths()), unpacked(training.pixels))
            trained[rest[known]] = True
            copies = int(known.sum())
    held = [] if fitted is None else list(same_patients(fitted.data, fitted.groups, data))
    return Seen(trained, np.isin(groups, held), copies)


def unseen_by(bundle: Bundle, data: Manifest, *, calibrated: bool = True) -> Manifest:
    """The pictures that the bundle was neither trained nor validated nor, if asked, calibrated on; see ``seen_by``."""
    seen = seen_by(bundle, data)
    return data.select(~(seen.any if calibrated else seen.trained))


def headline(evaluation: Evaluation) -> str:
    """The figures that a terminal shows, one a line."""
    shown = ("auc", "f1_weighted", "balanced_accuracy", "sensitivity", "specificity", "ece")
    lines = [f"  {key:<18} {evaluation.metrics[key].in_brackets()}" for key in shown]
    if evaluation.referral is not None:
        found = evaluation.referral.figures
        lines.append(f"  decided            {found['decided'].value:.3f}  (the others are referred)")
        lines.append(f"  missed             {found['missed'].value:.3f}  (blasts called normal)")
    return "\n".join(lines)
