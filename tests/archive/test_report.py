"""The report of an archive against counts made over all rows at once, and drift against the formula."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.archive.collect import collect
from leukoscope.archive.drift import MonthSums, added, drift_of
from leukoscope.archive.engines import run_archive
from leukoscope.archive.plan import Archive
from leukoscope.archive.report import LEAST_JUDGED, figures_of, patient_lines_of, write_report
from leukoscope.bundle.gate import EmbeddingFacts, GateFacts, LimitFacts, Packed, StainFacts
from leukoscope.inference.classifier import load

MEAN, AXIS, VARIANCE, REST = np.array([0.1, 0.05, 0.2]), np.array([[0.6, 0.8, 0.0]]), 0.04, 0.01


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gate = GateFacts(
        data="test", groups=["a"], groups_held_out=["a"], pictures=10, level=0.05, turned_down=0.0,
        limits=[LimitFacts(reason="too bright", measure="brightness", side="high", limit=200, middle=100)],
        stain=StainFacts(mean=[0.0] * 9, whitening=np.eye(9).tolist()),
        embedding=EmbeddingFacts(mean=Packed.of(MEAN), axes=Packed.of(AXIS), variances=[VARIANCE], rest=REST),
    )  # fmt: skip
    return make_bundle(tmp_path_factory.mktemp("report") / "bundle", gate=gate.model_dump(mode="json"))


@pytest.fixture(scope="module")
def archive(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(5)
    lines = ["path,patient,date"]
    for number in range(90):
        name = f"{number:03d}.png"
        if number % 30 == 29:
            (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n")
        else:
            colour = (250, 250, 250) if number % 10 == 7 else tuple(random.integers(20, 180, 3).tolist())
            Image.fromarray(disc(colour)).save(folder / name)
        lines.append(f"{name},P{number % 4},{'' if number % 9 == 8 else f'2026-0{1 + number // 30}-15'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "leukoscope", "archive", "plan", folder / "list.csv", "--out", folder / "archive"]
    subprocess.run([*map(str, command), "--bundle", str(bundle), "--part-size", "11"], check=True, capture_output=True)
    found = Archive.open(folder / "archive")
    assert run_archive(found, workers=1) == []
    return found


def test_figures_are_those_of_all_rows_at_once(archive: Archive, tmp_path: Path) -> None:
    collect(archive, tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    whose = {each.path: each for number in range(archive.planned.parts) for each in archive.listed(number)}
    figures = figures_of(archive)
    assert archive.planned.parts > 5
    assert figures.decisions == Counter(row["decision"] for row in rows)
    assert figures.decisions["unreadable"] == 3
    kept = [row for row in rows if row["gate"] == "passed"]
    assert 0 < len(kept) < 87
    for patient, counts in figures.patients.items():
        own = [row for row in rows if whose[row["path"]].patient == patient]
        assert counts.pictures == len(own)
        assert counts.unreadable == sum(row["decision"] == "unreadable" for row in own)
        assert counts.blast == sum(row["decision"] == "blast" and row in kept for row in own)
        assert counts.judged == sum(row in kept for row in own)
        assert counts.turned_down == len(own) - counts.judged - counts.unreadable
    assert sum(figures.reasons.values()) == figures.decisions["refer"]
    assert figures.reasons["too bright"] == sum(row["gate"] == "turned down" for row in rows)
    first = max((row for row in kept if row["decision"] == "blast"), key=lambda row: (row["probability"], row["path"]))
    assert (figures.looks[0].path, figures.looks[0].strongest) == (first["path"], first["probability"])
    lines = patient_lines_of(figures)
    shares = [line.share.value for line in lines if line.share is not None]
    assert shares == sorted(shares, reverse=True)
    assert all((line.share is not None) == (line.counts.judged >= LEAST_JUDGED) for line in lines)


def test_drift_is_the_distance_of_the_mean_cell(archive: Archive, bundle: Path) -> None:
    """Against a run over the same pictures at once, and the formula of the gate written out here."""
    listed = [each for number in range(archive.planned.parts) for each in archive.listed(number)]
    answers = load(bundle, threads=1).predict_many([each.item for each in listed], fields=True)
    cells: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    undated = 0
    for each, answer in zip(listed, answers, strict=True):
        if answer.embedding is None or answer.quality is None:
            continue
        if each.month is None:
            undated += 1
            continue
        cells.setdefault(each.month, []).append((answer.embedding.astype(float), answer.quality.stain))
    figures = figures_of(archive)
    drift = drift_of(figures.months, load(bundle, threads=1).bundle.facts.gate)
    assert [(each.month, each.cells) for each in drift] == [(month, len(cells[month])) for month in sorted(cells)]
    assert len(drift) == 3
    assert figures.undated == undated > 0
    for each in drift:
        mean = np.mean([embedding for embedding, _ in cells[each.month]], axis=0) - MEAN
        along = float(AXIS[0] @ mean)
        wanted = np.sqrt(along**2 / VARIANCE + (mean @ mean - along**2) / REST)
        assert each.embedding == pytest.approx(wanted, rel=1e-4)
        assert each.stain == pytest.approx(np.linalg.norm(np.mean([s for _, s in cells[each.month]], axis=0)), rel=1e-4)


def test_the_page(archive: Archive, tmp_path: Path) -> None:
    write_report(archive, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<polyline") == 2
    assert page.count("<circle") == 6
    assert "too bright" in page
    assert "2026-02" in page
    assert "Research use only" in page
    again = tmp_path / "again.html"
    write_report(archive, again)
    assert again.read_text() == page


def test_the_verb_tells_missing_parts_and_wrong_dates(archive: Archive, bundle: Path, tmp_path: Path) -> None:
    def leukoscope(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "leukoscope", "archive", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    moved = archive.rows(2).rename(tmp_path / "held")
    done = leukoscope("report", archive.folder, "--out", tmp_path / "report.html")
    moved.rename(archive.rows(2))
    assert done.returncode == 1
    assert "4 patients" in done.stdout
    assert "1 parts have no rows yet" in done.stderr
    assert "left out: run the archive again" in (tmp_path / "report.html").read_text()
    (tmp_path / "list.csv").write_text("path,date\na.png,15.1.2026\n")
    done = leukoscope("plan", tmp_path / "list.csv", "--out", tmp_path / "archive", "--bundle", bundle)
    assert "line 2: '15.1.2026' is no date; give it as 2026-01-31" in done.stderr
    assert not (tmp_path / "archive").exists()


def test_sums_of_another_size_are_refused() -> None:
    months = {"2026-01": MonthSums(1, np.zeros(3), np.zeros(9))}
    with pytest.raises(ValueError, match="another size"):
        added(months, "2026-01", MonthSums(1, np.zeros(4), np.zeros(9)))
