"""Building the site: the pages, a bundle, the runtime, icons, a self-test, and a list of all of it by digest."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import leukoscope.web
from leukoscope._version import __version__
from leukoscope.app.runtime import RUNTIME_VERSION, runtime_files
from leukoscope.bundle.read import Bundle
from leukoscope.bundle.schema import FACTS_FILE, GRAPH_FILE
from leukoscope.cells.frame import frame_cell
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import BundleError, LeukoscopeError
from leukoscope.files import atomic_folder
from leukoscope.inference.answer import Answer
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.words import ENGLISH
from leukoscope.smears import RED_CELL_UM, STANDARD_UM_PER_PX
from leukoscope.text import RESEARCH_USE
from leukoscope.web.packed import packed

PAGES: Final = Path(leukoscope.web.__file__).parent / "app"
FACTS: Final = "app.json"
#: What the page may do. WebAssembly is compiled; no text becomes a script, and nothing is asked of another host.
POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; style-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
#: How far a logit may lie from that of the native graph: WebAssembly sums a row in another order (docs/app.md).
LOGIT_TOLERANCE: Final = 1e-4
_ICONS: Final = (192, 512)
_NOTICE: Final = f"""Leukoscope {__version__}: Apache License 2.0.

runtime/ is onnxruntime-web {RUNTIME_VERSION}, Copyright (c) Microsoft Corporation, under the MIT License:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
_SEEDS: Final = 50
_WITHHELD: Final = {
    "withheld cut": "the cell is cut off by the border of the picture",
    "withheld scale": "the scale of the picture is not known: too few red cells are seen",
}


@dataclass(frozen=True, slots=True)
class BuiltSite:
    """A site that was written.

    Attributes:
        folder: where.
        build: SHA-256 of all that it is made of, hexadecimal.
        files: how many files.
        size: their bytes.
    """

    folder: Path
    build: str
    files: int
    size: int


def build_site(out: Path, bundle: Bundle, runtime: Path | None = None, *, pack: bool = False) -> BuiltSite:
    """Write the app as a folder that any static host can serve over https.

    Args:
        out: new, empty, or an app that was built before, which is replaced whole.
        bundle: that answers.
        runtime: folder with the files of onnxruntime-web; None: npm fetches them.
        pack: whether each file also lies compressed beside itself, see `web.packed`.

    Raises:
        BundleError: the bundle needs what the app does not do.
        LeukoscopeError: the runtime cannot be had, or the folder holds something else or cannot be written.
    """
    facts = bundle.facts
    if facts.preparation.clahe is not None:
        raise BundleError(
            "equalises the contrast of its frames (CLAHE), which the app does not do", path=bundle.folder,
            remedy="export a bundle without CLAHE",
        )  # fmt: skip
    if out.exists() and not (out.is_dir() and ((out / FACTS).is_file() or not any(out.iterdir()))):
        raise LeukoscopeError("is no app, and would be replaced", path=out, remedy="choose a new folder")
    files = {f"runtime/{name}": content for name, content in runtime_files(runtime).items()}
    files |= {f"bundle/{FACTS_FILE}": facts.model_dump_json().encode(), f"bundle/{GRAPH_FILE}": bundle.graph}
    files |= {path.name: path.read_bytes() for path in sorted(PAGES.iterdir()) if path.suffix in {".mjs", ".css"}}
    files["index.html"] = (PAGES / "index.html").read_bytes().replace(b"@POLICY@", POLICY.encode())
    files |= {f"icon-{side}.png": _png(icon(side)) for side in _ICONS}
    files["app.webmanifest"] = _json(_manifest())
    picture, expected = _self_test(bundle)
    files["selftest.png"] = _png(picture)
    site: dict[str, Any] = {
        "version": __version__,
        "runtime": f"onnxruntime-web {RUNTIME_VERSION}",
        "bundle_digest": bundle.digest,
        "sides": [] if facts.gate is None else sorted(facts.gate.known_sides),
        "scale": {"um_per_px": facts.um_per_px or STANDARD_UM_PER_PX, "red_cell_um": RED_CELL_UM},
        "logit_tolerance": LOGIT_TOLERANCE,
        "words": _words(),
        "self_test": expected,
        "files": _digests(files),
    }
    worker = (PAGES / "sw.js").read_text(encoding="utf-8")
    build = hashlib.sha256(_json(site) + worker.encode() + POLICY.encode()).hexdigest()
    files[FACTS] = _json(site | {"build": build})
    kept = {"build": build, "policy": POLICY, "files": _digests(files)}
    files["sw.js"] = worker.replace('"@SITE@"', json.dumps(kept, sort_keys=True)).encode()
    files["_headers"] = f"/*\n  Content-Security-Policy: {POLICY}\n  X-Content-Type-Options: nosniff\n".encode()
    files["NOTICE.txt"] = _NOTICE.encode()
    if pack:
        files |= {name + ending: form for name, content in files.items() for ending, form in packed(content).items()}
    with atomic_folder(out) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    return BuiltSite(out, build, len(files), sum(map(len, files.values())))


def icon(side: int) -> NDArray[np.uint8]:
    """A stained cell in an eyepiece, uint8 RGB [side, side, 3]; what matters lies within a mask's safe circle."""
    large = 4 * side  # drawn large and reduced: smooth edges
    image = Image.new("RGB", (large, large), "#54318c")
    draw = ImageDraw.Draw(image)
    for x, y, radius, colour in (
        (0.5, 0.5, 0.38, "#f6f0fb"), (0.5, 0.5, 0.27, "#a9b8e8"), (0.48, 0.51, 0.215, "#5b2a86"),
        (0.43, 0.46, 0.045, "#8f6bb8"), (0.53, 0.58, 0.035, "#8f6bb8"),
    ):  # fmt: skip
        draw.ellipse([large * (x - radius), large * (y - radius), large * (x + radius), large * (y + radius)], colour)
    return np.array(image.resize((side, side), Image.Resampling.LANCZOS))


def _manifest() -> dict[str, Any]:
    icons = [
        {"src": f"icon-{side}.png", "sizes": f"{side}x{side}", "type": "image/png", "purpose": "any maskable"}
        for side in _ICONS
    ]
    return {
        "name": "Leukoscope in the pocket",
        "short_name": "Leukoscope",
        "description": f"Leukemic blasts in pictures of white blood cells. {RESEARCH_USE}",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#14171e",
        "theme_color": "#54318c",
        "icons": icons,
        "share_target": {
            "action": "./",
            "method": "POST",
            "enctype": "multipart/form-data",
            "params": {
                "files": [{"name": "pictures", "accept": ["image/png", "image/jpeg", "image/webp", "image/bmp"]}]
            },
        },
    }


def _words() -> dict[str, str]:
    """The gate's reasons in words; advice about the command line's options is left out."""
    kept = {
        name: text for name, text in ENGLISH.items() if name.startswith("gate ") or name in {"turned down", "comma"}
    }
    return {name: text.split(" (give ")[0] for name, text in kept.items()} | _WITHHELD


def _self_test(bundle: Bundle) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """A rendered cell, and what every browser must make of it; its answer lies clear of every limit."""
    classifier = Classifier(bundle, threads=1)
    for seed in range(_SEEDS):
        picture = render_cell(seed, "blast")
        answer = classifier.predict(picture)
        assert answer.logit is not None
        if _is_clear(answer, bundle):
            break
    else:
        raise BundleError("answers none of the test pictures clearly, so that no self-test can be made")
    frame = frame_cell(picture, bundle.facts.preparation.frame_size)
    expected = {
        "pixels": hashlib.sha256(picture.tobytes()).hexdigest(),
        "frame": hashlib.sha256(frame.tobytes()).hexdigest(),
        "logit": answer.logit,
        "decision": answer.decision if bundle.facts.gate is not None else "refer",
        "reasons": [finding.reason for finding in answer.findings],
    }
    return picture, expected


def _is_clear(answer: Answer, bundle: Bundle) -> bool:
    rule = bundle.facts.decision
    limits = [rule.threshold, *([] if rule.refer is None else [rule.refer.low])]
    far = answer.probability is not None and all(abs(answer.probability - limit) > 0.01 for limit in limits)
    return far and not (answer.gate_score is not None and abs(answer.gate_score - 1) < 0.01)


def _png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode()


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
