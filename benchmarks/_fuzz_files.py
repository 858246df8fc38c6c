"""What `fuzz` alters besides pictures: bundles, graphs, recipes, tables, checkpoints, archives, reviews and more.

Each reader gets the altered file among sound neighbours; where a checksum or a signature covers it, half of the files
are given a right one again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from _fuzz_pictures import Alter, Kind, altered_bytes
from leukoscope.archive.collect import collect
from leukoscope.archive.plan import Archive, plan
from leukoscope.bundle.read import read_bundle
from leukoscope.cli._paths import listed
from leukoscope.datasets.dataset import read_manifest
from leukoscope.datasets.readers.review import read_review
from leukoscope.dicom.results import read_readings
from leukoscope.federation.pool import pool_sites
from leukoscope.federation.summary import GroupCounts, Moments, SiteSummary, read_summary
from leukoscope.files import write_checked_json
from leukoscope.inference.classifier import load
from leukoscope.inference.journal import Journal
from leukoscope.inference.owners import find_owners
from leukoscope.inference.sources import find_pictures
from leukoscope.keys import SiteKey
from leukoscope.tables import csv_text, read_rows, stream_rows
from leukoscope.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint, weights_of
from leukoscope.training.recipe import load_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bundle_factory import disc, make_bundle

_VALUES = (
    "NaN", "-Infinity", "1e999", "-1", "0", "1e-320", str(10**400), '""', "null", "true", "[]", "{}", "[" * 50_000,
    '{"a":' * 5_000, '"\\ud800"', '"\u2028"', '"\\u0000"', '"=1+1"', '"' + "x" * 100_000 + '"', "\u202e", "\0", "'",
    "&a *a", "!!python/object/apply:os.system [true]", "<<: *a", "? ", "- " * 2_000, '"../../x"', "../" * 30, ";",
    "\t", "\r",
)  # fmt: skip
_WORD = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"(?:[^"\\]|\\.)*"|[A-Za-z_]+')


def altered_text(rng: np.random.Generator, sound: bytes) -> bytes:
    """Numbers, words and lines replaced, doubled and taken out; or bytes altered."""
    if rng.random() < 0.3:
        return altered_bytes(rng, sound)
    data = sound
    for _ in range(int(rng.integers(1, 4))):
        words = [found.span() for found in _WORD.finditer(data)]
        if not words:
            break
        start, stop = words[int(rng.integers(len(words)))]
        way = rng.integers(5)
        if way == 0:
            new = str(rng.choice(_VALUES)).encode("utf-8", "surrogatepass")
        elif way == 1:
            other = words[int(rng.integers(len(words)))]
            new = data[other[0] : other[1]]
        elif way == 2:
            new = str(rng.choice([-1, 0, 1, 2**31, 2**63, 1e308, 0.5, 1e-9])).encode()
        else:  # lines, and not words
            start = data.rfind(b"\n", 0, start) + 1
            stop = len(data) if (end := data.find(b"\n", stop)) < 0 else end + 1
            new = data[start:stop] * 2 if way == 3 else b""
        data = data[:start] + new + data[stop:]
    return data


_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, -1e-320, 1e308, float("nan"), float("inf"), "", "x" * 10_000,
    "\ud800", "=1+1", "../x", [], {}, [[]] * 50, {"": None}, [1, 2], "0.5", "2026-13-40",
)  # fmt: skip


def altered_json(rng: np.random.Generator, sound: bytes) -> bytes:
    """One to three values or names of JSON replaced, doubled or taken out; or text altered."""
    if rng.random() < 0.3:
        return altered_text(rng, sound)
    tree = json.loads(sound)
    for _ in range(int(rng.integers(1, 4))):
        held = list(_holders(tree))
        inner = held[int(rng.integers(len(held)))]
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = keys[int(rng.integers(len(keys)))]
        way = rng.integers(8)
        if way == 0:
            del inner[key]
        elif way == 1 and isinstance(inner, dict):
            inner[str(rng.choice(["", "x", "format", "\ud800"]))] = inner.pop(key)
        elif way == 2 and isinstance(inner, list):
            inner.insert(key, inner[key])
        elif way == 3 and isinstance(inner[key], int | float):
            inner[key] = inner[key] * float(rng.choice([-1, 0.5, 1.01, 1000]))
        else:
            inner[key] = deepcopy(_ODD[int(rng.integers(len(_ODD)))])
        if not list(_holders(tree)):
            break
    return json.dumps(tree, indent=2 if b"\n " in sound else None).encode() + b"\n"


def _holders(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list):
        if tree:
            yield tree
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _holders(each)


def _altered_lines(rng: np.random.Generator, sound: bytes, alter: Alter = altered_json) -> bytes:
    """One line; or all as text."""
    lines = sound.splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    if rng.random() < 0.3:
        return altered_text(rng, sound)
    return b"".join((*lines[:at], alter(rng, lines[at]), *lines[at + 1 :]))


def _resealed(alter: Alter, mend: Callable[[bytes], bytes]) -> Alter:
    """The same alteration, and half of its files with right checksums."""

    def both(rng: np.random.Generator, sound: bytes) -> bytes:
        data = alter(rng, sound)
        return mend(data) if rng.random() < 0.5 else data

    return both


def _written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# Bundles: the facts, and the graph with facts that name its digest.

_SEAL = re.compile(rb'"digest": "([0-9a-f]{64})"')


def _facts(_large: bool) -> list[bytes]:
    return [(_default() / "bundle.json").read_bytes()]


def _default() -> Path:
    return Path(str(resources.files("leukoscope.bundle") / "default"))


def _sealed(data: bytes) -> bytes:
    found = _SEAL.findall(data)
    if len(found) != 1:
        return data
    blank = data.replace(found[0], b"0" * 64)
    return blank.replace(b'"digest": "' + b"0" * 64, b'"digest": "' + hashlib.sha256(blank).hexdigest().encode())


def _read_bundle(data: bytes, folder: Path) -> object:
    place = folder / "bundle"
    if not place.exists():
        shutil.copytree(_default(), place)
    _written(place, "bundle.json", data)
    read_bundle(place)
    classifier = load(place, threads=1)
    size = classifier.bundle.facts.preparation.frame_size
    return classifier.answers([np.full((size, size, 3), 90, np.uint8)])


def _graphs(_large: bool) -> list[bytes]:
    from bundle_factory import make_graph  # noqa: PLC0415  (needs ONNX)

    return [make_graph(), make_graph(blocks=4)]


def _read_graph(data: bytes, folder: Path) -> object:
    classifier = load(make_bundle(folder / "graph", graph=data), threads=1)
    size = classifier.bundle.facts.preparation.frame_size
    return classifier.predict_frames(np.full((1, size, size, 3), 90, np.uint8))


# Recipes.


def _recipes(_large: bool) -> list[bytes]:
    found = resources.files("leukoscope.training") / "recipes"
    return sorted(each.read_bytes() for each in found.iterdir() if each.name.endswith(".yaml"))


def _read_recipe(data: bytes, folder: Path) -> object:
    return load_recipe(str(_written(folder, "recipe.yaml", data)), ("epochs=2",))


# Tables: a manifest, and a table of patients, read in all ways in which tables are read.


def _tables(_large: bool) -> list[bytes]:
    rows = [
        (f"a/{n}.png", "blast" if n % 2 else "normal", f"P{n // 3}", f"P{n // 3}", n % 3, "made", None)
        for n in range(12)
    ]
    header = ("path", "label", "subject", "group", "fold", "source", "field")
    plain = csv_text(header, rows)
    return [
        ("# root: .\n" + plain).encode(), plain.replace(",", ";").encode(), b"\xef\xbb\xbf" + plain.encode(),
        plain.encode("utf-16"), csv_text(header, rows, quote_words=True).encode(),
    ]  # fmt: skip


def _read_table(data: bytes, folder: Path) -> object:
    path = _written(folder, "table.csv", data)
    done = []
    readers: tuple[Callable[[], object], ...] = (
        lambda: read_manifest(path), lambda: read_rows(path, ["path"], exact=True),
        lambda: list(stream_rows(path, ["path"])),
        lambda: find_owners([folder / "a" / f"{number}.png" for number in range(12)], path),
    )  # fmt: skip
    for reader in readers[1:]:
        try:
            done.append(reader())
        except Exception as error:
            if type(error).__module__ != "leukoscope.errors":
                raise
    return readers[0]()


# JSON lines of answers, as `predict --out` keeps them.

_SETTINGS = {"version": "1", "form": 1}


def _journals(_large: bool) -> list[bytes]:
    values = {
        "place": {"number": 1, "box": [1, 2, 3, 4], "kind": "crop", "um_per_px": 0.1, "warnings": ["x"]},
        "sha256": "0" * 64, "probability": 0.5, "logit": 0.0, "decision": "refer", "model": "m", "ms": {"read": 1.0},
        "error": None, "reason": "band", "gate": "passed", "findings": [], "gate_score": 0.5,
    }  # fmt: skip
    lines = [_SETTINGS] + [{"picture": f"{n}.png", "stamp": [3, n], "answers": [values]} for n in range(4)]
    return [b"".join(map(_summed, (json.dumps(line).encode() for line in lines)))]


def _summed(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _alter_journal(rng: np.random.Generator, sound: bytes) -> bytes:
    """One line as it lies; or what it says, with a right checksum."""
    if rng.random() < 0.5:
        return _altered_lines(rng, sound, altered_bytes)
    lines = sound.splitlines()
    at = int(rng.integers(len(lines)))
    said = altered_json(rng, lines[at].partition(b" ")[2]).strip().replace(b"\n", b" ")
    return b"\n".join((*lines[:at], _summed(said).strip(), *lines[at + 1 :])) + b"\n"


def _read_journal(data: bytes, folder: Path) -> object:
    journal = Journal(_written(folder, "journal.jsonl", data), _SETTINGS)
    try:
        for name in list(journal._place):
            if isinstance(name, str):
                picture = Path(name)
                if str(picture) in journal._place:  # as `holds` asks, whose file would have to be there
                    journal.answers(picture)
    finally:
        journal.close()
    return journal


# Checkpoints: the safetensors and the state, one file at a time.


@cache
def _network() -> Any:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


_EPOCH = "epoch-0001"
_NAMES = ("model.safetensors", "best.safetensors", "optimizer.safetensors", "state.json")
_MARK = b"\nfile: "


def _checkpoints(_large: bool) -> list[bytes]:
    """Each file of one, its name behind it."""
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as place:
        model, optimizer = _network()
        state = TrainingState(epoch=1, best_epoch=1, best_loss=0.5, history=[{"epoch": 1, "val_loss": 0.5}])
        save_checkpoint(Path(place), model, weights_of(model), None, optimizer, state)
        return [(Path(place) / _EPOCH / name).read_bytes() + _MARK + name.encode() for name in _NAMES]


def _alter_checkpoint(rng: np.random.Generator, sound: bytes) -> bytes:
    data, _, name = sound.rpartition(_MARK)
    altered = _alter_state(rng, data) if name == b"state.json" else altered_bytes(rng, data)
    return altered + _MARK + name + (b" mended" if rng.random() < 0.5 else b"")


def _alter_state(rng: np.random.Generator, sound: bytes) -> bytes:
    """The text within the text, which has the checksum."""
    outer = json.loads(sound)
    if rng.random() < 0.3:
        return altered_json(rng, sound)
    outer["text"] = altered_json(rng, outer["text"].encode()).decode("utf-8", "replace")
    return json.dumps(outer).encode()


def _read_checkpoint(data: bytes, folder: Path) -> object:
    content, _, told = data.rpartition(_MARK)
    name, _, mended = told.decode().partition(" ")
    run = folder / "run"
    if run.exists():
        shutil.rmtree(run)
    model, optimizer = _network()
    save_checkpoint(run, model, weights_of(model), None, optimizer, TrainingState(epoch=1))
    _written(run / _EPOCH, name, content)
    if mended:
        _mend_checkpoint(run / _EPOCH, name, content)
    fresh = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    return load_checkpoint(run, fresh, torch.optim.Adam(fresh.parameters()))


def _mend_checkpoint(folder: Path, name: str, content: bytes) -> None:
    """Checksums of a checkpoint again, as far as its state can be read."""
    from leukoscope.files import read_checked_json  # noqa: PLC0415

    try:
        if name == "state.json":
            text = json.loads(content)["text"]
            value = json.loads(text)["value"]
        else:
            (folder / name).unlink()
            value = {"progress": {"epoch": 1}, "optimizer": {"scalars": {}, "param_groups": []}}
            _written(folder, name, content)
            value["optimizer"]["param_groups"] = _network()[1].state_dict()["param_groups"]
        write_checked_json(folder / "state.json", value, sorted(folder.glob("*.safetensors")))
        read_checked_json(folder / "state.json")
    except (ValueError, KeyError, TypeError, RecursionError):
        return


# Summaries of laboratories.


def _summary(site: str) -> SiteSummary:
    moments = Moments(count=8, mean=(0.0, 1.0), deviation=(1.0, 1.0))
    rng = np.random.default_rng(len(site))
    groups = tuple(
        GroupCounts(blast=((int(rng.integers(5)), 3),), normal=((int(rng.integers(5)), 2),)) for _ in range(4)
    )
    edges = (-2.0, -1.0, 1.0, 2.0)
    return SiteSummary(
        format=1, software="0", date="2026-01-01", site=site, bundle="b", digest="0" * 64, data=site * 8,
        threshold=0.5, refer_from=None, edges=edges, probability=(0.1, 0.2, 0.5, 0.8, 0.9), groups=groups,
        unreadable=0, turned_down=0, min_cells=1, epsilon=None, embedding=moments, stain=moments,
    )  # fmt: skip


_KEY, _OTHER = SiteKey(bytes([1] * 32)), SiteKey(bytes([2] * 32))


def _signed(data: bytes) -> bytes:
    try:
        return SiteSummary.model_validate_json(data).signed(_KEY).to_text().encode()
    except Exception:  # noqa: BLE001  (it is no summary)
        return data


def _read_summary(data: bytes, folder: Path) -> object:
    found = read_summary(_written(folder, "site.json", data))
    return pool_sites([found, _summary("Bergen").signed(_OTHER)], replicates=20)


# Archives: the plan, the list of a part, and the rows of a part.

_ARCHIVED = ("archive.json", "parts/0000/0000000.jsonl", "results/0000/0000000.jsonl")


def _archive(folder: Path) -> Path:
    place = folder / "archive"
    if place.exists():
        return place
    bundle = make_bundle(folder / "of-archive")
    pictures = []
    for number in range(3):
        path = folder / f"{number}.png"
        Image.fromarray(disc((40 + 25 * number, 100, 90), size=48, radius=15)).save(path)
        pictures.append((path.name, path))
    made = plan(pictures, place, bundle=bundle)
    from leukoscope.archive.part import run_part  # noqa: PLC0415

    run_part(str(made.folder), 0)
    return place


def _archives(_large: bool) -> list[bytes]:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        place = _archive(Path(name))
        return [(place / each).read_bytes() + _MARK + each.encode() for each in _ARCHIVED]


def _alter_archive(rng: np.random.Generator, sound: bytes) -> bytes:
    data, _, name = sound.rpartition(_MARK)
    altered = altered_json(rng, data) if name == b"archive.json" else _altered_lines(rng, data)
    if name.startswith(b"results") and rng.random() < 0.5:
        rows, _, last = altered.rstrip(b"\n").rpartition(b"\n")
        rows += b"\n"
        digest = hashlib.sha256(rows).hexdigest().encode()
        altered = rows + re.sub(rb'"sha256": ?"[0-9a-f]*"', b'"sha256": "' + digest + b'"', last) + b"\n"
    return altered + _MARK + name


def _read_archive(data: bytes, folder: Path) -> object:
    content, _, told = data.rpartition(_MARK)
    place = _archive(folder)
    name = told.decode()
    sound = (place / name).read_bytes()
    try:
        _written(place, name, content)
        archive = Archive.open(place)
        archive.pictures(0)
        _ = archive.options
        return [collect(archive, folder / f"rows{suffix}", partial=True) for suffix in (".csv", ".jsonl", ".parquet")]
    finally:
        _written(place, name, sound)


# What people give: lists of pictures for `predict @FILE`, reviews of galleries, tables of readings.


def _cells(folder: Path) -> list[Path]:
    """Three cells, drawn once."""
    paths = [folder / f"cell-{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        if not path.exists():
            Image.fromarray(disc((40 + 25 * number, 100, 90), size=48, radius=15)).save(path)
    return paths


def _lists(_large: bool) -> list[bytes]:
    return [b"cell-0.png\ncell-1.png\n", "cell-2.png\r\n\r\nä/not there.tif\r\n".encode()]


def _read_list(data: bytes, folder: Path) -> object:
    _cells(folder)
    found = listed([Path(f"@{_written(folder, 'list.txt', data)}")])
    return find_pictures([folder / each for each in found if ".." not in each.parts and not each.is_absolute()])


def _reviews(_large: bool) -> list[bytes]:
    rows = [
        {"path": f"cell-{n}.png", "cell": None, "sha256": None, "decision": "refer", "probability": 0.5,
         "label": ("blast", "normal", "unsure")[n], "note": "n"}
        for n in range(3)
    ]  # fmt: skip
    told = {
        "format": "leukoscope-review", "version": 1, "root": "", "created": "2026-01-01", "bundle": "b",
        "bundle_digest": "0" * 64, "leukoscope": "0", "cells": rows,
    }  # fmt: skip
    return [json.dumps(told, indent=2).encode()]


def _read_review(data: bytes, folder: Path) -> object:
    pictures, path = _cells(folder), _written(folder, "review.json", data)
    read_readings(path, "somebody", pictures)
    return read_review(path)


def _readings(_large: bool) -> list[bytes]:
    named = [(f"cell-{n}.png", n, "a", "blast") for n in range(3)]
    handed = [(f"pictures/{n}{'0123456789abcdef' * 2}"[:29] + f"-{n}.png", "a", "blast", 1) for n in range(3)]
    return [
        csv_text(("path", "cell", "reader", "label"), named).encode(),
        csv_text(("path", "reader", "label", "suggestion_seen"), handed).encode(),
    ]


def _read_readings(data: bytes, folder: Path) -> object:
    return read_readings(_written(folder, "readings.csv", data), None, _cells(folder))


FILES = {
    "bundle": Kind(_facts, _resealed(altered_json, _sealed), _read_bundle),
    "graph": Kind(_graphs, altered_bytes, _read_graph),
    "recipe": Kind(_recipes, altered_text, _read_recipe),
    "table": Kind(_tables, altered_text, _read_table),
    "lines": Kind(_journals, _alter_journal, _read_journal),
    "checkpoint": Kind(_checkpoints, _alter_checkpoint, _read_checkpoint),
    "summary": Kind(
        lambda _: [_summary("Aachen").signed(_KEY).to_text().encode()], _resealed(altered_json, _signed), _read_summary
    ),
    "archive": Kind(_archives, _alter_archive, _read_archive),
    "list": Kind(_lists, altered_text, _read_list),
    "review": Kind(_reviews, altered_json, _read_review),
    "readings": Kind(_readings, altered_text, _read_readings),
}
