"""What every verb is tried on: one row for each that writes, and why the others need none.

A row is a command on small things, what lay there before, and what a reader sees of the result. Networks are small and
real; where a verb reads finished runs, their answers are drawn.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from PIL import Image

from bundle_factory import WEIGHTS, disc, make_bundle, make_graph
from leukoscope.cli import main
from leukoscope.files import read_checked_json, recover, settle
from leukoscope.inference.batch import JOURNAL
from studies.drawn_runs import cells as drawn_cells
from studies.drawn_runs import write_run

View = dict[str, Any]
Runner = Callable[[list[str]], dict[str, Any]]

TRAINING: Final = {
    "model": "by-hand", "arguments": {}, "parameters": 3, "recipe": "none", "seed": 0, "data": "cells",
    "data_fingerprint": "f" * 64, "pictures": 1, "groups_trained": ["x"], "groups_validated": [], "machine": "m",
}  # fmt: skip
NETWORK: Final = (
    "--model", "plain_cnn", "--epochs", "2", "--set", "model.arguments.widths=[4, 8]", "--set", "input.size=16",
    "--set", "input.preparation={frame_size: 64}", "--set", "split.folds=3",
)  # fmt: skip


class Zygote:
    """The process that forks for each command; see `layer`.

    Attributes:
        seconds: by the clock, for a command.
    """

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process = process
        self.seconds = seconds

    def used(self) -> float:
        """Seconds of a processor that it and its commands have taken."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8")
        return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")

    def __call__(
        self, root: Path, mode: str, at: int, args: Sequence[object], patches: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {
            "root": str(root), "mode": mode, "at": at, "args": [*map(str, args)], "patches": patches or {},
            "seconds": self.seconds,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def zygote_in(folder: Path, environment: dict[str, str], seconds: float = 600) -> Iterator[Zygote]:
    """Start the process; caches that a verb does not name go into ``folder``, and no command may take longer."""
    command = [sys.executable, str(Path(__file__).with_name("layer.py"))]
    own = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LEUKOSCOPE_CACHE": str(folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment | own) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Zygote(process, seconds)
        process.stdin.close()


@dataclass
class Place:
    """What the verbs work on, each made when it is first asked for; and the folder that is written."""

    home: Path
    zygote: Zygote

    @property
    def root(self) -> Path:
        """All that a verb writes."""
        return self.home / "root"

    @property
    def out(self) -> Path:
        """What a verb is asked to write."""
        return self.root / "out"

    def do(self, *args: object, patches: dict[str, Any] | None = None) -> None:
        """Run a command that must succeed."""
        answer = self.zygote(self.root, "count", 0, args, patches)
        assert answer["status"] == 0, answer

    @cached_property
    def cells(self) -> Path:
        """Four cells on black."""
        folder = self.home / "cells"
        folder.mkdir()
        for number in range(4):
            Image.fromarray(disc((40 + 50 * number, 100, 90))).save(folder / f"{number}.png")
        return folder

    @cached_property
    def labelled(self) -> Path:
        """Ten cells of each of three patients a class."""
        rng = np.random.default_rng(0)
        folder = self.home / "labelled"
        for kind, red in {"blast": 150, "normal": 100}.items():
            for person in range(3):
                (folder / kind / f"{kind[0]}{person}").mkdir(parents=True)
                for number in range(10):
                    colour = (int(np.clip(rng.normal(red, 40), 5, 250)), 150, 5)
                    name = f"{kind[0]}{person}_{number}.png"
                    Image.fromarray(disc(colour, radius=25)).save(folder / kind / f"{kind[0]}{person}" / name)
        return folder

    @cached_property
    def one(self) -> Path:
        """A bundle."""
        return make_bundle(self.home / "one", training=TRAINING)

    @cached_property
    def other(self) -> Path:
        """One that answers otherwise."""
        return make_bundle(self.home / "other", graph=make_graph(weights=-WEIGHTS), training=TRAINING)

    @cached_property
    def rendered(self) -> Path:
        """Cells to train on."""
        from leukoscope.datasets.synthetic import write_synthetic  # noqa: PLC0415

        write_synthetic(self.home / "rendered", count=36, seed=5, layout="folders", subjects=12, size=96)
        return self.home / "rendered"

    @cached_property
    def run(self) -> Path:
        """A run that was trained."""
        self.do("train", "--data", self.rendered, *NETWORK, "--out", self.home / "run", "--jobs", 1)
        return self.home / "run"

    @cached_property
    def network(self) -> Path:
        """A bundle of a convolutional network that was never trained."""
        from leukoscope.bundle.export import graph_bytes  # noqa: PLC0415
        from leukoscope.models import create_model  # noqa: PLC0415

        graph = graph_bytes(create_model("plain_cnn", widths=(4, 6)), 16, 64)
        return make_bundle(self.home / "network", graph=graph)

    @cached_property
    def drawn(self) -> tuple[Path, ...]:
        """Three folds of a run whose answers are drawn."""
        data = drawn_cells()
        return tuple(write_run(self.home / "drawn" / str(fold), data, fold=fold) for fold in range(3))

    def key(self, name: str = "site") -> Path:
        """A key to sign with."""
        file = self.home / f"{name}.key"
        if not file.exists():
            self.do("federate", "key", file)
        return file

    @cached_property
    def dicom(self) -> Path:
        """Two patients' pictures as DICOM."""
        from dicom.written import dataset, to_bytes  # noqa: PLC0415

        (self.home / "dicom").mkdir()
        for name in ("A", "B"):
            facts = {"PixelSpacing": [1.25e-4, 1.25e-4], "PatientID": f"MRN-{name}"}
            made = dataset(disc((40 * len(name), 100, 90)), **facts)
            (self.home / "dicom" / f"{name}.dcm").write_bytes(to_bytes(made))
        return self.home / "dicom"

    @cached_property
    def slide(self) -> Path:
        """A slide of two windows, one above the other."""
        from slides.painted import WINDOW, tiled  # noqa: PLC0415

        return tiled(self.home / "slide.tif", part=np.s_[:, WINDOW : 2 * WINDOW])

    @cached_property
    def answered(self) -> tuple[Path, Path]:
        """These pictures, and what was answered for them."""
        taken, answers = self.home / "taken", self.home / "answers"
        self.do("dicom", "get", self.dicom, "--out", taken, "--identified")
        own = ["--bundle", self.one, "--by", "patient", "--patients", "folder", "--threads", 1]
        self.do("field", taken, *own, "--out", answers)
        return taken, answers

    @cached_property
    def runtime(self) -> Path:
        """Files in the place of the app's runtime, which is not small."""
        from leukoscope.app.runtime import RUNTIME_FILES  # noqa: PLC0415

        (self.home / "runtime").mkdir()
        for name in RUNTIME_FILES:
            (self.home / "runtime" / name).write_text(name)
        return self.home / "runtime"

    @cached_property
    def workbench(self) -> Path:
        """The folder of a workbench that is not served."""
        from leukoscope.service.casework.bundles import know_bundle  # noqa: PLC0415
        from leukoscope.service.settings import ServiceSettings  # noqa: PLC0415
        from leukoscope.service.workbench import Workbench  # noqa: PLC0415

        bench = Workbench(ServiceSettings(data=self.home / "workbench"))
        with closing(bench):
            know_bundle(bench, self.one)
        return self.home / "workbench"


_VOLATILE: Final = {"ms", "seconds", "load", "created", "date"}


def _settled(value: Any) -> Any:
    """What JSON says, without times."""
    if isinstance(value, dict):
        return {key: _settled(each) for key, each in value.items() if key not in _VOLATILE}
    return [_settled(each) for each in value] if isinstance(value, list) else value


def content(path: Path) -> Any:
    """What a file says, without times."""
    data = path.read_bytes()
    if path.suffix in {".json", ".jsonl"}:
        try:
            return [_settled(json.loads(line)) for line in ([data] if path.suffix == ".json" else data.splitlines())]
        except ValueError:
            return data
    if path.suffix == ".csv":
        table = csv.DictReader(io.StringIO(data.decode()))
        return [{name: value for name, value in row.items() if name != "ms"} for row in table]
    if path.suffix == ".dcm":
        import pydicom  # noqa: PLC0415

        return [line for line in str(pydicom.dcmread(path)).splitlines() if not re.search(r" (DA|TM|DT|UI): ", line)]
    if path.suffix == ".html":
        return re.sub(rb"[\d.]+ processes on average|[\d.,]+ (ms|s)\b", b"", data)
    return data


def files_in(folder: Path) -> View:
    """Names and contents, those of things that were being made left out; empty where there is no such folder."""
    if not folder.exists():
        return {}
    return {
        str(each.relative_to(folder)): content(each)
        for each in sorted(folder.rglob("*"))
        if each.is_file() and not any(part.startswith(".") for part in each.relative_to(folder).parts)
    }


def whole(place: Place) -> View:
    """All files, which are old or new together."""
    recover(place.out)
    settle(place.out)
    return {"all": files_in(place.out)}


def each_file(place: Place) -> View:
    """All files, each old or new; what is kept to go on from, and digests of files that have settled, are neither."""
    aside = (JOURNAL, "digests.json")
    return {name: each for name, each in files_in(place.out).items() if not name.startswith(aside)}


def seen_page(page: Path) -> Any:
    """What a page says of the model, and the very pictures that it shows; their folders may have any name."""
    if not page.exists():
        return None
    text = page.read_text(encoding="utf-8")
    shown = sorted(set(re.findall(r'(?:src|href)="((?:cells|overlays)[^"]*/[^"]*)"', text)))
    return [re.findall(r"logit [^ ]+", text), [(page.parent / name).read_bytes() for name in shown]]


def seen_gallery(place: Place) -> View:
    """A gallery, and its counts."""
    rest = {name: each for name, each in files_in(place.out).items() if name == "summary.json"}
    return {"page": seen_page(place.out / "report.html"), **rest}


def seen_demo(place: Place) -> View:
    """A gallery, and the pictures that were rendered for it."""
    pictures = next(iter(place.out.glob("[!.]*/SYNTHETIC*")), None)
    rendered = None if pictures is None else files_in(pictures.parent)
    return {"page": seen_page(place.out / "report.html"), "rendered": rendered}


def seen_fields(place: Place) -> View:
    """What is written of each field; where its JSON is, all is there."""
    out = place.out
    found: View = {"rows": files_in(out).get("cells.csv")}
    for name in sorted(path.stem for path in (out / "fields").glob("[!.]*.json")):
        record = json.loads((out / "fields" / f"{name}.json").read_text(encoding="utf-8"))
        pictures = [(out / "overlays" / f"{name}.png").read_bytes()]
        pictures += [path.read_bytes() for path in sorted((out / "cells").glob(f"{name}-*.webp"))]
        found[name] = [record["cells"], pictures, (out / "geojson" / f"{name}.geojson").read_bytes()]
    return found


def seen_run(place: Place) -> View:
    """A run: bundle and evaluation whole; what a checkpoint holds can be read at each moment."""
    recover(place.out / "bundle")
    settle(place.out / "evaluation")
    epochs = sorted((place.out / "checkpoints").glob("epoch-*"))
    told = read_checked_json(epochs[-1] / "state.json") if epochs else None
    files = files_in(place.out)
    parts = {name: {key: each for key, each in files.items() if key.startswith(name)} for name in ("bundle", "eval")}
    parts |= {name: each for name, each in files.items() if name in {"training.json", "run.json", "split.json"}}
    if told is not None and told["progress"]["finished"]:  # before it, epochs come and go
        parts["checkpoint"] = _settled(told)
        if "training.json" in files:
            parts["metrics"] = files.get("metrics.jsonl")
    return parts


def seen_crossval(place: Place) -> View:
    """The report; its runs are those of `train`."""
    settle(place.out)
    return {"all": {name: each for name, each in files_in(place.out).items() if name.startswith(("crossval.", "roc"))}}


def seen_archive(place: Place) -> View:
    """Parts and rows, each file whole."""
    found = files_in(place.out)
    return {name: each for name, each in found.items() if not name.endswith(".lock")}


def seen_key(place: Place) -> View:
    """A key, which is another each time."""
    file = place.out / "key"
    return {"key": re.sub(rb"[0-9a-f]{64}", b"64 digits", file.read_bytes()) if file.exists() else None}


def seen_sums(place: Place) -> View:
    """What is sent; the log grows with each run."""
    return {name: each for name, each in files_in(place.out).items() if not name.endswith(".log")}


def seen_workbench(place: Place) -> View:
    """A workbench or its copy: rows and files, whole; what a database keeps for itself is left out."""
    recover(place.out)
    files = {n: e for n, e in files_in(place.out).items() if not re.search(r"\.(sqlite.*|lock)$", n)}
    rows = place.out / "workbench.sqlite"
    if rows.exists():
        import sqlite3  # noqa: PLC0415

        with closing(sqlite3.connect(rows)) as database:
            files["rows"] = hashlib.sha256("\n".join(database.iterdump()).encode()).hexdigest()
    return {"all": files}


@dataclass(frozen=True)
class Verb:
    """One verb: its command, that which made what was there before, and what a reader sees of the result."""

    command: Callable[[Place], Sequence[object]]
    before: Callable[[Place], object] = lambda place: None
    seen: Callable[[Place], View] = whole
    slow: bool = False  # no failure is tried in the tests of every day, but by benchmarks/crashes.py
    patches: Callable[[Place], dict[str, Any]] = field(default=lambda place: {})
    ends: int = 0  # exit code where nothing happens
    once: bool = False  # what is whole already is refused, and not written again


def _predict(place: Place, bundle: Path, kind: str) -> list[object]:
    return ["predict", place.cells, "--bundle", bundle, "--format", kind, "--replace", "--out", place.out]


def _evaluate(place: Place, bundle: Path, *data: Path) -> list[object]:
    sets = [word for each in data for word in ("--data", each)]
    return ["evaluate", "--bundle", bundle, *sets, "--replace", "--out", place.out]


def _two_sets(place: Place) -> tuple[Path, Path]:
    other = place.home / "labelled-too"
    if not other.exists():
        for kind in ("blast", "normal"):
            shutil.copytree(place.labelled / kind / f"{kind[0]}0", other / kind / f"{kind[0]}9")
    return place.labelled, other


def _copied(name: str) -> Callable[[Place], object]:
    return lambda place: shutil.copytree(getattr(place, name), place.out)


def _runtime_digests(place: Place) -> dict[str, Any]:
    digests = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in place.runtime.iterdir()}
    return {"leukoscope.app.runtime.RUNTIME_FILES": digests}


def _site(place: Place, bundle: Path) -> list[object]:
    return ["app", "build", "--bundle", bundle, "--runtime", place.runtime, "--out", place.out]


def _summary(place: Place, name: str, *more: object) -> list[object]:
    own = ["--replace", "--key", place.key(name), "--out", place.home / f"{name}.json", *more]
    data = _two_sets(place)[name == "b"]
    return ["federate", "summary", "--bundle", place.one, "--data", data, "--site", name, *own]


def _pooled(place: Place, *names: str) -> list[object]:
    for name in names:
        if not (place.home / f"{name}.json").exists():
            place.do(*_summary(place, name))
    return ["federate", "pool", *(place.home / f"{name}.json" for name in names), "--replace", "--out", place.out]


def _sums(place: Place, name: str, number: int, out: Path) -> list[object]:
    state = ["--state", _state(place, number)] if number else []
    own = ["--site", name, "--key", place.key(name), "--cache", place.home / "cache", "--replace", "--out", out]
    return ["federate", "train", "--bundle", place.network, "--data", place.labelled, *state, *own]


def _combined(place: Place, number: int, out: Path) -> list[object]:
    files = [place.home / f"sums-{name}-{number}" for name in ("a", "b")]
    for file in files:
        if not file.exists():
            place.do(*_sums(place, file.name.split("-")[1], number, file))
    state = ["--state", _state(place, number)] if number else []
    return ["federate", "combine", *files, *state, "--key", place.key("centre"), "--replace", "--out", out]


def _state(place: Place, number: int) -> Path:
    file = place.home / f"state-{number}"
    if not file.exists():
        place.do(*_combined(place, number - 1, file))
    return file


def _compare(place: Place, *runs: Path) -> list[object]:
    given = [word for run in runs for word in ("--run", run)]
    return ["compare", *given, "--no-cost", "--replace", "--out", place.out]


def _crossval(place: Place, out: Path) -> list[object]:
    own = ["--out", out, "--cache", place.home / "cache", "--device", "cpu"]
    return ["crossval", "--data", place.rendered, *NETWORK[:-2], "--folds", 2, *own]


def _run_on_each_fold(place: Place) -> None:
    """Its runs, which are those of `train`, without a report."""
    if not (place.home / "crossval").exists():
        place.do(*_crossval(place, place.home / "crossval"))
    shutil.copytree(place.home / "crossval" / "runs", place.out / "runs")


def _reproduce(place: Place, seed: int) -> list[object]:
    return [
        "reproduce", "paper", "--data", place.rendered, "--no-train", "--runs", place.home, "--model", "plain_cnn",
        "--folds", 2, "--seed", seed, "--out", place.out,
    ]  # fmt: skip


def _audit(place: Place, kind: str) -> list[object]:
    given = ["--data", place.labelled, "--cells", 8, "--out", place.root / "audit", "--write", "--threads", 1]
    return ["audit", kind, place.out, *given]


def _archived(place: Place) -> None:
    place.do("archive", "plan", place.cells, "--out", place.out, "--bundle", place.one, "--part-size", 2)


def _answered(place: Place) -> None:
    if not (place.home / "archive").exists():
        _archived(place)
        place.do("archive", "run", place.out, "--workers", 1)
        place.out.rename(place.home / "archive")


def _train(place: Place) -> list[object]:
    own = ["--out", place.out, "--cache", place.root / "cache", "--jobs", 1]
    return ["train", "--data", place.rendered, *NETWORK, *own]


def _backed_up(place: Place) -> None:
    place.do("serve", "backup", "--data", place.workbench, place.home / "backup")
    shutil.copytree(place.workbench, place.out)
    (place.out / "exports" / "later").mkdir()
    (place.out / "exports" / "later" / "about.json").write_text("{}")


def seen_audited(place: Place) -> View:
    """The bundle, and the report beside it, which is another generation."""
    settle(place.root / "audit")
    return {"bundle": whole(place)["all"], "report": files_in(place.root / "audit")}


#: By the words of the command; what follows `:` tells rows of one verb apart.
WRITERS: Final[dict[str, Verb]] = {
    "predict": Verb(
        lambda p: _predict(p, p.one, "csv"), lambda p: p.do(*_predict(p, p.other, "csv")), seen=each_file
    ),
    "predict: gallery": Verb(
        lambda p: _predict(p, p.one, "html"), lambda p: p.do(*_predict(p, p.other, "html")), seen=seen_gallery
    ),
    "demo": Verb(
        lambda p: ["demo", "--bundle", p.one, "--replace", "--out", p.out],
        lambda p: p.do("demo", "--bundle", p.other, "--out", p.out), seen=seen_demo, slow=True,
    ),
    "field": Verb(
        lambda p: ["field", p.cells, "--bundle", p.one, "--out", p.out, "--threads", 1], seen=seen_fields
    ),
    "archive plan": Verb(
        lambda p: ["archive", "plan", p.cells, "--bundle", p.one, "--part-size", 2, "--out", p.out],
        once=True,
    ),
    "archive run": Verb(
        lambda p: ["archive", "run", p.out, "--workers", 1], _archived, seen=seen_archive
    ),
    "archive collect": Verb(
        lambda p: ["archive", "collect", p.home / "archive", "--replace", "--out", p.out / "rows.jsonl"], _answered
    ),
    "archive report": Verb(
        lambda p: ["archive", "report", p.home / "archive", "--replace", "--out", p.out / "report.html"], _answered
    ),
    "dicom get": Verb(
        lambda p: ["dicom", "get", p.dicom, "--out", p.out, "--identified"], seen=each_file
    ),
    "dicom put": Verb(
        lambda p: ["dicom", "put", *p.answered, "--to", p.out, "--bundle", p.one], seen=each_file
    ),
    "slide": Verb(
        lambda p: ["slide", p.slide, "--out", p.out, "--bundle", p.one, "--window", 1024, "--threads", 1],
        seen=each_file,
    ),
    "data render": Verb(
        lambda p: ["data", "render", p.out, "--cells", 6, "--subjects", 2, "--size", 64], once=True
    ),
    "data index": Verb(lambda p: ["data", "index", p.labelled, "--replace", "--out", p.out / "cells.csv"]),
    "data combine": Verb(lambda p: ["data", "combine", *_two_sets(p), "--replace", "--out", p.out / "cells.csv"]),
    "data cut": Verb(lambda p: ["data", "cut", p.labelled, "--out", p.out, "--jobs", 1], seen=each_file, slow=True),
    "data audit": Verb(
        lambda p: ["data", "audit", p.cells, "--out", p.out, "--work", p.root / "work", "--jobs", 1]
    ),
    "train": Verb(_train, seen=seen_run, slow=True),
    "pretrain": Verb(
        lambda p: ["pretrain", "--data", p.labelled, "--out", p.out / "start.safetensors", "--recipe", "paper",
                   *NETWORK[:-2], "--cache", p.root / "cache", "--jobs", 1, "--replace"],
        slow=True,
    ),
    "evaluate": Verb(
        lambda p: _evaluate(p, p.one, *_two_sets(p)), lambda p: p.do(*_evaluate(p, p.other, *_two_sets(p))),
        slow=True,
    ),
    "evaluate: one set": Verb(
        lambda p: _evaluate(p, p.one, p.labelled), lambda p: p.do(*_evaluate(p, p.one, *_two_sets(p))),
        slow=True,
    ),
    "compare": Verb(lambda p: _compare(p, *p.drawn), lambda p: p.do(*_compare(p, p.drawn[0])), slow=True),
    "crossval": Verb(lambda p: _crossval(p, p.out), _run_on_each_fold, seen=seen_crossval, slow=True),
    "reproduce paper": Verb(lambda p: _reproduce(p, 1), ends=1, slow=True),
    "calibrate": Verb(lambda p: ["calibrate", p.out, "--data", p.labelled, "--level", 0.25], _copied("one")),
    "audit explanations": Verb(lambda p: _audit(p, "explanations"), _copied("network"), seen=seen_audited, slow=True),
    "audit shortcuts": Verb(lambda p: _audit(p, "shortcuts"), _copied("network"), seen=seen_audited, slow=True),
    "federate key": Verb(lambda p: ["federate", "key", p.out / "key"], seen=seen_key, once=True),
    "federate summary": Verb(lambda p: [*_summary(p, "site")[:-1], p.out / "site.json"]),
    "federate pool": Verb(lambda p: _pooled(p, "a", "b"), lambda p: p.do(*_pooled(p, "a"))),
    "federate train": Verb(lambda p: _sums(p, "a", 0, p.out / "sums"), seen=seen_sums),
    "federate combine": Verb(lambda p: _combined(p, 0, p.out / "state"), seen=seen_sums),
    "federate bundle": Verb(
        lambda p: ["federate", "bundle", _state(p, 2), "--bundle", p.network, "--replace", "--out", p.out],
        _copied("one"),
    ),
    "adapt": Verb(
        lambda p: ["adapt", p.network, "--data", p.labelled, "--force", "--replace", "--out", p.out], _copied("one")
    ),
    "subjects": Verb(
        lambda p: ["subjects", *p.drawn, "--bundle", p.out, "--alarm-level", 0.4, "--missed-level", 0.4],
        lambda p: shutil.copytree(p.drawn[0] / "bundle", p.out),
    ),
    "export": Verb(lambda p: ["export", p.run, "--name", "new", "--replace", "--out", p.out], _copied("one")),
    "sign": Verb(lambda p: ["sign", p.out, "--key", p.key()], _copied("one")),
    "app build": Verb(
        lambda p: _site(p, p.one), lambda p: p.do(*_site(p, p.other), patches=_runtime_digests(p)),
        patches=_runtime_digests,
    ),
    "serve backup": Verb(lambda p: ["serve", "backup", "--data", p.workbench, p.out], seen=seen_workbench, once=True),
    "serve restore": Verb(
        lambda p: ["serve", "restore", "--data", p.out, p.home / "backup"], _backed_up, seen=seen_workbench
    ),
}  # fmt: skip

#: Verbs without a row, and why.
OTHERS: Final = {
    "app serve": "reads",
    "archive status": "reads",
    "data verify": "reads",
    "dicom show": "reads",
    "doctor": "reads",
    "models": "reads",
    "serve": "its rows are the database's, and are killed in tests/service; its files are written by `files`",
    "pull": "needs a hub, which tests/hub has; its folder is written by `files.atomic_folder` alone",
    "push": "writes on a hub alone",
    "recipes": "reads",
    "serve verify": "reads",
}


def all_verbs() -> list[str]:
    """Every command of the program, in words."""

    def below(command: click.Command, words: tuple[str, ...]) -> Iterator[str]:
        group = isinstance(command, click.Group)
        if not group or command.invoke_without_command:
            yield " ".join(words)
        if group:
            with click.Context(command) as context:
                for name in command.list_commands(context):
                    found = command.get_command(context, name)
                    assert found is not None
                    yield from below(found, (*words, name))

    return sorted(verb for verb in below(main, ()) if verb)
