"""Files of a site that lie compressed beside themselves: made once, sent to whoever takes them so."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path
from typing import Final

CODINGS: Final = {"br": ".br", "gzip": ".gz"}  # the smaller one first
_LEAST: Final = 1000  # bytes: less is not worth a file
_BROTLI: Final = """const z = require("zlib"), chunks = [];
const { BROTLI_PARAM_QUALITY: Q, BROTLI_PARAM_LGWIN: W } = z.constants;
process.stdin.on("data", (chunk) => chunks.push(chunk)).on("end", () =>
  process.stdout.write(z.brotliCompressSync(Buffer.concat(chunks), { params: { [Q]: 9, [W]: 24 } })));"""


def packed(content: bytes) -> dict[str, bytes]:
    """A file's compressed forms by their endings, those that are smaller by a tenth; brotli where Node is installed.

    >>> list(packed(b"a short file"))
    []
    """
    if len(content) < _LEAST:
        return {}
    forms = {".gz": gzip.compress(content, 9, mtime=0)}
    node = shutil.which("node")
    if node is not None:
        done = subprocess.run([node, "-e", _BROTLI], input=content, capture_output=True, check=False)  # noqa: S603
        if not done.returncode and done.stdout:
            forms[".br"] = done.stdout
    return {ending: form for ending, form in forms.items() if len(form) < 0.9 * len(content)}


def packed_beside(path: Path, accepted: str) -> tuple[Path, str] | None:
    """The smallest form of a file that a browser takes, and its coding; None where it takes the file alone.

    Args:
        path: of the file.
        accepted: the header `Accept-Encoding`.
    """
    asked = [part.replace(" ", "").lower().partition(";q=") for part in accepted.split(",")]
    taken = {coding for coding, _, share in asked if not share or share.strip("0.")}
    for coding, ending in CODINGS.items():
        form = path.with_name(path.name + ending)
        if coding in taken and form.is_file():
            return form, coding
    return None
