"""Subjects: whose a picture is, what is counted, what is stated, and the same in every output."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.bundle.patients import corrected_share, share_of
from leukoscope.bundle.schema import BundleFacts
from leukoscope.errors import DataError, PictureError
from leukoscope.inference.answer import Prediction
from leukoscope.inference.batch import find_pictures, run_batch
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.patients import Cell, SubjectNames, SubjectTally, name_subjects, state_subject

RATE = {"correlation": 0.1, "groups": 9, "cells": 900}
RULE = {
    "data": "made", "protocol": "by hand", "groups_blast": ["1"], "groups_normal": ["H1"], "logit": 0.0, "min_cells": 4,
    "sensitivity": RATE | {"mean": 0.9}, "false_alarm": RATE | {"mean": 0.3}, "alarm_level": 0.2, "missed_level": 0.1,
    "likely_from": 0.75, "unlikely_below": 0.3,
}  # fmt: skip


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
    named = name_subjects(pictures)
    assert set(named.subject.values()) == {"7", "H2", "10"}
    assert named.field[str(folder / "UID_7_1_3_all.png")] == "1"
    assert set(name_subjects(pictures, "folder").subject.values()) == {"pictures"}
    for place in ("a/x", "b/x", "c"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(disc((200, 30, 90))).save(tmp_path / place / "cell.png")
    loose = find_pictures([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    found = name_subjects(loose)
    assert found.how == "folders"
    assert sorted(found.subject.values()) == [str(tmp_path / "a/x"), str(tmp_path / "b/x"), "c"]
    table = tmp_path / "who.csv"
    table.write_text("path,subject,field\na/x/cell.png,P1,3\nb/x/cell.png,P1,4\nc/cell.png,P2,\n")
    told = name_subjects(loose, table)
    assert list(told.subject.values()) == ["P1", "P1", "P2"]
    assert sorted(told.field.values()) == ["3", "4"]
    with pytest.raises(DataError, match="3 of 18 names hold no subject"):
        name_subjects([*find_pictures([folder]), *loose], "auto")
    with pytest.raises(DataError, match="hold no subject"):
        name_subjects(loose, "name")
    table.write_text("path,subject\na/x/cell.png,P1\n")
    with pytest.raises(DataError, match=r"2 of 3 pictures are not in who\.csv"):
        name_subjects(loose, table)
    table.write_text("path,subject\na/x/cell.png,P1\na/x/cell.png,P2\n")
    with pytest.raises(DataError, match=r"line 3: .* two subjects"):
        name_subjects(loose, table)
    table.write_text("path,who\n")
    with pytest.raises(DataError, match="no column subject"):
        name_subjects(loose, table)
    table.write_text("path,subject\na/x/cell.png,\n")
    with pytest.raises(DataError, match="line 2"):
        name_subjects(loose, table)


def test_counts_shares_and_the_strongest_cells(classifier: Classifier, folder: Path) -> None:
    pictures = [*find_pictures([folder]), PictureError("the folder holds no picture", path="empty")]
    tally = SubjectTally(classifier.bundle.facts, name_subjects(pictures))
    answers = list(classifier.predict_many(pictures))
    for answer in answers:
        tally.add(answer)
    seven, ten, healthy = tally.statements()
    assert [s.subject for s in (seven, ten, healthy)] == ["7", "10", "H2"]
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
    cells = [Cell(i, f"{i}.png", float(i % 7), 0.9, "blast", "1" if i else None) for i in range(30)]
    told = state_subject(facts(), "x", cells, pictures=30)
    assert [cell.logit for cell in told.strongest] == [6.0] * 4 + [5.0] * 4 + [4.0] * 2
    assert [cell.number for cell in told.strongest[:2]] == [6, 13]
    assert told.share is not None
    assert told.share.fields is None
    assert (told.statement, told.corrected) == ("withheld", None)
    assert "no rule fitted on patients" in told.words


def test_referred_cells_count_as_not_called_and_turned_down_ones_not_at_all() -> None:
    rule = {"threshold": 0.5, "refer": None}
    tally = SubjectTally(facts(subjects=RULE, decision=rule), SubjectNames("x", {f"{i}": "A" for i in range(8)}))
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
    told = state_subject(facts(subjects=RULE), "x", [], pictures=3, unreadable=3)
    assert (told.share, told.corrected, told.statement) == (None, None, "too few cells")
    assert told.to_json()["share"] is None


def test_every_output_says_the_same(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    pictures = find_pictures([folder])
    names = name_subjects(pictures)
    lines: list[str] = []
    run_batch(classifier, pictures, format="jsonl", emit=lines.append, subjects=names)
    told = [json.loads(line) for line in lines]
    assert [each["subject"] for each in told] == ["7", "10", "H2"]
    run_batch(classifier, pictures, format="csv", out=tmp_path / "out", subjects=names)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["predictions.csv", "subjects.csv"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/subjects.csv").read_text())))
    for row, each in zip(rows, told, strict=True):
        for key in ("subject", "statement", "reason", "pictures", "answered", "blast", "unreadable", "repeated"):
            assert row[key] == str(each[key])
        assert float(row["share_low"]) == each["share"]["low"]
        assert row["corrected"] == ("" if each["corrected"] is None else str(each["corrected"]["value"]))
        assert json.loads(row["strongest"]) == [cell["path"] for cell in each["strongest"]]
    lines.clear()
    run_batch(classifier, pictures, format="table", emit=lines.append, subjects=names)
    assert [line.split("  ")[0] for line in lines[1:]] == [each["statement"] for each in told]
    run_batch(classifier, pictures, format="html", out=tmp_path / "page", subjects=names)
    page = (tmp_path / "page/report.html").read_text(encoding="utf-8")
    assert "3 subjects, named by file names (C-NMC 2019)" in page
    for each in told:
        assert each["words"].replace("'", "&#39;") in page
    shown = page.split('<ol class="strongest"')[1].split("</ol>")[0]
    assert shown.count("<img") == 6
    assert "cells/00003-UID_7_0_0_all.webp" in shown
    assert all((tmp_path / "page" / part.split('"')[0]).is_file() for part in shown.split('src="')[1:])
    run_batch(classifier, pictures, format="html", out=tmp_path / "plain")
    assert "named by" not in (tmp_path / "plain/report.html").read_text(encoding="utf-8")
