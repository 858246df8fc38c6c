"""One picture of a data set, and the words that name its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

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
        **dict.fromkeys(("normal", "hem", "healthy", "benign", "negative", "0"), NORMAL),
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


def class_of(word: str) -> int | None:
    """Label that a word of `CLASS_WORDS` stands for, whatever its case; None where it is not one.

    >>> class_of("ALL"), class_of("Healthy"), class_of("lymphocyte")
    (1, 0, None)
    """
    return CLASS_WORDS.get(word.strip().lower())


def accepted_words() -> str:
    """The accepted class words as a phrase for messages.

    >>> accepted_words()
    'blast/all/leukemia/leukaemia/abnormal/positive/1 and normal/hem/healthy/benign/negative/0'
    """
    blast, normal = ("/".join(word for word, label in CLASS_WORDS.items() if label == wanted) for wanted in (1, 0))
    return f"{blast} and {normal}"
