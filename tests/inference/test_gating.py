"""The gate at work in `predict`: what it turns down is referred, with the reason, and never called anything."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bundle_factory import make_bundle, make_graph
from leukoscope.bundle.gate import TESTS, Finding
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.record import Record
from leukoscope.datasets.synthetic import render_cell
from leukoscope.errors import BundleError
from leukoscope.fitting.gate import fit_gate
from leukoscope.inference.answer import Prediction
from leukoscope.inference.batch import run_batch, summary
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.words import ENGLISH, in_words
from leukoscope.inference.writers import header, row
from leukoscope.runs.calibrate import gate_cells, trained_sample
from leukoscope.runs.measure import answers_of

FRAME = 450
CELLS = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("cells")
    for seed in range(CELLS):
        Image.fromarray(render_cell(seed, "blast" if seed % 2 else "normal")).save(folder / f"{seed:03d}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def ungated(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(read_bundle(make_bundle(tmp_path_factory.mktemp("old") / "b", frame=FRAME)), threads=1)


@pytest.fixture(scope="module")
def gated(pictures: list[Path], ungated: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    records = tuple(
        Record(path=path.name, label=i % 2, subject=None, group=f"g{i % 6}", fold=None, source="made", field=None)
        for i, path in enumerate(pictures)
    )
    data, held_out = Manifest(pictures[0].parent, records, "rendered"), np.arange(CELLS) % 6 > 3
    parts = [(answers_of(ungated, data.select(held_out == held), quality=True), held) for held in (False, True)]
    facts = fit_gate(gate_cells(parts), data="rendered")
    folder = tmp_path_factory.mktemp("new") / "b"
    return Classifier(read_bundle(make_bundle(folder, frame=FRAME, gate=facts.model_dump(mode="json"))), threads=1)


def in_a_cells_outline(content: np.ndarray) -> np.ndarray:
    return np.where(render_cell(1, "blast").any(axis=2)[..., None], np.maximum(content, 12), 0).astype(np.uint8)


def test_most_cells_of_the_fit_pass_and_are_answered_as_before(gated, ungated, pictures: list[Path]) -> None:
    with_gate, without = gated.predict(pictures), ungated.predict(pictures)
    passed = [answer.gate == "passed" for answer in with_gate]
    assert np.mean(passed) >= 0.9
    for a, b in zip(with_gate, without, strict=True):
        assert (a.logit, a.probability) == (b.logit, b.probability)
        assert a.decision == (b.decision if a.gate == "passed" else "refer")
        assert (a.gate_score <= 1) == (a.gate == "passed") == (a.findings == ())
        assert (b.gate, b.gate_score, b.findings, b.quality) == ("not checked", None, (), None)
        assert "quality" in a.timings
        assert "quality" not in b.timings


def test_foreign_pictures_in_a_cells_outline_are_referred_with_the_reason(gated) -> None:
    rng = np.random.default_rng(0)
    noise = gated.predict(in_a_cells_outline(rng.integers(0, 256, (450, 450, 3))))
    page = gated.predict(in_a_cells_outline(np.where(np.arange(450)[:, None, None] % 12 < 4, 20, 252) * np.ones(3)))
    small = gated.predict(np.ascontiguousarray(render_cell(1, "blast")[::4, ::4]))
    whole = render_cell(1, "blast")
    middle = int(np.flatnonzero(whole.any(axis=(0, 2))).mean())
    cut = gated.predict(np.ascontiguousarray(whole[:, middle:]))
    for answer, reason in ((noise, "noisy"), (page, "clipped"), (small, "too small"), (cut, "cut by the border")):
        assert answer.decision == "refer"
        assert answer.gate == "turned down"
        assert reason in {finding.reason for finding in answer.findings}
        assert answer.reason.startswith("referred by the gate: ")
        assert answer.probability is not None
        assert answer.gate_score > 1
        stored = json.loads(json.dumps(answer.to_json(), allow_nan=False))
        assert stored["gate"] == "turned down"
        assert stored["findings"][0]["reason"] == answer.findings[0].reason
        assert f"({answer.probability:.3f})" in row("table", answer)
        told = next(csv.DictReader([header("csv"), row("csv", answer)]))
        assert (told["gate"], told["cell"]) == ("turned down", "")  # no cell of a field


def test_two_cells_in_one_picture_are_more_than_one_object(gated) -> None:
    one, other = render_cell(1, "blast"), render_cell(2, "blast")
    found = {finding.reason for finding in gated.predict(np.hstack([one, other])).findings}
    assert "second object" in found


def test_the_bands_reason_is_kept_behind_the_gates(gated, tmp_path: Path) -> None:
    band = {"low": 0.0, "high": 1.0, "level": 0.01, "guarantee": "same patients", "confidence": 0.95, "groups": 3,
            "blasts": 300, "missed": 0.0, "smallest_level": 0.2, "groups_needed": 99}  # fmt: skip
    rule = DecisionFacts.model_validate({"threshold": 1.0, "refer": band}).model_dump(mode="json")
    gate = gated.bundle.facts.gate.model_dump(mode="json")
    both = Classifier(read_bundle(make_bundle(tmp_path / "b", frame=FRAME, gate=gate, decision=rule)), threads=1)
    reason = both.predict(np.ascontiguousarray(render_cell(1, "blast")[::4, ::4])).reason
    assert reason.startswith("referred by the gate: ")
    assert reason.endswith("lies in the band 0.000 to 1.000")


def test_the_words_begin_with_why_nothing_is_decided(gated) -> None:
    small = np.ascontiguousarray(render_cell(1, "blast")[::3, ::3])
    (answer,) = gated.predict_many([small], morphology=True)
    assert answer.words.startswith(f"No decision, {answer.reason}. Referred to a person")


def test_an_unreadable_picture_stays_unreadable(gated) -> None:
    (answer,) = gated.predict([np.full((200, 200, 3), 128, np.uint8)])
    assert (answer.decision, answer.gate, answer.findings) == ("unreadable", "not checked", ())
    assert "the field is blank" in answer.error


def test_a_gate_of_another_network_is_refused_when_loading(gated, tmp_path: Path) -> None:
    gate = gated.bundle.facts.gate.model_dump(mode="json")
    ones = {"shape": [4], "float32": "AACAPwAAgD8AAIA/AACAPw=="}
    gate["embedding"] = {"mean": ones, "axes": {**ones, "shape": [1, 4]}, "variances": [1.0], "rest": 1.0}
    bundle = read_bundle(make_bundle(tmp_path / "b", frame=FRAME, gate=gate))
    with pytest.raises(BundleError, match="gate for embeddings of 4 numbers, but its graph gives 3"):
        Classifier(bundle, threads=1)


def test_a_logit_that_is_no_number_is_unreadable_gate_or_not(gated, tmp_path: Path) -> None:
    gate = gated.bundle.facts.gate.model_dump(mode="json")
    graph = make_graph(FRAME, bias=float("nan"))
    broken = Classifier(read_bundle(make_bundle(tmp_path / "b", graph=graph, frame=FRAME, gate=gate)), threads=1)
    (answer,) = broken.predict([render_cell(1, "blast")])
    assert (answer.decision, answer.gate) == ("unreadable", "not checked")


@pytest.mark.parametrize("reason", list(TESTS))
def test_every_reason_has_its_words_with_value_and_limit(reason: str) -> None:
    text = in_words([Finding(reason, TESTS[reason][0], 1234.0, 4321.0)])
    assert "1234" in text
    assert "4321" in text
    assert f"gate {reason}" in ENGLISH
    unknown = in_words([Finding(reason, TESTS[reason][0], None, 4321.0)])
    assert unknown.endswith(f"its {TESTS[reason][0].replace('_', ' ')} cannot be measured")


def test_the_summary_says_whether_pictures_were_checked(gated, ungated, pictures: list[Path]) -> None:
    tally = run_batch(gated, pictures[:2], format="jsonl")
    assert "refer" in summary(tally, gated)
    assert "not checked" not in summary(tally, gated)
    assert summary(tally, ungated).endswith("; picture quality not checked")


def test_an_answer_starts_unchecked() -> None:
    answer = Prediction("a.png", None, 0.9, 2.0, "blast", "m", 1.0)
    assert (answer.to_json()["gate"], answer.to_json()["findings"]) == ("not checked", [])


def test_pictures_trained_on_that_a_gate_is_fitted_on_are_spread_over_groups() -> None:
    group = ["big"] * 90 + ["small"] * 5 + ["middle"] * 20 + ["held"] * 10
    records = tuple(
        Record(path=f"{i}.png", label=1, subject=None, group=name, fold=None, source="made", field=None)
        for i, name in enumerate(group)
    )
    data = Manifest(Path(), records, "made")
    rows = trained_sample(data, np.arange(115), most=30)
    taken = data.groups()[rows]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert {name: int((taken == name).sum()) for name in ("big", "small", "middle", "held")} in (
        {"big": 13, "small": 5, "middle": 12, "held": 0},
        {"big": 12, "small": 5, "middle": 13, "held": 0},
    )
    assert trained_sample(data, np.arange(115), most=30).tolist() == rows.tolist()
    assert trained_sample(data, np.arange(115)).tolist() == list(range(115))


@pytest.mark.parametrize("side", [256, 299, 350, 449, 512, 900])
def test_a_frame_of_another_size_has_no_known_scale(gated, side: int) -> None:
    cell = render_cell(3, "blast")
    assert "unknown scale" not in {finding.reason for finding in gated.predict(cell).findings}
    again = cv2.resize(cell, (side, side), interpolation=cv2.INTER_AREA)
    answer = gated.predict(again)
    assert (answer.decision, answer.gate, answer.findings[0].reason) == ("refer", "turned down", "unknown scale")
    assert f"its frame has {side} px, the training cells' 450, so the scale" in answer.reason
    (known,) = gated.predict_many([again], um_per_px=gated.standard_um_per_px * 450 / side)
    assert "unknown scale" not in {finding.reason for finding in known.findings}


def test_sets_of_many_sizes_bound_none(gated) -> None:
    facts = gated.bundle.facts.gate
    assert facts.sides == [450]
    assert facts.model_copy(update={"sides": None}).known_sides == frozenset()
    assert facts.model_copy(update={"sides": None, "data": "cnmc2019"}).known_sides == {450, 600}
