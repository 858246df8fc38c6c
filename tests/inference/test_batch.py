"""The same answers in every output, and nothing half-written."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.bundle.schema import ReferFacts
from leukoscope.errors import LeukoscopeError, PictureError
from leukoscope.inference.batch import JOURNAL, KEPT, find_pictures, run_batch, summary
from leukoscope.inference.cells import CellReader
from leukoscope.inference.classifier import Classifier, load
from leukoscope.inference.gallery import safe_stem
from leukoscope.inference.overlay import TINT
from leukoscope.inference.schemas import row_facts
from leukoscope.inference.writers import SUFFIX, RowFormat

NASTY = '<img src=x onerror=alert(1)>&" \u202e.png'


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(make_bundle(tmp_path_factory.mktemp("batch") / "bundle"), threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, colour in (("a.png", (200, 30, 90)), ("b.png", (10, 250, 10)), (NASTY, (90, 20, 160))):
        Image.fromarray(disc(colour)).save(pictures / name)
    (pictures / "c,\nd.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return pictures


class Page(HTMLParser):
    """All start tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_rows_agree_between_formats(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    pictures = find_pictures([folder])
    made = row_facts(classifier.bundle)
    truth = [answer.to_json() | made for answer in classifier.predict_many(pictures)]
    lines: list[str] = []
    tally = run_batch(classifier, pictures, format="jsonl", emit=lines.append)
    answers = [json.loads(line) for line in lines]
    assert tally == {"blast": 2, "normal": 1, "unreadable": 1}
    counted = "4 pictures: 2 blast, 1 normal, 1 unreadable (model by-hand, blast from 0.5); picture quality not checked"
    assert summary(tally, classifier) == counted
    for answer, expected in zip(answers, truth, strict=True):
        assert list(answer) == list(expected)
        assert answer | {"ms": 0} == expected | {"ms": 0}

    run_batch(classifier, pictures, format="csv", out=tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/predictions.csv").read_text(encoding="utf-8"))))
    for row, expected in zip(rows, truth, strict=True):
        told = {name: expected.get(name) for name in row}  # the findings as a list are for JSON alone
        assert set(expected) - set(row) == {"format", "gate_score", "findings", "place"}
        assert row | {"ms": ""} == {k: "" if v is None else str(v) for k, v in told.items()} | {"ms": ""}

    lines.clear()
    run_batch(classifier, pictures, format="table", emit=lines.append)
    assert len(lines) == 5  # a line break in a name is escaped
    assert len({line.index(str(folder)) for line in lines[1:]}) == 1
    assert [line.split()[2] for line in lines[1:]] == [expected["decision"] for expected in truth]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [KEPT, "predictions.csv", "summary.json"]


def test_the_gallery_is_whole_safe_and_needs_nothing_outside(
    classifier: Classifier, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_batch(classifier, find_pictures([folder]), format="html", out=out)
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    files = [value for _, attrs in page.tags for key, value in attrs.items() if key in {"src", "href"} and value]
    assert len(files) == 6  # per cell: picture and map
    assert all((out / file).is_file() for file in files)
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.*")} == {*files, KEPT, "report.html", "summary.json"}
    assert "://" not in text
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    cells = [attrs for tag, attrs in page.tags if tag == "li" and "data-p" in attrs]
    truth = [a for a in classifier.predict_many(find_pictures([folder])) if a.logit is not None]
    assert [cell["data-d"] for cell in cells] == [a.decision for a in truth]
    assert [float(cell["data-p"] or "nan") for cell in cells] == pytest.approx([a.probability for a in truth], abs=1e-5)
    assert "never a diagnosis" in page.words
    assert "Probabilities are not calibrated" in page.words
    assert "c,\\nd.png" in page.words
    assert "SYNTHETIC" not in page.words
    assert all(attrs.get("loading") == "lazy" for tag, attrs in page.tags if tag == "img" and "src" in attrs)


def test_pictures_of_the_gallery_are_the_frame_and_its_overlay(
    classifier: Classifier, folder: Path, tmp_path: Path
) -> None:
    run_batch(classifier, [folder / "a.png"], format="html", out=tmp_path / "out")
    frame = classifier.predict(folder / "a.png").frame
    assert frame is not None
    saved = np.asarray(Image.open(tmp_path / "out/cells/00001-a.webp").convert("RGB")).astype(int)
    assert np.abs(saved - frame).mean() < 3  # lossy, but red is red
    assert cv2.imread(str(tmp_path / "out/overlays/00001-a.webp"), cv2.IMREAD_UNCHANGED).shape == (TINT, TINT, 4)


def test_banner_and_calibration_follow_the_facts(folder: Path, tmp_path: Path) -> None:
    calibrated = load(make_bundle(tmp_path / "bundle", decision={"calibrated": True, "threshold": 0.25}))
    run_batch(calibrated, [folder / "a.png"], format="html", out=tmp_path / "out", synthetic=True)
    words = Page((tmp_path / "out/report.html").read_text(encoding="utf-8")).words
    assert "SYNTHETIC" in words
    assert "not calibrated" not in words
    assert "0.25" in words


def test_an_earlier_gallery_is_replaced_and_foreign_folders_are_left_alone(
    classifier: Classifier, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_batch(classifier, find_pictures([folder]), format="html", out=out)
    run_batch(classifier, [folder / "b.png"], format="html", out=out)
    assert [path.name for path in (out / "cells-2").iterdir()] == ["00001-b.webp"]
    assert sorted(path.name for path in out.iterdir()) == [KEPT, "cells-2", "overlays-2", "report.html", "summary.json"]
    assert 'src="cells-2/00001-b.webp"' in (out / "report.html").read_text()
    run_batch(classifier, [folder / "b.png"], format="html", out=out)
    assert sorted(path.name for path in out.iterdir()) == [KEPT, "cells", "overlays", "report.html", "summary.json"]
    foreign = tmp_path / "mine"
    (foreign / "cells").mkdir(parents=True)
    (foreign / "cells/precious.tif").write_bytes(b"x")
    run_batch(classifier, [folder / "b.png"], format="html", out=foreign)
    assert [path.name for path in (foreign / "cells").iterdir()] == ["precious.tif"]
    assert 'src="cells-2/00001-b.webp"' in (foreign / "report.html").read_text()


def interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_gallery_leaves_nothing(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_batch(classifier, [folder / "a.png"], format="html", out=tmp_path / "out", progress=interrupt)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "table"])
def test_an_interrupted_run_goes_on(
    classifier: Classifier, folder: Path, tmp_path: Path, kind: RowFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, out = find_pictures([folder]), tmp_path / "out"
    run_batch(classifier, pictures, format=kind, out=tmp_path / "whole", batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        run_batch(classifier, pictures, format=kind, out=out, progress=interrupt, batch_size=1)
    assert [path.name for path in out.iterdir()] == [JOURNAL]
    with (out / JOURNAL).open("ab") as file:
        file.write(b'{"picture": "cut sho')  # as a power cut leaves it
    done: list[int] = []
    asked: list[Path] = []
    read = CellReader.read
    monkeypatch.setattr(CellReader, "read", lambda self, source: (asked.append(source), read(self, source))[1])
    tally = run_batch(classifier, pictures, format=kind, out=out, progress=done.append, batch_size=1)
    assert (tally.resumed, sum(done)) == (1, len(pictures))
    assert asked == list(pictures)[1:]
    assert sorted(path.name for path in out.iterdir()) == [KEPT, f"predictions.{SUFFIX[kind]}", "summary.json"]
    one, other = (_without_times(folder / f"predictions.{SUFFIX[kind]}", kind) for folder in (tmp_path / "whole", out))
    assert one == other
    assert (out / "summary.json").read_text() == (tmp_path / "whole/summary.json").read_text()


def _without_times(path: Path, kind: RowFormat) -> object:
    text = path.read_text(encoding="utf-8")
    if kind == "table":
        return text
    if kind == "jsonl":
        return [json.loads(line) | {"ms": 0} for line in text.splitlines()]
    return [each | {"ms": 0} for each in csv.DictReader(io.StringIO(text))]


def test_other_settings_and_changed_files_begin_anew(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    pictures, out = [folder / "a.png", folder / "b.png"], tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_batch(classifier, pictures, format="jsonl", out=out, progress=interrupt, batch_size=2)
    journal = (out / JOURNAL).read_bytes()
    assert run_batch(classifier, pictures, format="jsonl", out=out, um_per_px=0.05).resumed == 0
    (out / JOURNAL).write_bytes(journal)
    Image.fromarray(disc((10, 250, 10))).save(folder / "a.png", compress_level=0)
    tally = run_batch(classifier, pictures, format="jsonl", out=out)
    assert tally.resumed == 1
    first = json.loads((out / "predictions.jsonl").read_text().splitlines()[0])
    assert first["logit"] == classifier.predict(folder / "a.png").logit


def test_a_second_run_into_the_same_folder_is_told(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    def again(_: int) -> None:
        run_batch(classifier, [folder / "b.png"], format="csv", out=tmp_path / "out")

    with pytest.raises(LeukoscopeError, match="another process writes into this folder"):
        run_batch(classifier, [folder / "a.png"], format="csv", out=tmp_path / "out", progress=again)


def test_the_summary_counts_what_was_left_out(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.CSV", "notes.pdf"):
        (folder / name).write_text("x")
    run_batch(classifier, find_pictures([folder]), format="csv", out=tmp_path / "out")
    told = json.loads((tmp_path / "out/summary.json").read_text())
    assert told["left_out"] == {".csv": 2, ".pdf": 1}
    assert told["answers"] == {"blast": 2, "normal": 1, "refer": 0, "unreadable": 1}
    assert (told["pictures"], told["bundle"]) == (4, classifier.bundle.digest)


def test_a_gallery_of_only_unreadable_pictures(classifier: Classifier, tmp_path: Path) -> None:
    run_batch(classifier, [PictureError("why not", path="x.png")], format="html", out=tmp_path / "out")
    words = Page((tmp_path / "out/report.html").read_text(encoding="utf-8")).words
    assert "why not" in words
    assert "1 unreadable" in words


def test_stems_are_unique_and_plain() -> None:
    names = ["a.png", "b/a.png", NASTY, "é" * 300 + ".png", "..", "CON.png", "細胞.png"]
    stems = [safe_stem(i, name) for i, name in enumerate(names)]
    assert len({stem.lower() for stem in stems}) == len(names)
    assert all(
        stem.isascii() and len(stem) <= 46 and stem.replace("-", "").replace("_", "").isalnum() for stem in stems
    )


@pytest.mark.parametrize("out", [False, True])
def test_cells_in_the_order_to_look_at_them(classifier: Classifier, folder: Path, tmp_path: Path, out: bool) -> None:
    """By score, whatever was decided; the place is stated; what was not asked comes last, without a place."""
    pictures = find_pictures([folder])
    answers = list(classifier.predict_many(pictures))
    scores = sorted((a.logit for a in answers if a.logit is not None), reverse=True)
    told: dict[RowFormat, list[str]] = {"csv": [], "jsonl": [], "table": []}
    for kind, lines in told.items():
        if out:
            run_batch(classifier, pictures, format=kind, out=tmp_path / kind, order="score")
            file = tmp_path / kind / f"predictions.{SUFFIX[kind]}"
            lines.extend(file.read_text(encoding="utf-8").splitlines())
        else:
            run_batch(classifier, pictures, format=kind, emit=lines.append, order="score")
    rows = [json.loads(line) for line in told["jsonl"]]
    assert [row["logit"] for row in rows] == [*scores, None]
    assert [row["order"] for row in rows] == [1, 2, 3, None]
    table = list(csv.DictReader(io.StringIO("\n".join(told["csv"]))))
    assert [row["order"] for row in table] == ["1", "2", "3", ""]
    assert [row["path"] for row in table][:3] == [row["path"] for row in rows][:3]
    assert [line.split()[0] for line in told["table"]] == ["order", "1", "2", "3", "-"]


def test_a_referred_cell_keeps_its_place(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    band = classifier.bundle.facts.decision.model_copy(
        update={"threshold": 1.0, "no_refer": None,
                "refer": ReferFacts(low=0.0, high=1.0, level=0.01, guarantee="same patients", confidence=0.9,
                                    groups=2, blasts=9, missed=0.0, smallest_level=0.1, groups_needed=9)}
    )  # fmt: skip
    referring = Classifier(classifier.bundle.with_facts(decision=band))
    pictures = find_pictures([folder])
    run_batch(referring, pictures, format="html", out=tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r'class="(\w+)" data-n="(\d+)" data-o="(\d+)"', page)
    assert {decision for decision, _, _ in cells} == {"refer"}
    logits = [answer.logit for answer in classifier.predict_many(pictures) if answer.logit is not None]
    by_place = [logits[int(number) - 1] for _, number, _ in sorted(cells, key=lambda cell: int(cell[2]))]
    assert by_place == sorted(logits, reverse=True)
    assert "look at it as 1 of 3" in page
    assert "it is no probability" in page
