"""A real server against a model of it, in random order; and random requests against its own description."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
import uuid
from collections.abc import Iterator
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bundle_factory import make_bundle
from workbench_client import PASSWORD, Served, picture

EXAMPLES = int(os.environ.get("LEUKOSCOPE_EXAMPLES", "4"))
LABELS = ("blast", "normal", "monocyte", "smudge")
PEOPLE = {"ann": ["signer"], "bob": ["reader"], "cat": ["reader"], "man": ["manager"], "aud": ["auditor"]}
CELLS = [picture((250, 60, 120)), picture((10, 240, 10))]
_QUICK = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


class House:
    """A real server, and a cookie for each person."""

    def __init__(self, place: Path) -> None:
        self.server = Served(place / "workbench", make_bundle(place / "bundle"))
        first = {"token": self.server.first_token(), "login": "root", "name": "R", "password": PASSWORD, "roles": []}
        assert self.server.ask("POST", "/first", first)[0] == 200
        self.cookies = {"root": self.server.cookie}
        for login, roles in PEOPLE.items():
            self.server.cookie = self.cookies["root"]
            made = {"login": login, "name": login.title(), "password": PASSWORD, "roles": roles}
            assert self.server.ask("POST", "/users", made)[0] == 201
            self.server.cookie = ""
            assert self.server.ask("POST", "/session", {"login": login, "password": PASSWORD})[0] == 200
            self.cookies[login] = self.server.cookie

    def ask(self, person: str, method: str, path: str, body: Any = None) -> tuple[int, dict]:
        self.server.cookie = self.cookies[person]
        return self.server.ask(method, path, body)

    def status(self, person: str, method: str, path: str, body: Any = None) -> int:
        """As `ask`, where the answer may be of any type."""
        line = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        kind = "image/png" if isinstance(body, bytes) else "application/json"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            line.request(method, f"/api/v1{path}", data, {"content-type": kind, "cookie": self.cookies[person]})
            answer = line.getresponse()
            answer.read()
            return answer.status
        finally:
            line.close()

    def described(self) -> dict[str, Any]:
        """`/openapi.json`."""
        address = f"http://127.0.0.1:{self.server.port}/openapi.json"
        request = urllib.request.Request(address, headers={"cookie": self.cookies["root"]})
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.server.kill()


def agreed(one: str, other: str) -> str | None:
    """Two labels as one, worked out anew: alike, or `normal` and a kind of normal white cell."""
    if one == other:
        return one
    return "monocyte" if {one, other} == {"normal", "monocyte"} else None


def machine_of(house: House) -> type[RuleBasedStateMachine]:
    readers = st.sampled_from(["ann", "bob", "cat"])
    cells, labels = st.sampled_from([0, 1]), st.sampled_from(LABELS)

    class Machine(RuleBasedStateMachine):
        @initialize(readers=st.sampled_from([1, 2]), blind=st.booleans())
        def begin(self, readers: int, blind: bool) -> None:
            self.need, self.blind = readers, blind
            self.subject = f"P {uuid.uuid4()}"
            told = {"order_no": "1", "subject": self.subject, "readers": readers, "blind": blind}
            status, case = house.ask("man", "POST", "/cases", told)
            assert status == 201
            self.path = f"/cases/{case['id']}"
            for data in CELLS:
                assert house.ask("man", "PUT", f"{self.path}/pictures/{sha256(data).hexdigest()}", data)[0] == 201
            until = time.monotonic() + 120
            while house.ask("man", "GET", self.path)[1]["waiting"]:
                assert time.monotonic() < until
                time.sleep(0.05)
            found = house.ask("man", "GET", f"{self.path}/cells")[1]["cells"]
            self.cells = [cell["id"] for cell in found]
            assert len(self.cells) == 2
            self.events: list[dict[str, Any]] = []  # in their order; `gone` once withdrawn
            self.done: list[str] = []
            self.decided: dict[int, str] = {}
            self.state, self.version, self.erased = "open", 1, False
            self.signed: dict[int, str] = {}

        def mark(self, person: str, cell: int) -> str | None:
            mine = [e for e in self.events if e["who"] == person and e["cell"] == cell and not e["gone"]]
            return mine[-1]["label"] if mine else None

        def verdict(self, cell: int) -> tuple[str | None, str]:
            if cell in self.decided:
                return self.decided[cell], "decided"
            if self.need == 1:
                last = [
                    e for e in self.events
                    if e["cell"] == cell and not e["gone"] and self.is_last(e)
                ]  # fmt: skip
                return (last[-1]["label"], "read") if last else (None, "unread")
            told = [self.mark(who, cell) for who in self.done[:2]]
            if len(told) < 2 or None in told:
                return None, "unread"
            both = agreed(*told)
            return both, "read" if both else "differ"

        def is_last(self, event: dict[str, Any]) -> bool:
            later = [
                e for e in self.events if e["who"] == event["who"] and e["cell"] == event["cell"] and not e["gone"]
            ]
            return later[-1] is event

        @rule(who=readers, cell=cells, label=labels)
        def read(self, who: str, cell: int, label: str) -> None:
            event = {"event": str(uuid.uuid4()), "cell": self.cells[cell], "label": label}
            status, answer = house.ask(who, "POST", f"{self.path}/readings", {"readings": [event]})
            may = self.state != "signed" and who not in self.done
            assert status == (200 if may else 409), answer
            if may:
                self.events.append({"id": event["event"], "who": who, "cell": cell, "label": label, "gone": False})

        @rule(data=st.data())
        def send_again(self, data: st.DataObject) -> None:
            if not self.events:
                return
            old = data.draw(st.sampled_from(self.events))
            event = {"event": old["id"], "cell": self.cells[old["cell"]], "label": old["label"]}
            assert house.ask(old["who"], "POST", f"{self.path}/readings", {"readings": [event]})[0] == 200
            other = event | {"label": "artefact"}
            assert house.ask(old["who"], "POST", f"{self.path}/readings", {"readings": [other]})[0] == 409

        @rule(who=readers, data=st.data())
        def undo(self, who: str, data: st.DataObject) -> None:
            if not self.events:
                return
            old = data.draw(st.sampled_from(self.events))
            status, answer = house.ask(who, "DELETE", f"/readings/{old['id']}")
            if who != old["who"]:
                assert status == 404
            elif old["gone"] or (self.state != "signed" and who not in self.done):
                assert status == 200, answer
                old["gone"] = True
                assert answer["label"] == self.mark(who, old["cell"])
            else:
                assert status == 409

        @rule(who=readers)
        def finish(self, who: str) -> None:
            status, answer = house.ask(who, "POST", f"{self.path}/complete", {})
            if who in self.done:
                assert status == 200
                return
            ready = self.state == "open" and all(self.mark(who, cell) for cell in (0, 1))
            assert status == (200 if ready else 409), answer
            if ready:
                self.done.append(who)
                self.state = "complete" if len(self.done) >= self.need else "open"

        @rule(who=readers, cell=cells, label=labels)
        def decide(self, who: str, cell: int, label: str) -> None:
            body = {"cell": self.cells[cell], "label": label, "reason": "looked again"}
            status, answer = house.ask(who, "POST", f"{self.path}/adjudications", body)
            differ = self.verdict(cell)[1] == "differ"
            if len(self.done) < self.need or self.state != "complete":
                assert status == 409
            elif who in self.done and who != "ann":
                assert status == 403
            elif differ or cell in self.decided:
                assert status == 200, answer
                self.decided[cell] = label
            else:
                assert status == 409

        @rule(right=st.booleans())
        def sign(self, right: bool) -> None:
            body = {"password": PASSWORD if right else "another one", "meaning": "review"}
            status, answer = house.ask("ann", "POST", f"{self.path}/signatures", body)
            ready = self.state == "complete" and all(self.verdict(cell)[0] for cell in (0, 1))
            assert status == (401 if not right else 201 if ready else 409), answer
            if status == 201:
                self.state = "signed"
                self.signed[self.version] = answer["content_sha256"]

        @rule()
        def amend(self) -> None:
            status, answer = house.ask("ann", "POST", f"{self.path}/amendments", {"reason": "mistaken"})
            assert status == (201 if self.state == "signed" else 409), answer
            if status == 201:
                self.state, self.version, self.done = "open", self.version + 1, []

        @rule()
        def take_one_more(self) -> None:
            data = picture((1, 2, 3))
            status, _ = house.ask("man", "PUT", f"{self.path}/pictures/{sha256(data[:-1]).hexdigest()}", data)
            assert status == 409  # signed, or of another digest: in no state does it come in

        @rule(sure=st.integers(0, 9))
        def erase(self, sure: int) -> None:
            if sure:
                return
            status, _ = house.ask("man", "POST", "/erasures", {"subject": self.subject})
            assert status == (404 if self.erased else 200)
            self.erased = True

        @invariant()
        def stands_as_the_model_says(self) -> None:
            if not hasattr(self, "state"):
                return
            case = house.ask("man", "GET", self.path)[1]
            assert (case["state"], case["version"], len(case["read_by"])) == (self.state, self.version, len(self.done))
            assert case["subject"] == ("erased" if self.erased else self.subject)
            assert {each["version"]: each["content_sha256"] for each in case["signatures"]} == self.signed
            for who in ("ann", "bob"):
                found = {cell["id"]: cell for cell in house.ask(who, "GET", f"{self.path}/cells")[1]["cells"]}
                assert [found[cell]["label"] for cell in self.cells] == [self.mark(who, cell) for cell in (0, 1)]
                hidden = self.blind and self.state == "open" and who not in self.done
                assert all(("decision" in cell) != hidden for cell in found.values())
            if self.state == "complete":
                report = house.ask("ann", "GET", f"{self.path}/report.json")[1]["content"]
                told = [label for label, _ in map(self.verdict, (0, 1)) if label is not None]
                assert sum(report["after"]["counts"].values()) == len(told)
                assert report["after"]["blasts"] == told.count("blast")

        def teardown(self) -> None:
            for version, digest in getattr(self, "signed", {}).items():
                report = house.ask("ann", "GET", f"{self.path}/report.json?version={version}")[1]
                content = json.dumps(report["content"], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
                assert sha256(content.encode()).hexdigest() == digest
            assert house.ask("aud", "GET", "/events/verify")[1]["sound"]

    return Machine


@pytest.mark.slow
def test_the_server_does_what_the_model_does(house: House) -> None:
    run_state_machine_as_test(machine_of(house), settings=_QUICK)


NOBODY = "00000000-0000-7000-8000-000000000000"
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=120)
#: Would end the session that asks.
LEFT = {"DELETE /api/v1/session", "POST /api/v1/session", "POST /api/v1/first"}


def values_of(schema: dict[str, Any], known: dict[str, Any], ids: list[str]) -> st.SearchStrategy[Any]:
    """Values that a schema takes, and now and then ones that it does not."""
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return st.one_of([values_of(each, known, ids) for each in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from([*schema.get("enum", [schema.get("const")]), "other"])
    kind = schema.get("type")
    if kind == "object":
        each = {name: values_of(value, known, ids) for name, value in schema.get("properties", {}).items()}
        needed = {name: each[name] for name in schema.get("required", ())}
        optional = {name: value for name, value in each.items() if name not in needed}
        return st.fixed_dictionaries(needed, optional=optional)
    if kind == "array":
        return st.lists(values_of(schema.get("items", {}), known, ids), max_size=3)
    if kind in ("integer", "number"):
        return st.one_of(st.integers(0, 3), st.integers(-(2**70), 2**70), st.floats(allow_nan=False))
    if kind == "boolean":
        return st.one_of(st.booleans(), st.just("maybe"))
    if kind == "null":
        return st.none()
    return st.one_of(st.sampled_from([*ids, "blast", "P", PASSWORD]), TEXTS)


def test_random_requests_get_only_what_the_description_says(house: House) -> None:
    everything = ["viewer", "signer", "manager", "auditor", "admin"]
    made = {"login": "all", "name": "All", "password": PASSWORD, "roles": everything}
    assert house.ask("root", "POST", "/users", made)[0] in (201, 409)
    house.cookies["all"] = ""
    assert house.ask("all", "POST", "/session", {"login": "all", "password": PASSWORD})[0] == 200
    house.cookies["all"] = house.server.cookie
    case = house.ask("all", "POST", "/cases", {"order_no": "1", "subject": "P"})[1]["id"]
    digest = sha256(CELLS[0]).hexdigest()
    house.ask("all", "PUT", f"/cases/{case}/pictures/{digest}", CELLS[0])
    until = time.monotonic() + 120
    while house.ask("all", "GET", f"/cases/{case}")[1]["waiting"] and time.monotonic() < until:
        time.sleep(0.05)
    cell = house.ask("all", "GET", f"/cases/{case}/cells")[1]["cells"][0]["id"]
    told = house.described()
    known, acts = told["components"]["schemas"], []
    for path, each in told["paths"].items():
        acts += [(method.upper(), path, act) for method, act in each.items() if f"{method.upper()} {path}" not in LEFT]
    assert len(acts) > 40
    ids = [case, cell, digest, NOBODY]

    @settings(
        max_examples=100 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None,
    )  # fmt: skip
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        method, path, act = data.draw(st.sampled_from(acts))
        query = []
        for given_ in act.get("parameters", ()):
            value = data.draw(values_of(given_["schema"], known, ids))
            if given_["in"] == "path":
                path = path.replace(f"{{{given_['name']}}}", quote(str(value), safe="") or "-")
            elif given_["in"] == "query" and data.draw(st.booleans()):
                query.append(f"{given_['name']}={quote(str(value))}")
        body: Any = None
        content = act.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            body = data.draw(values_of(content["application/json"]["schema"], known, ids))
        elif content:
            body = data.draw(st.one_of(st.binary(max_size=200), st.just(CELLS[0])))
        elif method in ("POST", "PATCH"):
            body = {}
        address = path.removeprefix("/api/v1") + ("?" + "&".join(query) if query else "")
        status = house.status("all", method, address, body)
        assert status < 500, (method, address, body)
        if re.search(r"%2F|%2E", path):  # another path than the one described
            return
        assert str(status) in act["responses"], (method, address, body, status)

    ask()
    assert house.ask("root", "GET", "/session")[0] == 200
