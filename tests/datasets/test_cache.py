from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from leukoscope.cells.frame import Clahe, Preparation, prepare, resize_frame
from leukoscope.cells.read import read_picture
from leukoscope.datasets.cache import FrameCache, check_space, open_cache
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.readers import read_dataset
from leukoscope.errors import DataError
from recorded import Recorded

from .pictures import disc, write_class_folders, write_disc

PLAIN = Preparation(frame_size=64)
SIZE = 32

# Builds the cache of a folder in a process of its own and prints how many pictures it prepared. A third argument bounds
# the size of the files that it can write, in bytes: writing then fails as on a full disk.
BUILDER = (
    f"import sys; sys.path.append({str(Path(__file__).parents[1])!r})"
    """
from leukoscope.cells.frame import Preparation
from leukoscope.datasets.cache import open_cache
from leukoscope.datasets.readers import read_dataset
from leukoscope.errors import LeukoscopeError
from recorded import Recorded
progress = Recorded()
if len(sys.argv) > 3:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
manifest = read_dataset(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    cache = open_cache(manifest, Preparation(frame_size=64), 32, sys.argv[2], jobs=1, progress=progress)
    print(len(progress.steps), cache.frames.shape[0], cache.path.name)
except LeukoscopeError as error:
    print("refused:", error)
"""
)


def builder(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def rests(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.part"))


def age(folder: Path, seconds: float = 60) -> None:
    """Make files look as if written a while ago: younger ones are always read again."""
    for path in folder.rglob("*.png"):
        past = path.stat().st_mtime - seconds
        os.utime(path, (past, past))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "pictures", 10)


@pytest.fixture
def manifest(pictures: Path) -> Manifest:
    return read_dataset(pictures)


@pytest.mark.parametrize("preparation", [PLAIN, Preparation(frame_size=80, clahe=Clahe(tiles=4))])
@pytest.mark.parametrize("jobs", [1, 3, None])
def test_rows_are_the_prepared_pictures(
    manifest: Manifest, tmp_path: Path, preparation: Preparation, jobs: int | None
) -> None:
    progress = Recorded()
    cache = open_cache(manifest, preparation, SIZE, tmp_path / "cache", jobs=jobs, progress=progress)
    expected = [resize_frame(prepare(read_picture(path).rgb, preparation), SIZE) for path in manifest.paths()]
    np.testing.assert_array_equal(cache.frames, np.stack(expected))
    assert isinstance(cache.frames, np.memmap)
    assert cache.frames.dtype == np.uint8
    assert cache.manifest is manifest
    assert len(cache) == 10
    assert (progress.stages, progress.steps) == ([("preparing pictures", 10)], list(range(1, 11)))
    with pytest.raises(ValueError, match="read-only"):
        cache.frames[0] = 0


def test_an_entry_is_used_again_and_follows_the_content(manifest: Manifest, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = open_cache(manifest, PLAIN, SIZE, folder)
    progress = Recorded()
    assert open_cache(manifest, PLAIN, SIZE, folder, progress=progress).path == first.path
    shutil.copytree(pictures, tmp_path / "moved")
    moved = read_dataset(tmp_path / "moved")
    assert open_cache(moved, PLAIN, SIZE, folder, progress=progress).path == first.path
    assert progress.stages == []  # not built again
    write_disc(manifest.paths()[4], 77)
    edited = open_cache(manifest, PLAIN, SIZE, folder)
    assert edited.path != first.path
    assert [bool((a != b).any()) for a, b in zip(edited.frames, first.frames, strict=True)] == [
        n == 4 for n in range(10)
    ]
    assert len(entries(folder)) == 2


def test_other_settings_and_another_order_are_other_entries(manifest: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    variants = [
        open_cache(manifest, PLAIN, SIZE, folder),
        open_cache(manifest, PLAIN, SIZE + 1, folder),
        open_cache(manifest, Preparation(frame_size=65), SIZE, folder),
        open_cache(manifest, Preparation(frame_size=64, clahe=Clahe()), SIZE, folder),
        open_cache(manifest, Preparation(frame_size=64, clahe=Clahe(clip_limit=3)), SIZE, folder),
        open_cache(manifest.select(np.arange(10)[::-1]), PLAIN, SIZE, folder),
    ]
    assert len({cache.path for cache in variants}) == len(variants)
    np.testing.assert_array_equal(variants[-1].frames, variants[0].frames[::-1])


def test_unchanged_files_are_not_read_again_but_young_ones_are(manifest: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    victim = manifest.paths()[0]

    def edit_in_secret() -> None:
        """Another byte, the same size and the same modification time: invisible unless the file is read."""
        status = victim.stat()
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.write_bytes(content)
        os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))

    young = open_cache(manifest, PLAIN, SIZE, folder)
    edit_in_secret()
    settled = open_cache(manifest, PLAIN, SIZE, folder, on_error="skip")
    assert settled.path != young.path
    edit_in_secret()
    age(manifest.root)
    assert open_cache(manifest, PLAIN, SIZE, folder).path == young.path
    edit_in_secret()
    assert open_cache(manifest, PLAIN, SIZE, folder).path == young.path
    (folder / "digests.json").write_text("{damaged")
    assert open_cache(manifest, PLAIN, SIZE, folder, on_error="skip").path == settled.path


def spoil(manifest: Manifest) -> list[str]:
    """Make three pictures unusable, each in its own way; returns their paths in the manifest."""
    paths = manifest.paths()
    paths[2].write_bytes(paths[2].read_bytes()[:100])
    paths[5].unlink()
    write_disc(paths[7], 0, size=4)  # no cell in it
    return [manifest.records[n].path for n in (2, 5, 7)]


def test_unreadable_pictures_are_listed_in_one_error(manifest: Manifest, tmp_path: Path) -> None:
    bad = spoil(manifest)
    with pytest.raises(DataError, match="3 of 10 pictures cannot be used") as caught:
        open_cache(manifest, PLAIN, SIZE, tmp_path / "cache")
    assert all(path in str(caught.value) for path in bad)
    assert "\n" not in str(caught.value)
    assert entries(tmp_path / "cache") == rests(tmp_path / "cache") == []


def test_only_the_first_ten_are_listed(tmp_path: Path) -> None:
    manifest = read_dataset(write_class_folders(tmp_path / "many", 14))
    for path in manifest.paths()[:13]:
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"13 of 14 pictures cannot be used.* and 3 more") as caught:
        open_cache(manifest, PLAIN, SIZE, tmp_path / "cache")
    assert sum(record.path in str(caught.value) for record in manifest.records) == 10


def test_unreadable_pictures_can_be_skipped(manifest: Manifest, tmp_path: Path) -> None:
    good = open_cache(manifest, PLAIN, SIZE, tmp_path / "cache")
    expected = np.delete(np.array(good.frames), [2, 5, 7], axis=0)
    bad = spoil(manifest)

    def check(cache: FrameCache) -> None:
        assert [skipped.path for skipped in cache.unreadable] == bad
        assert all(skipped.reason for skipped in cache.unreadable)
        assert [r for r in manifest.records if r.path not in bad] == list(cache.manifest.records)
        np.testing.assert_array_equal(cache.frames, expected)

    check(open_cache(manifest, PLAIN, SIZE, tmp_path / "cache", on_error="skip"))
    check(open_cache(manifest, PLAIN, SIZE, tmp_path / "cache", on_error="skip"))
    with pytest.raises(DataError, match="3 of 10"):  # the entry that skips does not serve those who do not
        open_cache(manifest, PLAIN, SIZE, tmp_path / "cache")


def test_nothing_readable_is_an_error_even_when_skipping(manifest: Manifest, tmp_path: Path) -> None:
    for path in manifest.paths():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="10 of 10"):
        open_cache(manifest, PLAIN, SIZE, tmp_path / "cache", on_error="skip")
    with pytest.raises(DataError, match="no pictures to prepare"):
        open_cache(manifest.select([]), PLAIN, SIZE, tmp_path / "cache")
    with pytest.raises(DataError, match="frames of 0 pixels"):
        open_cache(manifest, PLAIN, 0, tmp_path / "cache")


def test_a_picture_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    manifest = read_dataset(write_class_folders(tmp_path / "many", 20))
    last = manifest.paths()[-1]

    def edit(done: int) -> None:
        if done == 1:
            write_disc(last, 99)

    with pytest.raises(DataError, match="changed while the cache was built; run the command again"):
        open_cache(manifest, PLAIN, SIZE, tmp_path / "cache", jobs=1, progress=Recorded(edit))
    assert entries(tmp_path / "cache") == rests(tmp_path / "cache") == []
    again = open_cache(manifest, PLAIN, SIZE, tmp_path / "cache")
    np.testing.assert_array_equal(again.frames[-1], resize_frame(prepare(disc(99), PLAIN), SIZE))


@pytest.mark.parametrize("fault", ["truncated", "not numpy", "no facts", "damaged facts", "one bit", "an index"])
def test_a_damaged_entry_is_built_again(manifest: Manifest, tmp_path: Path, fault: str) -> None:
    first = open_cache(manifest, PLAIN, SIZE, tmp_path / "cache")
    expected, frames, facts = np.array(first.frames), first.path / "frames.npy", first.path / "entry.json"
    if fault == "truncated":
        frames.write_bytes(frames.read_bytes()[:-1000])
    elif fault == "not numpy":
        frames.write_bytes(b"PK" * 100)
    elif fault == "no facts":
        facts.unlink()
    elif fault == "one bit":
        content = bytearray(frames.read_bytes())
        content[-100] ^= 1
        frames.write_bytes(content)
    elif fault == "an index":
        facts.write_text(facts.read_text().replace("pictures", "pictured", 1))
    else:
        facts.write_text("[]")
    again = open_cache(manifest, PLAIN, SIZE, tmp_path / "cache")
    assert again.path == first.path
    np.testing.assert_array_equal(again.frames, expected)
    assert rests(tmp_path / "cache") == []


def test_a_killed_build_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    pictures, folder = write_class_folders(tmp_path / "many", 1200), tmp_path / "cache"
    process = builder(pictures, folder)
    try:
        start(process)
        deadline = time.monotonic() + 60
        while not any(
            (rest / "frames.npy").exists() and (rest / "frames.npy").stat().st_size > 5000 for rest in rests(folder)
        ):
            assert process.poll() is None, "finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert entries(folder) == []
    assert len(rests(folder)) == 1
    manifest = read_dataset(pictures)
    cache = open_cache(manifest, PLAIN, SIZE, folder)
    assert rests(folder) == []
    for index in (0, 600, 1199):
        expected = resize_frame(prepare(read_picture(manifest.paths()[index]).rgb, PLAIN), SIZE)
        np.testing.assert_array_equal(cache.frames[index], expected)


def test_rests_of_other_entries_go_too_unless_they_are_being_built(manifest: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    dead, alive = (folder / f".{letter * 32}.x.part" for letter in "ab")
    cells = folder / f".cut-{'c' * 32}.x.part"  # cells that another process cuts out into this folder just now
    for rest in (dead, alive, cells):
        rest.mkdir(parents=True)
        (rest / "frames.npy").write_bytes(b"half")
    with FileLock(folder / f"{'b' * 32}.lock"):
        open_cache(manifest, PLAIN, SIZE, folder)
    assert rests(folder) == [alive, cells]


def test_two_processes_build_one_entry(tmp_path: Path) -> None:
    pictures, folder = write_class_folders(tmp_path / "many", 300), tmp_path / "cache"
    processes = [builder(pictures, folder) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            start(process)
        told = [process.communicate(timeout=120)[0].split() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    # One prepared all pictures, the other none; both use the same entry.
    assert sorted(steps for steps, _, _ in told) == ["0", "300"]
    assert {(count, name) for _, count, name in told} == {("300", entries(folder)[0].name)}
    assert len(entries(folder)) == 1
    alone = open_cache(read_dataset(pictures), PLAIN, SIZE, tmp_path / "other")
    assert (alone.path / "frames.npy").read_bytes() == (entries(folder)[0] / "frames.npy").read_bytes()


def test_a_disk_that_refuses_more_is_one_clear_line(manifest: Manifest, pictures: Path, tmp_path: Path) -> None:
    process = builder(pictures, tmp_path / "cache", 20_000)
    told, _ = process.communicate("\n", timeout=60)
    assert "refused:" in told
    assert "cannot be written" in told
    assert "free disk space or choose another folder" in told
    assert entries(tmp_path / "cache") == rests(tmp_path / "cache") == []


def test_too_little_space_is_told_before_anything_is_built(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(DataError, match=r"need [\d,.]+ GB and [\d,.]+ GB are free"):
        check_space(tmp_path, 2**62)


def test_a_folder_that_cannot_be_made(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be made a folder"):
        open_cache(manifest, PLAIN, SIZE, tmp_path / "file" / "cache")


@pytest.mark.data
def test_the_real_cells(real_data: Path, tmp_path: Path) -> None:
    manifest = read_dataset(real_data / "cnmc2019")
    some = manifest.select(np.arange(0, len(manifest), 240))
    cache = open_cache(some, Preparation(), 224, tmp_path)
    for index in (0, 17, len(some) - 1):
        expected = resize_frame(prepare(read_picture(some.paths()[index]).rgb, Preparation()), 224)
        np.testing.assert_array_equal(cache.frames[index], expected)
