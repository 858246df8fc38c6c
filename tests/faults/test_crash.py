"""Every verb that writes, stopped at its writes: what is there afterwards is old or new, and never between.

Ways to be stopped: the process is killed; the power is cut and all that was not synced is lost; a write fails for want
of space, or that one and all after it. Then the same command runs again, and ends as if nothing had happened. Here
every disk that a kill or a power cut may leave is looked at, and the command runs again from one; from many, and with
many writes failing, by `benchmarks/crashes.py` (docs/reliability.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leukoscope.files import write_bytes

from .layer import HUNG, Disk
from .strikes import Struck
from .verbs import OTHERS, WRITERS, Place, all_verbs, zygote_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layer is made of what Linux offers")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("crash")
    with zygote_in(home / "cache", dict(os.environ)) as zygote:
        yield Place(home, zygote)


def test_every_verb_has_a_row_or_needs_none() -> None:
    rows = {name.partition(":")[0] for name in WRITERS}
    assert not rows & set(OTHERS)
    assert sorted(rows | set(OTHERS)) == all_verbs(), "a new verb gets a row in tests/faults/verbs.py"


@pytest.mark.parametrize("name", WRITERS)
def test_old_or_new(name: str, place: Place, tmp_path: Path) -> None:
    struck, slow = Struck.watched(WRITERS[name], place, tmp_path), WRITERS[name].slow
    middle = len(struck.states) // 2
    for number, state in enumerate(list(struck.states)):
        struck.look([state], again=number == middle)
    if not slow:
        struck.fail("full", 1 + len(struck.steps) // 2)


def test_a_command_that_hangs_is_ended_and_told_where(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.root.mkdir(exist_ok=True)
    monkeypatch.setattr(place.zygote, "seconds", 1)
    ends, held = os.pipe()
    try:
        answer = place.zygote(place.root, "count", 0, ["predict", f"@/proc/{os.getpid()}/fd/{ends}"])  # says nothing
    finally:
        os.close(ends)
        os.close(held)
    assert answer["status"] == HUNG
    assert "most recent call first" in answer["told"]
    monkeypatch.setattr(place.zygote, "seconds", 600)
    assert place.zygote(place.root, "count", 0, ["recipes"])["status"] == 0


def test_the_layer_loses_what_was_not_synced(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_text("old")
    disk = Disk(root)
    (root / "old").write_text("new")
    (root / "careless").write_text("never synced")
    (root / "careless").rename(root / "renamed")
    write_bytes(root / "careful", b"synced")
    for path in (root / "careful", root):
        disk.sync(path)
    (root / "late").write_text("after the last sync of the folder")
    kept = {"": None, "old": b"old", "renamed": b"", "careful": b"synced"}
    assert disk.with_all_names() == kept | {"late": b""}
    assert disk.as_synced() == kept
    written = {"old": b"new", "renamed": b"never synced", "late": b"after the last sync of the folder"}
    assert disk.now() == kept | written
