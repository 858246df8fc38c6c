"""Labels from the app in the pocket and from galleries, taken into a case by the digests of its pictures."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from leukoscope.errors import LeukoscopeError
from leukoscope.service.app import Pocket
from leukoscope.service.casework.sessions import Labelled, _meant
from workbench_client import cells_of, picture

KINDS = [(250, 60, 120), (245, 60, 120)]  # of `make_case`


@pytest.fixture
def case(guest, make_case) -> tuple[Any, str]:
    return guest.as_("reader"), make_case(len(KINDS))


def session(labels: list[str | None], **more: Any) -> dict[str, Any]:
    pictures = [picture(colour) for colour in [*KINDS, (10, 200, 30)]]
    cells = [
        {"sha256": sha256(data).hexdigest(), "label": label, "place": None, "answered": f"2026-11-30T00:00:0{i}Z"}
        for i, (data, label) in enumerate(zip(pictures, labels, strict=False))
    ]  # fmt: skip
    return {"format": "leukoscope-app-session", "format_version": 1, "share": {}, "cells": cells} | more


def test_labels_find_their_pictures_and_come_once(case) -> None:
    reader, made = case
    for _ in range(2):
        answer = reader.post(f"/api/v1/cases/{made}/app-sessions", json=session(["blast", "normal", "blast"]))
        assert answer.status_code == 200, answer.text
        assert answer.json()["taken"] == 2
        assert answer.json()["left"] == [sha256(picture((10, 200, 30))).hexdigest()]
    acts = reader.get(f"/api/v1/cases/{made}/readings").json()["acts"]
    by_cell = {each["cell"]: each["label"] for each in acts}
    assert [by_cell[cell["id"]] for cell in cells_of(reader, made)] == ["blast", "normal"]
    assert len(acts) == 2


def test_what_is_no_session_is_refused(case) -> None:
    reader, made = case
    way = f"/api/v1/cases/{made}/app-sessions"
    assert reader.post(way, json=session(["blast"], format_version=2)).status_code == 422
    assert reader.post(way, json=session(["never heard of"])).status_code == 422
    assert reader.post(way, json={"format": "leukoscope-review"}).status_code == 422
    assert reader.post(f"/api/v1/cases/{made}/reviews", json=session(["blast"])).status_code == 422


def review(labels: list[str | None], **more: Any) -> dict[str, Any]:
    cells = [
        {"path": f"{number}.png", "sha256": sha256(picture(colour)).hexdigest(), "decision": "blast", "label": label}
        for number, (colour, label) in enumerate(zip(KINDS, labels, strict=True))
    ]
    facts = dict.fromkeys(("root", "bundle", "bundle_digest", "leukoscope"), "x")
    return {"format": "leukoscope-review", "version": 1, "created": "2026-11-30", **facts, "cells": cells} | more


def test_a_review_of_a_gallery_is_taken_once_and_its_doubts_are_not(case) -> None:
    reader, made = case
    for _ in range(2):
        answer = reader.post(f"/api/v1/cases/{made}/reviews", json=review(["normal", "unsure"]))
        assert answer.json() == {"taken": 1, "left": []}
    assert [cell["label"] for cell in cells_of(reader, made)] == ["normal", None]
    assert len(reader.get(f"/api/v1/cases/{made}/readings").json()["acts"]) == 1


def cell_at(number: int, box: tuple[int, int, int, int] | None, probability: float | None = 0.5) -> dict[str, Any]:
    x, y, w, h = box or (None, None, None, None)
    return {"number": number, "x": x, "y": y, "w": w, "h": h, "probability": probability, "digest": "d"}


FIELD = [cell_at(1, (0, 0, 40, 40)), cell_at(2, (100, 0, 40, 40), None), cell_at(3, (110, 5, 40, 40), 0.25)]


@pytest.mark.parametrize(
    ("box", "number", "found"),
    [
        ((4, 4, 40, 40), None, 1), ((30, 30, 40, 40), None, None), ((105, 2, 40, 40), None, None),  # two are there
        ((112, 8, 40, 40), None, 3), (None, (3, "d", 0.25), 3), (None, (3, "d", 0.2501), None),
        (None, (2, "d", None), 2),
        (None, (3, "another", 0.25), None), (None, (3, "d", None), None), (None, (4, "d", 0.5), None),
        (None, None, None),
    ],
)  # fmt: skip
def test_a_cell_of_a_field_is_taken_where_it_is_certain_which_is_meant(box, number, found) -> None:
    meant = _meant(Labelled("x", "blast", "now", box, number), FIELD)
    assert (None if meant is None else meant["number"]) == found
    single = [cell_at(1, None)]
    assert _meant(Labelled("x", "blast", "now"), single) is single[0]


def test_a_blind_case_takes_none(guest, make_case) -> None:
    reader, made = guest.as_("reader"), make_case(1, blind=True)
    answer = reader.post(f"/api/v1/cases/{made}/app-sessions", json=session(["blast"]))
    assert answer.status_code == 409
    assert "read blind" in answer.text


def test_a_built_app_is_served_with_its_own_policy(tmp_path: Path) -> None:
    with pytest.raises(LeukoscopeError, match="holds no app"):
        Pocket(tmp_path)
    (tmp_path / "_headers").write_text("/*\n  Content-Security-Policy: script-src 'self' 'wasm-unsafe-eval'\n")
    (tmp_path / "index.html").write_text("here")
    server = Starlette()
    server.mount("/app", Pocket(tmp_path))
    answer = TestClient(server).get("/app/")
    assert answer.text == "here"
    assert answer.headers["content-security-policy"].startswith("script-src 'self' 'wasm-unsafe-eval'; frame-anc")
    assert answer.headers["permissions-policy"].startswith("camera=(self)")
