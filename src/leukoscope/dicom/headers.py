"""What of a DICOM header is kept beside a picture, and under which name its patient goes."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from leukoscope.errors import DataError, LeukoscopeError, optional
from leukoscope.files import atomic_path, write_json
from leukoscope.inference.gallery import safe_stem

FOLDER: Final = "headers"
SLIDES: Final = "slides"
KEY: Final = "pseudonym.key"
_GROUPS: Final = frozenset({0x0020, 0x0022, 0x0028, 0x0048, 0x5200, 0x7FE0})  # places and pixels
_KEPT: Final = frozenset({"SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "SpecificCharacterSet"})
_PERSONAL: Final = (  # those that other objects of the study must repeat
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_DROPPED: Final = frozenset({"ImageComments", "StudyID", "FrameComments", "DerivationDescription", "LabelText"})
_LEAST: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one DICOM instance, and the pictures that were taken out of it.

    Attributes:
        dataset: a `pydicom.Dataset` without pixels.
        pictures: files in the order of the frames, relative to the folder; empty for a level of a whole slide.
        pseudonymous: whether the patient goes under a pseudonym.
    """

    dataset: Any
    pictures: tuple[str, ...]
    pseudonymous: bool

    @property
    def patient(self) -> str:
        """As objects of the patient name it."""
        return str(self.dataset.PatientID)


def key_of(folder: Path, given: Path | None) -> bytes:
    """The secret that pseudonyms are made with: the same key gives the same patient the same pseudonym.

    Args:
        folder: keeps a key of its own, made when there is none.
        given: a file to take the key from.

    Raises:
        DataError: the file given holds no key.
    """
    path = folder / KEY if given is None else given
    if given is None and not path.exists():
        with atomic_path(path, mode=0o600) as temporary:
            temporary.write_bytes(secrets.token_hex(32).encode() + b"\n")
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", path=path, remedy="give a file with a key"
        ) from error
    if len(key) < 16:
        raise DataError("holds no key of 16 characters or more", path=path, remedy="give another, or none")
    return key


def pseudonym(dataset: Any, key: bytes) -> str:
    """The patient's pseudonym: 12 hexadecimal digits of an HMAC-SHA256; the study's, where no patient is named.

    Args:
        dataset: with its own PatientID.
        key: from `key_of`.
    """
    named = str(dataset.get("PatientID") or "").strip()
    whose = f"{dataset.get('IssuerOfPatientID') or ''}\\{named}" if named else str(dataset.StudyInstanceUID)
    return "P-" + hmac.new(key, whose.encode(), hashlib.sha256).hexdigest()[:12]


def kept_part(dataset: Any, name: str, *, identified: bool) -> Any:
    """A copy that holds what places and pixels need, and who the patient is by this name alone, or as it was.

    Dates, other names, comments, devices and private elements are left out unless ``identified``. The unique
    identifiers of study, series and instance stay: annotations must refer to them, and they lead back to the patient
    for whoever may read the archive that they come from.

    Raises:
        DataError: the file does not say which instance of which study it is.
    """
    pydicom = optional("pydicom", "DICOM", "dicom")
    missing = [keyword for keyword in _LEAST if not dataset.get(keyword)]
    if missing:
        raise DataError(f"the DICOM header lacks {', '.join(missing)}", remedy="send or export it again")
    kept = pydicom.Dataset()
    for element in dataset:
        if element.tag.is_private or element.keyword in _DROPPED:
            continue
        if element.tag.group in _GROUPS or element.keyword in _KEPT:
            kept.add(element)
    for keyword in _PERSONAL:
        setattr(kept, keyword, str(dataset.get(keyword) or "") if identified else "")
    if not identified or not kept.PatientID:
        kept.PatientID, kept.PatientName = name, f"{name}^"  # a caret behind a name of one word
    return kept


def stem(uid: str) -> str:
    """A short name for a unique identifier, the same in every run."""
    return hashlib.sha256(uid.encode()).hexdigest()[:16]


def folder_name(patient: str) -> str:
    """A name of a folder for a patient; the same patient always has the same, others another."""
    plain = safe_stem(0, patient).removeprefix("00000").lstrip("-")
    return plain if plain == patient else f"{plain or 'patient'}-{hashlib.sha256(patient.encode()).hexdigest()[:8]}"


def level_path(folder: Path, dataset: Any) -> Path:
    """Where a level of a whole slide is kept: all levels of a slide in one folder."""
    place = folder / SLIDES / folder_name(str(dataset.PatientID)) / stem(str(dataset.SeriesInstanceUID))
    return place / f"{stem(str(dataset.SOPInstanceUID))}.dcm"


def header_path(folder: Path, uid: str) -> Path:
    """Where the header of an instance is kept: it is written last, so that what has one is whole."""
    return folder / FOLDER / f"{stem(uid)}.json"


def write_header(folder: Path, header: Header) -> None:
    """Keep a header; pixels are left out."""
    bare = copy.copy(header.dataset)
    if "PixelData" in bare:
        del bare.PixelData
    values = {"pictures": list(header.pictures), "pseudonymous": header.pseudonymous, "header": bare.to_json_dict()}
    write_json(header_path(folder, str(bare.SOPInstanceUID)), values)


def read_headers(folder: Path) -> Iterator[Header]:
    """The headers that `write_header` kept, in the order of their names.

    Raises:
        LeukoscopeError: the folder holds none, or one is damaged.
    """
    pydicom = optional("pydicom", "DICOM", "dicom")
    paths = sorted((folder / FOLDER).glob("*.json"))
    if not paths:
        raise LeukoscopeError(
            "holds no pictures from DICOM", path=folder, remedy="take them with `leukoscope dicom get ... --out`"
        )
    for path in paths:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            dataset = pydicom.Dataset.from_json(values["header"])
            yield Header(dataset, tuple(map(os.fspath, values["pictures"])), bool(values["pseudonymous"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError("is damaged", path=path, remedy="remove it and take the pictures again") from error
