"""The card says what bundle.json says, all of it anew, and nothing else; the checklist is whole."""

from __future__ import annotations

import re
from typing import Any

import pytest

from leukoscope.bundle.card import CONDITIONS, checklist, model_card
from leukoscope.bundle.schema import BundleFacts
from leukoscope.datasets.known_sets import SetFacts

ESTIMATE = {"value": 0.7123, "low": 0.6124, "high": 0.8125}
FULL: dict[str, Any] = {
    "name": "full", "version": "9.8.7", "created": "2031-02-03", "preparation": {"frame_size": 451, "clahe": {}},
    "input_size": 113, "files": {},
    "decision": {
        "threshold": 0.4375, "temperature": 1.75, "calibrated": True,
        "calibration": {
            "method": "temperature", "data": "cnmc2019", "groups": ["61", "62", "H63"], "pictures": 1234, "blasts": 600,
            "chose_epoch": False, "log_loss": {"as trained": 0.5432, "temperature": 0.4321},
        },
        "refer": {
            "low": 0.0625, "high": 0.4375, "level": 0.07, "guarantee": "same patients", "confidence": 0.93,
            "groups": 14, "blasts": 345, "missed": 0.005, "smallest_level": 0.0667, "groups_needed": 17,
        },
    },
    "training": {
        "model": "crse_cnn", "arguments": {"width": 48}, "parameters": 445217, "recipe": "paper", "seed": 5,
        "data": "cnmc2019", "data_fingerprint": "ab" * 32, "pictures": 4102, "groups_trained": ["71", "H72"],
        "groups_validated": ["73"], "shortened": "epochs=12", "machine": "a machine",
    },
    "measured": [
        {
            "data": "cnmc2019", "protocol": "group", "fold": 2, "pictures": 2386, "groups": ["81", "H82", "83", "84"],
            "metrics": {"auc": ESTIMATE, "sensitivity": {"value": 0.9135}},
            "worst_subject": {"subject": "H82", "accuracy": 0.389, "cells": 57},
        },
    ],
    "subjects": {
        "data": "cnmc2019", "protocol": "pooled folds", "groups_blast": ["91"] * 21, "groups_normal": ["H92"] * 11,
        "logit": -0.43980, "min_cells": 23, "alarm_level": 0.19, "missed_level": 0.11, "likely_from": 0.88,
        "unlikely_below": 0.33,
        "sensitivity": {"mean": 0.93, "correlation": 0.1, "groups": 21, "cells": 4000},
        "false_alarm": {"mean": 0.41, "correlation": 0.3, "groups": 11, "cells": 2000},
        "errors": [{"protocol": "left out", "auc": ESTIMATE, "alarmed": ESTIMATE, "missed": {"value": 0.052},
                    "referred": {"value": 0.27}, "groups_blast": 21, "groups_normal": 11}],
    },
    "audits": [
        {"kind": "explanations", "graph": "ef" * 32, "data": "cnmc2019", "data_fingerprint": "98" * 32,
         "patients": "unseen", "left_out": ["71", "H72", "73"], "left_out_pictures": 4811, "cells": 151, "blasts": 101,
         "groups": ["81", "H82"], "unreadable": 3, "date": "2031-02-04", "version": "9.8.8", "machine": "machine 17",
         "seed": 29, "notes": ["Only 2 groups."],
         "rules": [
             {"key": "faithful", "asked": "Above 0.", "found": "0.205 [0.1]", "outcome": "passes"},
             {"key": "turns", "asked": "Above 0.5.", "found": "0.441", "outcome": "fails"},
         ],
         "figures": {"road_gap": ESTIMATE, "gini": {"value": 0.3456}}},
    ],
    "data_licences": ["C-NMC: CC BY 3.0"],
}  # fmt: skip
FULL["subjects"]["logit"] = 1.75 * -0.25131442828090605  # where the probability is 0.4375
PARENT = {
    "name": "older", "files": {"model.onnx": "cd" * 32}, "data": "site", "cells": 137, "blasts": 66,
    "units": ["a", "b", "c"], "by_patient": True, "strength": 2.5, "before": {"auc": ESTIMATE},
    "after": {"auc": {"value": 0.777, "low": 0.7, "high": 0.8}}, "gain": {"auc": {"value": 0.0647}}, "forced": False,
}  # fmt: skip


def facts(**more: Any) -> BundleFacts:
    return BundleFacts.model_validate(FULL | more)


def numbers(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", text))


def forms(value: Any) -> set[str]:
    """All ways in which the numbers of a JSON value, and the lengths of its lists, may be written."""
    if isinstance(value, dict):
        return set().union(*(forms(each) for each in value.values()), *(numbers(str(key)) for key in value))
    if isinstance(value, list):
        return set().union({str(len(value))}, *(forms(each) for each in value))
    if isinstance(value, str):
        return numbers(value) | set(re.findall(r"\d+", value[:16]))
    if isinstance(value, int | float) and not isinstance(value, bool):
        kinds = (f"{value}", f"{value:,}", f"{value:g}", f"{value:.3g}", f"{value:.3f}", f"{value:.4f}")
        return {each.lstrip("-") for each in (*kinds, f"{100 * value:.3g}", f"{100 * value:.1f}")}
    return set()


def test_every_number_of_the_card_is_in_the_facts() -> None:
    bare = BundleFacts.model_validate(
        {"name": "x", "version": "x", "created": "x", "preparation": {}, "input_size": 8, "files": {}}
    )
    fixed = {"95"} | numbers(model_card(bare)) - forms(bare.model_dump(mode="json"))  # 95 % intervals everywhere
    for given in (facts(), facts(parent=PARENT), facts(measured=FULL["measured"] * 2)):
        held = forms(given.model_dump(mode="json"))
        card = model_card(given)
        derived = {f"{600 / 1234 * 100:.3g}", str(sum(item.answered for item in checklist(given)))}
        assert numbers(card) - fixed - held - derived == set()


SHOWN: list[tuple[str, Any]] = [
    ("name", "other"), ("version", "1.1"), ("created", "2030-01-01"), ("input_size", 99), ("data_licences", ["none"]),
    ("preparation.frame_size", 300), ("preparation.clahe.clip_limit", 3.5), ("preparation.clahe.tiles", 5),
    ("decision.temperature", 1.5), ("decision.calibration.groups", ["61"]), ("decision.calibration.pictures", 1111),
    ("decision.calibration.blasts", 700), ("decision.calibration.log_loss.temperature", 0.4),
    ("decision.calibration.chose_epoch", True), ("decision.refer.low", 0.1), ("decision.refer.level", 0.08),
    ("decision.refer.confidence", 0.9), ("decision.refer.groups", 15), ("decision.refer.smallest_level", 0.08),
    ("decision.refer.groups_needed", 18), ("decision.refer", None), ("training.model", "plain_cnn"),
    ("training.arguments.width", 64), ("training.parameters", 2), ("training.recipe", "x"), ("training.seed", 6),
    ("training.data", "rendered"), ("training.data_fingerprint", "ba" * 32), ("training.pictures", 3),
    ("training.groups_trained", ["1"]), ("training.groups_validated", ["2"]), ("training.shortened", None),
    ("training.machine", "another"), ("training", None), ("measured.0.data", "z"), ("measured.0.fold", 3),
    ("measured.0.protocol", "picture"), ("measured.0.pictures", 7), ("measured.0.groups", ["9"]),
    ("measured.0.metrics.auc.value", 0.72), ("measured.0.metrics.auc.low", 0.6), ("measured.0.metrics.auc.high", 0.9),
    ("measured.0.worst_subject.accuracy", 0.4), ("measured.0.worst_subject.cells", 58),
    ("measured.0.worst_subject", None),
    ("audits.0.data", "z"), ("audits.0.data_fingerprint", "12" * 32), ("audits.0.patients", "seen too"),
    ("audits.0.left_out", ["1"]), ("audits.0.left_out_pictures", 8), ("audits.0.cells", 152), ("audits.0.blasts", 9),
    ("audits.0.groups", ["81"]), ("audits.0.unreadable", 0), ("audits.0.date", "2031-03-04"),
    ("audits.0.version", "9.8.9"), ("audits.0.machine", "another"), ("audits.0.seed", 30), ("audits.0.notes", []),
    ("audits.0.rules.1.outcome", "passes"), ("audits.0.rules.1.found", "0.5"), ("audits.0.rules.0.asked", "Below."),
    ("audits.0.figures.road_gap.value", 0.1), ("audits.0.figures.road_gap.low", 0.1), ("audits.0.kind", "shortcuts"),
    ("audits", []),
    ("subjects.min_cells", 24), ("subjects.groups_blast", ["1"]), ("subjects.groups_normal", ["H1"]),
    ("subjects.alarm_level", 0.2), ("subjects.missed_level", 0.12), ("subjects.likely_from", 0.9),
    ("subjects.unlikely_below", None), ("subjects.errors.0.alarmed.value", 0.5),
    ("subjects.errors.0.missed.value", 0.1),
    ("subjects.errors.0.referred.value", 0.3), ("subjects.errors", []), ("subjects", None),
]  # fmt: skip


@pytest.mark.parametrize(("where", "new"), SHOWN, ids=lambda each: str(each)[:40])
def test_changing_a_fact_changes_the_card(where: str, new: Any) -> None:
    value = facts().model_dump(mode="json")
    *way, last = (int(key) if key.isdecimal() else key for key in where.split("."))
    place = value
    for key in way:
        place = place[key]
    assert place[last] != new
    place[last] = new
    assert model_card(BundleFacts.model_validate(value)) != model_card(facts())


def test_the_figure_itself_is_what_changes() -> None:
    changed = facts(measured=[FULL["measured"][0] | {"metrics": {"auc": ESTIMATE | {"value": 0.7999}}}])
    assert "| ROC AUC | 0.800 [0.612, 0.812] |" in model_card(changed)
    assert "| ROC AUC | 0.712 [0.612, 0.812] |" in model_card(facts())


def test_what_the_publication_of_the_data_answers_stands_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = SetFacts(name="mine", title="Mine", terms="None.", limits="From one camera.", tripod={"5a": "its paper"})
    monkeypatch.setattr("leukoscope.bundle.card.known_sets", lambda: {"mine": ours})
    given = facts(training=FULL["training"] | {"data": "mine"})
    assert next(item for item in checklist(given) if item.item == "5a").where == "its paper"
    assert "\n- From one camera.\n" in model_card(given)
    told = next(item for item in checklist(facts()) if item.item == "5a")  # of a set that nobody registered
    assert told.where.startswith("section Training names the data set")
    assert any(item.item == "6a" and not item.answered for item in checklist(given))


def test_absence_is_said() -> None:
    bare = BundleFacts.model_validate(
        {"name": "x", "version": "x", "created": "x", "preparation": {}, "input_size": 8, "files": {}}
    )
    card = model_card(bare)
    for words in ("None were measured.", "Not recorded.", "not audited", "withheld", "quality is not checked"):
        assert words in card
    assert card.count("not audited") == 2
    assert model_card(facts()).count("not audited") == 1
    assert "**Heat maps**: fails: turns; passes: faithful." in model_card(facts())
    assert "## Adapted" not in card
    assert "Worst subject of cnmc2019, fold 2: H82, 38.9 % of 57 cells decided rightly" in model_card(facts())
    assert "written although nothing was clearly gained" in model_card(facts(parent=PARENT | {"forced": True}))


def test_the_checklist_has_all_items_and_an_answer_for_each() -> None:
    letters = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    expected = [f"{n}{letter}" for n in range(1, 28) for letter in letters.get(n, " ")]
    for given in (facts(), facts(training=None, measured=[]), facts(parent=PARENT)):
        items = checklist(given)
        assert [item.item for item in items] == [each.strip() for each in expected]
        assert all(item.where.startswith("not answered because ") != item.answered for item in items)
        assert all(
            f"| {item.item} | {item.section} | {item.asks} | {item.where} |" in model_card(given) for item in items
        )
    answered = {item.item: item.answered for item in checklist(facts(measured=[]))}
    assert not answered["23a"]
    assert {item.item: item.answered for item in checklist(facts())}["23a"]
    assert set(CONDITIONS) >= {"always"}
