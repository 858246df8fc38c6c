"""`predict` on what it was given: cells on black, fields and crops, in one run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.cells.read import read_picture
from leukoscope.cli import main
from leukoscope.inference import cells
from leukoscope.inference.answer import HONEST
from leukoscope.inference.batch import run_batch
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.owners import find_owners
from smears.smear import Smear, with_red_cells


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell on black; a field of one whole and one cut cell; one without white cells; a crop; one too small."""
    pictures = tmp_path_factory.mktemp("kinds")
    field = with_red_cells(60, leave=(320, 240, 60)).white(320, 240, 110, 75).white(3, 60, 110, 75).picture()
    crop = with_red_cells(60, height=300, width=300, leave=(150, 150, 60)).white(150, 150, 110, 75).picture()
    for name, rgb in (
        ("a-cell.png", disc((200, 30, 90))),
        ("b-field.png", field),
        ("c-empty.png", with_red_cells(60).picture()),
        ("d-crop.png", crop),
        ("e-small.png", np.ascontiguousarray(crop[:40, :40])),
    ):
        Image.fromarray(rgb).save(pictures / name)
    return pictures


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(make_bundle(tmp_path_factory.mktemp("kinds-bundle") / "bundle", frame=450), threads=2)


def test_each_white_cell_has_a_row_and_agrees_with_read_field(classifier: Classifier, folder: Path) -> None:
    paths = sorted(folder.iterdir())
    told: list[int] = []
    answers = list(classifier.predict_many(paths, 2, told.append, fields=True))
    assert sum(told) == len(paths)
    field, crop = (classifier.read_field(folder / name) for name in ("b-field.png", "d-crop.png"))
    assert (len(field.cells), len(crop.cells)) == (2, 1)
    rows = [
        ("a-cell.png", None, "blast"),
        *(("b-field.png", number, answer.decision) for number, answer in enumerate(field.cells, 1)),
        ("c-empty.png", None, "unreadable"),
        ("d-crop.png", 1, crop.cells[0].decision),
        ("e-small.png", None, "unreadable"),
    ]
    assert [(Path(a.path or "").name, a.place and a.place.number, a.decision) for a in answers] == rows
    by_name = {a.name.rpartition("/")[2]: a for a in answers}
    whole = next(answer for answer in field.cells if answer.asked)
    again = by_name[f"b-field.png {whole.name.rpartition(' ')[2]}"]
    assert again.probability == whole.probability
    assert again.place == whole.place
    assert again.sha256 == field.reading.sha256
    cut = next(answer for answer in field.cells if answer.cell.found and answer.cell.found.state == "cut")
    assert cut.place is not None
    assert by_name[f"b-field.png #{cut.place.number}"].probability is None
    assert by_name[f"b-field.png #{cut.place.number}"].reason == "the edge of the picture cuts the cell"
    assert "no white cell was found" in (by_name["c-empty.png"].error or "")
    assert "too small" in (by_name["e-small.png"].error or "")
    assert by_name["d-crop.png #1"].to_json()["place"]["kind"] == "crop"
    # One answer for each source is the rule where fields are not asked for.
    assert [a.decision for a in classifier.predict_many(paths)] == ["blast", *["unreadable"] * 4]
    arrays = [np.asarray(Image.open(path)) for path in paths[2:]]
    same = list(classifier.predict_many(arrays, fields=True))
    assert [(a.decision, a.probability) for a in same] == [(a.decision, a.probability) for a in answers[3:]]


def test_every_output_names_the_cell(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    paths = sorted(folder.iterdir())
    lines: list[str] = []
    tally = run_batch(classifier, paths, format="table", emit=lines.append)
    assert (sum(tally.values()), tally.in_fields, tally["unreadable"]) == (6, 3, 2)
    assert [line.split("kinds0/")[-1].split("  (")[0] for line in lines[1:]] == [
        "a-cell.png", "b-field.png #1", "b-field.png #2", "c-empty.png", "d-crop.png #1", "e-small.png",
    ]  # fmt: skip
    run_batch(classifier, paths, format="csv", out=tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "predictions.csv").read_text(encoding="utf-8"))))
    assert [row["cell"] for row in rows] == ["", "1", "2", "", "1", ""]
    assert [row["probability"] == "" for row in rows].count(True) == 3
    run_batch(classifier, paths, format="html", out=tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert page.count("<li class=") == 3
    assert "1 referred without an answer of the model" in page
    assert "2 unreadable" in page
    assert HONEST in page
    assert all((tmp_path / "page" / "cells" / name).is_file() for name in ("00001-a-cell.webp", "00005-d-crop.webp"))


def test_a_field_is_decoded_once(classifier: Classifier, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: str, **more: object) -> object:
        read.append(Path(path).name)
        return read_picture(path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(cells, "read_picture", counted)
    paths = sorted(folder.glob("*.png"))
    list(classifier.predict_many(paths, fields=True))
    assert sorted(read) == [path.name for path in paths]


def test_cells_of_one_field_are_counted_as_of_one_field(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    smear = with_red_cells(60, leave=(320, 240, 150)).white(250, 240, 110, 75).white(400, 240, 110, 75)
    for name in ("one", "two"):
        Image.fromarray(smear.picture(seed=ord(name[0]))).save(tmp_path / f"{name}.png")
    (tmp_path / "two-again.png").write_bytes((tmp_path / "two.png").read_bytes())
    paths = sorted(tmp_path.iterdir())
    lines: list[str] = []
    run_batch(classifier, paths, format="jsonl", emit=lines.append, owners=find_owners(paths, "folder"))
    (line,) = lines
    told = json.loads(line)
    assert (told["pictures"], told["answered"], told["repeated"], told["share"]["fields"]) == (3, 4, 1, 2)
    assert sorted(cell["cell"] for cell in told["strongest"]) == [1, 1, 2, 2]
    assert "4 of 4 cells in 3 pictures count, 1 picture repeated" in told["words"]


def test_the_command_says_what_fields_mean(folder: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    done = CliRunner().invoke(main, ["predict", str(folder / "d-crop.png"), "--bundle", str(bundle), "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "1 answer, 1 for white cells found in fields or crops" in done.stderr
    assert HONEST in done.stderr
    alone = Smear().white(320, 240, 110, 75).picture()
    Image.fromarray(alone).save(tmp_path / "alone.png")
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "alone.png"), "--bundle", str(bundle)])
    assert done.exit_code == 0, done.output
    assert "scale unknown" in done.stdout
