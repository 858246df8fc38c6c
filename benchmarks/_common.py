"""What the scripts share: their command lines, runs and tables of answers, figures, and work that is gone on with."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from leukoscope.bundle.decision import probability_of
from leukoscope.bundle.schema import DecisionFacts
from leukoscope.cells.cutout import cutout_of_frame, view
from leukoscope.cells.frame import frame_cell
from leukoscope.cells.measure import measure
from leukoscope.cells.read import read_picture
from leukoscope.cells.segment import divide
from leukoscope.datasets.dataset import Manifest
from leukoscope.files import write_json
from leukoscope.inference.sources import find_pictures
from leukoscope.machine import describe_machine
from leukoscope.metrics.evaluation import evaluate
from leukoscope.metrics.panel import compare
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.ranking import Ranking, roc_auc
from leukoscope.metrics.scores import Scores

ANSWERS = Path("evaluation") / "predictions.csv"  # of a run
KEPT = Path(__file__).parents[1] / "docs" / "figures" / "answers"  # runs whose answers are kept, NAME-FOLD
NAMED = "NAME=RUN"
ONE_THREAD_KINDS: dict[str, dict[str, Any]] = {"bmp": {}, "png": {}, "webp": {"quality": 98}}


# The command line.


@dataclass(frozen=True)
class Needed:
    """An option that must be given.

    Attributes:
        kind: its type.
        many: it may be given several times.
    """

    kind: type = Path
    many: bool = False


def command_line(doc: str | None, *places: str, **options: Any) -> argparse.ArgumentParser:
    """The parser of a script.

    Args:
        doc: the script's docstring, which is its help.
        places: paths in their order; ``name+`` one or more, ``name*`` any number.
        options: `--name` by its value: a default, whose type it has; a type, None by default; a tuple, any number of
            values; False, a flag; or `Needed`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for place in places:
        many = place[-1] if place[-1] in "+*" else None
        parser.add_argument(place.rstrip("+*"), nargs=many, type=Path)
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, Needed):
            how: dict[str, Any] = {"action": "append", "metavar": NAMED} if value.many else {}
            parser.add_argument(flag, required=True, type=value.kind, **how)
        elif isinstance(value, type):
            parser.add_argument(flag, type=value)
        elif value is False:
            parser.add_argument(flag, action="store_true")
        elif isinstance(value, tuple):
            parser.add_argument(flag, nargs="*", type=type(value[0]), default=list(value))
        else:
            kind = Path if isinstance(value, Path) else type(value)
            parser.add_argument(flag, type=kind, default=value, help=f"[default: {value}]")
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The option `--set KEY=VALUE` of a recipe, as ``settings``."""
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")


def by_name(texts: Iterable[str]) -> dict[str, list[Path]]:
    """The runs of each name.

    >>> by_name(["a=runs/1", "b=x", "a=runs/2"])
    {'a': [PosixPath('runs/1'), PosixPath('runs/2')], 'b': [PosixPath('x')]}
    """
    found: dict[str, list[Path]] = {}
    for name, _, folder in (text.partition("=") for text in texts):
        found.setdefault(name, []).append(Path(folder))
    return found


def report(value: Any, out: Path | None, *, shown: Any = None) -> None:
    """Print figures, or ``shown`` of them, and write them where a file is named."""
    print(json.dumps(value if shown is None else shown, indent=1))
    if out is not None:
        write_json(out, value)


def write_part(out: Path | None, name: str, value: Any) -> None:
    """Write figures under a name beside those that the file holds already."""
    if out is not None:
        known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        write_json(out, known | {name: value})


def load_of_machine() -> tuple[float, float, float] | None:
    """What else the machine was doing, for figures of time."""
    return os.getloadavg() if hasattr(os, "getloadavg") else None


# Runs and tables of answers.


def answers_of(run: Path, file: Path | str = ANSWERS) -> Scores:
    """The table of a run's test part."""
    return Scores.read_csv(run / file)


def joined(tables: Sequence[Scores]) -> Scores:
    """Tables about different pictures as one."""
    columns = ("label", "probability", "logit", "subject", "group")
    path = tuple(name for table in tables for name in table.path)
    return Scores(path, *(np.concatenate([getattr(table, name) for table in tables]) for name in columns))


def pooled(runs: Iterable[Path], file: Path | str = ANSWERS) -> Scores:
    """The test parts of the folds of one split as one table: each picture judged by a network without its group.

    Ranks across networks are compared, too, so that an AUC also carries how well the folds agree in scale.
    """
    return joined([answers_of(run, file) for run in runs])


def kept_answers(name: str) -> Scores:
    """The kept answers of a network's five folds, as one table."""
    return pooled(sorted(KEPT.glob(f"{name}-*")))


def scores_of(data: Manifest, logit: ArrayLike, rule: DecisionFacts | None = None) -> Scores:
    """The table that `evaluate` would measure, of logits on all pictures of a manifest."""
    wide = np.asarray(logit, np.float64)
    probability = np.asarray(probability_of(wide, rule or DecisionFacts()), np.float64)
    paths = tuple(record.path for record in data.records)
    return Scores(paths, data.labels(), probability, wide, data.subjects(), data.groups())


def facts_of(data: Manifest) -> dict[str, Any]:
    """The machine, and what data figures are of."""
    return {
        "machine": describe_machine(), "data": data.name, "fingerprint": data.fingerprint(), "pictures": len(data),
        "groups": len(set(data.groups().tolist())),
    }  # fmt: skip


def measured_cell(path: Path) -> dict[str, float | None]:
    """What is measured of a cell on black, None where undefined."""
    return dict(measure(divide(view(cutout_of_frame(frame_cell(read_picture(path).rgb))))).values)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder that can be opened."""
    return [item for item in find_pictures([folder]) if isinstance(item, Path)]


def written_as(kind: str, pictures: Sequence[Path], folder: Path, **options: Any) -> list[Path]:
    """The pictures once more, as files of a kind in a folder."""
    paths = [folder / f"{number:03d}.{kind}" for number in range(len(pictures))]
    for source, target in zip(pictures, paths, strict=True):
        with Image.open(source) as image:
            image.convert("RGB").save(target, **options)
    return paths


# Figures.


def auc(label: NDArray[np.int64], score: NDArray[np.float64]) -> float:
    """Area under the ROC curve."""
    return float(roc_auc(Ranking.of(label, score).sweep()))


def figures_of(scores: Scores, shown: Iterable[str] | None = None, *, threshold: float = 0.5) -> dict[str, Any]:
    """Figures with their intervals over patient groups, as JSON values."""
    found = evaluate(scores, Provenance(protocol="group"), threshold=threshold).to_json()["metrics"]
    return {key: found[key] for key in (found if shown is None else shown) if key in found}


def differences(
    first: Scores,
    second: Scores,
    shown: Iterable[str],
    *,
    threshold: float = 0.5,
    names: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Second minus first on the cells of the second, paired over patient groups, by figure.

    Args:
        first: answers on these cells, or on more.
        second: answers.
        shown: keys of figures.
        threshold: of both.
        names: of both, where their figures shall stand beside the difference.
    """
    place = {path: row for row, path in enumerate(first.path)}
    same = first.take(np.array([place[path] for path in second.path]))
    rows = [row for row in compare(same, second, thresholds=(threshold, threshold)) if row.key in set(shown)]
    if names is None:
        return {row.key: row.difference.to_json() for row in rows}
    return {
        row.key: {names[0]: row.first, names[1]: row.second, "difference": row.difference.to_json()} for row in rows
    }


def words(ends: dict[str, float | None], *, sign: str = "") -> str:
    """A figure with its interval.

    >>> words({"value": 0.5, "low": 0.25, "high": 0.75}), words({"value": 0.1, "low": None, "high": None}, sign="+")
    ('0.500 [0.250, 0.750]', '+0.100 [no interval]')
    """
    if ends["value"] is None:
        return "undefined"
    low, high = ends["low"], ends["high"]
    inside = "no interval" if low is None else f"{low:{sign}.3f}, {high:{sign}.3f}"
    return f"{ends['value']:{sign}.3f} [{inside}]"


def spread(values: Sequence[float]) -> list[float]:
    """Mean, and 5 % and 95 % quantiles over repeats."""
    return [float(np.mean(values)), *np.quantile(values, [0.05, 0.95]).tolist()]


# Work that is gone on with.


def train(out: Path, *words_: str, settings: Iterable[str] = ()) -> Path:
    """`leukoscope train`, unless the run is finished; its folder."""
    if not (out / "evaluation" / "metrics.json").exists():
        command = [sys.executable, "-m", "leukoscope", "train", *words_, "--out", str(out)]
        command += [word for setting in settings for word in ("--set", setting)]
        print("$", *command[1:], flush=True)
        subprocess.run(command, check=True)
    return out


@contextmanager
def turn_at(folder: Path, done: str) -> Iterator[bool | None]:
    """A job that several processes may share: True, it is this one's to do; False, it is done; None, another is at it.

    Args:
        folder: of the job.
        done: the file in it that is written last.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.parent / f"{folder.name}.lock", timeout=0):
            yield not (folder / done).exists()
    except Timeout:
        yield None


def kept_rows(file: Path, key: str, names: Iterable[str], work: Callable[[str], dict[str, Any]]) -> Iterator[Any]:
    """A row of figures for each name, from the file of JSON lines where it stands there, else worked out and added.

    Args:
        file: of rows; a line that was cut short is worked out again.
        key: of the name in a row.
        names: of the rows.
        work: gives the row of a name, without its name.
    """
    known: dict[str, Any] = {}
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []:
        if line.endswith("\n"):
            row = json.loads(line)
            known[row[key]] = row
    for name in names:
        if name not in known:
            known[name] = {key: name, **work(name)}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in known.values()), encoding="utf-8")
        yield known[name]
