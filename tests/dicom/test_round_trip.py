"""From DICOM to answers and back: equal in all fields that have a place, also by way of a real server (Orthanc)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from pydicom.uid import JPEGBaseline8Bit

from bundle_factory import make_bundle
from leukoscope.cells.read import decoded, read_picture
from leukoscope.cli import main
from leukoscope.dicom.intake import take_pictures
from leukoscope.dicom.objects import read_annotations, read_report
from leukoscope.dicom.web import DicomWeb
from leukoscope.errors import LeukoscopeError
from smears.smear import NUCLEUS, with_red_cells

from .peer import missing, orthanc
from .written import dataset, to_bytes

WITHOUT = missing()


def smear(shift: int = 0) -> np.ndarray:
    return (
        with_red_cells(60, leave=(320, 240, 60)).white(320, 240, 110, 75).disc(60 + shift, 430, 90, NUCLEUS).picture()
    )


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("dicom") / "bundle")


@cache
def sources() -> dict[str, Any]:
    """Files of two patients: of one frame, of several, and packed."""
    scale = {"PixelSpacing": [1.25e-4, 1.25e-4]}
    one = dataset(smear(), kind="microscopic", **scale)
    several = dataset(smear(3), smear(9), kind="multi-frame", **scale, PatientID="MRN-2", PatientName="Roe^Bob")
    packed = dataset(smear(), kind="photographic", syntax=JPEGBaseline8Bit)
    slide = dataset(smear(5), kind="slide coordinates", **scale)
    return {"one.dcm": one, "several": several, "packed.dcm": packed, "deep/slide.dcm": slide}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, each in sources().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(to_bytes(each))
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture(scope="module")
def answered(bundle: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pictures with names of patients, and the answers for them."""
    home = tmp_path_factory.mktemp("answered")
    done = leukoscope("dicom", "get", files, "--out", home / "pictures", "--identified")
    assert done.exit_code == 0, done.output
    assert "4 instances: 5 pictures" in done.stdout
    assert "left out, as they hold no picture: 1 .txt" in done.stderr
    done = leukoscope(
        "field",
        home / "pictures",
        "--out",
        home / "results",
        "--bundle",
        bundle,
        "--by",
        "patient",
        "--patients",
        "folder",
        "--threads",
        1,
    )
    assert done.exit_code == 0, done.output
    return home / "pictures", home / "results"


def test_pictures_keep_their_pixels_and_their_scale(files: Path, tmp_path: Path) -> None:
    taken = take_pictures([str(files)], tmp_path / "out")
    assert (taken.instances, taken.pictures, taken.earlier, taken.trouble) == (4, 5, 0, [])
    found = [read_picture(path) for path in sorted((tmp_path / "out").rglob("*.tif"))]
    direct = [decoded((files / name).read_bytes(), name=name).rgb for name in ("one.dcm", "packed.dcm")]
    wanted = [*direct, smear(3), smear(9), smear(5)]
    for rgb in wanted:
        assert sum(np.array_equal(rgb, picture.rgb) for picture in found) == 1
    scales = [picture.scale for picture in found]
    assert sum(scale is None for scale in scales) == 1
    assert all(scale is None or abs(scale.um_per_px - 0.125) < 1e-6 for scale in scales)
    again = take_pictures([str(files)], tmp_path / "out")
    assert (again.instances, again.earlier, again.pictures) == (4, 4, 0)


def test_by_default_nothing_names_the_patient(files: Path, tmp_path: Path) -> None:
    take_pictures([str(files)], tmp_path / "out")
    take_pictures([str(files)], tmp_path / "other")
    take_pictures([str(files)], tmp_path / "same", key=tmp_path / "out/pseudonym.key")
    names = {place: sorted(path.name for path in (tmp_path / place).glob("P-*")) for place in ("out", "other", "same")}
    assert len(names["out"]) == 2
    assert names["same"] == names["out"] != names["other"]
    assert (tmp_path / "out/pseudonym.key").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for word in (b"MRN-", b"Doe", b"Roe", b"20110203", b"House", b"20260102"):
            assert word not in content, path
            assert word.decode() not in path.name


def test_the_round_trip_is_equal_in_every_field_that_has_a_place(
    answered: tuple[Path, Path], bundle: Path, tmp_path: Path
) -> None:
    pictures, results = answered
    done = leukoscope("dicom", "put", pictures, results, "--to", tmp_path / "objects", "--bundle", bundle)
    assert done.exit_code == 0, done.output
    assert "5 annotations, 2 statements, 0 PDF" in done.stdout
    compare(list((tmp_path / "objects").rglob("*.dcm")), pictures, results)
    shown = leukoscope("dicom", "show", tmp_path / "objects")
    assert shown.exit_code == 0, shown.output
    told = [json.loads(line) for line in shown.stdout.splitlines()]
    assert sum(len(each.get("cells", ())) for each in told) == cells_of(results)


def cells_of(results: Path) -> int:
    return sum(len(json.loads(path.read_text())["cells"]) for path in (results / "fields").glob("*.json"))


def compare(paths: list[Path], pictures: Path, results: Path, *, machine: bool = True) -> None:
    """Objects against the answers they were made of."""
    records = {}
    for path in (results / "fields").glob("*.json"):
        record = json.loads(path.read_text())
        records[str(Path(record["path"]).relative_to(pictures))] = record
    headers = {}
    for path in (pictures / "headers").glob("*.json"):
        value = json.loads(path.read_text())
        headers[value["header"]["00080018"]["Value"][0]] = value
    found = [pydicom.dcmread(path) for path in paths]
    annotations = [each for each in found if each.Modality == "ANN"]
    assert len(annotations) == len(records)
    for each in annotations:
        reference = each.ReferencedImageSequence[0]
        header = headers[reference.ReferencedSOPInstanceUID]
        frame = int(reference.get("ReferencedFrameNumber") or 1)
        record = records[header["pictures"][frame - 1]]
        cells = read_annotations(each)
        assert [cell.number for cell in cells] == [cell["number"] for cell in record["cells"]]
        for cell, wanted in zip(cells, record["cells"], strict=True):
            assert cell.label == wanted["decision"]
            assert cell.outline.tolist() == wanted["outline"]
            for name in ("probability", "logit", "diameter_um"):
                value = wanted[name]
                assert getattr(cell, name) == (None if value is None else pytest.approx(value, rel=1e-6))
        assert each.PatientID == header["header"]["00100020"]["Value"][0]
        assert each.StudyInstanceUID == header["header"]["0020000D"]["Value"][0]
        assert each.ContentLabel == "RESEARCH_USE"
        algorithm = each.AnnotationGroupSequence[0].AnnotationGroupAlgorithmIdentificationSequence[0]
        assert each.AnnotationGroupSequence[0].AnnotationGroupGenerationType == "AUTOMATIC"
        assert algorithm.AlgorithmName == record["model"]
    told = {each["patient"]: each for each in json.loads((results / "patients.json").read_text())["patients"]}
    reports = [each for each in found if each.Modality == "SR"]
    assert {each.PatientID for each in reports} == set(told)
    for each in reports:
        wanted, report = told[each.PatientID], read_report(each)
        assert (report["maker"], report["statement"], report["words"]) == (
            "machine",
            wanted["statement"],
            wanted["words"],
        )
        for name in ("answered", "blast", "normal", "referred", "turned_down", "cells", "pictures", "unreadable"):
            assert report["figures"][name] == wanted[name]
        if wanted["share"] is not None:
            assert report["figures"]["share"] == pytest.approx(wanted["share"]["value"])
            assert report["figures"]["share_high"] == pytest.approx(wanted["share"]["high"])
        own = [uid for uid, header in headers.items() if header["header"]["00100020"]["Value"][0] == each.PatientID]
        assert report["instances"] == sorted(own)
        assert each.CompletionFlag == "COMPLETE"
        assert each.VerificationFlag == "UNVERIFIED"


def test_readers_and_the_machine_are_apart(answered: tuple[Path, Path], bundle: Path, tmp_path: Path) -> None:
    pictures, results = answered
    record = json.loads(sorted((results / "fields").glob("*.json"))[0].read_text())
    table = tmp_path / "readings.csv"
    number = record["cells"][0]["number"]
    table.write_text(f"path,cell,reader,label\n{record['path']},{number},Reader One,lymphocyte\n")
    done = leukoscope(
        "dicom", "put", pictures, results, "--to", tmp_path / "objects", "--bundle", bundle, "--readings", table
    )
    assert done.exit_code == 0, done.output
    assert "6 annotations, 3 statements" in done.stdout
    found = [pydicom.dcmread(path) for path in (tmp_path / "objects").rglob("*.dcm")]
    manual = [
        each for each in found
        if each.Modality == "ANN" and each.AnnotationGroupSequence[0].AnnotationGroupGenerationType == "MANUAL"
    ]  # fmt: skip
    assert len(manual) == 1
    (cell,) = read_annotations(manual[0])
    assert (cell.number, cell.label, cell.probability) == (number, "lymphocyte", None)
    assert cell.outline.tolist() == record["cells"][0]["outline"]
    assert "AnnotationGroupAlgorithmIdentificationSequence" not in manual[0].AnnotationGroupSequence[0]
    (report,) = [value for each in found if each.Modality == "SR" and (value := read_report(each))["maker"] == "reader"]
    assert (report["name"], report["figures"], report["statement"]) == ("Reader One", {"lymphocyte": 1.0}, None)
    assert len({each.SeriesInstanceUID for each in found if each.Modality == "SR"}) == 3
    table.write_text(f"path,cell,reader,label\n{record['path']},99,R,x\n")
    done = leukoscope(
        "dicom", "put", pictures, results, "--to", tmp_path / "x", "--bundle", bundle, "--readings", table
    )
    assert "names cell 99" in done.stderr


def test_labels_of_a_gallery_and_of_a_workbench_are_given_back(
    answered: tuple[Path, Path], bundle: Path, tmp_path: Path
) -> None:
    """A review as a gallery exports it, and the table as a workbench does: the same label at the same cell."""
    pictures, results = answered
    record = json.loads(sorted((results / "fields").glob("*.json"))[0].read_text())
    picture, number = Path(record["path"]), record["cells"][0]["number"]
    digest = sha256(picture.read_bytes()).hexdigest()
    cell = {"path": picture.name, "cell": number, "sha256": digest, "decision": "refer"}
    review = {
        "format": "leukoscope-review", "version": 1, "root": str(picture.parent), "created": "2026-01-01",
        "bundle": "b", "bundle_digest": "0" * 64, "leukoscope": "0", "cells": [
            cell | {"label": "blast"}, cell | {"cell": number + 99, "label": None, "note": "a note alone"},
        ],
    }  # fmt: skip
    (tmp_path / "leukoscope-review.json").write_text(json.dumps(review))
    header = "path,case,subject,cell,reader,label,suggestion_seen,at,final_label,final_by,decision,probability,bundle"
    line = "c,s,{id},Reader One,blast,0,2026,blast,reader,refer,,b"
    (tmp_path / "readings.csv").write_text(
        f"{header}\npictures/{digest[:20]}-{number}.png,{line}\npictures/{'0' * 20}.png,{line}\n,{line}\n"
    )
    put = ("dicom", "put", pictures, results, "--bundle", bundle, "--to")
    for name, more in (("leukoscope-review.json", ("--reader", "Reader One")), ("readings.csv", ())):
        to = tmp_path / name.partition(".")[2]
        done = leukoscope(*put, to, "--readings", tmp_path / name, *more)
        assert done.exit_code == 0, done.output
        found = [pydicom.dcmread(path) for path in to.rglob("*.dcm")]
        (given,) = [
            each for each in found
            if each.Modality == "ANN" and each.AnnotationGroupSequence[0].AnnotationGroupGenerationType == "MANUAL"
        ]  # fmt: skip
        (read,) = read_annotations(given)
        assert (read.number, read.label, read.outline.tolist()) == (number, "blast", record["cells"][0]["outline"])
        (report,) = [
            told for each in found if each.Modality == "SR" and (told := read_report(each))["maker"] == "reader"
        ]
        assert (report["name"], report["figures"]) == ("Reader One", {"blast": 1.0})
    for name, content, more, words in (
        ("leukoscope-review.json", None, (), "names no reader; say who gave the labels: --reader NAME"),
        ("readings.csv", None, ("--reader", "X"), "names its readers itself"),
        ("half.json", json.dumps(review)[:300], ("--reader", "X"), "is no review that this version reads"),
        ("none.json", json.dumps(review | {"cells": []}), ("--reader", "X"), "labels no cell"),
        ("other.json", json.dumps(review | {"cells": [cell | {"label": "blast", "sha256": "1" * 64}]}),
         ("--reader", "X"), "not those that were labelled"),
        ("strange.json", json.dumps(review | {"root": "", "cells": [cell | {"label": "blast", "path": "strange.json",
                                                                            "sha256": None}]}),
         ("--reader", "X"), "reads no cell of these pictures"),
        ("elsewhere.csv", f"{header}\npictures/{'0' * 20}.png,{line}\n", (), "reads no cell of these pictures"),
    ):  # fmt: skip
        if content is not None:
            (tmp_path / name).write_text(content)
        done = leukoscope(*put, tmp_path / "x", "--readings", tmp_path / name, *more)
        assert done.exit_code == 2, (name, done.output)
        assert words in done.stderr, (name, done.stderr)


def test_a_printed_report_of_one_patient(answered: tuple[Path, Path], bundle: Path, tmp_path: Path) -> None:
    pictures, results = answered
    content = b"%PDF-1.4\nodd length"
    (tmp_path / "report.pdf").write_bytes(content)
    put = (
        "dicom",
        "put",
        pictures,
        results,
        "--to",
        tmp_path / "o",
        "--bundle",
        bundle,
        "--pdf",
        tmp_path / "report.pdf",
    )
    assert "2 patients are here; name one with --patient" in leukoscope(*put).stderr
    done = leukoscope(*put, "--patient", "MRN-2")
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "o/MRN-2").glob("doc-*.dcm")
    made = pydicom.dcmread(path)
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == content
    assert (made.PatientName, made.MIMETypeOfEncapsulatedDocument) == ("Roe^Bob", "application/pdf")


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed (apt-get install dcmtk)")
def test_another_program_reads_our_objects(answered: tuple[Path, Path], bundle: Path, tmp_path: Path) -> None:
    pictures, results = answered
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4\n")
    done = leukoscope(
        "dicom", "put", pictures, results, "--to", tmp_path / "o", "--bundle", bundle, "--pdf", tmp_path / "report.pdf",
        "--patient", "MRN-4711",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for path in (tmp_path / "o").rglob("*.dcm"):
        dumped = subprocess.run(["dcmdump", "+E", str(path)], capture_output=True, text=True, check=True)
        assert not dumped.stderr, dumped.stderr
    (report,) = (tmp_path / "o").rglob("sr-*.dcm")
    told = subprocess.run(["dsrdump", "+Pc", str(report)], capture_output=True, text=True, check=True)
    assert not told.stderr, told.stderr
    assert "Cells judged" in told.stdout
    assert "Algorithm Name" in told.stdout
    (document,) = (tmp_path / "o").rglob("doc-*.dcm")
    subprocess.run(["dcm2pdf", str(document), str(tmp_path / "back.pdf")], check=True)
    assert (tmp_path / "back.pdf").read_bytes().startswith(b"%PDF-1.4\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if WITHOUT:
        pytest.skip(WITHOUT)
    with orthanc(tmp_path_factory.mktemp("orthanc")) as address:
        DicomWeb(address).store(list(sources().values()))
        yield address


def test_the_round_trip_by_way_of_a_server(
    server: str, answered: tuple[Path, Path], bundle: Path, tmp_path: Path
) -> None:
    pictures, results = answered
    done = leukoscope("dicom", "get", server, "--out", tmp_path / "taken", "--identified")
    assert "4 instances: 5 pictures" in done.stdout, done.output
    for path in [*pictures.rglob("*.tif"), *(pictures / "headers").iterdir()]:  # as from files
        assert (tmp_path / "taken" / path.relative_to(pictures)).read_bytes() == path.read_bytes()
    taken = tmp_path / "taken"
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4\n")
    put = ("dicom", "put", pictures, results, "--to", server, "--bundle", bundle)
    for _ in range(2):  # given twice is given once
        done = leukoscope(*put, "--patient", "MRN-4711", "--pdf", tmp_path / "report.pdf")
        assert done.exit_code == 0, done.output
        assert leukoscope(*put).exit_code == 0
    web = DicomWeb(server)
    back = tmp_path / "back"
    back.mkdir()
    found = web._client.search_for_instances(get_remaining=True)  # pictures and our objects
    assert len(found) == 4 + 5 + 2 + 1
    for number, entry in enumerate(found):
        one = web.instance(*(entry[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")))
        if one.get("Manufacturer") == "Leukoscope":
            one.save_as(back / f"{number}.dcm", enforce_file_format=True)
    compare(list(back.glob("*.dcm")), pictures, results)
    again = leukoscope("dicom", "get", server, "--out", taken, "--identified")
    assert "4 instances, 4 of an earlier run: 0 pictures" in again.stdout  # our own objects are no pictures
    one = leukoscope("dicom", "get", server, "--out", tmp_path / "bob", "--patient", "MRN-2")
    assert "1 instances: 2 pictures" in one.stdout


def test_a_server_that_refuses_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        LeukoscopeError, match=r"http://127\.0\.0\.1:9/x: does not answer .*; check that the server runs"
    ):
        take_pictures(["http://127.0.0.1:9/x"], tmp_path / "a")
    if WITHOUT:
        pytest.skip(WITHOUT)
    with orthanc(tmp_path / "locked", password="secret") as address:
        with pytest.raises(LeukoscopeError, match="answers with HTTP 401; set LEUKOSCOPE_DICOMWEB_HEADER"):
            take_pictures([address], tmp_path / "b")
        told = base64.b64encode(b"reader:secret").decode()
        monkeypatch.setenv("LEUKOSCOPE_DICOMWEB_HEADER", f"Authorization: Basic {told}")
        assert take_pictures([address], tmp_path / "c").instances == 0


def test_what_cannot_be_taken_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    whole = dataset(smear())
    (folder / "a.dcm").write_bytes(to_bytes(whole)[:-5000])
    (folder / "b.dcm").write_bytes(to_bytes(whole))
    nameless = dataset(smear(1))
    del nameless.PatientID
    (folder / "c.dcm").write_bytes(to_bytes(nameless))
    lost = dataset(smear(2))
    del lost.StudyInstanceUID
    (folder / "d.dcm").write_bytes(to_bytes(lost))
    burned = dataset(smear(3), BurnedInAnnotation="YES")
    (folder / "e.dcm").write_bytes(to_bytes(burned))
    done = leukoscope("dicom", "get", folder, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "3 instances: 3 pictures" in done.stdout
    assert "a.dcm: the pixels of the DICOM file are damaged or cut short" in done.stderr
    assert "d.dcm: the DICOM header lacks StudyInstanceUID" in done.stderr
    assert "1 instances say that writing is burned in" in done.stderr
    assert len(list((tmp_path / "out").glob("P-*"))) == 2  # one of them the study of a patient without a number
    assert "cannot be found" in leukoscope("dicom", "get", tmp_path / "nothing", "--out", tmp_path / "x").stderr
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "is no DICOM file" in leukoscope("dicom", "get", tmp_path / "a.png", "--out", tmp_path / "x").stderr
    assert "holds no pictures from DICOM" in leukoscope("dicom", "put", tmp_path, tmp_path, "--to", tmp_path).stderr
    out = tmp_path / "out"
    assert "holds no answers" in leukoscope("dicom", "put", out, tmp_path, "--to", tmp_path / "y").stderr
