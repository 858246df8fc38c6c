"""Remedies name verbs and options that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import leukoscope
from command_tree import COMMANDS
from leukoscope.training.recipe import Recipe

SOURCE = Path(leukoscope.__file__).parent
FOREIGN = {"--nproc-per-node", "--upgrade", "--raw"}  # of torchrun, pip and gdcmconv


OPTIONS = {
    word
    for command in COMMANDS.values()
    for parameter in command.params  # get_params would make each verb keep a help option without -h
    for word in (*parameter.opts, *parameter.secondary_opts)
    if word.startswith("--")
}


def remedies() -> list[tuple[str, str]]:
    """Every text that is given as a remedy, with the place where it stands."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.keyword) or node.arg != "remedy":
                continue
            parts = [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
            words = " ".join(part for part in parts if isinstance(part, str))
            found.append((f"{path.relative_to(SOURCE)}:{node.value.lineno}", words))
    return found


def test_there_are_remedies_and_options() -> None:
    assert len(remedies()) > 150
    assert {"--max-pixels", "--device", "--data"} <= OPTIONS


@pytest.mark.parametrize(("place", "words"), remedies(), ids=lambda value: value if ":" in str(value)[-5:] else "")
def test_a_remedy_names_what_exists(place: str, words: str) -> None:
    for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", words):
        assert option in OPTIONS | FOREIGN, f"{place} names {option}"
    for verb in re.findall(r"`leukoscope ((?:[a-z]+ ?){1,2})", words):
        first = verb.split()[0]
        assert first in COMMANDS, f"{place} names the verb {first}"
    for key in re.findall(r"\b(optimizer|split|stages|schedule|early_stopping|input)\.(?!json)([a-z_]+)", words):
        part = Recipe.model_fields.get(key[0])
        assert part is not None, f"{place} names {key}"
        kinds = [part.annotation, *getattr(part.annotation, "__args__", ())]
        assert any(key[1] in getattr(kind, "model_fields", {}) for kind in kinds), f"{place} names {'.'.join(key)}"
