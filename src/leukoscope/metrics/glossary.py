"""What the figures are called and what they mean, whose pictures decide them, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Needs = Literal["blast", "normal", "both"]


@dataclass(frozen=True, slots=True)
class Term:
    """One figure. ``needs``: the class whose pictures decide it; ``higher_is_better`` is False for errors."""

    key: str
    title: str
    meaning: str
    needs: Needs = "both"
    higher_is_better: bool = True


TERMS: tuple[Term, ...] = (
    Term("auc", "AUC", "Chance that a blast is ranked above a normal cell, over all thresholds; ties count half."),
    Term("balanced_accuracy", "Balanced accuracy", "Mean of sensitivity and specificity."),
    Term("sensitivity", "Sensitivity", "Share of blasts called blast (recall of blast).", "blast"),
    Term("specificity", "Specificity", "Share of normal cells called normal (recall of normal).", "normal"),
    Term("accuracy", "Accuracy", "Share of pictures decided rightly; depends on the mix of classes."),
    Term("f1_weighted", "F1, weighted", "Mean of the F1 of both classes, weighted by their numbers of pictures."),
    Term("f1_macro", "F1, macro", "Plain mean of the F1 of both classes."),
    Term("f1_blast", "F1 of blast", "Harmonic mean of precision and recall of blast."),
    Term("f1_normal", "F1 of normal", "Harmonic mean of precision and recall of normal."),
    Term(
        "precision_blast", "Precision of blast", "Share of cells called blast that are; depends on the mix of classes."
    ),
    Term(
        "precision_normal",
        "Precision of normal",
        "Share of cells called normal that are; depends on the mix of classes.",
    ),
    Term("matthews", "Matthews correlation", "Correlation of truth and decision, from -1 to 1; 0 is chance."),
    Term(
        "average_precision",
        "Average precision",
        "Area under the precision-recall curve; chance is the share of blasts.",
    ),
    Term(
        "sensitivity_at_95_specificity",
        "Sensitivity at 95 % specificity",
        "Best sensitivity of any threshold with a specificity of at least 95 %, chosen on these very pictures.",
    ),
    Term(
        "specificity_at_95_sensitivity",
        "Specificity at 95 % sensitivity",
        "Best specificity of any threshold with a sensitivity of at least 95 %, chosen on these very pictures.",
    ),
    Term("brier", "Brier score", "Mean squared distance of probability and truth; lower is better.", "both", False),
    Term(
        "ece",
        "Calibration error",
        "Mean distance of stated probability and share of blasts, 15 bins of equal width; lower is better.",
        "both",
        False,
    ),
    Term(
        "ece_adaptive",
        "Calibration error, adaptive",
        "The same with 15 bins of equal numbers of pictures; lower is better.",
        "both",
        False,
    ),
    Term(
        "aurc",
        "Risk over coverages",
        "Share wrong when the least sure pictures are referred, mean over all shares decided; lower is better.",
        "both",
        False,
    ),
    Term(
        "coverage_at_1_missed",
        "Coverage at 1 % missed",
        "Largest share decided if cells below the threshold are referred until at most 1 % of blasts are called "
        "normal, chosen on these very pictures.",
    ),
    Term(
        "subject_auc",
        "AUC of subjects",
        "AUC where a subject counts once, scored by the mean probability of its cells.",
    ),
)
KEYS: tuple[str, ...] = tuple(term.key for term in TERMS)

BAND_TERMS: tuple[Term, ...] = (
    Term("decided", "Decided", "Share of pictures called blast or normal; the others are referred."),
    Term("missed", "Missed blasts", "Share of blasts called normal.", "blast", False),
    Term(
        "missed_decided",
        "Missed among decided",
        "Share of blasts called normal among the blasts that are decided.",
        "blast",
        False,
    ),
    Term("false_blast", "False blasts", "Share of normal cells called blast.", "normal", False),
    Term("wrong_decided", "Wrong among decided", "Share decided wrongly among the decided.", "both", False),
    Term("normal_decided", "Normal cells cleared", "Share of normal cells called normal.", "normal"),
)
BAND_KEYS: tuple[str, ...] = tuple(term.key for term in BAND_TERMS)

BY_KEY: dict[str, Term] = {term.key: term for term in (*TERMS, *BAND_TERMS)}
