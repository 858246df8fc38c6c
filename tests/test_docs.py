"""What the documents name exists: links and their anchors, files, modules and their members, verbs and options."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from leukoscope.cli import main

HOME = Path(__file__).parents[1]
PACKAGE = HOME / "src" / "leukoscope"
PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").glob("*.md")])
# The log of changes names what is no more, too.
LIVING = [page for page in PAGES if page.name != "CHANGELOG.md"]
GONE = {"evaluation", "data", "fields"}  # rooms of the old house
ROOMS = {path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").is_file() or path.suffix == ".py"}

SUFFIXES = {"py", "md", "json", "jsonl", "csv", "html", "onnx", "png"}  # `metrics.json` is a file, no member


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def names(page: Path) -> list[str]:
    """What stands between backticks on a line."""
    fenced = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", fenced.sub("", text_of(page)))


def commands(page: Path) -> list[str]:
    """Commands in blocks of code and between backticks, continued lines joined."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("$ ").partition("  #")[0] for line in [*lines, *names(page)]]


@cache
def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower()) for head in heads]
    return {head.strip().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", LIVING, ids=lambda page: page.name)
def test_files_of_the_repository_are_there(page: Path) -> None:
    named = re.findall(r"(?<![/\w])(?:docs|tests|benchmarks|src)/[\w./*-]*\w", text_of(page))
    assert [name for name in named if not any(HOME.glob(name))] == []


@pytest.mark.parametrize("page", LIVING, ids=lambda page: page.name)
def test_modules_and_their_members_are_there(page: Path) -> None:
    """`cells.frame`, `smears.find_cells`, `leukoscope.load`: a room, then modules, then members."""
    amiss = [name for name in names(page) if not is_there(name)]
    for name in names(page):
        if re.fullmatch(r"[a-z]+/[a-z_/]*", name) and name.split("/")[0] in ROOMS:  # a room, or a module as a path
            place = PACKAGE / name
            amiss += [] if place.exists() or place.with_suffix(".py").exists() else [name]
    assert amiss == []


def test_comments_and_docstrings_name_what_is_there() -> None:
    amiss = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"`([^`\n]+)`", text_of(path))
        if not is_there(name)
    }
    assert amiss == set()


def is_there(name: str) -> bool:
    """Whether what reads as a dotted name of the package is one."""
    dotted = re.match(r"^(?:leukoscope\.)?([a-z_]+(?:\.\w+)+)", name)
    if not dotted or dotted[1].split(".")[0] not in ROOMS | GONE or dotted[1].rpartition(".")[2] in SUFFIXES:
        return True
    return exists(dotted[1])


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module without modules in it
        return False


def exists(dotted: str) -> bool:
    """Whether a dotted name under the package is a module, or a member of one."""
    module, rest = "leukoscope", dotted.split(".")
    while rest and is_module(f"{module}.{rest[0]}"):
        module = f"{module}.{rest.pop(0)}"
    found: object = import_module(module)
    for part in rest:
        fields = getattr(found, "model_fields", {})
        if not hasattr(found, part) and part not in fields and part not in getattr(found, "__annotations__", {}):
            return False
        found = getattr(found, part, None)
    return True


@pytest.mark.parametrize("page", LIVING, ids=lambda page: page.name)
def test_verbs_and_their_options_are_there(page: Path) -> None:
    amiss = [
        line
        for line in commands(page)
        for said in re.findall(r"(?:^|&& |-m )leukoscope (?![a-z]*:)([a-z].*)", line)
        if not understood(said.split("&&")[0])
    ]
    assert amiss == []


def understood(said: str) -> bool:
    """Whether the words name a verb, its sub-verb, and options that it has; brackets and dots are of the notation."""
    words = shlex.split(re.sub(r"[\[\]|]|\.\.\.", " ", said).replace("'", ""), comments=True)
    command: click.Command = main
    known = {"--help"}
    context = click.Context(main)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        if found is None:
            return False
        command = found
    known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    return given <= known


@pytest.mark.parametrize("page", LIVING, ids=lambda page: page.name)
def test_scripts_have_the_options_that_are_named(page: Path) -> None:
    amiss = []
    for line in commands(page):
        for script, rest in re.findall(r"python (benchmarks/\w+\.py)(.*)", line):
            given = re.findall(r"--([a-z][\w-]*)", rest)
            amiss += [f"{script} --{name}" for name in given if not has_option(HOME / script, name)]
    assert amiss == []


def has_option(script: Path, name: str) -> bool:
    """Whether a script, or one beside it that it imports from, defines the option."""
    source = text_of(script)
    beside = [script.parent / f"{other}.py" for other in re.findall(r"^from (\w+) import", source, re.MULTILINE)]
    texts = [source, *(text_of(path) for path in beside if path.exists())]
    return any(f'"--{name}"' in text or f"{name.replace('-', '_')}=" in text for text in texts)
