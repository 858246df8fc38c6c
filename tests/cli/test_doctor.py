"""`leukoscope doctor`: sound is 0, broken is 1 and says what."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle_factory import make_bundle
from leukoscope import __version__
from leukoscope.bundle import read
from leukoscope.cli import doctor


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the package's default bundle be one in ``folder``."""
    monkeypatch.setattr(read.resources, "files", lambda _: folder)
    return make_bundle(folder / "default", frame=450)


def test_a_sound_installation(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path / "none"))
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "all that is needed works" in result.output
    for part in (__version__, "CPUExecutionProvider", "by-hand", "hashes agree", "numpy ", "which is not a folder"):
        assert part in result.output
    assert "bad" not in [line.split()[0] for line in result.output.splitlines()]


def test_a_damaged_default_bundle(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = install(tmp_path, monkeypatch)
    (bundle / "model.onnx").write_bytes(b"x")
    result = run("doctor")
    assert result.exit_code == 1
    assert result.output.count("damaged or was altered") == 2  # the check of the bundle, and the prediction
    assert "2 broken" in result.output


def test_an_absent_package(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    monkeypatch.setattr(doctor, "BASE", ("numpy", "no-such-package-xyz", "opencv-python-headless"))
    monkeypatch.setattr(doctor, "TRAIN", ("no-such-extra-xyz",))
    result = run("doctor")
    assert result.exit_code == 1
    assert "absent: no-such-package-xyz" in result.output
    assert "note  extra train  absent: no-such-extra-xyz" in result.output
