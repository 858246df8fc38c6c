"""The words of each page that a study or an evaluation writes; no page loads, sends or runs anything else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import cells as drawn_cells
from drawn_runs import write_run
from PIL import Image

from clustered import clustered_scores
from leukoscope.bundle.audits import AuditFacts, RuleFacts
from leukoscope.datasets.dataset import Manifest, Record
from leukoscope.datasets.leaks import audit
from leukoscope.datasets.leaks.report import write_report
from leukoscope.datasets.synthetic import render_cell
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.provenance import Provenance
from leukoscope.reports.evaluation import write_evaluation
from leukoscope.runs.recipe_row import Outcome
from leukoscope.studies.audits.shortcuts.audit import audit_shortcuts
from leukoscope.studies.audits.shortcuts.report import write_shortcuts
from leukoscope.studies.compare.cost import Counts, Timing
from leukoscope.studies.compare.report import write_comparison
from leukoscope.studies.compare.table import Cost, compare_runs
from leukoscope.studies.paper.report import write_reproduction

from .test_golden import held, leukoscope_says, page_facts, plain


def evaluation(out: Path) -> Path:
    audited = AuditFacts(
        kind="shortcuts", graph="0" * 64, data="made up", data_fingerprint="1" * 64, patients="unseen", left_out=[],
        left_out_pictures=0, cells=20, blasts=10, groups=["a", "b"], date="2026-01-01", version="0", machine="here",
        seed=0, rules=[RuleFacts(key="size", asked="Nothing.", found="0.5", outcome="fails")],
        figures={"auc": Estimate(0.5)},
    )  # fmt: skip
    scores = clustered_scores(mixed_groups=2)
    made = Provenance(
        protocol="group", data="made up", fingerprint="2" * 64, fold=1, seed=3, model="a <model>",
        trained_on=("t1", "t2"), machine="here", shortened="epochs=2 (recipe: 50)", caveats="Small.",
        warning="Look out.", probabilities="Not calibrated.", refer="It aims at 1 %.", gate="Not checked.",
        subjects="Withheld.", unreadable=2, audits=(audited.model_dump(mode="json"),),
        audit_pages={"shortcuts": "shortcuts.html"},
    )  # fmt: skip
    return write_evaluation(evaluate(scores, made, threshold=0.5, refer_from=0.2, replicates=200), scores, out)


def comparison(out: Path) -> Path:
    runs = [
        Outcome.given(write_run(out / "runs" / f"{model}{fold}", drawn_cells(), model=model, fold=fold, skill=skill))
        for model, skill in (("plain_cnn", 0.6), ("crse_cnn", 1.2))
        for fold in range(3)
    ]
    counts = Counts(1000, 2_000_000, 3000, 5_000_000, 64)
    costs = {
        name: Cost(counts, {1: 50.0, 32: 99.0}, (Timing(name, "onnxruntime", 1, 1, ms, ms / 2, ms * 2, ms, 5),))
        for name, ms in (("plain_cnn", 5.0), ("crse_cnn", 9.0))
    }
    faults = {"rival": "no such network"}
    found = compare_runs(runs, costs=costs, faults=faults, replicates=200, context={"command": "compare <b>"})
    return write_comparison(found, out / "comparison")


def shortcuts(out: Path) -> Path:
    rng = np.random.default_rng(2)
    label, group = np.repeat([1, 0], 60), np.arange(120) // 10
    size = label + rng.normal(0, 0.7, 120)
    answers = {"plain": size, "size normalised": 0.01 * rng.normal(size=120), "background only": np.zeros(120)}
    found = audit_shortcuts(answers, 100 + 10 * size, label, group, black=True, replicates=200)
    frame = render_cell(1, "blast", size=200)
    return write_shortcuts(found, out, [("blast, plain", frame), ("normal, plain", render_cell(2, "normal", size=200))])


def leaks(out: Path) -> Path:
    frames = {f"{seed}.png": render_cell(seed, "blast") for seed in range(3)}
    frames["again.png"] = np.ascontiguousarray(frames["0.png"][::-1])
    for name, frame in frames.items():
        (out / "pictures").mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(out / "pictures" / name)
    records = [
        Record(name, 1, subject, subject, fold=None, source="made", field=name)
        for subject, name in zip("aabc", frames, strict=True)
    ]
    write_report(audit(Manifest(out / "pictures", tuple(records), "made"), work_folder=out / "work"), out)
    return out / "audit.html"


def paper(out: Path) -> Path:
    figure = {"value": 0.9, "low": 0.85, "high": 0.93}
    metrics = dict.fromkeys(
        ("accuracy", "auc", "precision_blast", "sensitivity", "specificity", "f1_blast", "f1_weighted"), figure
    )
    ruling = {"verdict": "holds", "reason": None, "reproduced": "0.900", "figure": figure, "shortened": "epochs=2"}
    unsettled = {**ruling, "verdict": "cannot be checked", "reason": "no cell", "figure": None, "shortened": None}
    row = {"model": "crse_cnn", "pictures": 100, "shortened": None, "metrics": metrics}
    value = {
        "leukoscope": "0", "machine": "here", "data": "made", "fingerprint": "3" * 64, "pictures": 100, "groups": 9,
        "notes": ["A note."], "shortened": "epochs=2 (recipe: 50)", "rule": "The rule.",
        "plan": {"recipe": "paper", "models": ["crse_cnn"], "folds": 3, "epochs": 2, "limit": None, "seed": 0,
                 "overrides": ["a=b"], "weights": None},
        "arms": [{"key": "stated", "title": "As stated", "protocol": "picture"}],
        "figures": [{**row, "arm": "stated", "groups": 9, "folds": [0, 1], "of_folds": 3, "naive": metrics},
                    {"arm": "stated", "model": "rival", "missing": "not trained"}],
        "worth": [{"sentence": "It was worth 0.1.", "shortened": None}],
        "claims": [{"id": "a", "claim": "It is good.", "place": "Table 1", "claimed": "0.95", "model": "crse_cnn",
                    "stated": ruling, "new_patients": unsettled}],
        "across": [{**row, "trained_on": "made", "tested_on": "other"}],
        "combined": [],
    }  # fmt: skip
    return write_reproduction(value, out)


def gallery(out: Path) -> Path:
    leukoscope_says("demo", "--out", out / "demo")
    return out / "demo" / "report.html"


def fields(out: Path) -> Path:
    (out / "pictures").mkdir(parents=True)
    Image.fromarray(render_cell(1, "blast")).save(out / "pictures" / "one.png")
    leukoscope_says("field", out / "pictures", "--out", out / "fields", "--by", "patient", "--threads", 1)
    return out / "fields" / "report.html"


STUDIES = (evaluation, comparison, shortcuts, leaks, paper)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {make.__name__: make(folder / make.__name__) for make in (*STUDIES, gallery, fields)}


@pytest.mark.parametrize("make", STUDIES, ids=lambda make: make.__name__)
def test_words_of_a_page(make: Callable[[Path], Path], pages: dict[str, Path]) -> None:
    path = pages[make.__name__]
    words = re.sub(r"(?<=Machine\n).*", "MACHINE", plain(page_facts(path), path.parent))
    held(f"page_{make.__name__}.txt", words)


@pytest.mark.parametrize("make", [*STUDIES, gallery, fields], ids=lambda make: make.__name__)
def test_a_page_loads_sends_and_runs_nothing_else(make: Callable[[Path], Path], pages: dict[str, Path]) -> None:
    text = pages[make.__name__].read_text(encoding="utf-8")
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    rules = {name: values for name, *values in (part.split() for part in policy.split(";"))}
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]
    digests = [hashlib.sha256(code.encode()).digest() for code in re.findall(r"(?s)<script>(.*?)</script>", text)]
    assert rules.get("script-src", []) == [f"'sha256-{base64.b64encode(each).decode()}'" for each in digests]
    assert text.count("<script") == len(digests) == (make in (evaluation, gallery, fields))
    assert text.index("Content-Security-Policy") < text.index("<style") < text.index("<body")
    assert not re.search(r"(?i)<[^>]*\s(on[a-z]+=|src=\"?(https?:)?//|href=\"?(https?:)?//|srcset=)", text)
    beside = make in (gallery, fields)
    assert rules["img-src"] == (["'self'", "file:"] if beside else ["data:"])
    drawn = re.findall(r'<img[^>]* src="([^"]*)"', text)
    assert all((pages[make.__name__].parent / each).is_file() if beside else each.startswith("data:") for each in drawn)
