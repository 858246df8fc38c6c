"""Patients: whose a picture is, what is counted, what is stated, and the same in every output."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_factory import RULE, disc, make_bundle
from leukoscope.bundle.patients import corrected_share, share_of
from leukoscope.bundle.schema import BundleFacts
from leukoscope.errors import DataError, PictureError
from leukoscope.inference.answer import Prediction
from leukoscope.inference.batch import find_pictures, run_batch
from leukoscope.inference.cells import Cell, Place
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.owners import Owners, find_owners
from leukoscope.inference.patients import Judged, PatientTally, interval, state_patient


def facts(**more: Any) -> BundleFacts:
    given = {"name": "m", "version": "0", "created": "2026-01-01", "preparation": {}, "input_size": 8, "files": {}}
    return BundleFacts.model_validate(given | more)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(make_bundle(tmp_path_factory.mktemp("subjects") / "bundle", subjects=RULE), threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Subject 7: six reddish cells, one of them twice, one unreadable; H2: five greenish; 10: two."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for subject, colour, cells in (("7", (200, 30, 90), 6), ("H2", (10, 240, 10), 5), ("10", (90, 20, 160), 2)):
        for k in range(cells):
            word = "hem" if subject.startswith("H") else "all"
            shade = np.array(colour) - (k, 0, 0)
            Image.fromarray(disc(tuple(shade.tolist()))).save(pictures / f"UID_{subject}_{k // 2}_{k}_{word}.png")
    (pictures / "UID_7_9_98_all.png").write_bytes((pictures / "UID_7_0_0_all.png").read_bytes())
    (pictures / "UID_7_9_99_all.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return pictures


def test_names_folders_and_tables(folder: Path, tmp_path: Path) -> None:
    pictures = find_pictures([folder])
    named = find_owners(pictures)
    assert set(named.patient.values()) == {"7", "H2", "10"}
    assert named.field[str(folder / "UID_7_1_3_all.png")] == "1"
    assert set(find_owners(pictures, "folder").patient.values()) == {"pictures"}
    for place in ("a/x", "b/x", "c"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(disc((200, 30, 90))).save(tmp_path / place / "cell.png")
    loose = find_pictures([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    found = find_owners(loose)
    assert found.how == "folders"
    assert sorted(found.patient.values()) == [str(tmp_path / "a/x"), str(tmp_path / "b/x"), "c"]
    table = tmp_path / "who.csv"
    table.write_text("path,subject,field\na/x/cell.png,P1,3\nb/x/cell.png,P1,4\nc/cell.png,P2,\n")
    told = find_owners(loose, table)
    assert list(told.patient.values()) == ["P1", "P1", "P2"]
    assert sorted(told.field.values()) == ["3", "4"]
    table.write_text("picture,patient\ncell.png,P1\n")  # a name alone means the one picture of that name
    assert find_owners(loose[:1], table).patient == {str(loose[0]): "P1"}
    with pytest.raises(DataError, match=r"3 of 3 pictures are not in who\.csv"):
        find_owners(loose, table)
    table.write_text("Patient;Picture\nNA;a/x/cell.png\n")
    with pytest.raises(DataError, match="line 2: no path or no patient"):
        find_owners(loose, table)
    with pytest.raises(DataError, match="3 of 18 names hold no patient"):
        find_owners([*find_pictures([folder]), *loose], "auto")
    with pytest.raises(DataError, match="hold no patient"):
        find_owners(loose, "name")
    table.write_text("path,subject\na/x/cell.png,P1\n")
    with pytest.raises(DataError, match=r"2 of 3 pictures are not in who\.csv"):
        find_owners(loose, table)
    table.write_text("path,subject\na/x/cell.png,P1\na/x/cell.png,P2\n")
    with pytest.raises(DataError, match=r"line 3: .* two patients"):
        find_owners(loose, table)
    table.write_text("path,who\n")
    with pytest.raises(DataError, match="no column subject"):
        find_owners(loose, table)
    table.write_text("path,subject\na/x/cell.png,\n")
    with pytest.raises(DataError, match="line 2"):
        find_owners(loose, table)


def test_counts_shares_and_the_strongest_cells(classifier: Classifier, folder: Path) -> None:
    pictures = [*find_pictures([folder]), PictureError("the folder holds no picture", path="empty")]
    tally = PatientTally(classifier.bundle.facts, find_owners(pictures))
    answers = list(classifier.predict_many(pictures))
    for answer in answers:
        tally.add(answer)
    seven, ten, healthy = tally.statements()
    assert [s.patient for s in (seven, ten, healthy)] == ["7", "10", "H2"]
    assert tally.nobodys == 1
    assert (seven.pictures, seven.answered, seven.repeated, seven.unreadable) == (8, 6, 1, 1)
    assert (seven.blast, seven.normal, seven.statement) == (6, 0, "blasts likely")
    assert (healthy.blast, healthy.normal, healthy.statement) == (0, 5, "blasts not seen")
    assert (ten.statement, ten.corrected) == ("too few cells", None)
    assert seven.share == share_of([True] * 6, list("001122"))
    rule = classifier.bundle.facts.subjects
    assert rule is not None
    assert seven.share is not None
    assert seven.corrected == corrected_share(rule, seven.share)
    logits = {
        answer.path: answer.logit for answer in answers if answer.logit is not None and "UID_7_" in str(answer.path)
    }
    assert [cell.logit for cell in seven.strongest] == sorted(set(logits.values()), reverse=True)
    assert all(answers[cell.number - 1].path == cell.path for cell in seven.strongest)


def test_more_than_ten_cells_and_fields_that_are_not_all_known() -> None:
    cells = [Judged(i, f"{i}.png", float(i % 7), 0.9, "blast", "1" if i else None) for i in range(30)]
    told = state_patient(facts(), "x", cells, pictures=30)
    assert [cell.logit for cell in told.strongest] == [6.0] * 4 + [5.0] * 4 + [4.0] * 2
    assert [cell.number for cell in told.strongest[:2]] == [6, 13]
    assert told.share is not None
    assert told.share.fields is None
    assert (told.statement, told.corrected) == ("withheld", None)
    assert "no rule fitted on patients" in told.words


def test_referred_cells_count_as_not_called_and_turned_down_ones_not_at_all() -> None:
    rule = {"threshold": 0.5, "refer": None}
    tally = PatientTally(facts(subjects=RULE, decision=rule), Owners("x", {f"{i}": "A" for i in range(8)}))
    decisions = ["blast", "refer", "normal", "normal", "blast", "normal"]
    for i, decision in enumerate(decisions):
        p = 0.9 if decision == "blast" else 0.4
        tally.add(Prediction(f"{i}", None, p, 2 * p - 1, decision, "m", 1.0))  # type: ignore[arg-type]
    tally.add(Prediction("6", None, 0.99, 5.0, "refer", "m", 1.0, gate="turned down"))
    [told] = tally.statements()
    assert (told.answered, told.blast, told.normal, told.referred, told.turned_down) == (6, 2, 3, 1, 1)
    assert all(cell.logit < 5 for cell in told.strongest)
    assert told.share is not None
    assert told.share.value == 2 / 6
    assert told.statement == "refer"


def test_a_subject_without_answers() -> None:
    told = state_patient(facts(subjects=RULE), "x", [], pictures=3, unreadable=3)
    assert (told.share, told.corrected, told.statement) == (None, None, "too few cells")
    assert told.to_json()["share"] is None


def cell(number: int, *, called: bool = True, field: str | None = None) -> Judged:
    return Judged(number, f"{number}.png", 1.0 if called else -1.0, 0.9 if called else 0.1, "blast", field)


def test_too_few_judged_of_those_found_are_no_statement() -> None:
    """Three cells of sixty passed the gate, all called blast: 100 % would be said of a healthy person."""
    held = [cell(k) for k in range(3)]
    told = state_patient(facts(subjects=RULE | {"min_cells": 2}), "x", held, pictures=9, turned_down=57)
    assert (told.statement, told.share, told.corrected) == ("withheld", None, None)
    assert "3 of 60 cells found could be judged" in told.words
    assert "%" not in told.words
    assert told.to_json()["cells"] == 60
    half = state_patient(facts(subjects=RULE | {"min_cells": 2}), "x", held, pictures=9, turned_down=3)
    assert half.statement == "blasts likely"


def test_the_raw_share_stands_first_and_an_interval_that_says_nothing_is_left_out() -> None:
    sure = state_patient(facts(), "x", [cell(k, called=k < 30) for k in range(40)], pictures=40)
    assert sure.words.startswith("Called blast: 75 % [59, 87] of the judged cells (binomial")  # Clopper and Pearson
    one_field = state_patient(facts(), "x", [cell(k, field="f") for k in range(40)], pictures=40)
    assert one_field.words.startswith("Called blast: 100 % of the judged cells (too little for an interval). ")
    assert one_field.share is not None
    assert one_field.share.low == pytest.approx(0.025)  # of the one independent cell that a field is worth at worst
    assert interval(one_field.share) == "100 %"


def test_patients_are_a_worklist() -> None:
    """Blasts likely first, then refer, withheld, too few cells, not seen; within each the higher share first."""
    rule = RULE | {"min_cells": 4}
    answers = {"a": (0, 8), "b": (4, 8), "c": (8, 8), "d": (7, 8), "e": (1, 1), "f": (5, 8)}
    owners = Owners("x", {f"{name}{k}": name for name, (_, cells) in answers.items() for k in range(cells)})
    tally = PatientTally(facts(subjects=rule, decision={"threshold": 0.5, "refer": None}), owners)
    for name, (called, cells) in answers.items():
        for k in range(cells):
            hit = k < called
            p, decision = (0.9, "blast") if hit else (0.1, "normal")
            tally.add(Prediction(f"{name}{k}", None, p, 2 * p - 1, decision, "m", 1.0))  # type: ignore[arg-type]
    assert [each.patient for each in tally.statements()] == ["c", "d", "f", "b", "e", "a"]


def test_warnings_of_pictures_are_counted_by_kind() -> None:
    blurred, screen = "out of focus: its edges", "a grid (3 px): it may be a photograph of a screen"
    places = [
        Place(1, (0, 0, 9, 9), "field", 0.07), Place(1, (0, 0, 9, 9), "field", 0.2, (blurred, screen)),
        Place(1, (0, 0, 9, 9), "field", None, (blurred,)),
    ]  # fmt: skip
    tally = PatientTally(facts(), Owners("x", dict.fromkeys("0123", "A")))
    for k, place in enumerate(places):
        asked = place.um_per_px is not None
        tally.add(
            Prediction(
                str(k), None, 0.9 if asked else None, 1.0 if asked else None, "blast", "m", 1.0, cell=Cell(place=place)
            )
        )
    tally.add(Prediction("3", None, None, None, "unreadable", "m", 0.0, error="no white cell was found"))
    [told] = tally.statements()
    assert told.warnings[0].startswith("mixed magnifications: 0.07 to 0.2 um per pixel; check that all fields")
    assert told.warnings[1:] == (
        "scale unknown in 1 of 4 pictures: their cells are referred",
        "only 2 cells were judged, fewer than 100",
        "out of focus: 2 of 4 pictures",
        "perhaps a photograph of a screen: 1 of 4 pictures",
        "no white cell: 1 of 4 pictures",
    )
    assert "2 of 3 cells in 4 pictures count, 1 referred without being judged, 1 picture unreadable" in told.words


def test_every_output_says_the_same(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    pictures = find_pictures([folder])
    names = find_owners(pictures)
    lines: list[str] = []
    run_batch(classifier, pictures, format="jsonl", emit=lines.append, owners=names)
    told = [json.loads(line) for line in lines]
    assert [each["patient"] for each in told] == ["7", "10", "H2"]  # a worklist
    run_batch(classifier, pictures, format="csv", out=tmp_path / "out", owners=names)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".answers.jsonl",
        "patients.csv",
        "predictions.csv",
        "summary.json",
    ]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/patients.csv").read_text())))
    for row, each in zip(rows, told, strict=True):
        for key in ("patient", "statement", "reason", "pictures", "answered", "blast", "unreadable", "repeated"):
            assert row[key] == str(each[key])
        assert float(row["share_low"]) == each["share"]["low"]
        assert row["corrected"] == ("" if each["corrected"] is None else str(each["corrected"]["value"]))
        assert json.loads(row["strongest"]) == [cell["path"] for cell in each["strongest"]]
    lines.clear()
    run_batch(classifier, pictures, format="table", emit=lines.append, owners=names)
    assert [line[20:36].strip() for line in lines[1:]] == [each["statement"] for each in told]
    run_batch(classifier, pictures, format="html", out=tmp_path / "page", owners=names)
    page = (tmp_path / "page/report.html").read_text(encoding="utf-8")
    assert "3 patients, named by file names (C-NMC 2019)" in page
    for each in told:
        assert each["words"].replace("'", "&#39;") in page
    shown = page.split('<ol class="strongest"')[1].split("</ol>")[0]
    assert shown.count("<img") == 6
    assert "cells/00003-UID_7_0_0_all.webp" in shown
    assert all((tmp_path / "page" / part.split('"')[0]).is_file() for part in shown.split('src="')[1:])
    run_batch(classifier, pictures, format="html", out=tmp_path / "plain")
    assert "named by" not in (tmp_path / "plain/report.html").read_text(encoding="utf-8")
