"""Two sentences: every number in them measured, every phrase reachable, nothing against the decision hidden."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.cells.measure import UNITS
from leukoscope.inference.words import APART, ENGLISH, LANGUAGES, MOST_FACTS, TOLD, percent, strongest, words

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
DECISIONS = ("blast", "normal", "refer")


def entry(value: float, normal: float, blast: float) -> dict[str, Any]:
    return {"value": value, "unit": "1", "normal_percentile": normal, "blast_percentile": blast}


def evidence(blast: dict[str, float] | None, normal: dict[str, float] | None, share: float | None) -> dict[str, Any]:
    return {"cell_share_of_frame": 0.15, "blast_share_of_map": share, "blast": blast, "normal": normal}


INSIDE, OUTSIDE = {"cell": 0.9, "outside": 0.1}, {"cell": 0.25, "outside": 0.75}
PARTS = {"cell": 0.81, "nucleus": 0.7, "cytoplasm": 0.11, "outside": 0.19}
FOR_BLAST = {"cell_diameter": entry(231.4, 93.2, 61.1)}
FOR_NORMAL = {"cell_roundness": entry(0.968, 55, 81)}


def cell(measurements: dict[str, Any], where: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"measurements": measurements, "evidence": where or evidence(INSIDE, OUTSIDE, 0.8)}


def test_the_whole_text_by_hand() -> None:
    assert words("blast", cell(FOR_BLAST | FOR_NORMAL, evidence(PARTS, OUTSIDE, 0.8))) == (
        "Decision blast: the cell is larger than 93 % of normal and 61 % of blast cells (diameter 231 px), which is "
        "more usual among blast cells; although its outline is rounder than 55 % of normal and 81 % of blast cells "
        "(roundness 0.97), which is more usual among normal cells. The heat map has its evidence for blast 70 % in the "
        "nucleus, 11 % in the cytoplasm and 19 % outside the cell, and for normal 25 % in the cell and 75 % outside "
        "it; the cell covers 15 % of the frame."
    )


def test_what_a_cell_has_less_of_than_most_is_said_so() -> None:
    small = words("normal", cell({"cell_diameter": entry(171.2, 34, 2)}))
    assert small.startswith(
        "Decision normal: the cell is smaller than 66 % of normal and 98 % of blast cells (diameter 171 px)"
    )
    between = words("normal", cell({"cell_diameter": entry(190, 55, 20)}))  # half and half: not turned round
    assert "larger than 55 % of normal and 20 % of blast cells" in between


@pytest.mark.parametrize("decision", DECISIONS)
def test_what_speaks_against_the_decision_is_granted_and_only_that(decision: str) -> None:
    text = words(decision, cell(FOR_BLAST | FOR_NORMAL))
    against = {"blast": "rounder", "normal": "larger"}.get(decision)
    for word in ("rounder", "larger"):
        clause = next(part for part in re.split(r"[:;]", text) if word in part)
        assert ("although" in clause) == (word == against)
    only_against = words("blast", cell(FOR_NORMAL))
    assert only_against.startswith("Decision blast, although its outline is rounder")
    if decision == "refer":
        assert "Decision" not in text


def test_the_map_against_the_decision_is_said() -> None:
    assert "although more of the map speaks for normal" in words("blast", cell({}, evidence(INSIDE, INSIDE, 0.3)))
    assert "although more of the map speaks for blast" in words("normal", cell({}, evidence(INSIDE, INSIDE, 0.7)))
    assert "although" not in words("refer", cell({}, evidence(INSIDE, INSIDE, 0.7)))
    assert "read the map with care" in words("normal", cell({}, evidence(INSIDE, OUTSIDE, 0.2)))
    assert "read the map with care" not in words("blast", cell({}, evidence(INSIDE, OUTSIDE, 0.8)))


def allowed(content: dict[str, Any]) -> set[str]:
    """Every number that was measured, as it is written."""
    found = {percent(content["evidence"]["cell_share_of_frame"])}
    for side in ("blast", "normal"):
        found |= {percent(share) for share in (content["evidence"][side] or {}).values()}
    for name, given_ in content["measurements"].items():
        if given_["value"] is not None:
            found.add(TOLD[name][0].format(given_["value"]))
            both = [given_[key] for key in ("normal_percentile", "blast_percentile")]
            turned = None not in both and max(both) < 50  # "smaller than 98 %"
            found |= {percent((100 - each if turned else each) / 100) for each in both if each is not None}
    return found


shares = st.floats(0, 1)
places = st.none() | st.builds(lambda a: {"cell": a, "outside": 1 - a}, shares)
places |= st.builds(
    lambda a, b: {"cell": a, "nucleus": a * b, "cytoplasm": a - a * b, "outside": 1 - a}, shares, shares
)
entries = st.builds(entry, st.floats(0, 5e4), st.floats(0, 100), st.floats(0, 100))
entries |= st.just({"value": None, "unit": "1", "undefined": "no scale"})
contents = st.builds(
    lambda m, blast, normal, share: cell(m, evidence(blast, normal, share)),
    st.dictionaries(st.sampled_from(sorted(TOLD)), entries),
    places,
    places,
    shares,
)


@given(st.sampled_from(DECISIONS), contents)
@settings(max_examples=300)
def test_every_number_is_a_measured_one(decision: str, content: dict[str, Any]) -> None:
    text = words(decision, content)
    assert set(NUMBER.findall(text)) <= allowed(content)
    assert text.count(". ") + text.endswith(".") == 2  # two sentences
    assert "{" not in text
    facts = strongest(content["measurements"])
    assert len(facts) <= MOST_FACTS
    assert len({TOLD[fact.name][1] for fact in facts}) == len(facts)
    other = {"blast": "normal", "normal": "blast"}.get(decision)
    for clause in re.split(r"[;:]|(?<=blast),|(?<=normal),", text.split("The heat map")[0]):
        if other and f"which is more usual among {other} cells" in clause:
            assert "although" in clause
        if f"which is more usual among {decision} cells" in clause:
            assert "although" not in clause


@given(contents)
@settings(max_examples=100)
def test_facts_stand_where_they_are_said_to(content: dict[str, Any]) -> None:
    for fact in strongest(content["measurements"]):
        if fact.side == "blast":
            assert abs(fact.blast - 50) < abs(fact.normal - 50)
        if fact.side == "normal":
            assert abs(fact.normal - 50) < abs(fact.blast - 50)
        assert fact.side == "none" or fact.strength >= APART


def test_every_phrase_is_reached() -> None:
    texts = []
    for name in TOLD:
        for given_ in (entry(1, 93, 61), entry(1, 40, 2), entry(1, 61, 93), entry(1, 99, 99)):
            texts += [words(decision, cell({name: given_})) for decision in DECISIONS]
    for where in (
        evidence(INSIDE, OUTSIDE, 0.2),
        evidence(OUTSIDE, None, 1),
        evidence(None, PARTS, 0),
        evidence(None, None, None),
        evidence(INSIDE, INSIDE, 0.9),
    ):
        texts += [words(decision, cell({}, where)) for decision in DECISIONS]
    texts += [words(decision, cell(FOR_BLAST | FOR_NORMAL)) for decision in DECISIONS]
    texts.append(words("blast", cell(FOR_BLAST | {"nucleolus_candidates": entry(2, 95, 60)} | FOR_NORMAL)))
    texts.append(
        words("blast", cell(FOR_BLAST | {"chromatin_density": entry(2, 95, 60), "nucleus_share": entry(1, 99, 70)}))
    )
    texts.append(words("unreadable", None))
    together = "\n".join(texts)
    for key, phrase in ENGLISH.items():
        if key.startswith(("gate ", "turned down")):  # said by the gate: see test_gating
            continue
        for literal, *_ in string.Formatter().parse(phrase):
            assert literal in together, key


def test_every_measurement_told_exists_and_every_language_is_whole() -> None:
    assert set(TOLD) <= set(UNITS)
    for table in LANGUAGES.values():
        assert set(table) == set(ENGLISH)
        for key, phrase in table.items():
            fields = [
                {name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (phrase, ENGLISH[key])
            ]
            assert fields[0] == fields[1], key
            assert not NUMBER.search(phrase), key  # numbers are filled in, never written


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="phrases in 'xx'"):
        words("blast", cell({}), language="xx")
    with pytest.raises(ValueError, match="decision 'maybe'"):
        words("maybe", cell({}))
    with pytest.raises(ValueError, match="decision 'blast'"):
        words("blast", None)
