"""What is known of published data sets, and the readers that recognise layouts: each reader's module registers both.

Every module in `leukoscope.datasets.readers` is found by itself: a new data set is one file there, with a function
under `@reader` and a `SetFacts` for each set that it reads. Nothing else has to be changed.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, TypeVar

from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import DataError


class NamedCell(Protocol):
    """What a published file name says of its cell."""

    @property
    def subject(self) -> str:
        """The subject, as the data set names it."""

    @property
    def field(self) -> str | None:
        """The microscope field within the subject."""

    @property
    def label(self) -> int:
        """1 blast, 0 normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFacts:
    """A published data set.

    Attributes:
        name: what the sources of its records begin or end with, and what a manifest of it is called.
        title: how it is written for people.
        terms: a sentence with its licence and the source to cite.
        caveat: a sentence to show beside every figure measured on it; empty: none.
        limits: a sentence on a model trained on it, for its card; empty: the one on any other laboratory.
        pictures: how many were published; None: not known.
        kin: names of other sets that show the same patients, where nobody published who is who.
        resolution_tells: whether the size of its pictures in pixels is known to tell the class.
        sides: in pixels, of its pictures of one cell on black, all at one scale; empty: not known.
        groups: makes the subject-to-group mapping of subjects that are one patient.
        parse: reads what a file name says of its cell, wherever the file lies; None for a name that is not of this
            set. Its subjects are then told apart from those of other laboratories as `name:subject`.
        labels: the remedy where labels contradict such names.
        tripod: items of TRIPOD+AI that its publication answers for a model trained on it, and where.
    """

    name: str
    title: str
    terms: str
    caveat: str = ""
    limits: str = ""
    pictures: int | None = None
    kin: frozenset[str] = frozenset()
    resolution_tells: bool = False
    sides: frozenset[int] = frozenset()
    groups: Callable[[], Mapping[str, str]] = dict
    parse: Callable[[str], NamedCell | None] | None = None
    labels: str = "correct the labels, or restore the published names"
    tripod: Mapping[str, str] = field(default_factory=dict)


Read = Callable[..., Manifest]
Fits = Callable[[Path, Mapping[str, int]], bool]
R = TypeVar("R", bound=Read)


@dataclass(frozen=True, slots=True)
class Reader:
    """From a place to a manifest.

    Attributes:
        name: how it is asked for.
        read: reads a place; see ``words``.
        fits: whether a place, given the class words, is for this reader.
        looks_for: what ``fits`` looks for, for the message where no reader fits.
        order: readers are asked in ascending order; 20 is a table, 90 are class folders of any laboratory.
        files: whether it reads a file too.
        words: whether ``read`` takes ``both_classes`` and ``classes``, as for data that have no classes of their own.
    """

    name: str
    read: Read
    fits: Fits
    looks_for: str
    order: int
    files: bool
    words: bool

    def __call__(self, place: Path, *, both_classes: bool, classes: Mapping[str, int]) -> Manifest:
        """Read a place.

        Raises:
            DataError: a file where a folder is needed, or what is wrong with the data.
        """
        if place.is_file() and not self.files:
            raise DataError(f"is a file, the reader {self.name} needs a folder", path=place)
        return self.read(place, both_classes=both_classes, classes=classes) if self.words else self.read(place)


_FACTS: Final[dict[str, SetFacts]] = {}
_READERS: Final[dict[str, Reader]] = {}


def reader(
    name: str,
    *,
    fits: Fits,
    looks_for: str = "",
    order: int = 30,
    files: bool = False,
    words: bool = False,
    sets: tuple[SetFacts, ...] = (),
) -> Callable[[R], R]:
    """Register a function as a reader, with what is known of the data ``sets`` that it reads; see `Reader`.

    Raises:
        DataError: a name that is taken.
    """

    def register(read: R) -> R:
        if name in _READERS:
            raise DataError(f"two readers are called {name}", remedy="give each a name of its own")
        for facts in sets:
            add_facts(facts)
        _READERS[name] = Reader(name, read, fits, looks_for, order, files, words)
        return read

    return register


def add_facts(facts: SetFacts) -> None:
    """Register what is known of a data set that no reader of its own reads.

    Raises:
        DataError: a name that is taken.
    """
    if facts.name in _FACTS:
        raise DataError(f"two data sets are called {facts.name}", remedy="give each a name of its own")
    _FACTS[facts.name] = facts


def readers() -> dict[str, Reader]:
    """All readers by name, in the order in which they are asked."""
    _load()
    return dict(sorted(_READERS.items(), key=lambda item: (item[1].order, item[0])))


def known_sets() -> Mapping[str, SetFacts]:
    """All known data sets by name."""
    _load()
    return _FACTS


@cache
def _load() -> None:
    package = import_module("leukoscope.datasets.readers")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
