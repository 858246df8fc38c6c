"""A bundle is read whole and checked, or refused with the file and the remedy."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle_factory import make_bundle
from leukoscope.bundle import read
from leukoscope.bundle.read import bundle_folder, default_bundle, place_of, read_bundle
from leukoscope.errors import BundleError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_reads_facts_and_the_very_bytes_of_the_graph(bundle: Path) -> None:
    found = read_bundle(bundle)
    assert found.facts.name == "by-hand"
    assert found.facts.preparation.frame_size == 64
    assert found.graph == (bundle / "model.onnx").read_bytes()
    assert hashlib.sha256(found.graph).hexdigest() == found.facts.files["model.onnx"]
    assert read_bundle(str(bundle / "bundle.json")).folder == bundle


def flip_a_byte(folder: Path, name: str = "model.onnx") -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "file", "says"),
    [
        (flip_a_byte, "model.onnx", "damaged or was altered"),
        (lambda b: flip_a_byte(b, "README.md"), "README.md", "damaged or was altered"),
        (lambda b: (b / "model.onnx").unlink(), "model.onnx", "lacks this file"),
        (lambda b: (b / "model.onnx").write_bytes(b""), "model.onnx", "empty"),
        (lambda b: (b / "README.md").unlink() or (b / "README.md").mkdir(), "README.md", "is not a file"),
        (lambda b: (b / "README.md").unlink() or os.mkfifo(b / "README.md"), "README.md", "is not a file"),
        (lambda b: (b / "bundle.json").unlink(), "bundle.json", "lacks this file"),
        (lambda b: (b / "bundle.json").write_text("{"), "bundle.json", "is not JSON"),
        (lambda b: (b / "bundle.json").write_bytes(b"\xff\xfe{}"), "bundle.json", "is not JSON"),
        (lambda b: (b / "bundle.json").write_text("[" * 100_000), "bundle.json", "is not JSON"),
        (lambda b: (b / "bundle.json").write_text("[1]"), "bundle.json", "not a Leukoscope bundle"),
        (lambda b: edit(b, format="other"), "bundle.json", "not a Leukoscope bundle"),
        (lambda b: edit(b, format_version=2, unheard_of=1), "bundle.json", "pip install --upgrade"),
        (lambda b: edit(b, decision={"threshold": 1.5}), "bundle.json", "invalid at decision.threshold"),
        (lambda b: edit(b, surprise=1), "bundle.json", "invalid at surprise"),
        (lambda b: edit(b, files={}), "bundle.json", "lists no model.onnx"),
        (lambda b: edit(b, files={"model.onnx": "0", "../secret": "0"}), "model.onnx", "altered"),
    ],
)
def test_damage_is_named_with_its_file_and_a_remedy(
    bundle: Path, damage: Callable[[Path], object], file: str, says: str
) -> None:
    damage(bundle)
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle)
    assert caught.value.path == str(bundle / file)
    assert says in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/file", "..", "", "a\\b"])
def test_a_listed_name_cannot_leave_the_folder(bundle: Path, name: str) -> None:
    digest = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
    edit(bundle, files={"model.onnx": digest, name: digest})
    with pytest.raises(BundleError, match="no plain name"):
        read_bundle(bundle)


def test_a_folder_that_is_missing_or_a_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        read_bundle(tmp_path / "nowhere")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(BundleError, match="is not a bundle"):
        read_bundle(tmp_path / "a.png")


def test_sizes_are_bounded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_FILE_BYTES", 100)
    with pytest.raises(BundleError, match="too large"):
        read_bundle(bundle)


def test_the_default_bundle_is_found_or_its_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read.resources, "files", lambda _: tmp_path)
    with pytest.raises(BundleError, match="no default bundle"):
        default_bundle()
    made = make_bundle(tmp_path / "default")
    assert default_bundle() == made


@pytest.mark.parametrize("name", ["default", "light"])
def test_a_packaged_bundle_is_taken_by_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_bundle(name)
    assert found.folder == bundle_folder(name)
    assert found.folder.parent == default_bundle().parent
    with pytest.raises(BundleError, match=f"{name} comes with the package"):
        place_of(name, found)
    own = make_bundle(tmp_path / name)  # a folder of that name is meant itself
    assert read_bundle(name).folder == Path(name)
    assert place_of(name, read_bundle(name)).resolve() == own


def test_the_light_bundle_is_light() -> None:
    training = read_bundle("light").facts.training
    assert training is not None
    assert training.parameters <= 100_000
    assert read_bundle("light").digest != read_bundle("default").digest


def test_a_name_that_is_none_is_told_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="`default` or `light`"):
        read_bundle("lihgt")


def test_reading_imports_neither_torch_nor_onnx(bundle: Path) -> None:
    code = (
        "import sys; from leukoscope.bundle.read import read_bundle; read_bundle(sys.argv[1]);"
        "print(sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
