"""Slides and fields in the viewer: tiles against the picture itself, a slide's way into a case, what is broken."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import text

pytest.importorskip("openslide", reason="the extra `slides` is not installed")

from bundle_factory import make_bundle
from leukoscope.bundle.seal import sealed
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import load
from leukoscope.service import answers, tiles
from leukoscope.service.casework.jobs import Job
from leukoscope.service.casework.slides import ask_again, take_slide
from leukoscope.service.settings import Limits, ServiceSettings
from leukoscope.slides.results import read_slide
from slides import painted
from workbench_client import answered, cells_of, put, read_all, sign, work

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of slides: the painted one, and what `leukoscope slide` wrote of it in `results/one`."""
    folder = tmp_path_factory.mktemp("slides")
    bundle = make_bundle(folder / "bundle")
    path = painted.tiled(folder / "slide.tif")
    read_slide(path, folder / "results" / "one", load(bundle), ReadOptions(), window=painted.WINDOW)
    return folder


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None, bundle: Path, read: Path) -> ServiceSettings:
    limits = Limits(requests_per_second=1e6)
    return ServiceSettings(
        data=tmp_path / "workbench", database=database_url, bundle=bundle, limits=limits, slides=read
    )


def rgb_of(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def new_case(client: Any, **protocol: object) -> str:
    return str(client.post("/api/v1/cases", json={"order_no": "S", "subject": "P", **protocol}).json()["id"])


def with_slide(client: Any, **protocol: object) -> tuple[str, str]:
    """A case with the slide; its identifier, and the slide's digest."""
    case = new_case(client, **protocol)
    done = work(client, client.post(f"/api/v1/cases/{case}/slides", json={"name": "results/one"}))
    return case, str(done["picture"])


def test_a_slide_becomes_part_of_a_case_and_goes_all_the_way(guest, read) -> None:
    """On both databases: its cells are those of `leukoscope slide`, read, signed, asked again and handed out."""
    signer = guest.as_("signer", "manager")
    (listed,) = signer.get("/api/v1/slides").json()["slides"]
    expected = [json.loads(line) for line in (read / "results/one/cells.jsonl").read_text().splitlines()]
    assert (listed["name"], listed["cells"], listed["refused"]) == ("results/one", len(expected), None)
    case, picture = with_slide(signer, target=1)
    assert picture == sha256((read / "slide.tif").read_bytes()).hexdigest()
    found = cells_of(signer, case)
    expected = [cell | {"gate": cell["gate"] or "not checked"} for cell in expected]
    for name in ("number", "box", "decision", "probability", "gate", "reason"):
        assert [cell[name] for cell in found] == [cell[name] for cell in expected], name
    about = signer.get(f"/api/v1/cases/{case}").json()
    assert (about["pictures"], about["waiting"], about["failed"], about["cells"]) == (1, 0, 0, len(expected))
    work(signer, signer.post(f"/api/v1/cases/{case}/slides", json={"name": "results/one"}))  # twice is once
    assert len(cells_of(signer, case)) == len(expected)
    told = signer.get(f"/api/v1/cases/{case}/pictures/{picture}/map").json()
    assert (told["width"], told["height"]) == (painted.WIDTH, painted.HEIGHT)
    assert told["um_per_px"] == pytest.approx(painted.UM)
    assert {window[4] for window in told["windows"]} == {"empty", "monolayer", "thick"}
    original = signer.get(f"/api/v1/cases/{case}/pictures/{picture}/original")
    assert (original.status_code, original.json()["detail"]) == (409, "a slide stays where it is")
    read_all(signer, case, "blast")
    assert sign(signer, case).status_code == 201
    pdf = signer.get(f"/api/v1/cases/{case}/report.pdf")
    assert pdf.status_code == 200
    export = work(signer, signer.post("/api/v1/exports", json={}))
    asked = sum(cell["logit"] is not None for cell in expected)
    assert 0 < export["cells"] == asked
    late = signer.post(f"/api/v1/cases/{case}/slides", json={"name": "results/one"})
    assert (late.status_code, late.json()["detail"]) == (409, "the case is not open")


@ONE
def test_tiles_are_the_pixels_of_the_slide_at_every_zoom(guest) -> None:
    reader = guest.as_("reader")
    case, picture = with_slide(reader)
    own = f"/api/v1/cases/{case}/pictures/{picture}"
    zooms = reader.get(f"{own}/map").json()["zooms"]
    assert zooms == 5  # 512, 1024, 2048, 4096, 8192 hold 5120
    whole = painted.painted()
    for z in range(zooms):
        scale = 2 ** (zooms - 1 - z)
        side = 512 * scale
        for x, y in {(0, 0), (painted.WIDTH // side, painted.HEIGHT // side - 1), (min(1, 5120 // side - 1), 0)}:
            if x < 0 or y < 0:
                continue
            answer = reader.get(f"{own}/tiles/{z}/{x}/{y}")
            if x * side >= painted.WIDTH or y * side >= painted.HEIGHT:
                assert answer.status_code == 404
                continue
            assert answer.headers["content-type"] == "image/jpeg"
            part = whole[y * side : (y + 1) * side, x * side : (x + 1) * side]
            size = (round(part.shape[1] / scale), round(part.shape[0] / scale))
            expected = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            got = rgb_of(answer.content)
            assert got.shape == expected.shape, (z, x, y)
            off = [np.abs(np.roll(got, by, axis).astype(int) - expected).mean() for by in (0, 2, -2) for axis in (0, 1)]
            assert off[0] < 6, (z, x, y)  # JPEG of JPEG
            if expected.std() > 10:  # where anything is to be seen, it lies where it belongs
                assert off[0] < 0.8 * min(off[2:]), (z, x, y)
    for z, x, y in ((zooms, 0, 0), (0, 1, 0), (4, 10, 0), (4, 0, 4)):
        assert reader.get(f"{own}/tiles/{z}/{x}/{y}").status_code == 404
    assert reader.get(f"{own}/tiles/-1/0/0").status_code == 422
    assert reader.get(f"/api/v1/cases/{new_case(reader)}/pictures/{picture}/tiles/0/0/0").status_code == 404


@ONE
def test_tiles_of_a_field_are_its_pixels(guest) -> None:
    reader = guest.as_("reader")
    case = new_case(reader, um_per_px=painted.UM)
    field = np.ascontiguousarray(painted.painted()[100:1400, 1100:2500])
    file = BytesIO()
    Image.fromarray(field).save(file, "PNG")
    assert put(reader, case, file.getvalue(), "field.png").status_code == 201
    answered(reader, case)
    own = f"/api/v1/cases/{case}/pictures/{sha256(file.getvalue()).hexdigest()}"
    told = reader.get(f"{own}/map").json()
    assert (told["width"], told["height"], told["zooms"], told["windows"]) == (1400, 1300, 3, [])
    assert told["um_per_px"] == pytest.approx(painted.UM)
    got = rgb_of(reader.get(f"{own}/tiles/2/2/1").content)
    assert np.abs(got.astype(int) - field[512:1024, 1024:1400]).mean() < 3
    small = rgb_of(reader.get(f"{own}/tiles/0/0/0").content)
    assert np.abs(small.astype(int) - cv2.resize(field, (350, 325), interpolation=cv2.INTER_AREA)).mean() < 3


@ONE
def test_cells_of_a_slide_are_drawn_when_they_are_asked_for(guest) -> None:
    reader = guest.as_("reader")
    case, picture = with_slide(reader)
    cell = next(cell for cell in cells_of(reader, case) if cell["asked"])
    own = f"/api/v1/cells/{cell['id']}"
    x, y, w, h = cell["box"]
    side = round(1.35 * max(w, h))
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    expected = cv2.resize(painted.painted()[top : top + side, left : left + side], (170, 170))
    small = rgb_of(reader.get(f"{own}/small.jpg").content)
    assert np.abs(small.astype(int) - expected).mean() < 6
    assert reader.get(f"{own}/heat.png").headers["content-type"] == "image/png"
    assert reader.get(f"{own}/frame.jpg").status_code == 200
    again = ask_again(guest.bench, run_of(guest, picture), str(guest.bench.settings.bundle), {cell["number"]})
    assert again[cell["number"]][0].probability == pytest.approx(cell["probability"], abs=1e-6)
    assert again[cell["number"]][0].box == tuple(cell["box"])


def run_of(guest: Any, picture: str) -> str:
    with guest.bench.database.read() as connection:
        return str(connection.scalar(text("SELECT id FROM run_ WHERE picture = :p"), {"p": picture}))


@ONE
def test_a_blind_reader_gets_tiles_and_no_suggestion(guest) -> None:
    reader = guest.as_("reader")
    case, picture = with_slide(reader, blind=True)
    own = f"/api/v1/cases/{case}/pictures/{picture}"
    told = reader.get(f"{own}/map")
    assert reader.get(f"{own}/tiles/0/0/0").status_code == 200
    for words in (told.text, reader.get("/api/v1/slides").text, json.dumps(cells_of(reader, case))):
        assert not any(f'"{word}"' in words for word in ("decision", "probability", "logit", "gate", "reason"))
    cell = cells_of(reader, case)[0]["id"]
    assert reader.get(f"/api/v1/cells/{cell}/heat.png").status_code == 403


@ONE
def test_a_stopped_taking_goes_on_and_cells_come_once(guest, monkeypatch) -> None:
    reader = guest.as_("reader", login="reader")
    case = new_case(reader)
    job = Job("11111111-1111-7111-8111-111111111111", "slide", case, "one", {"name": "results/one"}, 1, "tests")
    monkeypatch.setattr("leukoscope.service.casework.slides._AT_ONCE", 3)
    real = guest.bench.say

    def stops(job_id: str, words: str, done: int = 0, of: int = 0) -> None:
        real(job_id, words, done, of)
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(guest.bench, "say", stops)
    with pytest.raises(KeyboardInterrupt):
        take_slide(guest.bench, job)
    assert len(cells_of(reader, case)) == 3
    monkeypatch.setattr(guest.bench, "say", real)
    done = take_slide(guest.bench, job)
    assert [cell["number"] for cell in cells_of(reader, case)] == list(range(1, done["cells"] + 1))
    with guest.bench.database.read() as connection:
        ended = connection.scalar(text("SELECT count(*) FROM event WHERE action = 'run.finished'"))
    assert ended == 1


BROKEN = {
    "the slide was moved": "not where it was",
    "the slide was changed": "changed since",
    "another bundle": "another bundle",
    "not to its end": "not read to its end",
    "damaged": "are damaged",
    "outside": "does not lie in the folder",
    "too many": "more than",
}


@ONE
@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_become_part_of_a_case_is_told(guest, read, tmp_path, what) -> None:
    home = tmp_path / "slides"
    shutil.copytree(read, home, copy_function=shutil.copy2)
    guest.bench.settings = type(guest.bench.settings)(
        **{name: getattr(guest.bench.settings, name) for name in ("data", "bundle", "limits")}, slides=home
    )
    folder, slide = home / "results/one", home / "slide.tif"
    settings = json.loads((folder / "leukoscope-slide.json").read_text())
    settings["slide"] = str(read / "slide.tif" if what == "outside" else slide)
    (folder / "leukoscope-slide.json").write_text(json.dumps(settings))
    facts = json.loads((folder / "slide.json").read_text())
    if what == "the slide was moved":
        slide.rename(home / "other.tif")
    elif what == "the slide was changed":
        os.utime(slide, ns=(1, 1))
    elif what == "another bundle":
        (folder / "slide.json").write_bytes(sealed(facts | {"bundle": "0" * 64})[0])
    elif what == "not to its end":
        (folder / "slide.json").unlink()
    elif what == "damaged":
        (folder / "slide.json").write_text("{")
    elif what == "too many":
        (folder / "slide.json").write_bytes(sealed(facts | {"decisions": {"blast": 100_001}})[0])
    reader = guest.as_("reader")
    (listed,) = reader.get("/api/v1/slides").json()["slides"]
    assert BROKEN[what] in listed["refused"]
    answer = reader.post(f"/api/v1/cases/{new_case(reader)}/slides", json={"name": "results/one"})
    assert answer.status_code in (409, 422)
    assert BROKEN[what] in answer.json()["detail"]
    for name in ("../one", "/etc", "results/../../..", "results"):
        stranger = reader.post(f"/api/v1/cases/{new_case(reader)}/slides", json={"name": name})
        assert stranger.status_code == 404, name


@ONE
def test_a_slide_that_vanished_or_is_damaged_under_the_viewer_is_told(guest, read, tmp_path) -> None:
    home = tmp_path / "slides"
    shutil.copytree(read, home, copy_function=shutil.copy2)
    folder, slide = home / "results/one", home / "slide.tif"
    settings = json.loads((folder / "leukoscope-slide.json").read_text())
    (folder / "leukoscope-slide.json").write_text(json.dumps(settings | {"slide": str(slide)}))
    guest.bench.settings = type(guest.bench.settings)(
        **{name: getattr(guest.bench.settings, name) for name in ("data", "bundle", "limits")}, slides=home
    )
    reader = guest.as_("reader", "manager")
    case, picture = with_slide(reader)
    own = f"/api/v1/cases/{case}/pictures/{picture}"
    assert reader.get(f"{own}/tiles/0/0/0").status_code == 200
    status = slide.stat()
    with slide.open("r+b") as file:  # the tiles of the full level come first
        file.seek(2000)
        file.write(bytes(400_000))
    os.utime(slide, ns=(status.st_atime_ns, status.st_mtime_ns))
    codes = {reader.get(f"{own}/tiles/4/{x}/0").status_code for x in range(10)}
    assert 422 in codes
    assert codes <= {200, 422}
    assert reader.get(f"{own}/tiles/0/0/0").status_code == 200  # the others are read all the same
    slide.unlink()
    gone = reader.get(f"{own}/tiles/0/0/0")
    assert (gone.status_code, gone.json()["detail"]) == (409, "the slide is not where it was")
    cell = cells_of(reader, case)[0]["id"]
    assert reader.get(f"/api/v1/cells/{cell}/small.jpg").status_code == 409
    erased = reader.post("/api/v1/erasures", json={"subject": "P"})
    assert erased.status_code == 200
    assert reader.get(f"{own}/tiles/0/0/0").status_code == 404
    with guest.bench.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM slide")) == 0


def test_where_levels_are_missing_the_thumbnail_does(tmp_path) -> None:
    """A slide of one level: a coarse tile would read all of it, which is not done."""
    path = painted.tiled(tmp_path / "flat.tif", count=1)
    thumbnail = tmp_path / "thumbnail.jpg"
    cv2.imwrite(str(thumbnail), cv2.resize(painted.painted(), (1400, 560))[..., ::-1])
    shown = answers.Shown(str(path), slide=True, thumbnail=str(thumbnail))
    tiles._MOST, most = 1 << 20, tiles._MOST
    try:
        got = rgb_of(tiles.drawn_tile(shown, 0, 0, 0, 10**8))
        expected = cv2.resize(painted.painted(), (320, 128), interpolation=cv2.INTER_AREA)
        assert got.shape == expected.shape
        assert np.abs(got.astype(int) - expected).mean() < 8
        near = rgb_of(tiles.drawn_tile(shown, 4, 3, 1, 10**8))
        assert np.abs(near.astype(int) - painted.painted()[512:1024, 1536:2048]).mean() < 4
    finally:
        tiles._MOST = most


def test_what_is_open_at_once_is_bounded(tmp_path) -> None:
    one = painted.tiled(tmp_path / "0.tif", count=1)
    paths = [one, *(shutil.copy(one, tmp_path / f"{number}.tif") for number in range(1, 7))]
    for path in paths:
        tiles.drawn_tile(answers.Shown(str(path), slide=True), 4, 0, 0, 10**8)
    assert [Path(shown.path).name for shown in tiles._open_slides] == ["3.tif", "4.tif", "5.tif", "6.tif"]
    Image.fromarray(painted.painted()[:900, :900]).save(tmp_path / "field.png")
    tiles._FIELD_BYTES, bound = 7_000_000, tiles._FIELD_BYTES
    try:
        for number in range(4):
            shutil.copy(tmp_path / "field.png", tmp_path / f"f{number}.png")
            tiles.drawn_tile(answers.Shown(str(tmp_path / f"f{number}.png")), 0, 0, 0, 10**8)
        assert [Path(shown.path).name for shown in tiles._open_fields] == ["f2.png", "f3.png"]
        with pytest.raises(Exception, match="pixels"):
            tiles.drawn_tile(answers.Shown(str(tmp_path / "field.png")), 0, 0, 0, 1000)
    finally:
        tiles._FIELD_BYTES = bound
        for slide in tiles._open_slides.values():
            slide.close()
        tiles._open_slides.clear()
        tiles._open_fields.clear()
