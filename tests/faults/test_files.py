"""One file and one folder: whole, on the disk, in one step; what a killed process left is put right."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from leukoscope import files
from leukoscope.errors import LeukoscopeError
from leukoscope.files import (
    atomic_folder,
    atomic_path,
    exchange,
    exclusive,
    read_checked_json,
    recover,
    settle,
    together,
    write_bytes,
    write_checked_json,
    write_json,
)


def folder_of(path: Path, text: str) -> Path:
    with atomic_folder(path) as temporary:
        (temporary / "a.txt").write_text(text)
        (temporary / "in").mkdir()
        (temporary / "in" / "b.txt").write_text(text)
    return path


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def texts(path: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in path.iterdir()}


def place_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def told(path: Path) -> set[str]:
    return {each.read_text() for each in path.rglob("*.txt")}


@pytest.fixture(autouse=True)
def _unvisited(monkeypatch):
    monkeypatch.setattr(files, "_visited", {})


@pytest.fixture
def no_exchange(monkeypatch):
    monkeypatch.setattr(files, "exchange", lambda one, other: False)


def test_data_then_name_then_folder(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor):
        order.append(("fsync", place_of(descriptor)))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append(("rename", to)), replace(self, to))[1])
    write_bytes(tmp_path / "new" / "x", b"1")
    kinds = [kind for kind, _ in order]
    assert kinds == ["fsync", "fsync", "rename", "fsync"]
    assert order[0][1] == tmp_path  # the name of the new folder
    assert order[1][1].name.endswith(".part")
    assert order[3][1] == tmp_path / "new"


def test_every_file_of_a_folder_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    seen = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(str(place_of(fd))), sync(fd))[1])
    folder_of(tmp_path / "x", "1")
    assert [name.split(".part")[-1] for name in seen] == ["/in/b.txt", "/in", "/a.txt", "", str(tmp_path)]


def test_exchange_is_one_step_for_readers(tmp_path):
    place = folder_of(tmp_path / "x", "0")
    assert exchange(folder_of(tmp_path / "y", "1"), place), "this system has renameat2: is it still used?"
    assert told(place) == {"1"}
    stop, absent = threading.Event(), []

    def read():
        while not stop.is_set():
            absent.extend([] if place.exists() else [1])
            time.sleep(0.0005)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        folder_of(place, str(number))
    stop.set()
    reader.join()
    assert told(place) == {"99"}
    assert names(tmp_path) == ["x", "y"]
    assert not absent


def test_without_exchange_the_old_one_steps_aside(tmp_path, no_exchange):
    folder_of(tmp_path / "x", "0")
    folder_of(tmp_path / "x", "1")
    assert told(tmp_path / "x") == {"1"}
    assert names(tmp_path) == ["x"]


_KILLED = """
import os, sys
from pathlib import Path
from leukoscope import files
from leukoscope.files import atomic_folder, atomic_path
if sys.argv[2] == "aside":
    files.exchange = lambda one, other: False
    rename = Path.rename
    def killed(self, target):
        if str(self).endswith(".part"):
            os._exit(9)
        return rename(self, target)
    Path.rename = killed
make = atomic_path if sys.argv[2] == "path" else atomic_folder
with make(sys.argv[1]) as temporary:
    (temporary / "a.txt").write_text("2") if temporary.is_dir() else temporary.write_text("2")
    if sys.argv[2] != "aside":
        os._exit(9)
"""


def killed(path: Path, how: str) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, path, how], check=False)
    assert done.returncode == 9


def test_a_kill_between_the_two_steps_is_put_right(tmp_path):
    place = folder_of(tmp_path / "x", "1")
    killed(place, "aside")
    assert not place.exists()
    recover(place)
    assert told(place) == {"1"}
    folder_of(place, "3")
    assert (told(place), names(tmp_path)) == ({"3"}, ["x"])


def test_a_writer_puts_right_what_another_left(tmp_path, no_exchange):
    place = folder_of(tmp_path / "x", "1")
    killed(place, "aside")
    with pytest.raises(RuntimeError), atomic_folder(place):
        raise RuntimeError
    assert (told(place), names(tmp_path)) == ({"1"}, ["x"])


def test_a_reader_waits_for_a_living_writer(tmp_path, monkeypatch, no_exchange):
    place = folder_of(tmp_path / "x", "1")
    rename, between, read = Path.rename, threading.Event(), threading.Event()

    def slow(self, target):
        if self.name.endswith(".part"):
            between.set()
            read.wait(0.3)  # long enough for a reader to be there first, were it not to wait
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", slow)
    writer = threading.Thread(target=folder_of, args=(place, "2"))
    writer.start()
    assert between.wait(60)
    recover(place)
    assert told(place) == {"2"}
    read.set()
    writer.join()


@pytest.mark.parametrize("how", ["path", "folder"])
def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path, how):
    foreign = [tmp_path / ".x.part", tmp_path / ".xy.abcdefgh.part", tmp_path / ".x.y.abcdefgh.part"]
    for each in foreign:
        each.write_text("not ours")
    killed(tmp_path / "x", how)
    assert len(list(tmp_path.iterdir())) == 4
    write_bytes(tmp_path / "x", b"3") if how == "path" else folder_of(tmp_path / "x", "3")
    assert sorted(tmp_path.iterdir()) == sorted([*foreign, tmp_path / "x"])


def test_what_a_living_process_makes_is_left_alone(tmp_path, monkeypatch):
    with atomic_path(tmp_path / "x") as first:
        first.write_text("first")
        monkeypatch.setattr(files, "_visited", {})
        write_bytes(tmp_path / "x", b"second")
        assert first.read_text() == "first"
    assert (tmp_path / "x").read_text() == "first"


def generation(folder: Path, text: str, *names: str, gone: tuple[str, ...] = ()) -> None:
    with together(folder, gone=gone) as place:
        for name in names:
            write_bytes(place / name, text.encode())


def test_files_take_their_places_together_and_others_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    generation(tmp_path, "1", "a.txt", "b.txt", "c.txt")
    generation(tmp_path, "2", "a.txt", "b.txt", gone=("c.txt",))
    assert texts(tmp_path) == {
        "a.txt": "2",
        "b.txt": "2",
        "mine.txt": "mine",
    }


def test_a_generation_that_fails_changes_nothing(tmp_path):
    generation(tmp_path, "1", "a.txt", "b.txt")
    with pytest.raises(LeukoscopeError, match=r"Is a directory|busy"):
        generation(tmp_path, "2", "a.txt", "..")
    assert texts(tmp_path) == {"a.txt": "1", "b.txt": "1"}


@pytest.mark.parametrize("steps", range(6))
def test_a_kill_while_files_take_their_places_is_put_right(tmp_path, monkeypatch, steps):
    generation(tmp_path, "1", "a.txt", "b.txt", "c.txt", "d.txt")
    taken = []

    def stopped(real):
        def step(self, *arguments, **options):
            if self.parent.name == ".generation" or self.parent == tmp_path:
                taken.append(self)
                if len(taken) > steps:
                    raise KeyboardInterrupt
            return real(self, *arguments, **options)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", stopped(Path.unlink))
        patched.setattr(Path, "replace", stopped(Path.replace))
        try:
            generation(tmp_path, "2", "a.txt", "b.txt", "c.txt", gone=("d.txt",))
        except KeyboardInterrupt:
            assert (tmp_path / ".generation").exists()
    settle(tmp_path)
    assert texts(tmp_path) == {"a.txt": "2", "b.txt": "2", "c.txt": "2"}


def test_a_full_disk_names_the_folder_and_not_what_is_made_in_it(tmp_path):
    (tmp_path / "x").write_text("a file")
    with pytest.raises(LeukoscopeError, match=r"/x: cannot be written"):
        generation(tmp_path / "x", "1", "a.txt")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    place = folder_of(tmp_path / "v1", "1")
    (tmp_path / "current").symlink_to(place)
    folder_of(tmp_path / "current", "2")
    assert (tmp_path / "current").is_symlink()
    assert told(place) == {"2"}


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(LeukoscopeError, match=r"x: cannot be written .is no folder."):
        folder_of(tmp_path / "x", "2")
    assert (tmp_path / "x").read_text() == "mine"


def test_long_names_fit(tmp_path):
    name = "ü" * 120
    folder_of(tmp_path / name, "1")
    folder_of(tmp_path / name, "2")
    write_json(tmp_path / ("a" * 250), [1])
    assert names(tmp_path) == ["a" * 250, name]


def test_a_value_and_its_files_are_read_as_they_were_written_or_not_at_all(tmp_path):
    file, other = tmp_path / "state.json", tmp_path / "weights"
    other.write_bytes(bytes(range(100)))
    write_checked_json(file, {"a": [1, "ü"]}, [other])
    assert read_checked_json(file) == {"a": [1, "ü"]}
    for path in (file, other):
        content = path.read_bytes()
        for bit in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                value = read_checked_json(file)
            except ValueError:
                continue
            assert value == {"a": [1, "ü"]}, bit  # white space, which says nothing
            assert path == file
        path.write_bytes(content)


def test_one_at_a_time(tmp_path):
    with exclusive(tmp_path / "run", "trains into"):
        told = r"run: another process trains into this folder; wait for it to end"
        with pytest.raises(LeukoscopeError, match=told), exclusive(tmp_path / "run", "trains into"):
            pass
    with exclusive(tmp_path / "run", "trains into"):
        pass
    assert names(tmp_path) == []  # an empty folder that was made for it goes too
