"""Pictures taken out of DICOM into a folder for each patient, as `predict` and `field` read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.cells.dicom import WHOLE_SLIDE, check_dataset, dataset_scale, frame_rgb, read_dataset
from leukoscope.cells.limits import MAX_PIXELS
from leukoscope.cells.read import HEAD_BYTES, kind_of
from leukoscope.dicom.headers import (
    Header,
    folder_name,
    header_path,
    kept_part,
    key_of,
    level_path,
    pseudonym,
    stem,
    write_header,
)
from leukoscope.dicom.web import DicomWeb, is_address
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.files import atomic_path, exclusive, write_bytes


@dataclass(slots=True)
class Taken:
    """What was taken.

    Attributes:
        instances: read, those of an earlier run included.
        earlier: of these, taken by an earlier run.
        pictures: files written.
        levels: of whole slides, copied.
        patients: names of their folders.
        left_out: files that are no DICOM, by suffix.
        trouble: what could not be taken, in sentences.
        burned: instances that say that writing is burned into their pixels.
    """

    instances: int = 0
    earlier: int = 0
    pictures: int = 0
    levels: int = 0
    patients: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)
    burned: int = 0


def take_pictures(
    sources: Iterable[str], out: Path, *, filters: Mapping[str, str] | None = None, key: Path | None = None,
    identified: bool = False, max_pixels: int = MAX_PIXELS,
) -> Taken:  # fmt: skip
    """Take the pictures of files, folders and servers; one instance is held at a time.

    Each frame becomes a TIFF with its scale, in a folder for each patient; levels of whole slides are copied under
    `slides/`. What has been taken is not taken again: a run that was stopped goes on when it is called again.

    Args:
        sources: files, folders, addresses of DICOMweb servers.
        out: the folder; that of an earlier run, or a new one.
        filters: what is asked of servers, by keyword, such as `StudyInstanceUID`.
        key: file with the secret of the pseudonyms; None: ``out`` keeps one of its own.
        identified: keep the patients' names instead of pseudonyms.
        max_pixels: larger pictures are told as trouble.

    Raises:
        LeukoscopeError: a server does not answer, or ``out`` cannot be written.
    """
    taken = Taken()
    with exclusive(out, "takes pictures into"):
        secret = b"" if identified else key_of(out, key)
        for name, known, read in _instances(sources, filters or {}, taken):
            try:
                if known is not None and header_path(out, known).exists():
                    taken.earlier += 1
                else:
                    _take(read(), name, out, secret, identified, max_pixels, taken)
                taken.instances += 1
            except PictureError as error:
                taken.trouble.append(str(error))
            except LeukoscopeError as error:
                if is_address(name) or error.path is not None:
                    raise
                taken.trouble.append(str(type(error)(error.what, path=name, remedy=error.remedy)))
    return taken


Read = Callable[[], Any]


def _instances(
    sources: Iterable[str], filters: Mapping[str, str], taken: Taken
) -> Iterator[tuple[str, str | None, Read]]:
    """Name, identifier where it is known before reading, and what reads it."""
    for source in sources:
        if is_address(source):
            server = DicomWeb(source)
            for study, series, instance in server.search(filters):
                yield source, instance, partial(server.instance, study, series, instance)
            continue
        path = Path(source)
        if not path.exists():
            raise LeukoscopeError("cannot be found", path=path, remedy="check the path")
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file():
                if path.is_dir() and not _is_dicom(each):
                    taken.left_out[each.suffix.lower()] += 1
                    continue
                yield str(each), None, partial(_read, each)


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return kind_of(file.read(HEAD_BYTES)) == "DICOM"
    except OSError:
        return True  # it is told as trouble where it is read


def _read(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror or error})", path=path) from error
    if kind_of(data) != "DICOM":
        raise PictureError("is no DICOM file", path=path, remedy="give pictures of other kinds to `predict` or `field`")
    return read_dataset(data, str(path))


def _take(
    dataset: Any, name: str, out: Path, secret: bytes, identified: bool, max_pixels: int, taken: Taken
) -> None:  # fmt: skip
    frames = check_dataset(dataset, name, max_pixels)
    patient = pseudonym(dataset, secret) if secret else str(dataset.get("PatientID") or "unknown")
    kept = kept_part(dataset, patient, identified=identified)
    patient = str(kept.PatientID)
    uid = str(kept.SOPInstanceUID)
    folder = folder_name(patient)
    if header_path(out, uid).exists():
        taken.earlier += 1
        return
    pictures: list[str] = []
    if str(kept.SOPClassUID) == WHOLE_SLIDE:
        _copy_level(dataset, kept, level_path(out, kept))
        taken.levels += 1
    else:
        scale = dataset_scale(dataset)
        for frame in range(frames):
            number = f"-{frame + 1:04d}" if frames > 1 else ""
            pictures.append(f"{folder}/{stem(uid)}{number}.tif")
            rgb = frame_rgb(dataset, frame, name)
            write_bytes(out / pictures[-1], _tiff(rgb, None if scale is None else scale.um_per_px))
    write_header(out, Header(kept, tuple(pictures), not identified))
    taken.pictures += len(pictures)
    taken.patients.add(folder)
    taken.burned += str(dataset.get("BurnedInAnnotation") or "") == "YES"


def _copy_level(dataset: Any, kept: Any, path: Path) -> None:
    kept.file_meta = dataset.file_meta
    with atomic_path(path) as temporary:
        kept.save_as(temporary, enforce_file_format=True)


def _tiff(rgb: NDArray[np.uint8], um_per_px: float | None) -> bytes:
    """A picture as TIFF, with its scale as its resolution."""
    buffer = BytesIO()
    scale = {} if um_per_px is None else {"resolution": 1e4 / um_per_px, "resolution_unit": "cm"}
    Image.fromarray(rgb).save(buffer, "TIFF", compression="tiff_adobe_deflate", **scale)
    return buffer.getvalue()
