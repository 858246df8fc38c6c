"""One picture of a data set, and the words that name its class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from leukoscope.errors import DataError

NORMAL: Final = 0
BLAST: Final = 1

#: A file of this name in a data set's folder says that its cells are rendered, and what a model learnt from them.
SYNTHETIC_NOTE: Final = "SYNTHETIC.txt"

#: How a label is written by us.
LABEL_WORDS: Final[Mapping[int | None, str]] = MappingProxyType({BLAST: "blast", NORMAL: "normal", None: ""})

#: Words for a class that we understand in folder names and in tables of others; compared in lower case.
CLASS_WORDS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("blast", "all", "leukemia", "leukaemia", "abnormal", "positive", "1"), BLAST),
        **dict.fromkeys(("blasts", "leukemic", "leukaemic", "malignant", "cancer", "early", "pre", "pro"), BLAST),
        **dict.fromkeys(("1.0", "true"), BLAST),
        **dict.fromkeys(("normal", "hem", "healthy", "benign", "negative", "0"), NORMAL),
        **dict.fromkeys(("normals", "control", "0.0", "false"), NORMAL),
    }
)


@dataclass(frozen=True, slots=True)
class Record:
    """One picture.

    Attributes:
        path: relative to the manifest's root, with `/` as separator.
        label: 1 blast, 0 normal, None unknown.
        subject: the subject as the data set names it, None where it does not say.
        group: the patient group, that is the subject after merging the names of one patient; None: see
            `Manifest.groups`.
        fold: the official fold (0, 1, 2) or None.
        source: where it comes from, such as `cnmc2019/train`, `cnmc2019/prelim`, `cnmc2019/final`, `folders`, `csv`.
        field: the microscope field within the subject, if known.
    """

    path: str
    label: int | None
    subject: str | None
    group: str | None
    fold: int | None
    source: str
    field: str | None = None


#: Words that stand where a table knows no subject; compared in lower case.
_NO_SUBJECT: Final = frozenset({"", "nan", "na", "n/a", "none", "null", "nil", "unknown", "-", "?"})


def class_of(word: str, classes: Mapping[str, int] = CLASS_WORDS) -> int | None:
    """Label that a word of ``classes`` stands for, whatever its case; None where it is not one.

    Of `[Malignant] Pre-B`, as a public set names its folders, the word in brackets decides.

    >>> class_of("ALL"), class_of("Healthy"), class_of("[Malignant] Pre-B"), class_of("lymphocyte")
    (1, 0, 1, None)
    """
    text = word.strip().lower()
    if text not in classes and text.startswith("[") and "]" in text:
        text = text[1 : text.index("]")].strip()
    return classes.get(text)


def class_words(given: Iterable[str]) -> Mapping[str, int]:
    """The class words of a data set, from `blast=Early,Pre,Pro` and `normal=Benign`; ours where none are given.

    >>> class_words(["blast=L1, L2", "normal=other"])["l2"]
    1

    Raises:
        DataError: a text that is not of this form, a word under both classes, or a class without a word.
    """
    told: dict[str, int] = {}
    labels = {LABEL_WORDS[BLAST]: BLAST, LABEL_WORDS[NORMAL]: NORMAL}
    remedy = "write --classes blast=Early,Pre,Pro --classes normal=Benign"
    for text in given:
        name, _, listed = text.partition("=")
        words = [word.strip().lower() for word in listed.split(",") if word.strip()]
        label = labels.get(name.strip().lower())
        if label is None or not words:
            raise DataError(f"classes {text!r}: not blast=WORDS or normal=WORDS", remedy=remedy)
        for word in words:
            if told.setdefault(word, label) != label:
                raise DataError(f"classes: {word!r} stands for both classes", remedy=remedy)
    if told and len(set(told.values())) < len(labels):
        raise DataError("classes: the words of one class alone are given", remedy=remedy)
    return MappingProxyType(told) if told else CLASS_WORDS


def known_subject(text: str | None) -> str | None:
    """The subject that a table names; None for `nan`, `NA` and other words that say that nobody knows.

    >>> known_subject("NaN"), known_subject(" 17 ")
    (None, '17')
    """
    name = (text or "").strip()
    return None if name.lower() in _NO_SUBJECT else name


def accepted_words(classes: Mapping[str, int] = CLASS_WORDS) -> str:
    """The accepted class words as a phrase for messages.

    >>> accepted_words({"all": 1, "hem": 0})
    'all and hem'
    """
    blast, normal = ("/".join(word for word, label in classes.items() if label == wanted) for wanted in (1, 0))
    return f"{blast} and {normal}"
