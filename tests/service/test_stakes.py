"""What a review may change: the order against asking the rule again for each cell read otherwise."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from bundle_factory import RULE, make_bundle
from leukoscope.bundle.schema import BundleFacts, SubjectFacts
from leukoscope.inference.patients import Judged, state_patient
from leukoscope.service.casework.stakes import STANDINGS, Tally, turns
from workbench_client import answered, cells_of, key, picture, put

FACTS = BundleFacts.model_validate(
    {"name": "m", "version": "0", "created": "2026-01-01", "preparation": {}, "input_size": 8, "files": {},
     "subjects": RULE}
)  # fmt: skip


def stated(stands: list[str]) -> str:
    """By the rule for patients itself, cell by cell."""
    judged = [
        Judged(number, "p", 1.0 if each == "blast" else -1.0, 0.9 if each == "blast" else 0.1, each, None)
        for number, each in enumerate(stands)
        if each != "uncounted"
    ]
    return state_patient(FACTS, "x", judged, pictures=1, turned_down=stands.count("uncounted")).statement


def test_a_cell_turns_the_statement_where_the_rule_asked_again_says_so() -> None:
    rule = SubjectFacts.model_validate(RULE)
    seen = set()
    for blast in range(9):
        for normal in range(9):
            for uncounted in range(4):
                stands = ["blast"] * blast + ["normal"] * normal + ["uncounted"] * uncounted
                if not stands:
                    continue
                found = turns(Tally(blast, normal, uncounted), rule)
                for each in STANDINGS:
                    if each not in stands:
                        assert each not in found
                        continue
                    rest = stands.copy()
                    rest.remove(each)
                    others = {stated([*rest, other]) for other in ("blast", "normal") if other != each}
                    changes = others - {stated(stands)}
                    assert (found.get(each) in changes) if changes else (each not in found), stands
                seen.add(tuple(sorted(found)))
    assert {(), ("blast",), ("normal",)} <= seen


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a rule for patients."""
    return make_bundle(tmp_path / "bundle", subjects=RULE)


def test_cells_that_would_turn_the_statement_come_first(guest) -> None:
    reader = guest.as_("reader", "manager", login="maker")
    case = reader.post("/api/v1/cases", json={"order_no": "1", "subject": "P"}).json()["id"]
    for k in range(3):
        for colour in ((250 - 9 * k, 60, 120), (10, 240 - 20 * k, 10)):
            assert put(reader, case, picture(colour)).status_code == 201
    answered(reader, case)

    def ordered() -> list[dict]:
        found, after = [], None
        while True:
            query = {"sort": "change", "limit": 2} | ({} if after is None else {"after": after})
            page = reader.get(f"/api/v1/cases/{case}/cells", params=query).json()
            found += page["cells"]
            after = page["next"]
            if after is None:
                assert len({cell["id"] for cell in found}) == len(found) == 6
                return found

    def check(stood: dict[str, str]) -> list[dict]:
        cells = ordered()
        now = stated(list(stood.values()))
        for cell in cells:
            other = "normal" if stood[cell["id"]] == "blast" else "blast"
            turned = stated(list((stood | {cell["id"]: other}).values()))
            assert cell["turns"] == (turned if turned != now and cell["label"] is None else None)
        ranks = [(cell["turns"] is not None, cell["doubt"], cell["place"]) for cell in cells]
        assert all(one > two for one, two in pairwise(ranks))
        told = reader.get(f"/api/v1/cases/{case}/summary").json()["as_read"]
        turned = [cell["turns"] for cell in cells if cell["turns"]]
        assert told == {"statement": now, "cells": len(turned), "turns_to": sorted(set(turned))}
        return cells

    stood = {cell["id"]: cell["decision"] for cell in cells_of(reader, case)}
    assert sorted(stood.values()) == ["blast"] * 3 + ["normal"] * 3
    assert not any(cell["turns"] for cell in check(stood))  # 3 of 6: one more or less changes nothing
    blasts = [cell for cell, decision in stood.items() if decision == "blast"]
    assert key(reader, case, blasts[0], "monocyte").status_code == 200
    stood[blasts[0]] = "normal"  # 2 of 6: one less is 1 of 6, below 0.3
    cells = check(stood)
    assert [cell["turns"] for cell in cells] == ["blasts not seen"] * 2 + [None] * 4
    assert {cell["id"] for cell in cells[:2]} == set(blasts[1:])
    assert reader.get(f"/api/v1/cases/{case}/cells", params={"sort": "change", "after": "a~b"}).status_code == 422
