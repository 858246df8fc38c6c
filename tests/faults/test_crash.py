"""Every verb that writes, stopped at each of its writes: what is there afterwards is old or new, and never between.

Three ways to be stopped: the process is killed; the write fails for want of space; the power is cut and all that was
not synced is lost. Then the same command runs again, and ends as if nothing had happened. Here some of the steps are
tried; all of them with `LEUKOSCOPE_CRASH=all pytest tests/faults/test_crash.py` (docs/reliability.md).
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_factory import WEIGHTS, disc, make_bundle, make_graph
from leukoscope.files import recover, settle, write_bytes

from .layer import Disk

ALL = os.environ.get("LEUKOSCOPE_CRASH") == "all"
KILLED = 137
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layer is made of what Linux offers")

View = dict[str, Any]


@dataclass
class Zygote:
    """The process that forks for each command."""

    process: subprocess.Popen[str]

    def __call__(self, root: Path, mode: str, at: int, args: list[str]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"root": str(root), "mode": mode, "at": at, "args": args}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    command = [sys.executable, str(Path(__file__).with_name("layer.py"))]
    own = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LEUKOSCOPE_CACHE": str(tmp_path_factory.mktemp("c"))}
    environment = {**os.environ, **own}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Zygote(process)
        process.stdin.close()


@dataclass(frozen=True)
class Place:
    """What the verbs work on: pictures, two bundles, labelled cells; and the folder that is written."""

    cells: Path
    labelled: Path
    one: Path
    other: Path
    root: Path

    @property
    def out(self) -> Path:
        return self.root / "out"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("crash")
    cells = folder / "cells"
    cells.mkdir()
    for number in range(4):
        Image.fromarray(disc((40 + 50 * number, 100, 90))).save(cells / f"{number}.png")
    rng = np.random.default_rng(0)
    labelled = folder / "labelled"
    for kind, red in {"blast": 150, "normal": 100}.items():
        for person in range(3):
            (labelled / kind / f"{kind[0]}{person}").mkdir(parents=True)
            for number in range(10):
                colour = (int(np.clip(rng.normal(red, 40), 5, 250)), 150, 5)
                name = f"{kind[0]}{person}_{number}.png"
                Image.fromarray(disc(colour, radius=25)).save(labelled / kind / f"{kind[0]}{person}" / name)
    training = {
        "model": "by-hand", "arguments": {}, "parameters": 3, "recipe": "none", "seed": 0, "data": "cells",
        "data_fingerprint": "f" * 64, "pictures": 1, "groups_trained": ["x"], "groups_validated": [], "machine": "m",
    }  # fmt: skip
    one = make_bundle(folder / "one", training=training)
    other = make_bundle(folder / "other", graph=make_graph(weights=-WEIGHTS), training=training)
    return Place(cells, labelled, one, other, folder / "root")


def files_in(folder: Path) -> View:
    """Names and contents, those of things that were being made left out; None where there is no such folder."""
    if not folder.exists():
        return {}
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in sorted(folder.rglob("*"))
        if each.is_file() and not any(part.startswith(".") for part in each.relative_to(folder).parts)
    }


def rows(path: Path) -> Any:
    """A table, its times left out."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: value for name, value in row.items() if name != "ms"} for row in csv.DictReader(file)]


def seen_page(page: Path) -> Any:
    """What a page says of the model, and the very pictures that it shows; their folders may have any name."""
    if not page.exists():
        return None
    text = page.read_text(encoding="utf-8")
    shown = sorted(set(re.findall(r'(?:src|href)="((?:cells|overlays)[^"]*/[^"]*)"', text)))
    return [re.findall(r"logit [^ ]+", text), [(page.parent / name).read_bytes() for name in shown]]


def seen_fields(out: Path) -> View:
    """What is written of each field; where its JSON is, all is there."""
    found: View = {}
    for name in sorted(path.stem for path in (out / "fields").glob("[!.]*.json")):
        record = json.loads((out / "fields" / f"{name}.json").read_text(encoding="utf-8"))
        pictures = [(out / "overlays" / f"{name}.png").read_bytes()]
        pictures += [path.read_bytes() for path in sorted((out / "cells").glob(f"{name}-*.webp"))]
        found[name] = [record["cells"], pictures, (out / "geojson" / f"{name}.geojson").read_bytes()]
    return found


@dataclass(frozen=True)
class Verb:
    """One verb: its command, that which made what was there before, and what a reader sees of the result."""

    before: Callable[[Place], list[str] | None]
    command: Callable[[Place], list[str]]
    seen: Callable[[Place], View]  # by unit, each of which is old or new
    tried: int = 6  # of its steps


def bundle_copied(place: Place) -> None:
    shutil.copytree(place.one, place.out)


def seen_bundle(place: Place) -> View:
    recover(place.out)
    return {"bundle": files_in(place.out)}


def seen_report(place: Place) -> View:
    settle(place.out)
    return {"report": {n: c for n, c in files_in(place.out).items() if not n.endswith((".json", ".html"))}}


VERBS = {
    "predict": Verb(
        lambda p: ["predict", str(p.cells), "--bundle", str(p.other), "--format", "csv", "--out", str(p.out)],
        lambda p: ["predict", str(p.cells), "--bundle", str(p.one), "--format", "csv", "--out", str(p.out)],
        lambda p: {"rows": rows(p.out / "predictions.csv")},
    ),
    "gallery": Verb(
        lambda p: ["predict", str(p.cells), "--bundle", str(p.other), "--format", "html", "--out", str(p.out)],
        lambda p: ["predict", str(p.cells), "--bundle", str(p.one), "--format", "html", "--out", str(p.out)],
        lambda p: {"page": seen_page(p.out / "report.html")},
    ),
    "field": Verb(
        lambda p: None,
        lambda p: ["field", str(p.cells), "--bundle", str(p.one), "--out", str(p.out), "--threads", "1"],
        lambda p: {"rows": rows(p.out / "cells.csv"), **seen_fields(p.out)},
        tried=10,
    ),
    "calibrate": Verb(
        bundle_copied,
        lambda p: ["calibrate", str(p.out), "--data", str(p.labelled), "--level", "0.25"],
        seen_bundle,
    ),
    "evaluate": Verb(
        lambda p: ["evaluate", "--bundle", str(p.other), "--data", str(p.labelled), "--out", str(p.out)],
        lambda p: ["evaluate", "--bundle", str(p.one), "--data", str(p.labelled), "--out", str(p.out)],
        seen_report,
        tried=3,
    ),
    "index": Verb(
        lambda p: None,
        lambda p: ["data", "index", str(p.labelled), "--out", str(p.out / "cells.csv")],
        lambda p: {"table": files_in(p.out).get("cells.csv")},
    ),
}  # fmt: skip


def steps_of(count: int, tried: int) -> list[int]:
    """Some of the steps, the first and the last among them."""
    return sorted({round(1 + place * (count - 1) / (tried - 1)) for place in range(tried)})


def started(verb: Verb, place: Place, zygote: Zygote) -> None:
    """The folder as it was before."""
    shutil.rmtree(place.root, ignore_errors=True)
    place.root.mkdir()
    command = verb.before(place)
    if command:
        answer = zygote(place.root, "count", 0, command)
        assert answer["status"] == 0, answer["told"]


@pytest.mark.parametrize("mode", ["kill", "fail", "cut"])
@pytest.mark.parametrize("name", VERBS)
def test_old_or_new(name: str, mode: str, place: Place, zygote: Zygote, tmp_path: Path) -> None:
    verb = VERBS[name]
    started(verb, place, zygote)
    shutil.copytree(place.root, tmp_path / "before")
    old, command = verb.seen(place), verb.command(place)
    undisturbed = zygote(place.root, "cut" if mode == "cut" else "count", 0, command)
    assert undisturbed["status"] == 0, undisturbed["told"]
    new = verb.seen(place)
    assert new != old

    def put(folder: Path) -> None:
        shutil.rmtree(place.root)
        shutil.copytree(folder, place.root)

    if mode == "cut":  # what has ended well outlasts a power cut
        for disk in ("names", "synced"):
            put(place.root.with_name(disk))
            assert verb.seen(place) == new, disk
    assert undisturbed["steps"] > 3
    for at in steps_of(undisturbed["steps"], undisturbed["steps"] if ALL else verb.tried):
        put(tmp_path / "before")
        answer = zygote(place.root, mode, at, command)
        assert answer["status"] in ({0, 1, 2} if mode == "fail" else {KILLED}), (at, answer)
        assert "Traceback" not in answer["told"], (at, answer)
        for disk in ("names", "synced") if mode == "cut" else (None,):
            if disk is not None:
                put(place.root.with_name(disk))
            for unit, content in verb.seen(place).items():
                assert content in (old.get(unit), new[unit]), (at, disk, unit, content)
            again = zygote(place.root, "count", 0, command)
            assert again["status"] == 0, (at, disk, again)
            assert "Traceback" not in again["told"], (at, disk, again)
            assert verb.seen(place) == new, (at, disk)
            left = [str(path) for path in place.root.rglob(".*") if path.suffix in (".part", ".old")]
            assert not left, (at, disk, left)


def test_the_layer_loses_what_was_not_synced(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_text("old")
    disk = Disk(root)
    (root / "old").write_text("new")
    (root / "careless").write_text("never synced")
    (root / "careless").rename(root / "renamed")
    write_bytes(root / "careful", b"synced")
    for path in (root / "careful", root):
        disk.sync(path)
    (root / "late").write_text("after the last sync of the folder")
    disk.with_all_names(tmp_path / "names")
    disk.as_synced(tmp_path / "synced")
    kept = {"old": b"old", "renamed": b"", "careful": b"synced"}
    assert files_in(tmp_path / "names") == kept | {"late": b""}
    assert files_in(tmp_path / "synced") == kept
