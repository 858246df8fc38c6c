"""The runs of `benchmarks/fuzz.py`, shortened; and that they would find what they look for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography", reason="the extra `federation` is not installed")
pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by what Linux offers")

import fuzz  # noqa: E402
from _fuzz_files import FILES, altered_json, altered_text  # noqa: E402
from _fuzz_pictures import PICTURES, Kind, altered_bytes  # noqa: E402
from leukoscope.errors import PictureError  # noqa: E402


def test_a_short_run_over_pictures_finds_no_fault() -> None:
    found = fuzz.fuzz(list(PICTURES), 400, seed=1)
    assert found["faults"] == []
    assert {name: sum(counts.values()) for name, counts in found["by_kind"].items()} == dict.fromkeys(PICTURES, 80)
    assert sum(counts.get("read", 0) for counts in found["by_kind"].values()) > 40  # not all is refused at once


def test_a_short_run_over_all_other_files_finds_no_fault() -> None:
    found = fuzz.fuzz(list(FILES), 60 * len(FILES), seed=1)
    assert found["faults"] == []
    for name, counts in found["by_kind"].items():
        assert sum(counts.values()) == 60
        assert counts["refused"] > 0, name
    assert sum(counts.get("read", 0) for counts in found["by_kind"].values()) > 60


def test_files_are_the_same_each_time_and_altered() -> None:
    for name in ("png", "tiff", "bundle", "recipe"):
        kind = fuzz.KINDS[name]
        sound = kind.sound(False)
        files = [kind.altered(number, 7, sound) for number in range(10)]
        assert files == [kind.altered(number, 7, sound) for number in range(10)]
        assert len(set(files) - set(sound)) == 10


@pytest.mark.parametrize("alter", [altered_bytes, altered_text, altered_json])
def test_each_way_to_alter_takes_whatever_it_made(alter) -> None:
    for seed in range(200):
        data = alter(np.random.default_rng(seed), b'{"a": [1, 2, {"b": "x"}], "c": 0.5}\n')
        altered_text(np.random.default_rng(seed), altered_bytes(np.random.default_rng(seed), data))


def test_what_is_looked_for_is_found(tmp_path: Path) -> None:
    def read(data: bytes, _folder: Path) -> None:
        if data == b"ours":
            raise PictureError("is wrong", remedy="look")
        if data == b"theirs":
            raise KeyError(data)
        if data == b"all":
            raise PictureError("needs more than 5 bytes to decode, the memory allowed", remedy="crop it")
        if data == b"long":
            raise PictureError("is wrong", path="x" * 5000)

    kind = Kind(lambda _: [b""], lambda _, data: data, read)
    words = {data: fuzz.outcome_of(kind, data, tmp_path) for data in (b"", b"ours", b"theirs", b"all", b"long")}
    assert list(words.values()) == ["read", "refused", "KeyError", "refused for memory", "no clear line"]


def test_words_on_the_terminal_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipe = _Pipe([0, 1, None])
    monkeypatch.setitem(fuzz.KINDS, "odd", Kind(lambda _: [], lambda *_: b"", _speak))
    monkeypatch.setattr(Kind, "altered", lambda self, number, *_: bytes([number]))
    monkeypatch.setattr(fuzz.resource, "setrlimit", lambda *_: None)
    before = os.dup(1), os.dup(2)
    try:
        fuzz._work(pipe, ["odd"], 0, False, str(tmp_path / "log"))
    finally:
        for number, handle in enumerate(before, 1):
            os.dup2(handle, number)
            os.close(handle)
    ready, *answers = pipe.sent
    assert ready == "ready"
    assert [outcome for outcome, _, _ in answers] == ["read", "wrote to the terminal"]


def _speak(data: bytes, _folder: Path) -> None:
    if data == b"\1":
        os.write(2, b"libpng warning")


class _Pipe:
    def __init__(self, numbers: list[int | None]) -> None:
        self.sent: list[Any] = []
        self._numbers = numbers

    def recv(self) -> int | None:
        return self._numbers.pop(0)

    def send(self, answer: Any) -> None:
        self.sent.append(answer)
