"""The three files of onnxruntime-web that the app runs on: pinned, taken from a folder or from npm, never committed."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from leukoscope.errors import LeukoscopeError

RUNTIME_VERSION: Final = "1.30.0"
_PACKAGE_SHA512: Final = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
#: SHA-256 of each file.
RUNTIME_FILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    }
)
_SECONDS: Final = 600


def runtime_files(folder: Path | None = None) -> dict[str, bytes]:
    """The runtime's files by name, each the very one that the app was tested with.

    Args:
        folder: that holds them, such as `node_modules/onnxruntime-web/dist`; None: npm fetches the package.

    Raises:
        LeukoscopeError: a file is missing or another one, or npm is missing or fails.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="leukoscope-") as place:
            return _checked(_unpacked(_fetched(Path(place))), f"onnxruntime-web {RUNTIME_VERSION}")
    found = {}
    for name in RUNTIME_FILES:
        try:
            found[name] = (folder / name).read_bytes()
        except OSError as error:
            raise LeukoscopeError(
                f"cannot be read ({error.strerror or error})", path=folder / name,
                remedy=f"give the folder `dist` of onnxruntime-web {RUNTIME_VERSION}, or leave --runtime out",
            ) from error  # fmt: skip
    return _checked(found, str(folder))


def _checked(found: dict[str, bytes], where: str) -> dict[str, bytes]:
    for name, digest in RUNTIME_FILES.items():
        if hashlib.sha256(found.get(name, b"")).hexdigest() != digest:
            raise LeukoscopeError(
                f"{name} is not that of onnxruntime-web {RUNTIME_VERSION}", path=where,
                remedy=f"give the folder `dist` of exactly that version: npm pack onnxruntime-web@{RUNTIME_VERSION}",
            )  # fmt: skip
    return found


def _fetched(place: Path) -> Path:
    """The package as npm fetches it, its SHA-512 checked."""
    npm = shutil.which("npm")
    if npm is None:
        raise LeukoscopeError(
            "npm is not installed, and fetches the app's runtime",
            remedy=f"install npm, or give --runtime the folder `dist` of onnxruntime-web {RUNTIME_VERSION}",
        )
    command = [npm, "pack", "--silent", "--ignore-scripts", f"onnxruntime-web@{RUNTIME_VERSION}"]
    try:
        done = subprocess.run(  # noqa: S603  (a fixed command)
            command, cwd=place, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise LeukoscopeError("npm took longer than ten minutes", remedy="try again, or give --runtime") from None
    package = place / f"onnxruntime-web-{RUNTIME_VERSION}.tgz"
    if done.returncode or not package.is_file():
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LeukoscopeError(f"npm cannot fetch the app's runtime ({why[:200]})", remedy="give it with --runtime")
    if base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode() != _PACKAGE_SHA512:
        raise LeukoscopeError(
            f"what npm fetched is not onnxruntime-web {RUNTIME_VERSION} (its SHA-512 is another)",
            remedy="look at npm's registry setting, or give --runtime",
        )
    return package


def _unpacked(package: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(package) as archive:
        for name in RUNTIME_FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the package's SHA-512 was checked
            found[name] = member.read()
    return found
