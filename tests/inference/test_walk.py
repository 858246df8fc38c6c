"""Which pictures are found, and what becomes of the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leukoscope.errors import PictureError
from leukoscope.inference.sources import find_pictures


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def shown(found: list[Path | PictureError], root: Path) -> list[str]:
    return [
        str(item.relative_to(root)) if isinstance(item, Path) else f"! {Path(item.path or '').relative_to(root)}"
        for item in found
    ]


def test_folders_are_walked_in_order_without_hidden_and_other_files(tmp_path: Path) -> None:
    wanted = ["a/b/z.TIFF", "a/c.webp", "d.JPG", "e.bmp", "é 細胞.png"]
    touch(*(tmp_path / name for name in wanted))
    touch(tmp_path / ".hidden/x.png", tmp_path / ".x.png", tmp_path / "notes.txt", tmp_path / "png")
    assert shown(find_pictures([tmp_path]), tmp_path) == wanted


def test_a_named_file_is_kept_whatever_its_suffix_and_each_only_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "cell.dat", tmp_path / ".b.png")
    found = find_pictures([tmp_path / "cell.dat", tmp_path / ".b.png", tmp_path, tmp_path / "a.png"])
    assert shown(found, tmp_path) == ["cell.dat", ".b.png", "a.png"]


def test_links_are_followed_and_a_loop_ends(tmp_path: Path) -> None:
    touch(tmp_path / "root/sub/a.png", tmp_path / "elsewhere/b.png")
    root = tmp_path / "root"
    (root / "loop").symlink_to(root)
    (root / "there").symlink_to(tmp_path / "elsewhere")
    (root / "z.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    assert shown(find_pictures([root]), root) == ["sub/a.png", "there/b.png", "z.png"]


def test_what_cannot_be_a_picture_is_reported_in_its_place(tmp_path: Path) -> None:
    touch(tmp_path / "b.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty").mkdir()
    found = find_pictures([tmp_path, tmp_path / "missing.png", tmp_path / "empty"])
    assert shown(found, tmp_path) == ["! a.png", "b.png", "! folder", "! pipe.png", "! missing.png", "! empty"]
    told = [item.what for item in found if isinstance(item, PictureError)]
    assert told[:3] == ["the link leads nowhere", "the link leads nowhere", "is not a regular file"]
    assert "cannot be found" in told[3]
    assert "no picture" in told[4]


@pytest.fixture
def shut() -> Iterator[Path]:
    """A folder that everyone can enter (pytest's own is private to its user) with one in it that nobody can."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        touch(root / "open/a.png", root / "shut/b.png")
        (root / "shut").chmod(0)
        yield root
        (root / "shut").chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs POSIX users")
def test_a_folder_without_permission_is_reported(shut: Path) -> None:
    code = (
        "import os\n"
        "from leukoscope.inference.sources import find_pictures\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)  # root may list everything\n"
        "for item in find_pictures(['.', 'shut/b.png']): print(item)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=shut)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "open/a.png",
        "shut: the folder cannot be listed (Permission denied); check its permissions",
        "shut/b.png: cannot be found (Permission denied); check the path",
    ]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.jfif", b"\xff\xd8\xff\xe0"),
        ("a.jpe", b"\xff\xd8\xff\xe1"),
        ("cell", b"\x89PNG\r\n\x1a\n"),
        ("b.dat", b"BM...."),
        ("a.HEIC", b"\0\0\0\x18ftypheic"),
        ("a.dcm", bytes(128) + b"DICM"),
        ("s.svs", b"II*\0"),
        ("a.jp2", b"\0\0\0\x0cjP  "),
    ],
)
def test_pictures_are_known_by_what_is_in_them(tmp_path: Path, name: str, head: bytes) -> None:
    (tmp_path / name).write_bytes(head + bytes(20))
    (tmp_path / "notes.txt").write_text("blast, normal")
    found = find_pictures([tmp_path])
    assert shown(found, tmp_path) == [name]
    assert found.left_out == {".txt": 1}


def test_what_is_left_out_is_counted_by_suffix(tmp_path: Path) -> None:
    touch(
        tmp_path / "a.png",
        *(tmp_path / "in" / f"{n}.csv" for n in range(3)),
        tmp_path / "b.PDF",
        tmp_path / "Thumbs.db",
    )
    found = find_pictures([tmp_path])
    assert found.left_out_words() == "left out, as they hold no picture: 3 .csv, 1 .pdf"
    assert find_pictures([tmp_path / "a.png"]).left_out_words() == ""
