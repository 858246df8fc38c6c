"""What travels between sites in a training round: one file, a signed first line to be read, and numbers behind it.

The first line is JSON and says all that the file is: who sent it, for which round, in answer to which state, how many
cells and patients it sums, which arrays follow. ``head -1 FILE`` shows it. Behind it lie the arrays' bytes, one after
another, little-endian; their SHA-256 stands in the line.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leukoscope._version import __version__
from leukoscope.errors import DataError
from leukoscope.keys import SiteKey, checked_signature

PARCEL_FORMAT: Final = 1
_MOST: Final = 2_000_000_000  # bytes of arrays
_AGAIN: Final = "ask its sender to write it again"
Number = Annotated[float, Field(allow_inf_nan=False)]


class ParcelArray(BaseModel):
    """Name, type and shape of an array."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    dtype: Literal["<f8", "<f4", "<i8"]
    shape: tuple[Annotated[int, Field(ge=0)], ...]

    @property
    def nbytes(self) -> int:
        """Of the array."""
        return int(self.dtype[-1]) * math.prod(self.shape)


class ParcelHead(BaseModel):
    """The first line of the file.

    Attributes:
        format: of the file; ``software``: version that wrote it.
        kind: ``state``, from the centre, or ``round``, from a site.
        sender: name of the site, or of the centre.
        round: counted from 0. A state of round n is what the sites' files of round n answer.
        base: SHA-256 of the state that a site's file answers, or that a state was made from; empty at the start.
        model: SHA-256 of the bundle that all have agreed on.
        cells: how many are summed; ``patients`` likewise.
        facts: settings and figures by name.
        arrays: what follows.
        sha256: of what follows.
        key: the sender's public key; ``signature``: of everything else in the line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    software: str
    kind: Literal["state", "round"]
    sender: Annotated[str, Field(min_length=1, max_length=80)]
    round: Annotated[int, Field(ge=0)]
    base: str
    model: str
    cells: Annotated[int, Field(ge=0)]
    patients: Annotated[int, Field(ge=0)]
    facts: dict[str, Number | str | bool | tuple[str, ...]]
    arrays: tuple[ParcelArray, ...]
    sha256: str
    key: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What is signed: everything but the signature, in one order."""
        return json.dumps(self.model_dump(mode="json", exclude={"signature"}), sort_keys=True).encode()


class Parcel:
    """A header and its arrays.

    Args:
        head: the first line.
        arrays: by name, as the header says.
    """

    def __init__(self, head: ParcelHead, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.head = head
        self.arrays = arrays

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], key: SiteKey, **head: Any) -> Self:
        """Pack and sign arrays of float64, float32 or int64; ``head`` holds the other fields of `ParcelHead`."""
        packed = {name: np.ascontiguousarray(each, each.dtype.newbyteorder("<")) for name, each in arrays.items()}
        told = tuple({"name": n, "dtype": each.dtype.str, "shape": each.shape} for n, each in packed.items())
        made = ParcelHead.model_validate(
            {"format": PARCEL_FORMAT, "software": __version__, "arrays": told, "sha256": _sha256(packed), **head}
            | {"key": key.public}
        )
        return cls(made.model_copy(update={"signature": key.sign(made.signed_bytes())}), packed)

    def to_bytes(self) -> bytes:
        """The file's content."""
        line = json.dumps(self.head.model_dump(mode="json")).encode()
        return b"\n".join([line, b"".join(each.tobytes() for each in self.arrays.values())])

    @property
    def digest(self) -> str:
        """By which an answer names it."""
        return hashlib.sha256(self.head.signed_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, content: bytes, name: Path | str) -> Self:
        """Read and check what `to_bytes` gave: form, length, digest and signature; not whose key it is.

        Args:
            content: of the file.
            name: for errors.

        Raises:
            DataError: of a newer format, damaged, or altered after it was signed.
        """
        line, _, body = content.partition(b"\n")
        try:
            values: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError("is no file of a training round", path=name, remedy=_AGAIN) from error
        found = values.get("format") if isinstance(values, dict) else None
        if isinstance(found, int) and found > PARCEL_FORMAT:
            raise DataError(
                f"has format {found}, newer than {PARCEL_FORMAT}", path=name,
                remedy="run: pip install --upgrade leukoscope",
            )  # fmt: skip
        try:
            head = ParcelHead.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"is no file of a training round: {where}: {first['msg']}", path=name, remedy=_AGAIN
            ) from error
        if sum(each.nbytes for each in head.arrays) != len(body) or len(body) > _MOST:
            raise DataError("is cut off, or longer than it says", path=name, remedy=_AGAIN)
        arrays, at = {}, 0
        for each in head.arrays:
            values = np.frombuffer(body, each.dtype, math.prod(each.shape), at)
            arrays[each.name] = values.reshape(each.shape)
            at += each.nbytes
        if _sha256(arrays) != head.sha256 or not checked_signature(head.key, head.signature, head.signed_bytes()):
            raise DataError("was altered after it was signed, or was never signed", path=name, remedy=_AGAIN)
        return cls(head, arrays)


def read_parcel(path: Path, kind: Literal["state", "round"]) -> Parcel:
    """Read a file of a training round.

    Raises:
        DataError: it cannot be read, is of the other kind, or see `Parcel.from_bytes`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path, remedy="check the path") from error
    parcel = Parcel.from_bytes(content, path)
    if parcel.head.kind != kind:
        other = "the centre's, not a site's" if kind == "round" else "a site's, not the centre's"
        raise DataError(f"is {other}", path=path, remedy="give the other file")
    return parcel


def _sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    made = hashlib.sha256()
    for each in arrays.values():
        made.update(np.ascontiguousarray(each).tobytes())
    return made.hexdigest()
