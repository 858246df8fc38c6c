"""A made-up data set is one file in `datasets/readers/`: a copy of the package with that file knows it everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leukoscope
from leukoscope.datasets.known_sets import SetFacts, add_facts, known_sets, reader, readers
from leukoscope.errors import DataError

MADE_UP = '''
"""Two slides of a made-up laboratory: `slide_A3_17_sick.png`."""

import re
from pathlib import Path
from types import SimpleNamespace

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.known_sets import SetFacts, reader
from leukoscope.datasets.record import Record


def cell(name):
    match = re.fullmatch(r"slide_([A-Z]\\d)_(\\d+)_(sick|well)\\.png", name)
    return match and SimpleNamespace(subject=match[1], field=match[2], label=int(match[3] == "sick"))


FACTS = SetFacts(
    name="madeup",
    title="Made-up 2030",
    terms="Made-up 2030: CC0, nobody at all, doi:10.0/none.",
    caveat="Made-up cells are of nobody.",
    limits="It was trained on two slides.",
    pictures=9,
    kin=frozenset({"allidb2"}),
    resolution_tells=True,
    sides=frozenset({32}),
    groups=lambda: {"A3": "A3+B4", "B4": "A3+B4"},
    parse=cell,
    labels="sick is blast",
)


@reader("slides", fits=lambda place, _: (place / "slides").is_dir(), looks_for="slides", sets=(FACTS,))
def read_slides(path):
    root = Path(path)
    found = sorted((root / "slides").iterdir())
    named = [(picture, cell(picture.name)) for picture in found]
    merged = FACTS.groups()
    records = tuple(
        Record(f"slides/{p.name}", c.label, c.subject, merged.get(c.subject, c.subject), None, "madeup", c.field)
        for p, c in named
    )
    return Manifest(root, records, "madeup")
'''

ASKED = """
from pathlib import Path
from leukoscope.bundle.gate import GateFacts
from leukoscope.datasets.combine import combine, kin_of
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.facts import licences
from leukoscope.datasets.groups import known_groups
from leukoscope.datasets.readers import read_dataset
from leukoscope.inference.owners import find_owners
from leukoscope.inference.sources import find_pictures
found = read_dataset("set")
print(licences(found))
print(known_groups("madeup"))
print(kin_of("allidb2", found))
print(sorted(GateFacts.model_construct(data="madeup", sides=None).known_sides))
owners = find_owners(find_pictures(["set"]))
print(owners.how, sorted(set(owners.patient.values())), sorted(owners.field.values()))
print(combine([read_dataset("mixed"), read_dataset("set")]).patients().names())
"""


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package as `src`, one file added, and pictures in three layouts."""
    home = tmp_path_factory.mktemp("laboratory")
    package = Path(leukoscope.__file__).parent
    shutil.copytree(package, home / "src/leukoscope", ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    (home / "src/leukoscope/datasets/readers/slides.py").write_text(MADE_UP, encoding="utf-8")
    rng = np.random.default_rng(0)

    def draw(name: str, side: int) -> None:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(home / name)

    for name, side in (("A3_1_sick", 32), ("A3_2_sick", 32), ("B4_1_sick", 32), ("C1_1_well", 40), ("C1_2_well", 40)):
        draw(f"set/slides/slide_{name}.png", side)
    draw("mixed/blast/slide_B4_9_sick.png", 32)
    draw("mixed/normal/own.png", 32)
    draw("turned/blast/slide_C1_8_well.png", 32)
    draw("turned/normal/own.png", 32)
    return home


def ask(laboratory: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=laboratory,
        env=os.environ | {"PYTHONPATH": str(laboratory / "src"), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_its_layout_its_patients_and_what_is_published_of_it(laboratory: Path) -> None:
    code, told = ask(laboratory, "-m", "leukoscope", "data", "index", "set")
    assert code == 0, told
    for sentence in (
        "madeup: 5 pictures",
        "2 patient groups of 2 to 3 pictures",
        "group A3+B4: subjects A3, B4, 3 pictures",
        "madeup: 5 of the 9 published pictures",
        "note: Made-up cells are of nobody.",
        "note: Size in pixels tells the class of 100.0% of the pictures",
    ):
        assert sentence in told
    code, told = ask(laboratory, "-m", "leukoscope", "data", "index", "set", "--reader", "none")
    assert code == 2
    assert "slides" in told  # a name that is none is answered with all
    _, nothing = ask(laboratory, "-m", "leukoscope", "data", "index", "src")
    assert "for slides" in nothing


def test_its_names_are_believed_in_any_layout(laboratory: Path) -> None:
    code, told = ask(laboratory, "-m", "leukoscope", "data", "index", "mixed")
    assert code == 0, told
    assert "group madeup:A3+B4: subjects madeup:B4, 1 pictures" in told
    code, told = ask(laboratory, "-m", "leukoscope", "data", "index", "turned")
    assert code == 2
    assert "contradict the class in the Made-up 2030 name" in told
    assert "sick is blast" in told


def test_its_terms_its_kin_and_its_scale(laboratory: Path) -> None:
    code, told = ask(laboratory, "-c", ASKED)
    assert code == 0, told
    terms, groups, kin, sides, owners, patients = told.splitlines()
    assert terms == "('Made-up 2030: CC0, nobody at all, doi:10.0/none.',)"
    assert groups == "{'A3': 'A3+B4', 'B4': 'A3+B4'}"
    assert "the same patients under other names" in kin
    assert sides == "[32]"
    assert owners == "file names (Made-up 2030) ['A3', 'B4', 'C1'] ['1', '1', '1', '2', '2']"
    assert patients == "['madeup:A3+B4', 'madeup:C1']"


def test_the_readers_are_asked_in_their_order() -> None:
    assert list(readers()) == ["cnmc", "review", "table", "allidb", "folders"]


def test_a_name_is_given_once() -> None:
    with pytest.raises(DataError, match="two data sets are called cnmc2019"):
        add_facts(SetFacts(name="cnmc2019", title="", terms=""))
    with pytest.raises(DataError, match="two readers are called cnmc"):
        reader("cnmc", fits=lambda *_: True)(known_sets)  # type: ignore[type-var]


def test_kin_are_kin_in_both_directions() -> None:
    sets = known_sets()
    assert all(facts.name in sets[other].kin for facts in sets.values() for other in facts.kin)
