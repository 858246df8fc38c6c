"""From a picture to a signature, an amendment and a report, over the interface, on both databases."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader
from sqlalchemy import text

from bundle_factory import by_hand, disc
from leukoscope.cells.frame import frame_cell
from leukoscope.inference.classifier import load
from leukoscope.inference.overlay import BLAST_RGB, NORMAL_RGB
from leukoscope.service.oracle import _heat
from leukoscope.service.problems import Problem
from workbench_client import PASSWORD, answered, cells_of, key, picture, put, read_all, sign


def test_a_case_is_read_signed_printed_and_amended(guest, make_case) -> None:
    case = make_case(4)
    signer = guest.as_("signer")
    found = cells_of(signer, case, sort="probability")
    frame = frame_cell(disc((250, 60, 120)), 64)
    assert found[0]["probability"] == pytest.approx(1 / (1 + 2.718281828459045 ** -by_hand(frame)[0]), abs=1e-4)
    early = signer.post(f"/api/v1/cases/{case}/signatures", json={"password": PASSWORD, "meaning": "approval"})
    assert early.status_code == 409
    assert {each["name"] for each in early.json()["checks"]} == {"read", "readers"}
    read_all(signer, case)
    wrong = signer.post(f"/api/v1/cases/{case}/signatures", json={"password": "not this one", "meaning": "approval"})
    assert wrong.status_code == 401
    signed = signer.post(f"/api/v1/cases/{case}/signatures", json={"password": PASSWORD, "meaning": "approval"})
    assert signed.status_code == 201, signed.text
    assert key(signer, case, found[0]["id"], "blast").status_code == 409
    pdf = signer.get(f"/api/v1/cases/{case}/report.pdf")
    words = " ".join(page.extract_text() for page in PdfReader(BytesIO(pdf.content)).pages)
    assert signed.json()["head"] in words.replace("\n", "")
    assert "Research use only" in words
    assert signer.get(f"/api/v1/cases/{case}/report.pdf").content == pdf.content
    assert "Normal 4" in signer.get(f"/api/v1/cases/{case}/report.html").text
    amended = signer.post(f"/api/v1/cases/{case}/amendments", json={"reason": "a cell was mistaken"})
    assert amended.json() == {"version": 2, "state": "open"}
    assert key(signer, case, found[0]["id"], "blast").status_code == 200
    assert signer.get(f"/api/v1/cases/{case}/report.json?version=1").json()["content"]["after"]["blasts"] == 0
    assert signer.get(f"/api/v1/cases/{case}/report.json").json()["content"]["after"]["blasts"] == 1
    auditor = guest.as_("auditor")
    verdict = auditor.get("/api/v1/events/verify", params={"anchor": signed.json()["head"]}).json()
    assert verdict["sound"], verdict
    assert not auditor.get("/api/v1/events/verify", params={"anchor": "ab" * 32}).json()["sound"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_words_of_a_cell_are_those_of_the_bundle(guest, make_case, settings) -> None:
    case = make_case(2)
    viewer = guest.as_("viewer")
    cell = cells_of(viewer, case)[1]
    (told,) = load(settings.bundle).predict_many([disc((245, 60, 120))], morphology=True)
    assert told.words
    for _ in range(2):  # worked out, and from memory
        assert viewer.get(f"/api/v1/cells/{cell['id']}/words").json() == {"words": told.words}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reading SET label = 'blast'", "DELETE FROM reading", "DELETE FROM event", "DELETE FROM cell",
        "UPDATE event SET at = 'now'", "UPDATE cell SET probability = 0", "DELETE FROM signature",
        "UPDATE signature SET content = '{}'", "UPDATE case_ SET state = 'open'", "DELETE FROM case_",
        "UPDATE case_ SET version = version + 1, state = 'open'", "UPDATE case_ SET readers = 2",
        "INSERT INTO withdrawal SELECT id, 1000000, reader, at FROM reading LIMIT 1", "UPDATE run_ SET error = 'x'",
        "DELETE FROM case_picture", "UPDATE case_picture SET name = 'another'",
    ],
)  # fmt: skip
def test_the_database_itself_keeps_what_was_signed(guest, make_case, statement) -> None:
    case = make_case(1)
    signer = guest.as_("signer")
    read_all(signer, case)
    assert sign(signer, case).status_code == 201
    with pytest.raises(Problem) as caught, guest.bench.database.write() as connection:
        connection.execute(text(statement))
    assert caught.value.status == 409


def test_undo_brings_back_what_stood_before_without_end(guest, make_case) -> None:
    case = make_case(1)
    reader = guest.as_("reader")
    cell = cells_of(reader, case)[0]["id"]
    events = ["00000000-0000-7000-8000-00000000000" + str(k) for k in range(3)]
    for event, label in zip(events, ("blast", "normal", "smudge"), strict=True):
        assert key(reader, case, cell, label, event).status_code == 200
    standing = [reader.delete(f"/api/v1/readings/{event}").json()["label"] for event in reversed(events)]
    assert standing == ["normal", "blast", None]
    assert reader.delete(f"/api/v1/readings/{events[0]}").json()["label"] is None  # again is no fault
    acts = reader.get(f"/api/v1/cases/{case}/readings").json()["acts"]
    assert [("withdrawn" in act) for act in acts] == [False] * 3 + [True] * 3
    assert guest.as_("reader", login="other").delete(f"/api/v1/readings/{events[0]}").status_code == 404


def test_the_same_events_again_are_stored_once_in_any_order(guest, make_case) -> None:
    case = make_case(2)
    reader = guest.as_("reader")
    one, two = (cell["id"] for cell in cells_of(reader, case))
    given = [
        {"event": f"00000000-0000-7000-8000-0000000000{k:02d}", "cell": one if k % 2 else two, "label": "normal"}
        for k in range(10)
    ]
    path = f"/api/v1/cases/{case}/readings"
    first = reader.post(path, json={"readings": given}).json()["stored"]
    again = reader.post(path, json={"readings": given[::-1]}).json()["stored"]
    assert again[::-1] == first
    other = given[0] | {"label": "blast"}
    assert reader.post(path, json={"readings": [other]}).status_code == 409
    assert len(reader.get(path).json()["acts"]) == 10


def test_an_erased_subject_leaves_a_chain_that_verifies(guest, make_case) -> None:
    case = make_case(2, subject="P 77", order_no="secret 77")
    signer, manager = guest.as_("signer"), guest.as_("manager")
    read_all(signer, case)
    sign(signer, case)
    pictures = manager.get(f"/api/v1/cases/{case}/pictures").json()["pictures"]
    assert manager.post("/api/v1/erasures", json={"subject": "P 77"}).json() == {"cases": 1, "pictures": 2}
    assert manager.get(f"/api/v1/cases/{case}").json()["subject"] == "erased"
    for each in pictures:
        assert manager.get(f"/api/v1/cases/{case}/pictures/{each['sha256']}/original").status_code == 404
    assert not [path for path in guest.bench.settings.derived.rglob("*") if path.is_file()]
    assert signer.get(f"/api/v1/cases/{case}/report.pdf").status_code == 200
    with guest.bench.database.read() as connection:
        for table in ("event", "signature", "case_", "case_picture"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                assert "77" not in " ".join(
                    str(value) for value in row if "secret" in str(value) or "P 7" in str(value)
                )
    assert guest.as_("auditor").get("/api/v1/events/verify").json()["sound"]


def test_two_readers_do_not_see_each_other_and_a_third_decides(guest, make_case) -> None:
    case = make_case(4, readers=2, blind=True)
    one, two = guest.as_("reader", login="one"), guest.as_("reader", login="two")
    cells = [cell["id"] for cell in cells_of(one, case)]
    for client, labels in (
        (one, ("blast", "normal", "normal", "blast")),
        (two, ("blast", "monocyte", "blast", "blast")),
    ):
        for cell, label in zip(cells, labels, strict=True):
            assert key(client, case, cell, label).status_code == 200
        if client is one:
            assert one.post(f"/api/v1/cases/{case}/complete", json={}).json()["state"] == "open"
            assert one.get(f"/api/v1/cases/{case}/differing").status_code == 409
    assert two.post(f"/api/v1/cases/{case}/complete", json={}).json()["state"] == "complete"
    left = one.get(f"/api/v1/cases/{case}/differing").json()["cells"]
    assert [cell["id"] for cell in left] == [cells[2]]  # normal and monocyte agree
    decision = {"cell": cells[2], "label": "blast", "reason": "nucleoli"}
    assert one.post(f"/api/v1/cases/{case}/adjudications", json=decision).status_code == 403
    third = guest.as_("signer")
    refused = sign(third, case)
    assert refused.status_code == 409
    assert third.post(f"/api/v1/cases/{case}/adjudications", json=decision).json()["left"] == 0
    signed = sign(third, case)
    assert signed.status_code == 201, signed.text
    content = third.get(f"/api/v1/cases/{case}/report.json").json()["content"]
    assert content["after"]["counts"] == {"blast": 3, "monocyte": 1}
    assert content["agreement"]["same"] == 2


def test_pictures_that_cannot_be_taken_are_answered_clearly(guest, make_case) -> None:
    case = make_case(1)
    maker = guest.as_("reader", login="maker")
    good = picture((250, 60, 120))
    assert put(maker, case, good).status_code == 200  # the case has it
    assert put(maker, case, b"").status_code == 422
    for data in (b"<html><script>x</script></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"PK\x03\x04" * 99):
        answer = put(maker, case, data)
        assert answer.status_code == 422
        assert answer.json()["remedy"]
    assert put(maker, case, b"GIF89a", kind="text/html").status_code == 415
    path = f"/api/v1/cases/{case}/pictures/"
    assert maker.put(path + "ab" * 32, content=good).status_code == 409
    assert maker.put(path + "nonsense", content=good).status_code == 422
    large = maker.put(path + "ab" * 32, content=b"x", headers={"content-length": str(65 << 20)})
    assert large.status_code == 413
    assert not list(guest.bench.store.incoming.iterdir())
    answered(maker, case)


def test_a_drawing_that_was_lost_is_drawn_again(guest, make_case) -> None:
    case = make_case(1)
    viewer = guest.as_("viewer")
    own = f"/api/v1/cells/{cells_of(viewer, case)[0]['id']}"
    before = {what: viewer.get(f"{own}/{what}").content for what in ("small.jpg", "frame.jpg", "heat.png")}
    files = [path for path in guest.bench.settings.derived.rglob("*") if path.is_file()]
    assert len(files) == 3
    files[0].unlink()
    files[1].write_bytes(b"")  # as a failing power leaves it
    assert {what: viewer.get(f"{own}/{what}").content for what in before} == before


def test_a_large_heat_map_is_drawn_small() -> None:
    fine = np.zeros((306, 306), np.float32)
    fine[30:33, 60:63] = 2.0
    fine[90, 90] = -9.0  # the mean of nine is -1
    drawn = np.asarray(Image.open(BytesIO(_heat(fine))))
    assert drawn.shape == (102, 102, 4)
    assert tuple(drawn[10, 20]) == (*BLAST_RGB, round(255 * 0.65))
    assert tuple(drawn[30, 30]) == (*NORMAL_RGB, round(255 * 0.65 / 2))
    assert np.count_nonzero(drawn[..., 3]) == 2
