"""Fields to answers, files and patients; with the small bundle whose answers are known."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.cli import main
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.answer import HONEST
from leukoscope.inference.batch import run_fields
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.folder import read_record
from leukoscope.inference.journal import claim
from leukoscope.inference.writers import geojson
from leukoscope.smears import standard_cell
from leukoscope.smears.normalise import normaliser, read_reference
from smears.smear import NUCLEUS, Smear, with_red_cells


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("field") / "bundle")


@pytest.fixture(scope="module")
def classifier(bundle: Path) -> Classifier:
    return load(bundle, threads=1)


def smear() -> Smear:
    return with_red_cells(60, leave=(320, 240, 60)).white(320, 240, 110, 75)


def write(path: Path, rgb: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    one, two = smear().picture(), smear().disc(60, 430, 90, NUCLEUS).picture()
    write(tmp_path / "in" / "ann" / "a.png", one)
    write(tmp_path / "in" / "ann" / "b.png", two)
    write(tmp_path / "in" / "bob" / "c.png", np.zeros((300, 300, 3), np.uint8))
    return tmp_path / "in"


def test_a_cell_gets_the_answer_that_its_standard_picture_gets(classifier: Classifier) -> None:
    field = classifier.read_field(smear().picture())
    (answer,) = field.cells
    assert answer.asked
    assert answer.frame is not None
    record = field.to_json()
    assert record["statement"] == HONEST
    assert record["cells"][0]["diameter_um"] == pytest.approx(110 * 7.5 / 60, rel=0.06)
    assert record["blast"] + record["normal"] + record["refer"] == record["white_cells"] == 1
    json.dumps(record, allow_nan=False)


def test_the_stain_is_normalised_where_asked_and_the_raw_cell_stays(classifier: Classifier) -> None:
    picture = smear().picture()
    raw, changed = (classifier.read_field(picture, stain=stain) for stain in ("none", "reinhard"))
    finding = changed.reading.finding
    assert finding is not None
    whole = normaliser(picture, finding.cells, "reinhard", read_reference())(picture)  # then cut out
    scale = finding.ruler.um_per_px
    assert scale is not None
    by_hand = classifier.predict(standard_cell(whole, finding.cells[0], scale))
    assert changed.cells[0].logit == by_hand.logit
    assert raw.cells[0].logit != by_hand.logit
    assert np.array_equal(raw.reading.rgb, changed.reading.rgb)
    assert (raw.to_json()["stain"], changed.to_json()["stain"]) == ("none", "reinhard")


def test_without_scale_nothing_is_asked_and_no_size_is_stated(classifier: Classifier) -> None:
    alone = Smear().white(320, 240, 110, 75).picture()
    field = classifier.read_field(alone)
    (answer,) = field.cells
    assert (answer.decision, answer.asked, answer.frame) == ("refer", False, None)
    assert "scale unknown" in (answer.reason or "")
    assert field.to_json()["cells"][0]["diameter_um"] is None
    told = classifier.read_field(alone, um_per_px=0.125)
    assert told.cells[0].asked
    assert any("no red cell was found to check" in warning for warning in told.warnings)


def test_cut_cells_are_referred_unasked(classifier: Classifier) -> None:
    field = classifier.read_field(with_red_cells(60, leave=(8, 240, 60)).white(8, 240, 110, 75).picture())
    (answer,) = field.cells
    assert (answer.decision, answer.asked) == ("refer", False)
    assert "edge" in (answer.reason or "")


def test_pictures_that_are_no_fields_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"c\.png"):
        classifier.read_field(write(tmp_path / "c.png", np.zeros((300, 300, 3), np.uint8)))
    with pytest.raises(PictureError, match=r"d\.png: has 640 x 480 pixels, .* allow more with --max-pixels"):
        classifier.read_field(write(tmp_path / "d.png", smear().picture()), max_pixels=1000)


def on_black() -> np.ndarray:
    framed = np.zeros((450, 450, 3), np.uint8)
    cv2.circle(framed, (225, 225), 100, (200, 150, 210), -1)
    cv2.circle(framed, (225, 225), 70, (90, 40, 130), -1)
    return framed


def test_one_cell_on_black_is_a_field_with_one_cell(classifier: Classifier, bundle: Path, tmp_path: Path) -> None:
    field = classifier.read_field(on_black())
    (answer,) = field.cells
    assert answer.logit == classifier.predict(on_black()).logit
    record = field.to_json()
    (cell,) = record["cells"]
    assert (record["kind"], cell["box"], cell["state"]) == ("framed", [125, 125, 201, 201], "whole")
    assert record["ruler"]["source"] == "training cells"
    assert cell["nucleus_share"] == pytest.approx(0.7**2, abs=0.03)
    assert cell["diameter_um"] == pytest.approx(201 * classifier.standard_um_per_px, rel=0.01)

    write(tmp_path / "in" / "ann.png", on_black())
    table = tmp_path / "whose.csv"
    table.write_text("path,patient\nin/ann.png,Ann\n")
    common = ["--bundle", str(bundle), "--patients", str(table), "--threads", "1"]
    done = CliRunner().invoke(main, ["field", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *common])
    assert done.exit_code == 0, done.output
    asked = CliRunner().invoke(main, ["predict", str(tmp_path / "in"), "--format", "jsonl", *common])
    told = json.loads((tmp_path / "out" / "patients.json").read_text())
    assert told["patients"] == [json.loads(asked.stdout.splitlines()[0])]


def test_a_scan_is_read_in_windows(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = classifier.read_field(smear().picture())
    monkeypatch.setattr("leukoscope.inference.cells.MAX_FIELD_PIXELS", 1000)
    scan = classifier.read_field(smear().picture())
    assert scan.to_json()["cells"] == whole.to_json()["cells"]


def test_the_command_writes_everything_and_goes_on_where_it_was(bundle: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ["field", str(folder), "--out", str(out), "--bundle", str(bundle), "--by", "patient", "--threads", "1"]
    first = CliRunner().invoke(main, call)
    assert first.exit_code == 1, first.output  # the black field
    assert "2 fields, 1 unreadable" in first.output
    rows = list(csv.DictReader((out / "cells.csv").read_text().splitlines()))
    coco = json.loads((out / "cells.coco.json").read_text())
    records = [json.loads(path.read_text()) for path in sorted((out / "fields").glob("*.json"))]
    assert len(rows) == len(coco["annotations"]) == sum(len(r["cells"]) for r in records) == 3
    told = {(r["path"], str(c["number"])): c["logit"] for r in records for c in r["cells"] if c["logit"] is not None}
    ranked = sorted((row for row in rows if row["order"]), key=lambda row: int(row["order"]))
    assert [int(row["order"]) for row in ranked] == list(range(1, len(told) + 1))
    scores = [told[row["path"], row["number"]] for row in ranked]
    assert scores == sorted(scores, reverse=True)
    assert (out / "report.html").read_text().count("look at it as") == len(told)
    assert [image["id"] for image in coco["images"]] == [1, 2]
    for item in coco["annotations"]:
        ring = np.array(item["segmentation"][0]).reshape(-1, 2)
        assert item["area"] == pytest.approx(cv2.contourArea(ring.astype(np.float32)), rel=1e-3)
        assert len(item["bbox"]) == 4
    assert len(list((out / "overlays").glob("*.png"))) == 2
    asked = sorted(path.name for path in (out / "cells").glob("*-asked.webp"))
    named = [f"{Path(r['path']).stem}" for r in records for c in r["cells"] if c["logit"] is not None]
    assert [name[0] for name in asked] == sorted(named)  # raw, and as the model was shown it
    assert len(list((out / "cells").glob("*.webp"))) == 3 + len(asked)
    assert all(f'src="cells/{name}"' in (out / "report.html").read_text() for name in asked)
    page = (out / "report.html").read_text()
    assert HONEST in page
    assert "the picture is all black" in page
    patients = {p["patient"]: p for p in json.loads((out / "patients.json").read_text())["patients"]}
    assert (patients["ann"]["pictures"], patients["ann"]["cells"]) == (2, 3)
    assert (patients["bob"]["share"], patients["bob"]["unreadable"]) == (None, 1)

    stale = next((out / "fields").glob("b-*.json"))
    before = {path: path.stat().st_mtime_ns for path in (out / "fields").glob("a-*.json")}
    stale.unlink()
    again = CliRunner().invoke(main, call)
    assert "2 of an earlier run" in again.output  # the black field is remembered too
    assert stale.exists()
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    os.utime(folder / "ann" / "a.png", (1, 1))  # another file under the same name is read again
    assert "2 of an earlier run" in CliRunner().invoke(main, call).output

    other = CliRunner().invoke(main, [*call, "--um-per-px", "0.1"])
    assert other.exit_code == 2
    assert "other settings" in other.output


@pytest.mark.parametrize("content", [b'{"version": "\xe9"}', b"{", b"[" * 100_000, b"\xff\xfe{\x00"])
def test_settings_that_cannot_be_read_are_named(content: bytes, tmp_path: Path) -> None:
    """Not UTF-8, cut short, nested without end, UTF-16: none is taken for the settings of another run."""
    settings: dict[str, object] = {"path": "caf\udce9.svs", "window": 512}  # a name whose bytes are no UTF-8
    claim(tmp_path / "out", "settings.json", settings)
    claim(tmp_path / "out", "settings.json", settings)
    with pytest.raises(LeukoscopeError, match="out: holds results of other settings or of another version"):
        claim(tmp_path / "out", "settings.json", settings | {"window": 256})
    (tmp_path / "out" / "settings.json").write_bytes(content)
    told = r"settings\.json: the settings of its results cannot be read \(it is not the JSON that was written\)"
    with pytest.raises(LeukoscopeError, match=told):
        claim(tmp_path / "out", "settings.json", settings)
    assert (tmp_path / "out" / "settings.json").read_bytes() == content


def test_no_flipped_bit_of_a_kept_record_is_taken_for_an_answer(
    classifier: Classifier, folder: Path, tmp_path: Path
) -> None:
    out, pictures = tmp_path / "out", [folder / "ann" / "a.png", folder / "ann" / "b.png"]
    run_fields(classifier, pictures, out, ReadOptions())
    first, second = sorted((out / "fields").glob("*.json"))
    content = first.read_bytes()
    assert read_record(first) == {key: value for key, value in json.loads(content).items() if key != "digest"}
    for bit in np.random.default_rng(0).choice(8 * len(content), 300, replace=False).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        first.write_bytes(damaged)
        assert read_record(first) is None
    table = (out / "cells.csv").read_bytes()
    tally = run_fields(classifier, pictures, out, ReadOptions())  # the damaged one is read anew, the other kept
    assert tally.resumed == 1
    assert (out / "cells.csv").read_bytes() == table
    assert first.read_bytes() == content
    assert second.exists()


def test_two_threads_give_what_one_gives(bundle: Path, folder: Path, tmp_path: Path) -> None:
    pictures = sorted(folder.rglob("*.png"))
    run_fields(load(bundle, threads=1), pictures, tmp_path / "one", ReadOptions())
    run_fields(load(bundle, threads=2), pictures, tmp_path / "two", ReadOptions())
    assert (tmp_path / "one" / "cells.csv").read_text() == (tmp_path / "two" / "cells.csv").read_text()


def test_a_foreign_folder_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(LeukoscopeError, match="other files"):
        run_fields(load(bundle), [], tmp_path, ReadOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_geojson_holds_closed_rings_within_the_picture(classifier: Classifier) -> None:
    record = classifier.read_field(smear().picture()).to_json()
    features = geojson(record)["features"]
    assert [f["properties"]["objectType"] for f in features] == ["annotation"] * len(features)
    assert features[0]["properties"]["name"].startswith("1 ")
    for feature in features:
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert np.array_equal(ring[0], ring[-1])
        assert (ring >= 0).all()
        assert (ring <= (640, 480)).all()


def test_predict_and_field_state_the_same_of_the_same_pictures(tmp_path: Path) -> None:
    """Two patients by a table: fields with a cut cell, one twice, one without a cell, one black, one without scale."""
    rule = {
        "data": "made", "protocol": "by hand", "groups_blast": ["1"], "groups_normal": ["H1"], "logit": 0.0,
        "min_cells": 2, "alarm_level": 0.2, "missed_level": 0.1, "likely_from": 0.75, "unlikely_below": 0.3,
        "sensitivity": {"correlation": 0.1, "groups": 9, "cells": 900, "mean": 0.9},
        "false_alarm": {"correlation": 0.1, "groups": 9, "cells": 900, "mean": 0.3},
    }  # fmt: skip
    bundle = make_bundle(tmp_path / "ruled", subjects=rule)
    fields = tmp_path / "fields"
    two = with_red_cells(60, leave=(320, 240, 150)).white(250, 240, 110, 75).white(400, 240, 110, 75)
    write(fields / "a.png", smear().disc(60, 430, 90, NUCLEUS).picture())
    for name in ("b", "c"):
        write(fields / f"{name}.png", two.picture(seed=ord(name)))
    (fields / "d.png").write_bytes((fields / "c.png").read_bytes())
    write(fields / "e.png", np.zeros((300, 300, 3), np.uint8))
    write(fields / "f.png", with_red_cells(60).picture())
    write(fields / "g.png", Smear().white(320, 240, 110, 75).picture())
    table = tmp_path / "whose.csv"
    owners = {"a": "Ann", "b": "Ann", "c": "Ann", "d": "Ann", "e": "Bob", "f": "Bob", "g": "Bob"}
    table.write_text("path,patient\n" + "".join(f"fields/{name}.png,{who}\n" for name, who in owners.items()))
    common = ["--bundle", str(bundle), "--threads", "1", "--by", "patient", "--patients", str(table)]
    done = CliRunner().invoke(main, ["predict", str(fields), "--format", "jsonl", *common])
    asked = [json.loads(line) for line in done.stdout.splitlines()]
    done = CliRunner().invoke(main, ["field", str(fields), "--out", str(tmp_path / "out"), *common])
    told = json.loads((tmp_path / "out" / "patients.json").read_text())
    assert told["patients"] == asked
    assert told["named_by"] == "the table whose.csv"
    ann, bob = asked
    assert (ann["patient"], ann["pictures"], ann["repeated"]) == ("Ann", 4, 1)
    assert ann["answered"] >= 4
    assert ann["turned_down"] == 1  # the cell that the edge cuts
    assert (bob["patient"], bob["unreadable"], bob["answered"], bob["turned_down"]) == ("Bob", 2, 0, 1)
    assert "0 of 1 cells found could be judged" in bob["words"]
    assert all(f"{each['patient']}: {each['words']}" in done.stdout for each in asked)


def test_what_speaks_against_the_cells_stands_on_top(bundle: Path, tmp_path: Path) -> None:
    """A wash of stain over a field: refused, and said before any field and any patient."""
    sound = write(tmp_path / "in" / "sound.png", smear().picture())
    wash = with_red_cells(40, height=600, width=800, leave=(250, 300, 260)).disc(250, 300, 470, NUCLEUS)
    spoilt = write(tmp_path / "in" / "wash.png", wash.picture())
    run_fields(load(bundle, threads=1), [sound, spoilt], tmp_path / "out", ReadOptions())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    note = page[page.index("<main>") : page.index("<section ")]
    assert "cannot be relied on" in note
    assert "wash.png: 1 purple part is larger than any white cell" in note
    assert "sound.png" not in note
    run_fields(load(bundle, threads=1), [sound], tmp_path / "well", ReadOptions())
    assert "cannot be relied on" not in (tmp_path / "well" / "report.html").read_text(encoding="utf-8")


def sized(path: Path, rgb: np.ndarray, um_per_px: float) -> Path:
    per_cm = 10_000 / um_per_px
    Image.fromarray(rgb).save(path, "TIFF", compression="tiff_lzw", resolution=per_cm, resolution_unit="cm")
    return path


def test_a_scale_that_the_file_states_holds_unless_the_red_cells_contradict(
    classifier: Classifier, tmp_path: Path
) -> None:
    rgb = smear().picture()  # red cells of 60 px: 7.5 um / 60 px is 0.125
    right = classifier.read_field(sized(tmp_path / "right.tif", rgb, 0.13)).reading.finding
    wrong = classifier.read_field(sized(tmp_path / "wrong.tif", rgb, 0.26)).reading.finding
    plain = classifier.read_field(rgb).reading.finding
    assert right is not None
    assert wrong is not None
    assert plain is not None
    assert (right.ruler.source, right.ruler.um_per_px) == ("file", pytest.approx(0.13, rel=1e-4))
    assert not right.ruler.warnings
    assert (wrong.ruler.source, wrong.ruler.um_per_px) == ("red cells", plain.ruler.um_per_px)
    (why,) = wrong.ruler.warnings
    assert why.startswith("the file states 0.26 um per pixel (TIFF resolution), at which the red cells would have 15.")
    assert why in wrong.warnings
    given = classifier.read_field(tmp_path / "wrong.tif", um_per_px=0.12).reading.finding
    assert given is not None
    assert (given.ruler.source, given.ruler.um_per_px) == ("given", 0.12)
    assert not any("the file states" in text for text in given.warnings)
    by_bytes = classifier.read_field((tmp_path / "right.tif").read_bytes()).reading.finding
    assert by_bytes is not None
    assert by_bytes.ruler == right.ruler


def test_a_cell_on_black_is_brought_to_scale_by_what_its_file_states(classifier: Classifier, tmp_path: Path) -> None:
    rgb = disc((90, 20, 160))
    known = classifier.predict_many([rgb], um_per_px=0.07)
    stated = classifier.predict(sized(tmp_path / "cell.tif", rgb, 0.07))
    assert stated.logit == pytest.approx(next(iter(known)).logit)
    assert stated.logit != classifier.predict(rgb).logit
