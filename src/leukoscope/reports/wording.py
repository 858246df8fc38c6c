"""What stands beside figures: whose the pictures are, what the intervals hold, what a split means."""

from __future__ import annotations

import math
from collections.abc import Mapping

from leukoscope.datasets.patients import patient_words
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.text import decimal, span


def with_interval(estimate: Estimate) -> str:
    """Value and interval: ``0.914 (0.880 to 0.941)``."""
    if math.isnan(estimate.low):
        return decimal(estimate.value)
    return f"{decimal(estimate.value)} ({span(estimate.low, estimate.high)})"


def of_whom(counts: Mapping[str, int]) -> str:
    """Whose pictures they are, from ``Resampling.counts``.

    >>> of_whom({"groups": 3}), of_whom({"groups": 3, "lone": 3})
    ('3 patient groups', 'unknown patients')
    """
    lone = counts.get("lone", 0)
    return patient_words(counts["groups"] - lone, lone)


def intervals_over(counts: Mapping[str, int]) -> str:
    """What the intervals hold, for the line below a drawing.

    >>> intervals_over({"groups": 3}), intervals_over({"groups": 3, "lone": 1})
    ('95 % intervals over patient groups', '95 % intervals, likely too narrow')
    """
    return f"95 % intervals{', likely too narrow' if counts.get('lone') else ' over patient groups'}"


_TITLES = {
    "group": "Split by patient group",
    "subject": "Split by subject name",
    "official": "Folds published with the data set",
    "laboratory": "A whole laboratory left out",
    "picture": "Split by picture: patients on both sides",
    "external": "Another data set than that of the training",
    "unseen groups": "Patient groups that the model has not seen",
    "all groups, trained ones too": "All patient groups, trained ones too",
}
_MEANINGS = {
    "group": (
        "Whole patients were held out: no patient group of the test part was seen in training. This is what to expect "
        "on new patients of the same laboratory, not on those of another."
    ),
    "subject": (
        "Whole subjects, as the data set names them, were held out. A patient who stands there under two names may be "
        "on both sides, so the figures may be better than on new patients."
    ),
    "official": (
        "The test part is a fold published with the data set. Some patients stand in two folds, so the figures may be "
        "better than on new patients."
    ),
    "laboratory": (
        "A whole data set was held out, and the others trained: what to expect at a laboratory that the model never "
        "saw. Sets differ in more than the laboratory: in who was chosen, and how cells were cut and labelled."
    ),
    "picture": (
        "Single pictures were held out, so cells of one patient stand in training and in test. The figures are better "
        "than on new patients; they are here only to be compared with a split by patient group."
    ),
    "external": (
        "The data set bears another name than the one that the model was trained on, so all its patients are taken as "
        "new. Nothing else was checked: if the two share patients, the figures are too good."
    ),
    "unseen groups": (
        "Patient groups that the model was trained or validated on were left out. This is what to expect on new "
        "patients of the same laboratory, not on those of another."
    ),
    "all groups, trained ones too": (
        "The model was trained on some of these very patients. The figures say nothing about new ones."
    ),
}
_UNKNOWN = (
    "The patients of some pictures are not known. Such a picture is kept apart by itself alone, so cells of one "
    "patient may stand in training and in test, and the figures may be better than on new patients."
)
NEW_PATIENTS = frozenset(
    {"group", "laboratory", "external", "unseen groups"}
)  # protocols that test on patients never seen


def protocol_title(protocol: str, fold: int | None = None) -> str:
    """The split in a few words; a name that is not known here is given as it is.

    >>> protocol_title("group", 0)
    'Split by patient group, fold 0'
    """
    title = _TITLES.get(protocol, protocol)
    return title if fold is None or protocol == "picture" else f"{title}, fold {fold}"


def protocol_meaning(protocol: str, *, patients_known: bool = True) -> str:
    """What the split means for the figures, in plain words; empty for a name that is not known here."""
    lost = is_of_new_patients(protocol) and not is_of_new_patients(protocol, patients_known=patients_known)
    return _UNKNOWN if lost else _MEANINGS.get(protocol, "")


def is_of_new_patients(protocol: str, *, patients_known: bool = True) -> bool:
    """Whether the network saw none of the patients; another data set's are taken as new whoever they are.

    >>> is_of_new_patients("group"), is_of_new_patients("group", patients_known=False)
    (True, False)
    """
    return protocol in NEW_PATIENTS and (patients_known or protocol in {"external", "laboratory"})
