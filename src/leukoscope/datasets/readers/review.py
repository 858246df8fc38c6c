"""The labels that a reader gave in a gallery, exported from its page as one JSON file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leukoscope.datasets.dataset import BLAST, NORMAL, Manifest
from leukoscope.datasets.identity import identified
from leukoscope.datasets.known_sets import reader
from leukoscope.datasets.pictures import shorten
from leukoscope.datasets.record import CLASS_WORDS, LABEL_WORDS, Record
from leukoscope.errors import DataError

SOURCE: Final = "review"
_LABELS: Final = {"blast": BLAST, "normal": NORMAL}


class ReviewedCell(BaseModel):
    """One cell that was labelled or has a note; ``cell`` numbers a cell of a field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1)
    cell: int | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    decision: str
    probability: float | None = None
    label: Literal["blast", "normal", "unsure"] | None = None
    note: str = ""


class Review(BaseModel):
    """What a gallery exports; its schema is part of the house's contracts, so unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["leukoscope-review"]
    version: Literal[1]
    root: str
    created: str
    bundle: str
    bundle_digest: str
    leukoscope: str
    cells: tuple[ReviewedCell, ...]


@reader(
    "review",
    fits=lambda place, _: place.suffix.lower() == ".json" and place.is_file(),
    looks_for="a review exported from a gallery",
    order=15,
    files=True,
    words=True,
)
def read_review(
    path: str | PathLike[str], *, both_classes: bool = True, classes: Mapping[str, int] = CLASS_WORDS
) -> Manifest:
    """Read the cells that a reader called blast or normal; unsure ones, and notes alone, are left out.

    Pictures are looked for where the gallery had them, then beside the file. Labels on cells of fields are left out,
    and the manifest notes how many: what was labelled there is a part of a picture.

    Args:
        path: the JSON file.
        both_classes: whether a missing class is an error.
        classes: not used; a review has words of its own.

    Raises:
        DataError: no review, or a newer one; no label; a picture that is not there, or not the one that was labelled.
    """
    file = Path(path)
    review = load_review(file)
    labelled = [each for each in review.cells if each.label in _LABELS]
    whole = [each for each in labelled if each.cell is None]
    if not whole:
        said = "labels cells of fields only" if labelled else "labels no cell as blast or normal"
        raise DataError(said, path=file, remedy="label pictures of single cells, and export again")
    places = reviewed_places(whole, review, file)
    root = Path(os.path.commonpath([place.parent for place in places]))
    held = {_LABELS[str(each.label)] for each in whole}
    for label in (BLAST, NORMAL):
        if both_classes and label not in held:
            raise DataError(f"no cell is labelled {LABEL_WORDS[label]}", path=file, remedy="label cells of both kinds")
    records = tuple(
        Record(place.relative_to(root).as_posix(), _LABELS[str(each.label)], None, None, None, SOURCE)
        for each, place in zip(whole, places, strict=True)
    )
    left = len(labelled) - len(whole)
    notes = (f"{left} labelled cells of fields are left out: single cells are read.",) if left else ()
    return identified(Manifest(root, records, file.stem, notes=notes))


def load_review(file: Path) -> Review:
    """Read what a gallery exported.

    Raises:
        DataError: no review, or a newer one.
    """
    try:
        return Review.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        why = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(str(part) for part in why["loc"])
        raise DataError(
            f"is no review that this version reads{f', at {place}' if place else ''}: {why['msg']}",
            path=file,
            remedy="export the labels again from the gallery",
        ) from None


def reviewed_places(cells: Sequence[ReviewedCell], review: Review, file: Path) -> list[Path]:
    """Where the pictures of cells lie, each the very one that was labelled.

    Args:
        cells: of the review.
        review: loaded from ``file``.
        file: beside which they are looked for, too.

    Raises:
        DataError: one is not there, or is another.
    """
    found = [_locate(each, Path(review.root), file) for each in cells]
    missing = [each.path for each, place in zip(cells, found, strict=True) if place is None]
    if missing:
        where = f"neither under {review.root} nor beside it"
        raise DataError(
            f"{len(missing)} of {len(cells)} pictures are {where}: {shorten(missing)}",
            path=file,
            remedy="put the file beside the pictures",
        )
    places = [place.resolve() for place in found if place is not None]
    other = [
        each.path
        for each, place in zip(cells, places, strict=True)
        if each.sha256 and sha256(place.read_bytes()).hexdigest() != each.sha256
    ]
    if other:
        raise DataError(
            f"{len(other)} pictures are not those that were labelled: {shorten(other)}",
            path=file,
            remedy="restore the pictures, or label them again",
        )
    return places


def _locate(cell: ReviewedCell, root: Path, file: Path) -> Path | None:
    for place in (root / cell.path, file.parent / cell.path, file.parent / Path(cell.path).name):
        with suppress(OSError):  # a name that no file can have
            if place.is_file():
                return place
    return None
