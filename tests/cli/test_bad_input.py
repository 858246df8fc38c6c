"""What the command says of bad input: one line for each fault, the rest goes on, nothing half-written is left."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_factory import make_bundle, make_graph


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises much and holds one byte."""
    chunks = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
    ):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return chunks


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)


def bad_files(folder: Path) -> dict[str, str]:
    """Write one of each fault; returns for each name a word of the expected reason."""
    good = io.BytesIO()
    Image.fromarray(noise()).save(good, "PNG")
    jpeg = io.BytesIO()
    Image.fromarray(noise()).save(jpeg, "JPEG")
    bmp = io.BytesIO()
    Image.fromarray(noise()).save(bmp, "BMP")
    (folder / "empty.png").write_bytes(b"")
    (folder / "truncated.png").write_bytes(good.getvalue()[:5000])
    (folder / "truncated.jpg").write_bytes(jpeg.getvalue()[:2000])
    (folder / "truncated.bmp").write_bytes(bmp.getvalue()[:9000])
    (folder / "text.png").write_text("this is no picture")
    (folder / "bomb.png").write_bytes(png_header(30_000, 30_000))
    (folder / "zero.png").write_bytes(png_header(0, 10))
    (folder / "noise.png").write_bytes(good.getvalue())
    Image.new("RGB", (60, 60)).save(folder / "black.png")
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    return {
        "empty.png": "empty", "truncated.png": "", "truncated.jpg": "", "truncated.bmp": "", "text.png": "text",
        "bomb.png": "30000 x 30000", "zero.png": "", "noise.png": "black surround", "black.png": "all black",
        "link.png": "leads nowhere", "pipe.png": "regular file",
    }  # fmt: skip


@pytest.mark.parametrize("named", ["folder", "each"])
def test_every_fault_has_its_row_and_the_rest_goes_on(run, cells: Path, small_bundle: Path, named: str) -> None:
    reasons = bad_files(cells)
    paths = [cells] if named == "folder" else sorted(cells.iterdir())
    result = run("predict", *paths, "--bundle", small_bundle, "--format", "jsonl", "--batch-size", "3")
    assert result.exit_code == 1
    answers = {Path(answer["path"]).name: answer for answer in map(json.loads, result.stdout.splitlines())}
    assert set(answers) == {*reasons, "red.png", "green.png"}
    assert (answers["red.png"]["decision"], answers["green.png"]["decision"]) == ("blast", "normal")
    for name, word in reasons.items():
        assert answers[name]["decision"] == "unreadable"
        assert answers[name]["probability"] is None
        assert word in answers[name]["error"], (name, answers[name]["error"])
    assert f"{len(reasons)} unreadable" in result.stderr


def test_the_gallery_lists_what_is_unreadable(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    reasons = bad_files(cells)
    result = run("predict", cells, "--bundle", small_bundle, "--out", tmp_path / "out")
    assert result.exit_code == 1
    page = (tmp_path / "out/report.html").read_text()
    assert all(f"{name}</td>" in page for name in reasons)
    assert len(list((tmp_path / "out/cells").iterdir())) == 2


def test_missing_and_empty_folders_are_rows(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    result = run("predict", tmp_path / "none", tmp_path / "void", cells, "--bundle", small_bundle)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "cannot be found" in lines[1]
    assert "holds no picture" in lines[2]
    assert len(lines) == 5


def test_mislabelled_pictures_are_read_by_their_content(run, cells: Path, small_bundle: Path) -> None:
    (cells / "red.png").rename(cells / "red.bmp")
    result = run("predict", cells / "red.bmp", "--bundle", small_bundle)
    assert result.exit_code == 0
    assert "blast" in result.stdout


ODD = [name.encode() for name in ("é 細胞 \U0001f9ec.png", "line\nbreak \x1b[31m.png", "-rf.png", "a,b;'c\".png")] + [
    b"caf\xe9.png"
]


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [("table", "utf-8"), ("table", "ascii"), ("jsonl", "ascii"), ("csv", "ascii"), ("html", "ascii")],
)
def test_odd_names_are_read_and_shown(
    cells: Path, small_bundle: Path, tmp_path: Path, kind: str, encoding: str
) -> None:
    content = (cells / "red.png").read_bytes()
    for name in ODD:
        (cells / os.fsdecode(name)).write_bytes(content)
    command = [sys.executable, "-m", "leukoscope", "predict", "--bundle", str(small_bundle), "--format", kind]
    where = ["--out", str(tmp_path / "out")] if kind == "html" else []
    done = subprocess.run(
        [*command, *where, "--", *(os.fsdecode(name) for name in ODD)],
        check=False, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}, cwd=cells,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"5 pictures: 5 blast, 0 normal, 0 unreadable" in done.stderr
    names = [os.fsdecode(name).encode("utf-8", "backslashreplace").decode() for name in ODD]
    if kind == "table":
        assert b"\x1b" not in done.stdout
        assert len(done.stdout.splitlines()) == 6
    elif kind == "jsonl":
        assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == names
    elif kind == "csv":
        rows = csv.DictReader(io.StringIO(done.stdout.decode("utf-8"), newline=""))
        inert = ["'" + name if name.startswith("-") else name for name in names]  # for spreadsheets
        assert [row["path"] for row in rows] == inert
    else:
        assert len(list((tmp_path / "out/cells").iterdir())) == 5


def test_an_unreadable_file_is_a_row(small_bundle: Path) -> None:
    """As an ordinary user, since root may read everything."""
    code = (
        "import os, sys, tempfile, pathlib\n"
        "import leukoscope; from leukoscope.inference import batch\n"
        "from PIL import Image, PngImagePlugin\n"
        "classifier = leukoscope.load(sys.argv[1])\n"
        "with tempfile.TemporaryDirectory() as name:\n"
        "    path = pathlib.Path(name, 'a.png'); path.write_bytes(b'x'); path.chmod(0); os.chmod(name, 0o755)\n"
        "    if os.getuid() == 0: os.seteuid(65534)\n"
        "    [answer] = classifier.predict_many(batch.find_pictures([name]))\n"
        "    if os.getuid() == 0: os.seteuid(0)\n"
        "    print(answer.decision, answer.error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small_bundle)], check=False, capture_output=True, text=True)
    assert done.stdout.startswith("unreadable may not be read"), done.stderr


def corrupt(bundle: Path) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(content)


def edit(bundle: Path) -> None:
    facts = (bundle / "bundle.json").read_text()
    (bundle / "bundle.json").write_text(facts.replace('"name"', '"nome"'))


def foreign(bundle: Path) -> None:
    make_bundle(bundle, graph=make_graph(output="probabilities"))


def no_graph(bundle: Path) -> None:
    make_bundle(bundle, graph=b"\x08\x09 no protocol buffer")


def remove(bundle: Path) -> None:
    for path in bundle.iterdir():
        path.unlink()
    bundle.rmdir()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (corrupt, "model.onnx: is damaged or was altered"),
        (edit, "bundle.json: is invalid at name"),
        (foreign, "model.onnx: has other inputs and outputs"),
        (no_graph, "model.onnx: is no ONNX graph"),
        (remove, "the bundle does not exist"),
    ],
)
def test_a_bad_bundle_is_one_line_and_2(run, cells: Path, tmp_path: Path, damage, says: str) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    damage(bundle)
    result = run("predict", cells, "--bundle", bundle, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {bundle}")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def limit_files() -> None:
    """No file may grow beyond 2 kB: as on a disk that fills up during the write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


@pytest.mark.parametrize("kind", ["html", "jsonl", "csv", "table"])
def test_a_disk_that_fills_up_leaves_nothing_half_written(
    cells: Path, small_bundle: Path, tmp_path: Path, kind: str
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for i in range(40):
        (links / f"{i}.png").symlink_to(cells / "red.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    command = [sys.executable, "-m", "leukoscope", "predict", str(links), "--bundle", str(small_bundle)]
    done = subprocess.run(
        [*command, "--format", kind, "--out", str(out)],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=limit_files,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be written (File too large); free disk space or choose another folder" in done.stderr
    # What was answered is kept, so that the same command goes on once there is room.
    assert {path.name for path in out.iterdir()} <= {"mine.txt", "predictions.unfinished.jsonl"}
    assert (kind == "html") == (len(list(out.iterdir())) == 1)


def test_out_that_is_a_file_or_within_one(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    assert run("predict", cells, "--bundle", small_bundle, "--out", tmp_path / "file").exit_code == 2
    result = run("predict", cells, "--bundle", small_bundle, "--out", tmp_path / "file/sub")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("kind", ["jsonl", "html"])
def test_a_reader_that_has_enough_is_no_fault(cells: Path, small_bundle: Path, tmp_path: Path, kind: str) -> None:
    """As in `leukoscope predict ... | head -1`; beside a gallery, `demo` writes a table too."""
    for number in range(3000 if kind == "jsonl" else 300):
        (cells / f"{number}.png").symlink_to(cells / "red.png")
    rows = ["predict", str(cells), "--format", "jsonl"]
    verb = rows if kind == "jsonl" else ["demo", str(cells), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-u", "-m", "leukoscope", *verb, "--bundle", str(small_bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        told = running.stderr.read()
    assert running.returncode == 1, told  # as click ends there
    assert b"error" not in told
    assert b"Traceback" not in told
