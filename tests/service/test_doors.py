"""Who may do what, what is hidden from blind readers, and what is refused at the door."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from leukoscope.service.app import make_app
from leukoscope.service.labels import COMMAND_KEYS, DEFAULT_LABELS
from leukoscope.service.people.roles import ROLES, rights
from workbench_client import PASSWORD, cells_of, key, picture, put, read_all, sign

NOBODY = "00000000-0000-7000-8000-000000000000"
ANY = frozenset({"viewer", "reader", "manager", "auditor", "admin", "signer"})
#: Who may use each path; a path that is not here fails the test.
ALLOWED = {
    "GET /session": ANY, "GET /ready": ANY, "GET /metrics": {"admin"},
    "GET /jobs/{job_id}": {"viewer"}, "GET /bundles": {"viewer"},
    "GET /labels": {"viewer"}, "POST /labels": {"manager"},
    "GET /users": {"admin"}, "POST /users": {"admin"}, "PATCH /users/{user_id}": {"admin"}, "GET /sessions": {"admin"},
    "POST /users/{user_id}/log-out": {"admin"},
    "GET /cases": {"viewer"}, "POST /cases": {"reader", "manager"}, "GET /cases/{case_id}": {"viewer"},
    "PATCH /cases/{case_id}": {"reader", "manager"}, "POST /cases/{case_id}/fixed-set": {"manager"},
    "POST /erasures": {"manager"}, "PUT /cases/{case_id}/pictures/{sha256}": {"reader", "manager"},
    "GET /cases/{case_id}/pictures": {"viewer"}, "GET /cases/{case_id}/pictures/{sha256}/map": {"viewer"},
    "GET /cases/{case_id}/pictures/{sha256}/tiles/{z}/{x}/{y}": {"viewer"}, "GET /slides": {"reader", "manager"},
    "POST /cases/{case_id}/slides": {"reader", "manager"},
    "GET /cases/{case_id}/pictures/{sha256}/original": {"viewer"}, "GET /cases/{case_id}/cells": {"viewer"},
    "GET /cells/{cell_id}": {"viewer"}, "GET /cells/{cell_id}/neighbours": {"viewer"},
    "GET /cells/{cell_id}/words": {"viewer"},
    "GET /cells/{cell_id}/{what}": {"viewer"}, "POST /cases/{case_id}/readings": {"reader"},
    "POST /cases/{case_id}/app-sessions": {"reader"}, "POST /cases/{case_id}/reviews": {"reader"},
    "GET /cases/{case_id}/readings": {"reader"}, "DELETE /readings/{event}": {"reader"},
    "GET /cases/{case_id}/summary": {"viewer"}, "POST /cases/{case_id}/complete": {"reader"},
    "GET /cases/{case_id}/differing": {"reader"}, "POST /cases/{case_id}/adjudications": {"reader"},
    "POST /cases/{case_id}/signatures": {"signer"}, "POST /cases/{case_id}/amendments": {"signer"},
    "GET /cases/{case_id}/report.json": {"viewer"}, "GET /cases/{case_id}/report.html": {"viewer"},
    "GET /cases/{case_id}/report.pdf": {"viewer"},
    "GET /events": {"auditor"}, "GET /events/head": {"auditor"}, "POST /events/anchors": {"auditor"},
    "GET /events/verify": {"auditor"}, "POST /exports": {"manager"}, "GET /exports/{export_id}/{name}": {"manager"},
    "POST /adaptations": {"manager"}, "POST /bundles/{bundle_id}/trial": {"manager"},
    "POST /bundles/{bundle_id}/activate": {"manager"}, "GET /agreement": {"manager"},
}  # fmt: skip
OPEN = {"GET /health", "POST /session", "DELETE /session", "POST /first"}


def every_path(guest) -> list[tuple[str, str]]:
    told = guest.app.openapi()["paths"]
    return [(method.upper(), path.removeprefix("/api/v1")) for path, acts in told.items() for method in acts]


def made_up(path: str) -> str:
    filled = path.replace("{sha256}", "ab" * 32).replace("{name}", "about.json").replace("{what}", "small.jpg")
    filled = filled.replace("{z}/{x}/{y}", "0/0/0")
    return "/api/v1" + re.sub(r"\{[a-z_]+\}", NOBODY, filled)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_path_lets_in_the_roles_of_the_table_and_no_other(guest) -> None:
    paths = every_path(guest)
    assert {f"{method} {path}" for method, path in paths} == {*ALLOWED, *OPEN}
    people = {role: guest.as_(role) for role in ROLES}
    for method, path in paths:
        name = f"{method} {path}"
        if name in OPEN:
            continue
        stranger = guest.request(method, made_up(path), json={} if method in ("POST", "PATCH") else None)
        assert stranger.status_code == 401, name
        for role, client in people.items():
            answer = client.request(method, made_up(path), json={} if method in ("POST", "PATCH") else None)
            assert (answer.status_code != 403) == bool(rights([role]) & ALLOWED[name]), (name, role, answer.text)
            assert answer.status_code < 500, (name, role, answer.text)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_stranger_gets_nothing_but_health_and_the_pages(guest) -> None:
    assert guest.get("/api/v1/health").status_code == 200
    assert guest.get("/openapi.json").status_code == 401
    page = guest.get("/")
    assert page.status_code == 200
    assert "never a diagnosis" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


HIDDEN = (
    "decision",
    "probability",
    "logit",
    "doubt",
    "gate",
    "reason",
    "words",
    "others",
    "before",
    "heat",
    "agreement",
    "turns",
)


def test_no_path_at_all_tells_a_blind_reader_what_the_model_or_another_reader_says(guest, make_case) -> None:
    """Every path that can be looked at, by whoever has all roles: words of the model, and another reader's label."""
    case = make_case(3, blind=True, readers=2)
    everybody = guest.as_("signer", "manager", "auditor", "admin", login="everybody")
    other = guest.as_("signer", login="other")
    cells = cells_of(other, case)
    for cell in cells:
        assert key(other, case, cell["id"], "basophil").status_code == 200
    for cell in cells[:2]:
        assert key(everybody, case, cell["id"], "monocyte").status_code == 200
    filled = {"{case_id}": case, "{cell_id}": cells[0]["id"], "{sha256}": cells[0]["picture"], "{z}/{x}/{y}": "0/0/0"}
    looked = set()
    for method, path in every_path(guest):
        if method != "GET":
            continue
        for old, new in filled.items():
            path = path.replace(old, new)  # noqa: PLW2901
        for what in ("small.jpg", "frame.jpg", "heat.png") if "{what}" in path else ("",):
            answer = everybody.get("/api/v1" + path.replace("{what}", what))
            if answer.status_code != 200 or "json" not in answer.headers["content-type"]:
                assert (what == "heat.png") <= (answer.status_code == 403), path
                continue
            looked.add(path)
            if path == "/labels":
                continue  # all labels have names there
            for word in HIDDEN:
                assert f'"{word}":' not in answer.text or (path == "/agreement" and word == "others"), (path, word)
            assert "basophil" not in answer.text, path
    assert {f"/cases/{case}/cells", f"/cases/{case}/summary", "/events", f"/cells/{cells[0]['id']}"} <= looked
    assert "basophil" in guest.as_("auditor", login="only-auditor").get("/api/v1/events?limit=1000").text


def test_answers_to_a_blind_reader_hold_no_suggestion(guest, make_case) -> None:
    case = make_case(3, blind=True, readers=2)
    reader, other = guest.as_("reader", login="one"), guest.as_("signer", login="two")
    cells = cells_of(reader, case)
    read_all(other, case, "blast")
    told = [
        reader.get(f"/api/v1/cases/{case}/cells").json(), reader.get(f"/api/v1/cases/{case}/summary").json(),
        reader.get(f"/api/v1/cells/{cells[0]['id']}").json(), reader.get(f"/api/v1/cases/{case}").json(),
        reader.get(f"/api/v1/cases/{case}/pictures").json(), reader.get(f"/api/v1/cases/{case}/readings").json(),
    ]  # fmt: skip
    text_of_all = json.dumps(told)
    for word in HIDDEN:
        assert f'"{word}"' not in text_of_all, word
    assert '"blast": ' not in text_of_all  # what the other reader said
    own = f"/api/v1/cells/{cells[0]['id']}"
    for path in (
        f"{own}/heat.png", f"{own}/neighbours", f"{own}/words", f"/api/v1/cases/{case}/report.json",
        f"/api/v1/cases/{case}/report.pdf",
        *(f"/api/v1/cases/{case}/cells?sort={sort}" for sort in ("change", "probability", "gate", "disagreement")),
    ):  # fmt: skip
        assert reader.get(path).status_code == 403, path
    assert reader.get(f"{own}/small.jpg").status_code == 200
    assert guest.as_("viewer").get(f"{own}/heat.png").status_code == 403
    read_all(reader, case, "normal")
    assert reader.get(f"{own}/heat.png").status_code == 200
    assert "probability" in cells_of(reader, case)[0]
    with guest.bench.database.read() as connection:
        assert set(connection.scalars(text("SELECT seen FROM reading"))) == {0}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_requests_of_other_sites_are_refused(guest, make_case) -> None:
    case = make_case(1)
    reader = guest.as_("reader")
    cell = cells_of(reader, case)[0]["id"]
    body = {"readings": [{"event": NOBODY, "cell": cell, "label": "blast"}]}
    path = f"/api/v1/cases/{case}/readings"
    for headers in (
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "http://evil.example"},
        {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
    ):  # fmt: skip
        assert reader.post(path, json=body, headers=headers).status_code == 403, headers
    as_form = reader.post(path, content=json.dumps(body), headers={"content-type": "text/plain"})
    assert as_form.status_code == 415
    assert reader.post(path, content=b" " * (2 << 20), headers={"content-type": "application/json"}).status_code == 413
    assert reader.post(path, json=body, headers={"origin": "http://127.0.0.1"}).status_code == 200


def test_a_session_ends_with_log_out_revocation_and_change_of_roles(guest) -> None:
    admin = guest.as_("admin")
    for end in ("log-out", "roles", "closed", "out"):
        login = f"reader-{end}"
        reader = guest.as_("reader", login=login)
        stolen = dict(reader.cookies)
        user = reader.get("/api/v1/session").json()["id"]
        if end == "log-out":
            assert admin.post(f"/api/v1/users/{user}/log-out", json={}).json() == {"sessions": 1}
        elif end == "roles":
            assert admin.patch(f"/api/v1/users/{user}", json={"roles": ["viewer"]}).status_code == 200
        elif end == "closed":
            assert admin.patch(f"/api/v1/users/{user}", json={"closed": True}).status_code == 200
        else:
            assert reader.delete("/api/v1/session").status_code == 204
        guest.cookies.clear()
        assert guest.get("/api/v1/session", headers={"cookie": f"leukoscope={stolen['leukoscope']}"}).status_code == 401
    me = admin.get("/api/v1/session").json()["id"]
    assert admin.patch(f"/api/v1/users/{me}", json={"closed": True}).status_code == 409
    assert admin.get("/api/v1/session").status_code == 200  # nothing was half done


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_guessing_a_password_is_slowed_down(guest) -> None:
    guest.as_("reader", login="victim")
    wrong = [guest.post("/api/v1/session", json={"login": "victim", "password": f"guess {k}"}) for k in range(8)]
    assert [answer.status_code for answer in wrong] == [401] * 5 + [429] * 3
    right = guest.post("/api/v1/session", json={"login": "victim", "password": PASSWORD})
    assert right.status_code == 429
    others = [guest.post("/api/v1/session", json={"login": f"nobody {k}", "password": "guess"}) for k in range(20)]
    assert others[0].status_code == 401
    assert others[-1].status_code == 429


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_first_administrator_is_made_once_by_the_printed_link(bench) -> None:
    old, token = bench.accounts.first_link(), bench.accounts.first_link()
    client = TestClient(make_app(bench), base_url="http://127.0.0.1")
    given = {"login": "root", "name": "R", "password": PASSWORD, "roles": ["signer"], "token": old}
    assert client.post("/api/v1/first", json=given).status_code == 403
    assert client.post("/api/v1/first", json=given | {"token": token, "password": "short"}).status_code == 422
    made = client.post("/api/v1/first", json=given | {"token": token})
    assert made.json()["roles"] == ["signer", "admin"]
    assert client.post("/api/v1/first", json=given | {"token": token, "login": "two"}).status_code == 403
    assert bench.accounts.first_link() is None
    away = TestClient(make_app(bench), base_url="http://workbench.example")
    refused = away.post("/api/v1/session", json={"login": "root", "password": PASSWORD})
    assert refused.status_code == 403
    assert "TLS" in refused.json()["remedy"]


def test_no_key_does_two_things() -> None:
    keys = [label.key for label in DEFAULT_LABELS] + list(COMMAND_KEYS)
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pages_of_cells_are_all_cells_in_every_order(guest, make_case) -> None:
    case = make_case(7)
    reader = guest.as_("reader")
    for sort in ("place", "change", "probability", "gate", "disagreement"):
        found, after = [], None
        while True:
            query = {"sort": sort, "limit": 2} | ({} if after is None else {"after": after})
            page = reader.get(f"/api/v1/cases/{case}/cells", params=query).json()
            found += page["cells"]
            after = page["next"]
            if after is None:
                break
        assert len({cell["id"] for cell in found}) == len(found) == 7, sort
        value = {"change": "doubt", "probability": "probability"}.get(sort)
        if value:
            assert all(one[value] >= two[value] for one, two in pairwise(found))
    assert reader.get(f"/api/v1/cases/{case}/cells", params={"after": "nonsense"}).status_code == 422


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_signed_case_takes_nothing_more(guest, make_case) -> None:
    case = make_case(1)
    signer = guest.as_("signer")
    cell = cells_of(signer, case)[0]["id"]
    event = "00000000-0000-7000-8000-000000000001"
    assert key(signer, case, cell, "normal", event).status_code == 200
    assert signer.post(f"/api/v1/cases/{case}/complete", json={}).status_code == 200
    assert key(signer, case, cell, "blast").status_code == 409  # finished
    assert sign(signer, case).status_code == 201
    late = put(signer, case, picture((1, 2, 3)))
    acts = [
        key(signer, case, cell, "blast"), signer.delete(f"/api/v1/readings/{event}"), late,
        signer.patch(f"/api/v1/cases/{case}", json={"target": 5}), sign(signer, case),
        signer.post(f"/api/v1/cases/{case}/complete", json={}),
    ]  # fmt: skip
    assert [answer.status_code for answer in acts] == [409, 409, 409, 409, 409, 200]
    assert acts[-1].json()["state"] == "signed"
