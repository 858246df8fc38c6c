"""Figures and the page: well formed, complete, of one piece, and harmless whatever the names are."""

from __future__ import annotations

import builtins
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from clustered import MakeScores, clustered_scores
from leukoscope.datasets.patients import unknown_patient
from leukoscope.errors import DataError, LeukoscopeError, MissingExtraError
from leukoscope.metrics.evaluation import Evaluation, evaluate
from leukoscope.metrics.glossary import TERMS
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.reports import plots as figures
from leukoscope.reports.embedding import principal_axes
from leukoscope.reports.evaluation import render_report, write_evaluation
from leukoscope.reports.wording import with_interval
from leukoscope.reports.wrong import WrongCell, wrong_rows
from leukoscope.text import RESEARCH_USE, decimal

FILES = {"metrics.json", "predictions.csv", "report.html", *(f"{name}.svg" for name in figures.DRAWINGS)}
NASTY = "<script>alert(1)</script> & $x_1$ \" '"


@pytest.fixture(scope="module")
def scores() -> Scores:
    return clustered_scores(mixed_groups=1)


def measured(scores: Scores, **context: object) -> Evaluation:
    made = Provenance(**{"protocol": "group", **context})  # type: ignore[arg-type]
    return evaluate(scores, made, threshold=0.5, replicates=100)


class Page(HTMLParser):
    """Collects what a test asks about: tags with attributes, text, and whether tags close in order."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def svg_words(svg: bytes) -> str:
    return " ".join(" ".join(ET.fromstring(svg).itertext()).split())


def test_a_split_of_unknown_patients_is_no_measure_for_new_ones(scores: Scores) -> None:
    lone = replace(
        scores, subject=np.full(len(scores), ""), group=np.array([f"picture:{each}" for each in scores.path])
    )
    for protocol, honest in (("group", False), ("unseen groups", False), ("external", True)):
        page = render_report(measured(lone, protocol=protocol), {})
        assert ("Not a measure for new patients." in page) is not honest
        assert ("The patients of some pictures are not known." in page) is not honest
        assert "Whole patients were held out" not in page
        assert "of unknown patients, and each counts as a patient" in page
    for draw in figures.DRAWINGS.values():
        words = svg_words(draw(measured(lone)))
        assert "pictures of unknown patients; 95 % intervals, likely too narrow" in words
    assert "Whole patients were held out" in render_report(measured(scores), {})


@pytest.mark.parametrize("name", figures.DRAWINGS)
def test_figures_are_svg_with_what_they_show_written_on_them(scores: Scores, name: str) -> None:
    found = measured(scores, fold=3, shortened="2 of 60 epochs")
    words = svg_words(figures.DRAWINGS[name](found))
    assert f"{len(scores)} pictures of 13 patient groups" in words
    assert "Split by patient group, fold 3" in words
    assert "SHORTENED RUN: 2 of 60 epochs" in words
    assert "SHORTENED" not in svg_words(figures.DRAWINGS[name](measured(scores)))


def test_figures_state_the_figures(scores: Scores) -> None:
    found = measured(scores)
    assert f"AUC {with_interval(found.metrics['auc'])}" in svg_words(figures.draw_roc(found))
    words = svg_words(figures.draw_precision_recall(found))
    assert f"precision {decimal(found.metrics['precision_blast'].value)}" in words
    counts = svg_words(figures.draw_confusion(found))
    assert all(f"{count:,}" in counts for count in found.confusion.values())


def test_the_same_evaluation_gives_the_same_bytes_and_leaves_settings_alone(scores: Scores) -> None:
    before = dict(mpl.rcParams)
    found = measured(scores)
    assert figures.draw_roc(found) == figures.draw_roc(found)
    assert dict(mpl.rcParams) == before


def test_drawing_makes_no_global_figure() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from clustered import clustered_scores; "
        "from leukoscope.reports import plots as figures; from leukoscope.metrics.evaluation import evaluate; "
        "from leukoscope.metrics.provenance import Provenance; "
        "made = evaluate(clustered_scores(), Provenance(protocol='group'), threshold=0.5, replicates=100); "
        "figures.draw_roc(made, 'png'); "
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    tests = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code, tests], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"]


def test_png_is_a_picture_with_ink(scores: Scores, tmp_path: Path) -> None:
    (tmp_path / "roc.png").write_bytes(figures.draw_roc(measured(scores), "png"))
    with Image.open(tmp_path / "roc.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[0] > 800
    assert (pixels == (0, 0x72, 0xB2)).all(axis=2).sum() > 1000  # the curve


def test_a_name_cannot_become_markup_or_mathematics(scores: Scores, tmp_path: Path) -> None:
    rows = Scores(
        scores.path, scores.label, scores.probability, scores.logit, [NASTY + g for g in scores.group], scores.group
    )
    found = measured(rows, protocol=NASTY, model=NASTY, data=NASTY, trained_on=[NASTY], shortened=NASTY, caveats=NASTY)
    page = page_of(write_evaluation(found, rows, tmp_path).parent)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.words().count("<script>alert(1)</script> & $x_1$") >= 6
    for name in figures.DRAWINGS:
        assert "$x_1$" in svg_words((tmp_path / f"{name}.svg").read_bytes())


def test_the_folder_and_the_page(scores: Scores, tmp_path: Path) -> None:
    found = measured(scores, model="crse-s", trained_on=["g10", "g9"], fold=1)
    out = tmp_path / "a" / "evaluation"
    assert write_evaluation(found, scores, out, gallery="gallery/index.html") == out / "report.html"
    assert {file.name for file in out.iterdir()} == FILES
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(found.to_json()))
    np.testing.assert_array_equal(Scores.read_csv(out / "predictions.csv").logit, scores.logit)
    page = page_of(out)
    assert page.open == []
    words = page.words()
    assert words.count(RESEARCH_USE) == 2
    for term in TERMS:
        assert term.title in words
        assert decimal(found.metrics[term.key].value) in words
    for note in found.notes:
        assert note in words
    assert "2 patient groups: g9, g10" in words
    assert "no patient group of the test part was seen in training" in words
    subjects = {dict(attrs).get("data-value") for tag, attrs in page.tags if tag == "td"}
    assert {str(row.accuracy) for row in found.subjects} <= subjects


def test_the_page_needs_no_other_file_and_is_marked_up_for_readers(scores: Scores, tmp_path: Path) -> None:
    page = page_of(write_evaluation(measured(scores), scores, tmp_path).parent)
    loading = [
        (tag, a) for tag, a in page.tags for key in ("src", "href", "xlink:href") if (a.get(key) or "#")[0] != "#"
    ]
    assert loading == []
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "@import" not in source
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for key in ("aria-labelledby",):
            assert attrs.get(key, ids[0]) in ids
        for key in ("href", "xlink:href", "clip-path"):
            target = (attrs.get(key) or "").removeprefix("url(").removesuffix(")")
            assert not target.startswith("#") or target[1:] in ids
    kinds = [tag for tag, _ in page.tags]
    assert kinds.count("svg") == kinds.count("figcaption") == 5
    assert kinds.count("caption") == kinds.count("table") == 2
    assert all(attrs.get("scope") in {"col", "row"} for tag, attrs in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


@pytest.mark.parametrize("protocol", ["picture", "official", "subject", "all groups, trained ones too"])
def test_a_split_that_leaks_patients_is_called_so_at_the_top(scores: Scores, tmp_path: Path, protocol: str) -> None:
    words = page_of(write_evaluation(measured(scores, protocol=protocol), scores, tmp_path).parent).words()
    assert words.index("Not a measure for new patients.") < words.index("In short")


@pytest.mark.parametrize("protocol", ["group", "unseen groups", "external"])
def test_a_split_by_patient_is_not(scores: Scores, tmp_path: Path, protocol: str) -> None:
    words = page_of(write_evaluation(measured(scores, protocol=protocol), scores, tmp_path).parent).words()
    assert "Not a measure for new patients." not in words


def test_warnings_and_unreadable_pictures_stand_at_the_top(scores: Scores, tmp_path: Path) -> None:
    found = measured(scores, warning="seen before", unreadable=3)
    words = page_of(write_evaluation(found, scores, tmp_path).parent).words()
    top = words[: words.index("In short")]
    assert "Warning. seen before" in top
    assert "3 pictures could not be read" in top


def test_one_class_and_one_group_still_make_a_page(make_scores: MakeScores, tmp_path: Path) -> None:
    scores = make_scores(normal_groups=1, blast_groups=0, cells=6)
    words = page_of(write_evaluation(measured(scores), scores, tmp_path).parent).words()
    assert "undefined" in words
    assert "unknown" in words
    assert not re.search(r"\bnan\b", words, re.IGNORECASE)


@pytest.mark.parametrize("address", ["../x.html", "/etc/x", "https://x.org/a", "javascript:alert(1)", "//x.org"])
def test_a_gallery_elsewhere_is_refused(scores: Scores, tmp_path: Path, address: str) -> None:
    with pytest.raises(DataError, match="gallery"):
        write_evaluation(measured(scores), scores, tmp_path, gallery=address)
    assert list(tmp_path.iterdir()) == []


def test_answers_of_another_evaluation_are_refused(scores: Scores, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="answers beside an evaluation"):
        write_evaluation(measured(scores), scores.take(np.arange(5)), tmp_path)


def test_a_write_that_fails_leaves_the_evaluation_before(
    scores: Scores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measured(scores)
    write_evaluation(found, scores, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "report.html":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(LeukoscopeError, match="No space left"):
        write_evaluation(found, scores, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_that_is_a_file_is_reported(scores: Scores, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(LeukoscopeError, match="cannot be written"):
        write_evaluation(measured(scores), scores, tmp_path / "out")


def test_without_matplotlib_the_error_names_the_extra(
    scores: Scores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: object) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=r"leukoscope\[train\]"):
        write_evaluation(measured(scores), scores, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_room_is_light_to_import() -> None:
    code = (
        "import sys, leukoscope.reports.evaluation, leukoscope.metrics.panel; "
        "print([m for m in ('torch', 'matplotlib', 'sklearn', 'scipy', 'cv2', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_pictures_of_unknown_patients_are_counted_and_not_listed(scores: Scores, tmp_path: Path) -> None:
    lone = np.arange(len(scores)) % 3 == 0
    group = [
        unknown_patient(path) if alone else str(known)
        for path, known, alone in zip(scores.path, scores.group, lone, strict=True)
    ]
    mixed = Scores(scores.path, scores.label, scores.probability, scores.logit, np.array(group), np.array(group))
    page = Page(write_evaluation(measured(mixed), mixed, tmp_path).read_text())
    rows = sum(tag == "tr" for tag, _ in page.tags)
    assert f"{lone.sum()} pictures of unknown patients are in all figures" in page.words()
    assert "picture:" not in page.words()
    alone = Scores(
        scores.path,
        scores.label,
        scores.probability,
        scores.logit,
        *2 * (np.array([unknown_patient(p) for p in scores.path]),),
    )
    none = Page(write_evaluation(measured(alone), alone, tmp_path / "none").read_text())
    assert "Subject by subject" not in none.words()
    assert rows - sum(tag == "tr" for tag, _ in none.tags) == 1 + len(set(np.array(group)[~lone]))


def test_wrong_cells_are_shown_the_surest_first_with_what_was_answered(scores: Scores, tmp_path: Path) -> None:
    table = Scores(
        list("abcdef"),
        [1, 0, 1, 0, 0, 1],
        [0.1, 0.9, 0.49, 0.5, 0.2, 0.1],
        [-2.2, 2.2, 0, 0, -1, -2.5],
        [""] * 6,
        list("uvwxyz"),
    )  # type: ignore[arg-type]
    # By hand: f and a lie 0.4 below, f by its logit the farther; b 0.4 above, c 0.01 below, d on it; e is right.
    assert [table.path[row] for row in wrong_rows(table, 0.5)] == ["f", "a", "b", "c", "d"]
    png = BytesIO()
    Image.new("RGB", (4, 4), (90, 20, 120)).save(png, "WEBP")
    cells = [WrongCell(f"{NASTY}{n}.png", "", "blast", 0.1 + n / 10, png.getvalue(), png.getvalue()) for n in range(2)]
    page = Page(write_evaluation(measured(scores), scores, tmp_path, wrong=cells).read_text())
    assert (
        sum(str(given.get("src")).startswith("data:image/webp;base64,") for tag, given in page.tags if tag == "img")
        == 4
    )
    assert "Blast called normal , probability 0.100" in page.words()
    assert "these are the 2 of which the model was surest" in page.words()
    assert NASTY.replace("  ", " ") in page.words()
    assert "Where it was wrong" not in write_evaluation(measured(scores), scores, tmp_path / "b").read_text()


def test_the_embedding_is_drawn_along_its_principal_components(scores: Scores, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(len(scores), 6)) * [5, 3, 1, 1, 0.5, 0.1]
    places, share = principal_axes(values)
    known = PCA(2).fit(values)
    np.testing.assert_allclose(share, known.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(places), np.abs(known.transform(values)), rtol=1e-7, atol=1e-9)
    flat, rest = principal_axes(np.arange(4.0)[:, None])  # one dimension: nothing lies on the second
    np.testing.assert_allclose(flat, [[-1.5, 0], [-0.5, 0], [0.5, 0], [1.5, 0]])
    assert rest.tolist() == [1, 0]
    text = write_evaluation(measured(scores), scores, tmp_path, embeddings=values).read_text()
    assert f"First component ({share[0]:.0%} of the variance)" in text
    assert str(scores.group[0]) in (tmp_path / "embedding.svg").read_text()
