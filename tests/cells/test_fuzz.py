"""The fuzz run of `benchmarks/fuzz_pictures.py`, shortened; and that it would find what it looks for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from leukoscope.cells import decode

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "fuzz_pictures.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_pictures", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_pictures"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by what Linux offers")
def test_a_short_run_finds_no_fault(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))  # the process that decodes imports the script by its name
    found = script.fuzz(400, seed=1)
    assert found["faults"] == []
    for kind, counts in found["by_format"].items():
        assert sum(counts.values()) == 80, kind
    assert sum(counts.get("read", 0) for counts in found["by_format"].values()) > 40  # not all is refused at once


def test_the_files_are_the_same_each_time_and_altered(script: ModuleType) -> None:
    sound = script.seeds()
    for number in range(10):
        kind, data = script.altered(number, 7, sound)
        assert (kind, data) == script.altered(number, 7, sound)
        assert data not in sound[kind]
    for files in sound.values():
        for data in files:
            assert decode(data, name="sound").any()
