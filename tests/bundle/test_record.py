"""Audits in a bundle: written in its place, of its own graph only, and kept or dropped when the bundle changes."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from bundle_factory import make_bundle, make_graph
from leukoscope.bundle.audits import AuditFacts
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.bundle.write import record_audits
from leukoscope.errors import BundleError


def an_audit(graph: bytes | None = None, **more: Any) -> AuditFacts:
    facts: dict[str, Any] = {
        "kind": "shortcuts", "graph": hashlib.sha256(graph or make_graph()).hexdigest(), "data": "lab",
        "data_fingerprint": "ab" * 32, "patients": "unseen", "left_out": [], "left_out_pictures": 0, "cells": 40,
        "blasts": 20, "groups": ["a", "b"], "date": "2031-02-04", "version": "1", "machine": "m", "seed": 0,
        "rules": [{"key": "size", "asked": "Small.", "found": "0.3", "outcome": "fails"}],
        "figures": {"auc_plain": {"value": 0.8}},
    }  # fmt: skip
    return AuditFacts.model_validate(facts | more)


def test_an_old_bundle_takes_audits_one_of_a_kind(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    assert read_bundle(folder).facts.audits == []
    record_audits(folder, [an_audit(), an_audit(kind="explanations")])
    record_audits(folder, [an_audit(seed=7)])
    bundle = read_bundle(folder)
    assert [(each.kind, each.seed) for each in bundle.facts.audits] == [("explanations", 0), ("shortcuts", 7)]
    assert bundle.graph == make_graph()
    assert "**Shortcuts**: fails: size." in (folder / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_audit_of_another_graph_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="no longer the bundle"):
        record_audits(folder, [an_audit(make_graph(bias=0.5))])
    assert (folder / "bundle.json").read_bytes() == before
    facts = json.loads(before) | {"audits": [an_audit(make_graph(bias=0.5)).model_dump(mode="json")]}
    (folder / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(BundleError, match="another graph"):
        read_bundle(folder)


def test_audits_outlive_a_new_decision_and_no_new_graph(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    record_audits(folder, [an_audit()])
    bundle = read_bundle(folder)
    decided = bundle.with_facts(decision=DecisionFacts(threshold=0.4))
    assert decided.write(tmp_path / "same").facts.audits == bundle.facts.audits
    decided.with_facts(graph=make_graph(bias=0.5)).write(tmp_path / "other")
    assert read_bundle(tmp_path / "other").facts.audits == []


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    start = threading.Barrier(2)

    def write(audit: AuditFacts) -> None:
        start.wait()
        record_audits(folder, [audit])

    for _ in range(5):
        writers = [
            threading.Thread(target=write, args=(an_audit(kind=kind),)) for kind in ("shortcuts", "explanations")
        ]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        assert [each.kind for each in read_bundle(folder).facts.audits] == ["explanations", "shortcuts"]
        make_bundle(folder)
