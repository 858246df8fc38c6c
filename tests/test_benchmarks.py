"""The scripts of `benchmarks/` start, and those that need no data run; what they share is tested by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.synthetic import write_synthetic
from leukoscope.metrics.scores import Scores

HOME = Path(__file__).parents[1]
FOLDER = HOME / "benchmarks"
SCRIPTS = [path for path in sorted(FOLDER.glob("*.py")) if 'if __name__ == "__main__":' in path.read_text("utf-8")]
# One process for all: each would import PyTorch, which takes longer than all the rest.
ASK_ALL = """
import contextlib, io, json, runpy, sys
told = {}
for script in sys.argv[1:]:
    sys.argv, out = [script, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(script, run_name="__main__")
        told[script] = [None, out.getvalue()]
    except SystemExit as end:
        told[script] = [end.code, out.getvalue()]
    except BaseException as error:
        told[script] = [repr(error), out.getvalue()]
print(json.dumps(told))
"""


def run(*words: object, ends: int = 0) -> str:
    paths = os.pathsep.join([str(FOLDER), *sys.path])
    done = subprocess.run(
        [sys.executable, *map(str, words)], check=False, capture_output=True, text=True, cwd=HOME,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == ends, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def helps() -> dict[str, list[str | int]]:
    found: dict[str, list[str | int]] = json.loads(run("-c", ASK_ALL, *SCRIPTS))
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_script_tells_how_it_is_run(script: Path, helps: dict[str, list[str | int]]) -> None:
    code, text = helps[str(script)]
    assert code == 0, code
    assert str(text).startswith("usage: ")


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import _common  # noqa: PLC0415

    return _common


def table(paths: list[str], logit: list[float]) -> Scores:
    z = np.array(logit)
    label = [int(path.startswith("b")) for path in paths]
    return Scores(paths, label, 1 / (1 + np.exp(-z)), z, paths, [f"g{path}" for path in paths])


def test_command_lines(common, tmp_path: Path) -> None:
    parser = common.command_line(
        "A script.", "runs+", data=common.Needed(), seed=3, sizes=(1.5, 2.0), out=Path, jobs=int, quick=False
    )
    given = parser.parse_args(["a", "b", "--data", "d", "--jobs", "2", "--sizes", "4", "--quick"])
    assert (given.runs, given.data, given.seed) == ([Path("a"), Path("b")], Path("d"), 3)
    assert (given.sizes, given.out, given.jobs, given.quick) == ([4.0], None, 2, True)
    assert parser.parse_args(["a", "--data", "d"]).sizes == [1.5, 2.0]
    with pytest.raises(SystemExit):
        parser.parse_args(["a"])  # --data must be given


def test_tables_are_pooled_and_compared_on_the_cells_of_the_second(common, tmp_path: Path) -> None:
    parts = {"r0": table(["b1", "n1"], [2, -1]), "r1": table(["b2", "n2", "b3", "n3"], [1, 0.5, -0.5, -2])}
    for name, part in parts.items():
        (tmp_path / name / "evaluation").mkdir(parents=True)
        part.write_csv(tmp_path / name / common.ANSWERS)
    whole = common.pooled([tmp_path / name for name in parts])
    assert whole.path == ("b1", "n1", "b2", "n2", "b3", "n3")
    assert common.auc(whole.label, whole.logit) == pytest.approx(8 / 9)  # of nine pairs, one is the wrong way round
    better = table(["n3", "b3", "n2", "b2"], [-2, 1, -1, 1])
    found = common.differences(whole, better, ("auc", "sensitivity"), names=("whole", "better"))
    assert (found["auc"]["whole"], found["auc"]["better"]) == (3 / 4, 1.0)
    assert found["sensitivity"]["difference"]["value"] == 0.5
    assert common.differences(whole, better, ("auc",)) == {"auc": found["auc"]["difference"]}
    assert common.figures_of(better, ("auc",))["auc"]["value"] == 1.0


def test_logits_become_the_table_that_is_measured(common, tmp_path: Path) -> None:
    write_synthetic(tmp_path, count=4, seed=0, layout="folders")
    data = read_dataset(tmp_path)
    scores = common.scores_of(data, np.array([0, 1, -1, 3], np.float32))
    assert scores.path == tuple(record.path for record in data.records)
    assert scores.probability == pytest.approx([0.5, 0.731058, 0.268941, 0.952574], abs=1e-6)
    assert common.facts_of(data)["pictures"] == 4


def test_rows_that_are_kept_are_not_worked_out_again(common, tmp_path: Path) -> None:
    asked: list[str] = []

    def work(name: str) -> dict[str, int]:
        asked.append(name)
        return {"length": len(name)}

    file = tmp_path / "rows.jsonl"
    assert [row["length"] for row in common.kept_rows(file, "name", ["a", "bb"], work)] == [1, 2]
    file.write_text(file.read_text()[:-3])  # the last line is cut short, as by a kill
    assert [row["length"] for row in common.kept_rows(file, "name", ["a", "bb", "ccc"], work)] == [1, 2, 3]
    assert asked == ["a", "bb", "bb", "ccc"]


def test_a_job_is_one_process_s(common, tmp_path: Path) -> None:
    with common.turn_at(tmp_path / "job", "done") as first, common.turn_at(tmp_path / "job", "done") as second:
        assert (first, second) == (True, None)
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "done").touch()
    with common.turn_at(tmp_path / "job", "done") as again:
        assert again is False


def test_scripts_that_need_no_data_run(tmp_path: Path) -> None:
    small = ["--data", tmp_path / "none", "--pictures", 6, "--rounds", 1, "--input-size", 32, "--jobs", 1]
    run(FOLDER / "input_pipeline.py", *small, "--out", tmp_path / "pipe.json")
    assert json.loads((tmp_path / "pipe.json").read_text())["pictures"] == 6
    quick = ["--cells", 3, "--timed", 1, "--skip", "cold_start"]
    told = json.loads(run(FOLDER / "predict.py", *quick, "--out", tmp_path / "predict.json"))
    assert told == json.loads((tmp_path / "predict.json").read_text())
    assert set(told["one_thread"]) == {"bmp", "png", "webp", "jpg"}
    run(FOLDER / "training.py", "--sizes", 32, "--steps", 1, "--out", tmp_path / "training.json")
    assert len(json.loads((tmp_path / "training.json").read_text())["rows"]) == 2


def test_scripts_run_on_rendered_cells_and_drawn_answers(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "cells", count=72, seed=1, layout="cnmc", subjects=12, size=120)
    cells = ["--data", tmp_path / "cells"]
    told = run(FOLDER / "folds.py", *cells, "--out", tmp_path / "folds.csv")
    assert len(told.strip().splitlines()) == 1 + 12
    run(FOLDER / "morphology.py", *cells, "--per-group", 2, "--out", tmp_path / "m.json", "--table", tmp_path / "m.csv")
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 1 + 24
    random = np.random.default_rng(0)
    for fold in range(2):
        subjects = [f"{kind}{12 * fold + number}" for kind in ("", "H") for number in range(1, 11)]
        rows = [(subject, field) for subject in subjects for field in range(45)]  # a cell in each field
        names = [f"UID_{s}_{field}_1_{'hem' if s.startswith('H') else 'all'}.bmp" for s, field in rows]
        label = np.array([int(not subject.startswith("H")) for subject, _ in rows])
        group = [subject for subject, _ in rows]
        logit = random.normal(2.0 * label - 1, 1.5)
        (tmp_path / f"run-{fold}" / "evaluation").mkdir(parents=True)
        drawn = Scores(names, label, 1 / (1 + np.exp(-logit)), logit, group, group)
        drawn.write_csv(tmp_path / f"run-{fold}" / "evaluation" / "predictions.csv")
    runs = [tmp_path / "run-0", tmp_path / "run-1"]
    for script, repeats in (("refer.py", 4), ("subjects.py", 2)):
        run(FOLDER / script, *runs, "--repeats", repeats, "--out", tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text())
