"""What users get, held to the letter: answers, rows, pages' facts, a small run, and the help of each verb.

Written from the code before its rooms were drawn anew. To accept a wanted change, remake the files and read the
difference before it is committed:

    LEUKOSCOPE_GOLDEN=write pytest tests/golden
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

import leukoscope
from leukoscope.bundle.read import PACKAGED, default_bundle
from leukoscope.cli import main
from leukoscope.datasets.synthetic import write_synthetic
from smears.smear import with_red_cells

FILES = Path(__file__).parent / "files"
_TIMES = re.compile(r"\d+(\.\d+)? (ms|s|min|minutes|seconds)\b|\d+ ?(?:pictures|cells|fields)/s")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NOISE = 3e-4  # one thread or two move an ECE of a small run by 4e-5; a learning rate of 1e-3 must still be told
_DAY = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d UTC)?")
# A digest after a field's name may be digits alone; elsewhere a letter tells a digest from a long number.
_DIGEST = re.compile(r"(?<=-field-)[0-9a-f]{10}\b|\b(?=[0-9]*[a-f])[0-9a-f]{10,64}\b")


def leukoscope_says(*arguments: object) -> str:
    """The output of a verb that ends well."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], terminal_width=120)
    assert result.exit_code == 0, result.output
    return result.output


def held(name: str, text: str) -> None:
    """Compare ``text`` with the file of that name; write it where asked to.

    Words and whole numbers are compared to the letter; a fraction may be off by one unit of its last place, or by what
    another processor's order of sums makes of a logit (1e-4 is what its graph promises).
    """
    file = FILES / name
    if os.environ.get("LEUKOSCOPE_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    wanted = file.read_text(encoding="utf-8")
    if text == wanted:
        return
    assert _NUMBER.sub("N", text) == _NUMBER.sub("N", wanted), f"{name} is not as it was"
    for got, was in zip(_NUMBER.findall(text), _NUMBER.findall(wanted), strict=True):
        places = len(was.partition(".")[2])
        near = places and abs(float(got) - float(was)) <= max(1.01 * 10**-places, 1e-4)
        assert got == was or near, f"{name}: {got} was {was}"


def held_numbers(name: str, value: Any, tolerance: float) -> None:
    """Compare JSON: structure and words to the letter, numbers that training made within ``tolerance``."""
    file = FILES / name
    if os.environ.get("LEUKOSCOPE_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        try:
            _alike(value, json.loads(file.read_text(encoding="utf-8")), tolerance, "")
        except (OSError, AssertionError):  # last bits alone are no difference to read
            file.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _alike(value, json.loads(file.read_text(encoding="utf-8")), tolerance, "")


def _alike(got: Any, wanted: Any, tolerance: float, where: str) -> None:
    if isinstance(wanted, dict):
        assert isinstance(got, dict)
        assert sorted(got) == sorted(wanted), where
        for key in wanted:
            _alike(got[key], wanted[key], tolerance, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(got) == len(wanted), where
        for at, (a, b) in enumerate(zip(got, wanted, strict=True)):
            _alike(a, b, tolerance, f"{where}[{at}]")
    elif isinstance(wanted, float) and isinstance(got, int | float):
        assert got == pytest.approx(wanted, rel=tolerance, abs=_NOISE), where
    else:
        assert got == wanted, where


def plain(text: str, *folders: Path) -> str:
    """Text without what differs from day to day: folders, times, digests, versions."""
    text = text.replace(str(default_bundle().parent), "PACKAGE")
    for folder in folders:
        text = text.replace(str(folder), "FOLDER")
    text = _DIGEST.sub("DIGEST", _TIMES.sub("TIME", _DAY.sub("DAY", text)))
    return text.replace(leukoscope.__version__, "VERSION")


def rows(text: str) -> str:
    """JSON lines without times."""
    values = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for value in values:
        for key in ("ms", "seconds"):
            value.pop(key, None)
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values) + "\n"


def page_facts(path: Path) -> str:
    """The words and numbers of a page, without markup, style, script and pictures."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(?s)<(style|script|svg)\b.*?</\1>", " ", text)
    text = html.unescape(re.sub(r"<[^>]*>", "\n", text))
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()) + "\n"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    leukoscope_says("demo", "--out", folder / "demo")
    return folder / "demo"


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden-fields")
    for seed in range(2):
        smear = with_red_cells(42, leave=(320, 240, 60)).white(320, 240, 84, 60 + 8 * seed)
        Image.fromarray(smear.picture(seed=seed)).save(folder / f"p{seed}-field.png")
    return folder


def csv_without_times(text: str) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    at = lines[0].index("ms") if "ms" in lines[0] else None
    return "\n".join(",".join(v for i, v in enumerate(line) if i != at) for line in lines) + "\n"


def test_demo_page(cells: Path) -> None:
    held("demo_page.txt", plain(page_facts(cells / "report.html"), cells))


@pytest.mark.parametrize("kind", ["table", "jsonl", "csv"])
def test_predict(kind: str, cells: Path, fields: Path) -> None:
    for name, folder in (("cells", cells / "pictures"), ("fields", fields)):
        text = leukoscope_says("predict", folder, "--format", kind, "--threads", 1)
        clean = {"table": str, "jsonl": rows, "csv": csv_without_times}[kind](text)
        held(f"predict_{name}.{kind}", plain(clean.replace(str(folder), "FOLDER")))


def test_predict_page_of_fields(fields: Path, tmp_path: Path) -> None:
    leukoscope_says("predict", fields, "--format", "html", "--out", tmp_path / "page", "--threads", 1)
    (page,) = (tmp_path / "page").glob("*.html")
    held("predict_fields_page.txt", plain(page_facts(page), fields, tmp_path))


def test_statements(cells: Path) -> None:
    table = cells.parent / "patients.csv"
    names = sorted(path.name for path in (cells / "pictures").glob("*.png"))
    table.write_text("path,subject\n" + "".join(f"demo/pictures/{n},{'A' if 'blast' in n else 'B'}\n" for n in names))
    told = leukoscope_says(
        "predict", cells / "pictures", "--by", "subject", "--subjects-from", table, "--format", "jsonl"
    )
    held("statements.jsonl", plain(told, cells))


def test_fields(fields: Path, tmp_path: Path) -> None:
    leukoscope_says("field", fields, "--out", tmp_path / "out", "--by", "patient", "--threads", 1)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    held("fields_files.txt", plain("\n".join(names) + "\n"))
    for name in names:
        if name.endswith((".csv", ".geojson", "patients.json", "coco.json")):
            text = (tmp_path / "out" / name).read_text(encoding="utf-8")
            held(f"field_{plain(Path(name).name)}", plain(text, fields, tmp_path))
    held("fields_page.txt", plain(page_facts(tmp_path / "out" / "report.html"), fields, tmp_path))


def test_default_bundle_answers_as_it_did(cells: Path) -> None:
    classifier = leukoscope.load()
    answers = classifier.predict(sorted((cells / "pictures").glob("*-like-*.png")))
    held("default_logits.txt", "".join(f"{each.logit:.7f}\n" for each in answers))


def test_packaged_bundles_are_unchanged() -> None:
    package = Path(leukoscope.__file__).parent
    graphs = sorted(package.rglob("model.onnx"))
    assert [graph.parent.name for graph in graphs] == list(PACKAGED)
    files = [file for graph in graphs for file in (graph, graph.with_name("bundle.json"))]
    held("default_files.txt", "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.parent.name}/{file.name}\n" for file in files
    ))  # fmt: skip


@pytest.mark.data
def test_real_cells(real_data: Path) -> None:
    names = sorted((real_data / "cnmc2019").rglob("UID_*.webp"))[::360]
    if not names:
        pytest.skip(f"no cells of C-NMC 2019 found under {real_data / 'cnmc2019'}")
    answers = leukoscope.load().predict(names)
    told = [
        [hashlib.sha256(n.name.encode()).hexdigest()[:8], f"{a.logit:.7f}", a.decision]
        for n, a in zip(names, answers, strict=True)
    ]
    held("real_cells.txt", "".join(" ".join(each) + "\n" for each in told))


def test_a_small_run(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "cells", count=60, seed=1, layout="cnmc", subjects=12)
    run = tmp_path / "run"
    settings = ("input.size=32", "split.folds=3", "optimizer.learning_rate=1e-3", "precision=fp32")
    leukoscope_says(
        "train", "--data", tmp_path / "cells", "--out", run, "--cache", tmp_path / "cache", "--model", "plain_cnn",
        "--device", "cpu", "--epochs", 2, *(part for each in settings for part in ("--set", each)),
    )  # fmt: skip
    for name, file in (("metrics", run / "evaluation" / "metrics.json"), ("bundle", run / "bundle" / "bundle.json")):
        held_numbers(f"run_{name}.json", _without_days(json.loads(file.read_text(encoding="utf-8"))), 1e-3)
    card = plain((run / "bundle" / "README.md").read_text(encoding="utf-8"), tmp_path)
    held("run_card.md", re.sub(r"(?m)^- Machine: .*$", "- Machine: MACHINE", card))


def _without_days(value: Any) -> Any:
    """JSON without dates, times, versions, digests, machines and commands."""
    left_out = {
        "created",
        "date",
        "minutes",
        "seconds",
        "machine",
        "versions",
        "software",
        "command",
        "sha256",
        "digest",
        "cache",
    }
    if isinstance(value, dict):
        return {k: _without_days(v) for k, v in value.items() if k not in left_out}
    if isinstance(value, list):
        return [_without_days(each) for each in value]
    if isinstance(value, str) and len(value) > 400:
        return f"{len(value)} characters"  # numbers in base64: their last bits are the machine's
    return _DIGEST.sub("DIGEST", value) if isinstance(value, str) else value


_HELP = """
import json, sys
from click.testing import CliRunner
from leukoscope.cli import main
ask = lambda verb: CliRunner().invoke(main, [*verb, "--help"], terminal_width=120).output
print(json.dumps([ask(verb) for verb in json.loads(sys.argv[1])]))
"""


def helps(verbs: list[list[str]]) -> list[str]:
    """Help of verbs in a fresh interpreter: click keeps a verb's help option as it was first asked, by any test."""
    done = subprocess.run(
        [sys.executable, "-c", _HELP, json.dumps(verbs)], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    return list(json.loads(done.stdout))


def inner(text: str) -> list[str]:
    return re.findall(r"(?m)^  ([a-z][a-z-]*)\b", text.partition("Commands:\n")[2])


def test_help_of_every_verb() -> None:
    (top,) = helps([[]])
    verbs = inner(top)
    assert {"predict", "train"} <= set(verbs)
    parts = [top]
    for verb, text in zip(verbs, helps([[verb] for verb in verbs]), strict=True):
        parts.append(f"$ leukoscope {verb} --help\n{text}")
        below = inner(text)
        for name, told in zip(below, helps([[verb, name] for name in below]) if below else [], strict=True):
            parts.append(f"$ leukoscope {verb} {name} --help\n{told}")
    held("help.txt", "\n".join(parts))
