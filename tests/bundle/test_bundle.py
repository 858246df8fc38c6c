"""Facts of a bundle changed: what no longer holds goes, what holds stays, and files beside the graph come along."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bundle_factory import make_bundle, make_graph
from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.bundle.schema import CalibrationFacts, DecisionFacts, ReferFacts
from leukoscope.cells.frame import Preparation

KEYS = ("auc", "accuracy", "brier", "ece", "missed", "turned_down")
SUBJECTS = {
    "data": "d", "protocol": "p", "groups_blast": ["a"], "groups_normal": ["b"], "logit": 0.0, "min_cells": 20,
    "sensitivity": {"mean": 0.9, "correlation": 0.1, "groups": 2, "cells": 40},
    "false_alarm": {"mean": 0.1, "correlation": 0.1, "groups": 2, "cells": 40},
    "alarm_level": 0.2, "missed_level": 0.1, "likely_from": 0.5, "unlikely_below": 0.2,
}  # fmt: skip
AUDIT = {
    "kind": "shortcuts",
    "graph": hashlib.sha256(make_graph()).hexdigest(),
    "data": "lab",
    "data_fingerprint": "ab" * 32,
    "patients": "unseen",
    "left_out": [],
    "left_out_pictures": 0,
    "cells": 40,
    "blasts": 20,
    "groups": ["a", "b"],
    "date": "2031-02-04",
    "version": "1",
    "machine": "m",
    "seed": 0,
    "rules": [],
    "figures": {},
}


@pytest.fixture
def whole(tmp_path: Path) -> Bundle:
    """A bundle that holds all that a change may make untrue."""
    measured = {
        "data": "d", "protocol": "group", "fold": 0, "pictures": 9, "groups": ["c"],
        "metrics": {key: {"value": 0.5, "low": 0.4, "high": 0.6} for key in KEYS},
    }  # fmt: skip
    return read_bundle(make_bundle(tmp_path / "whole", measured=[measured], audits=[AUDIT], subjects=SUBJECTS))


def left(bundle: Bundle) -> tuple[Any, ...]:
    """The keys of its figures, whether it states patients, how many audits it has."""
    facts = bundle.facts
    keys = tuple(facts.measured[0].metrics) if facts.measured else None
    return keys, facts.subjects is not None, len(facts.audits)


def rule(**more: Any) -> DecisionFacts:
    return DecisionFacts.model_validate(more)


BAND = ReferFacts(
    low=0.2, high=0.5, level=0.01, guarantee="same patients", confidence=0.95, groups=3, blasts=9, missed=0.0,
    smallest_level=0.1, groups_needed=99,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"name": "other"}, (KEYS, True, 1)),
        ({"decision": rule()}, (KEYS, True, 1)),
        ({"decision": rule(calibration=CalibrationFacts(
            method="as trained", data="d", groups=[], pictures=1, blasts=1, chose_epoch=False))}, (KEYS, True, 1)),
        ({"decision": rule(refer=BAND)}, (("auc", "accuracy", "brier", "ece", "turned_down"), True, 1)),
        # sigmoid(0 / 2) is 0.5 too: no cell changes its side, but every probability does
        ({"decision": rule(temperature=2.0)}, (("auc", "accuracy", "turned_down"), True, 1)),
        ({"decision": rule(threshold=0.4)}, (None, False, 1)),
        ({"graph": make_graph(bias=0.5)}, (None, False, 0)),
        ({"graph": make_graph()}, (KEYS, True, 1)),
    ],
)  # fmt: skip
def test_what_no_longer_holds_goes(changes: dict[str, Any], holds: tuple[Any, ...], whole: Bundle) -> None:
    before = whole.facts.model_dump()
    assert left(whole.with_facts(**changes)) == holds
    assert whole.facts.model_dump() == before


def test_another_gate_turns_down_another_share(whole: Bundle) -> None:
    assert left(whole.with_facts(gate=None)) == (KEYS, True, 1)
    gate = read_bundle(default_bundle()).facts.gate
    assert left(whole.with_facts(gate=gate)) == (KEYS[:-1], True, 1)


def test_what_is_given_anew_stays(whole: Bundle) -> None:
    facts = whole.facts
    again = whole.with_facts(graph=make_graph(bias=0.5), subjects=facts.subjects, measured=facts.measured)
    assert left(again) == (KEYS, True, 0)


def test_a_bundle_lies_on_disk_as_it_was_in_memory(tmp_path: Path) -> None:
    made = Bundle.of(make_graph(), tmp_path, name="new", preparation=Preparation(frame_size=64), input_size=64)
    written = made.write(tmp_path / "b")
    assert written == read_bundle(tmp_path / "b")
    assert written.facts.model_dump(exclude={"files"}) == made.facts.model_dump(exclude={"files"})
    assert sorted(written.facts.files) == ["README.md", "model.onnx"]
    for name, digest in written.facts.files.items():
        assert hashlib.sha256((tmp_path / "b" / name).read_bytes()).hexdigest() == digest


def test_other_files_come_along(tmp_path: Path) -> None:
    files = {"model.onnx": make_graph(), "README.md": b"# Card\n", "note.txt": b"kept\n"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    folder = make_bundle(tmp_path / "b", files=digests)
    (folder / "note.txt").write_bytes(files["note.txt"])
    read_bundle(folder).with_facts(name="renamed").write(tmp_path / "c")
    found = read_bundle(tmp_path / "c")
    assert (found.facts.name, (tmp_path / "c" / "note.txt").read_bytes()) == ("renamed", b"kept\n")
    assert set(found.facts.files) == set(files)
