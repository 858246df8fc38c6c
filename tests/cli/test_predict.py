"""`leukoscope predict` on good pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_factory import by_hand, make_bundle, make_graph
from leukoscope.cells.frame import Preparation, prepare
from leukoscope.inference.batch import KEPT


def expected(picture: Path) -> tuple[float, float]:
    rgb = np.asarray(Image.open(picture))
    logit = by_hand(prepare(rgb, Preparation(frame_size=64)))[0]
    return logit, 1 / (1 + math.exp(-logit))


def test_the_table(run, cells: Path, small_bundle: Path) -> None:
    result = run("predict", cells, "--bundle", small_bundle)
    assert result.exit_code == 0
    (green, p_green), (red, p_red) = expected(cells / "green.png"), expected(cells / "red.png")
    assert result.stdout == (
        "probability    logit  decision    picture\n"
        f"      {p_green:.3f}  {green:+7.2f}  normal      {cells}/green.png\n"
        f"      {p_red:.3f}  {red:+7.2f}  blast       {cells}/red.png\n"
    )
    assert result.stderr.splitlines() == [
        "2 pictures: 1 blast, 1 normal, 0 unreadable (model by-hand, blast from 0.5); picture quality not checked",
        "Probabilities are not calibrated: they rank cells and are no chance.",
        "Research use only: decision support, never a diagnosis.",
    ]


@pytest.mark.parametrize("to_file", [False, True])
def test_jsonl_and_csv_hold_nothing_else(run, cells: Path, small_bundle: Path, tmp_path: Path, to_file: bool) -> None:
    texts = {}
    for kind in ("jsonl", "csv"):
        where = ["--out", tmp_path / "out"] if to_file else []
        result = run("predict", cells / "red.png", "--bundle", small_bundle, "--format", kind, *where)
        assert result.exit_code == 0
        assert (result.stdout == "") == to_file
        texts[kind] = (tmp_path / f"out/predictions.{kind}").read_text() if to_file else result.stdout
    answer = json.loads(texts["jsonl"])
    logit, probability = expected(cells / "red.png")
    assert answer["path"] == str(cells / "red.png")
    assert answer["sha256"] == hashlib.sha256((cells / "red.png").read_bytes()).hexdigest()
    assert answer["logit"] == pytest.approx(logit, abs=1e-5)
    assert answer["probability"] == pytest.approx(probability, abs=1e-5)
    assert (answer["decision"], answer["model"], answer["error"]) == ("blast", "by-hand", None)
    assert answer["ms"] > 0
    [row] = csv.DictReader(io.StringIO(texts["csv"]))
    assert set(answer) - set(row) == {"format", "gate_score", "findings", "place"}  # a table holds what was decided
    box = ["x", "y", "width", "height", "um_per_px"]
    assert [key for key in row if key not in box] == [
        key for key in answer if key in row and key not in {"bundle", "threshold", "software"}
    ] + ["bundle", "threshold", "software"]
    assert float(row["logit"]) == answer["logit"]


def test_out_alone_makes_a_gallery(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    result = run("predict", cells, "--bundle", small_bundle, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert f"gallery: {tmp_path}/out/report.html" in result.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        KEPT,
        "cells",
        "overlays",
        "report.html",
        "summary.json",
    ]


def test_threads_and_batches_do_not_change_the_answers(run, cells: Path, small_bundle: Path) -> None:
    outputs = {
        run("predict", cells, "--bundle", small_bundle, "--threads", t, "--batch-size", b).stdout
        for t, b in ((1, 1), (1, 16), (3, 1), (3, 2))
    }
    assert len(outputs) == 1


def test_a_bundle_with_clahe_prepares_with_clahe(run, cells: Path, tmp_path: Path) -> None:
    preparation = {"frame_size": 64, "clahe": {"clip_limit": 4.0, "tiles": 4}}
    bundle = make_bundle(tmp_path / "clahe", graph=make_graph(), preparation=preparation)
    answer = json.loads(run("predict", cells / "red.png", "--bundle", bundle, "--format", "jsonl").stdout)
    frame = prepare(np.asarray(Image.open(cells / "red.png")), Preparation.model_validate(preparation))
    assert answer["logit"] == pytest.approx(by_hand(frame)[0], abs=1e-5)
    assert answer["logit"] != pytest.approx(expected(cells / "red.png")[0], abs=1e-3)
