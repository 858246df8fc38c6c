"""What `predict` takes beside pictures: lists, a threshold, silence, progress for programs; and what its rows tell."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from PIL import Image

from leukoscope._version import __version__
from leukoscope.bundle.read import read_bundle
from leukoscope.cli import main
from leukoscope.inference.cells import CellReader
from leukoscope.inference.graph import offered_providers
from leukoscope.inference.schemas import BatchSummary, PredictionRow
from leukoscope.inference.writers import SUFFIX, RowFormat

DOCS = Path(__file__).parents[2] / "docs"


def rows_of(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_paths_from_standard_input_and_from_a_list(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    told = f"{cells / 'red.png'}\n\n{cells / 'green.png'}\n"
    (tmp_path / "list.txt").write_text(told)
    how = ["--bundle", str(small_bundle), "--format", "jsonl"]
    listed = rows_of(run("predict", f"@{tmp_path / 'list.txt'}", *how))
    piped = CliRunner().invoke(main, ["predict", "-", *how], input=told)
    assert [row["path"] for row in listed] == [str(cells / "red.png"), str(cells / "green.png")]
    assert [row["logit"] for row in rows_of(piped)] == [row["logit"] for row in listed]
    gone = run("predict", f"@{tmp_path / 'no.txt'}", *how)
    assert gone.exit_code == 2
    assert "the list cannot be read" in gone.stderr
    empty = CliRunner().invoke(main, ["predict", "-", *how], input="\n")
    assert empty.exit_code == 2
    assert "the list names no picture" in empty.stderr
    fields = run("field", f"@{tmp_path / 'no.txt'}", "--bundle", small_bundle, "--out", tmp_path / "fields")
    assert (fields.exit_code, "the list cannot be read" in fields.stderr) == (2, True)


def test_quiet_and_progress_for_programs(run, cells: Path, small_bundle: Path) -> None:
    assert run("predict", cells, "--bundle", small_bundle, "--quiet").stderr == ""
    spoken = run("predict", cells, "--bundle", small_bundle, "--quiet", "--progress", "json", "--batch-size", 1)
    steps = [json.loads(line) for line in spoken.stderr.splitlines()]
    assert steps[0] == {"stage": "pictures", "done": 0, "total": 2}
    assert steps[-1] == {"stage": "pictures", "done": 2, "total": 2}


def test_another_threshold(run, cells: Path, small_bundle: Path) -> None:
    how = ["--bundle", small_bundle, "--format", "jsonl"]
    plain = rows_of(run("predict", cells, *how))
    assert {row["decision"] for row in plain} == {"blast", "normal"}
    for threshold, decisions in ((0.0, {"blast"}), (1.0, {"normal"})):
        rows = rows_of(run("predict", cells, *how, "--threshold", threshold))
        assert {row["decision"] for row in rows} == decisions
        assert {row["threshold"] for row in rows} == {threshold}
        assert [row["logit"] for row in rows] == [row["logit"] for row in plain]


def test_a_provider_that_is_not_offered_is_said(run, cells: Path, small_bundle: Path) -> None:
    told = run("predict", cells, "--bundle", small_bundle, "--provider", "no-such")
    assert told.exit_code == 0
    assert (
        f"no-such is not offered here, the processor answers; offered: {', '.join(offered_providers())}" in told.stderr
    )
    assert "offered" not in run("predict", cells, "--bundle", small_bundle, "--provider", "cpu").stderr


def test_fields_take_a_provider_too(run, cells: Path, small_bundle: Path, tmp_path: Path) -> None:
    own = ["field", cells / "red.png", "--bundle", small_bundle, "--out", tmp_path / "out"]
    told = run(*own, "--provider", "no-such")
    assert told.exit_code == 0, told.stderr
    assert "no-such is not offered here, the processor answers; offered: " in told.stderr
    assert "offered" not in run(*own, "--provider", "cpu").stderr


def test_each_row_says_how_it_came_about(run, cells: Path, small_bundle: Path) -> None:
    digest = read_bundle(small_bundle).digest
    for row in rows_of(run("predict", cells, "--bundle", small_bundle, "--format", "jsonl", "--morphology")):
        PredictionRow.model_validate(row)
        assert (row["format"], row["bundle"], row["threshold"], row["software"]) == (1, digest, 0.5, __version__)
    text = run("predict", cells, "--bundle", small_bundle, "--format", "csv").stdout
    for row in csv.DictReader(io.StringIO(text)):
        assert (row["bundle"], row["threshold"], row["software"]) == (digest, "0.5", __version__)
        assert row["x"] == row["um_per_px"] == ""  # one cell on black has no place


@pytest.mark.parametrize("kind", ["csv", "jsonl", "table", "html"])
def test_of_a_folder_that_has_grown_only_what_is_new_is_read(
    kind: RowFormat | Literal["html"],
    run,
    cells: Path,
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rows(out: Path) -> list[str]:
        if kind == "html":
            return re.findall(r'data-name="(.*?)"', (out / "report.html").read_text("utf-8"))
        text = (out / f"predictions.{SUFFIX[kind]}").read_text("utf-8")
        return re.sub(r'"ms":[^,]*|(?<=by-hand,)[0-9.]+', "", text).splitlines()

    def predict(out: Path, *more: str) -> str:
        done = run("predict", cells, "--bundle", small_bundle, "--format", kind, "--out", out, *more)
        assert done.exit_code == 0, done.stderr
        return done.stderr

    asked: list[str] = []
    read = CellReader.read
    monkeypatch.setattr(CellReader, "read", lambda self, each: (asked.append(Path(each).name), read(self, each))[1])
    out = tmp_path / "out"
    assert "answered before" not in predict(out)
    shutil.copy(cells / "red.png", cells / "also.png")
    asked.clear()
    told = predict(out)
    assert told.startswith("2 of 3 pictures were answered before")
    assert (kind == "html") == ("the gallery is made of all anew" in told)
    assert sorted(asked) == (["also.png"] if kind != "html" else ["also.png", "green.png", "red.png"])
    predict(tmp_path / "whole")
    assert rows(out) == rows(tmp_path / "whole")
    assert len(rows(out)) == {"csv": 4, "table": 4}.get(kind, 3)

    Image.open(cells / "red.png").save(cells / "green.png", compress_level=0)  # another file
    (cells / "also.png").unlink()
    asked.clear()
    told = predict(out)
    assert (
        "2 of 2 pictures were answered before; changed since, so read again: green.png; there no more, so left" in told
    )
    assert sorted(asked) == (["green.png"] if kind != "html" else ["green.png", "red.png"])
    predict(tmp_path / "whole", "--replace")
    assert rows(out) == rows(tmp_path / "whole")

    other = run("predict", cells, "--bundle", small_bundle, "--out", out, "--threshold", "0.4", "--format", kind)
    assert (other.exit_code, "holds the results of another run" in other.stderr) == (2, True)
    asked.clear()
    predict(out, "--replace")
    assert sorted(asked) == ["green.png", "red.png"]


def test_the_results_of_another_run_are_not_replaced_in_silence(
    run, cells: Path, small_bundle: Path, tmp_path: Path
) -> None:
    out = ["--bundle", small_bundle, "--format", "csv", "--out", tmp_path / "out"]
    assert run("predict", cells, *out).exit_code == 0
    BatchSummary.model_validate_json((tmp_path / "out/summary.json").read_text())
    before = (tmp_path / "out/predictions.csv").read_bytes()
    assert run("predict", cells, *out).exit_code == 0  # the same again
    other = run("predict", cells / "red.png", *out)
    assert other.exit_code == 2
    assert "holds the results of another run (2 pictures, model by-hand)" in other.stderr
    assert len((tmp_path / "out/predictions.csv").read_bytes().splitlines()) == len(before.splitlines())
    assert run("predict", cells / "red.png", *out, "--replace").exit_code == 0
    assert len((tmp_path / "out/predictions.csv").read_bytes().splitlines()) == 2
