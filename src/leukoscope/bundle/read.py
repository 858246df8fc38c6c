"""Reading a bundle: every byte is checked before anything is run. Needs neither PyTorch nor the `onnx` package."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from importlib import resources
from os import PathLike
from pathlib import Path, PurePath
from typing import Final

from pydantic import ValidationError

from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.schema import FACTS_FILE, FORMAT, FORMAT_VERSION, GRAPH_FILE, BundleFacts
from leukoscope.bundle.seal import AlteredError, unsealed
from leukoscope.errors import BundleError
from leukoscope.files import recover

__all__ = ["PACKAGED", "Bundle", "bundle_folder", "default_bundle", "place_of", "read_bundle"]

MAX_FACTS_BYTES = 4 * 2**20
MAX_FILE_BYTES = 2 * 2**30  # a protocol buffer, hence an ONNX graph, cannot be larger

#: Names of the bundles that come with the package, which stand for their folders wherever a bundle is taken: the most
#: accurate, and one under 100,000 parameters, whose graph is eight times quicker and which is the app's.
PACKAGED: Final = ("default", "light")

_AGAIN = "export or fetch the bundle again"


def read_bundle(path: str | PathLike[str]) -> Bundle:
    """Read and check a bundle.

    Args:
        path: the bundle's folder, or the `bundle.json` in it, or a name of `PACKAGED`.

    Raises:
        BundleError: the bundle is missing, of another format or a newer version, incomplete, damaged or altered.
    """
    folder = bundle_folder(path)
    if folder.name == FACTS_FILE and not folder.is_dir():
        folder = folder.parent
    with suppress(OSError):
        recover(folder)  # in case a process that replaced it was killed
    if not folder.exists():
        names = " or ".join(f"`{name}`" for name in PACKAGED)
        raise BundleError(
            "the bundle does not exist", path=folder, remedy=f"give the folder that holds bundle.json, or {names}"
        )
    if not folder.is_dir():
        raise BundleError("is not a bundle", path=folder, remedy="give the folder that holds bundle.json")
    facts, seal = _read_facts(folder / FACTS_FILE)
    if GRAPH_FILE not in facts.files:
        raise BundleError(f"lists no {GRAPH_FILE}", path=folder / FACTS_FILE, remedy=_AGAIN)
    graph = b""
    for name, digest in facts.files.items():
        content = _checked_bytes(folder, name, digest)
        if name == GRAPH_FILE:
            graph = content
    return Bundle(folder, facts, graph, seal)


def default_bundle() -> Path:
    """Folder of the bundle that answers where none is named.

    Raises:
        BundleError: this installation has none.
    """
    return _packaged("default")


def bundle_folder(path: str | PathLike[str]) -> Path:
    """The folder that a name of `PACKAGED` stands for; any other path, and a folder of that name, as it is.

    Raises:
        BundleError: this installation has no such bundle.
    """
    folder = Path(path)
    return _packaged(str(path)) if _is_name(folder) else folder


def place_of(path: str | PathLike[str], bundle: Bundle) -> Path:
    """The folder of a bundle that was given so and is to be written again.

    Raises:
        BundleError: it comes with the package.
    """
    if _is_name(Path(path)):
        raise BundleError(
            f"{path} comes with the package and stays as it is", remedy="copy it, or name a new folder with --out"
        )
    return bundle.folder


def _is_name(path: Path) -> bool:
    return str(path) in PACKAGED and not path.exists()


def _packaged(name: str) -> Path:
    folder = Path(str(resources.files("leukoscope.bundle") / name))
    if not (folder / FACTS_FILE).is_file():
        raise BundleError(
            f"this installation has no {name} bundle",
            path=folder,
            remedy="name the folder of a bundle, or install leukoscope again",
        )
    return folder


def _read_facts(path: Path) -> tuple[BundleFacts, str | None]:
    content = _bytes(path, MAX_FACTS_BYTES)
    try:
        value, seal = unsealed(content)
    except AlteredError as error:
        raise BundleError(f"is damaged or was altered ({error})", path=path, remedy=_AGAIN) from error
    except ValueError as error:
        raise BundleError(f"is not JSON ({error})", path=path, remedy=_AGAIN) from error
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT:
        raise BundleError(
            f"is not a Leukoscope bundle (format {str(found)[:40]!r}, expected {FORMAT!r})",
            path=path,
            remedy="give a bundle that `leukoscope export` wrote",
        )
    version = value.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(
            f"has format version {version}, newer than {FORMAT_VERSION}, the newest this leukoscope knows",
            path=path,
            remedy="run: pip install --upgrade leukoscope",
        )
    try:
        return BundleFacts.model_validate_json(json.dumps(value)), seal
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"is invalid at {where}: {first['msg']}", path=path, remedy=_AGAIN) from error


def _checked_bytes(folder: Path, name: str, digest: str) -> bytes:
    if name in {"", ".", "..", FACTS_FILE} or PurePath(name).name != name or "\\" in name:
        raise BundleError(f"lists the file {name!r}, which is no plain name", path=folder / FACTS_FILE, remedy=_AGAIN)
    path = folder / name
    content = _bytes(path, MAX_FILE_BYTES)
    if hashlib.sha256(content).hexdigest() != digest.lower():
        raise BundleError(
            f"is damaged or was altered (its SHA-256 is not the one in {FACTS_FILE})", path=path, remedy=_AGAIN
        )
    return content


def _bytes(path: Path, limit: int) -> bytes:
    """Content of a regular, non-empty file of at most ``limit`` bytes."""
    try:
        if not path.exists():
            raise BundleError("the bundle lacks this file", path=path, remedy=_AGAIN)
        if not path.is_file():  # a pipe would block the reader for ever
            raise BundleError("is not a file", path=path, remedy=_AGAIN)
        size = path.stat().st_size
        if not 0 < size <= limit:
            raise BundleError(f"is empty or too large ({size} bytes, at most {limit})", path=path, remedy=_AGAIN)
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"cannot be read ({error.strerror or error})", path=path, remedy="check the file's permissions"
        ) from error
