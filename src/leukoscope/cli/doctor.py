"""`leukoscope doctor`: is this installation sound, and what is it made of?"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import click

from leukoscope._version import __version__
from leukoscope.errors import LeukoscopeError
from leukoscope.machine import cpu_count, cpu_name
from leukoscope.text import printable

BASE = ("numpy", "opencv-python-headless", "onnxruntime", "pillow", "pydantic", "click", "jinja2", "filelock")
TRAIN = ("torch", "onnx", "onnxscript", "safetensors", "scikit-learn", "matplotlib", "pyyaml")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `bad` is needed and broken, `note` is only worth knowing."""

    state: Literal["ok", "note", "bad"]
    topic: str
    text: str


@click.command()
def doctor() -> int:
    """Check this installation.

    Exit code: 0 sound, 1 something that is needed is broken.
    """
    bad = 0
    for check in (_program, _processor, _packages, _extra, _runtime, _bundle, _prediction, _temporary, _data):
        for finding in _guarded(check):
            bad += finding.state == "bad"
            click.echo(f"{finding.state:>4}  {finding.topic:<12} {printable(finding.text)}")
    click.echo(f"{bad} broken" if bad else "all that is needed works")
    return 1 if bad else 0


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A broken package must not stop the doctor."""
    try:
        yield from check()
    except LeukoscopeError as error:
        yield Finding("bad", check.__name__.strip("_"), str(error))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the finding)
        yield Finding("bad", check.__name__.strip("_"), f"{type(error).__name__}: {error}")


def _program() -> Iterator[Finding]:
    yield Finding("ok", "leukoscope", f"{__version__} in {Path(__file__).parents[1]}")
    sound = (3, 11) <= sys.version_info[:2] <= (3, 13)
    state: Literal["ok", "bad"] = "ok" if sound else "bad"
    yield Finding(
        state, "python", f"{platform.python_version()} ({platform.python_implementation()}), 3.11 to 3.13 needed"
    )
    yield Finding("ok", "system", f"{platform.platform()}, file names in {sys.getfilesystemencoding()}")


def _processor() -> Iterator[Finding]:
    try:
        words = set(Path("/proc/cpuinfo").read_text(errors="replace").lower().split())
        flags = " ".join(flag for flag in FLAGS if flag in words) or "no wide vector instructions"
    except OSError:
        flags = "instruction sets unknown here"
    yield Finding("ok", "processor", f"{cpu_count()} cores usable, {cpu_name()}, {flags}")


def _packages() -> Iterator[Finding]:
    found = {name: _version(name) for name in BASE}
    if found["opencv-python-headless"] is None:  # any of OpenCV's packages gives cv2
        found["opencv-python-headless"] = _version("opencv-python") or _version("opencv-contrib-python")
    absent = [name for name, number in found.items() if number is None]
    yield Finding("ok", "packages", ", ".join(f"{name} {number}" for name, number in found.items() if number))
    if absent:
        yield Finding("bad", "packages", f"absent: {', '.join(absent)}; run: pip install --force-reinstall leukoscope")


def _extra() -> Iterator[Finding]:
    found = {name: _version(name) for name in TRAIN}
    absent = [name for name, number in found.items() if number is None]
    if not absent:
        yield Finding("ok", "extra train", ", ".join(f"{name} {number}" for name, number in found.items()))
    else:
        yield Finding("note", "extra train", f"absent: {', '.join(absent)}; to train: pip install 'leukoscope[train]'")


def _runtime() -> Iterator[Finding]:
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    state: Literal["ok", "bad"] = "ok" if "CPUExecutionProvider" in providers else "bad"
    yield Finding(state, "runtime", f"ONNX Runtime {onnxruntime.__version__}: {', '.join(providers)}; the CPU is used")


def _bundle() -> Iterator[Finding]:
    from leukoscope.bundle.read import default_bundle, read_bundle

    bundle = read_bundle(default_bundle())
    size = len(bundle.graph) / 2**20
    facts = bundle.facts
    yield Finding(
        "ok", "bundle", f"{facts.name} of {facts.created}, {size:.1f} MiB, {len(facts.files)} files, hashes agree"
    )


def _prediction() -> Iterator[Finding]:
    import time

    from leukoscope.datasets.synthetic import render_cell
    from leukoscope.inference.classifier import load

    start = time.perf_counter()
    classifier = load()
    ready = 1e3 * (time.perf_counter() - start)
    cell = render_cell(0, "blast")
    classifier.predict(cell)  # the first run sets up memory
    answer = classifier.predict(cell)
    yield Finding(
        "ok", "prediction", f"one rendered cell in {answer.ms:.1f} ms with heat map, loaded in {ready:.0f} ms"
    )


def _temporary() -> Iterator[Finding]:
    with tempfile.TemporaryFile() as file:
        file.write(b"leukoscope")
        file.flush()
    yield Finding("ok", "temporary", f"{tempfile.gettempdir()} can be written")


def _data() -> Iterator[Finding]:
    named = os.environ.get("LEUKOSCOPE_DATA")
    if not named:
        yield Finding("note", "data", "LEUKOSCOPE_DATA is not set: tests on real data are skipped")
    elif Path(named).is_dir():
        yield Finding("ok", "data", f"LEUKOSCOPE_DATA is {named}")
    else:
        yield Finding("note", "data", f"LEUKOSCOPE_DATA is {named}, which is not a folder")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
