"""The laboratory's own lanes: changed by a manager, recorded, and never changing what was read."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from leukoscope.service.database.audit import verify_database
from workbench_client import cells_of, key, read_all, sign


def add(client, *new: dict, **changes: dict):
    """Send the lanes with some more, and with some changed by name."""
    told = client.get("/api/v1/labels").json()
    labels = [each | changes.get(each["name"].replace(" ", "_"), {}) for each in told["labels"]]
    return client.post("/api/v1/labels", json={"labels": [*labels, *new], "version": told["version"]})


PROMYELOCYTE = {"name": "promyelocyte", "words": "Promyelocyte", "key": "r", "counts": True, "blast": True}


def test_a_lane_of_the_laboratory_s_own_counts_as_a_blast_where_it_says_so(guest, make_case) -> None:
    manager, signer = guest.as_("manager"), guest.as_("signer")
    case = make_case(4)
    cells = [cell["id"] for cell in cells_of(signer, case)]
    assert key(signer, case, cells[0], "promyelocyte").status_code == 422
    made = add(manager, PROMYELOCYTE, immature_granulocyte={"words": "IG", "key": "g"})
    assert made.status_code == 200, made.text
    assert key(signer, case, cells[0], "promyelocyte").status_code == 200
    assert key(signer, case, cells[1], "immature granulocyte").status_code == 200
    for cell in cells[2:]:
        assert key(signer, case, cell, "smudge").status_code == 200
    found = signer.get(f"/api/v1/cases/{case}/summary").json()
    assert (found["mine"]["blasts"], found["mine"]["white_cells"]) == (1, 2)
    assert (found["share"]["value"], found["share"]["cells"]) == (0.5, 2)
    assert signer.post(f"/api/v1/cases/{case}/complete", json={}).status_code == 200
    assert sign(signer, case).status_code == 201
    page = signer.get(f"/api/v1/cases/{case}/report.html").text
    pdf = signer.get(f"/api/v1/cases/{case}/report.pdf").content
    assert "Promyelocyte 1, " in page or "IG 1, Promyelocyte 1" in page or "IG 1, Smudge cell 2, Promyelocyte 1" in page
    assert add(manager, promyelocyte={"words": "PML"}).status_code == 200
    assert signer.get(f"/api/v1/cases/{case}/report.html").text == page  # it says what was said when it was signed
    assert signer.get(f"/api/v1/cases/{case}/report.pdf").content == pdf
    verdict = verify_database(guest.bench.database, guest.bench.chain)
    assert verdict.sound, verdict.faults
    with guest.bench.database.write() as connection:
        connection.execute(text("UPDATE setting SET value = replace(value, 'PML', 'Normal one') WHERE key = 'lanes'"))
    assert verify_database(guest.bench.database, guest.bench.chain).faults == (
        "the lanes were altered: they are not those of their event",
    )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_was_read_stays_and_means_what_it_meant(guest, make_case) -> None:
    manager, reader = guest.as_("manager"), guest.as_("reader")
    case = make_case(1)
    cell = cells_of(reader, case)[0]["id"]
    assert key(reader, case, cell, "monocyte").status_code == 200
    assert add(manager, monocyte={"blast": True}).status_code == 409
    assert add(manager, monocyte={"counts": False}).status_code == 409
    told = manager.get("/api/v1/labels").json()
    without = [each for each in told["labels"] if each["name"] != "monocyte"]
    assert manager.post("/api/v1/labels", json={"labels": without, "version": told["version"]}).status_code == 409
    assert add(manager, monocyte={"offered": False, "key": ""}).status_code == 200
    assert key(reader, case, cell, "monocyte").status_code == 200  # one that waited in a browser is not lost
    late = manager.post("/api/v1/labels", json={"labels": told["labels"], "version": told["version"]})
    assert late.status_code == 409
    assert "meanwhile" in late.json()["detail"]
    read_all(reader, case, "monocyte")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blast": {"blast": False}}, "means what the model means"),
        ({"normal": {"offered": False}}, "means what the model means"),
        ({"monocyte": {"key": "u"}}, "that of a command"),
        ({"monocyte": {"key": "b"}}, "that of Blast"),
        ({"monocyte": {"key": "M"}}, "is no key"),
        ({"monocyte": {"key": ""}}, "is no key"),
        ({"monocyte": {"words": "blast"}}, "stands twice"),
        ({"artefact": {"blast": True}}, "a blast is a white cell"),
    ],
)
def test_lanes_that_contradict_themselves_are_refused(guest, change: dict, words: str) -> None:
    manager = guest.as_("manager")
    answer = add(manager, **change)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert manager.get("/api/v1/labels").json()["version"] == 0
