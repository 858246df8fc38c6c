"""Facts with right checksums and any values in any places: read, or refused in our own words."""

from __future__ import annotations

import hashlib
import json
import shutil
import string
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.errors import LeukoscopeError

NUMBERS = st.integers() | st.sampled_from([0, -1, 2**31, 2**64, 10**400]) | st.floats(width=64)
TEXT = st.text(max_size=20) | st.text(string.hexdigits, min_size=64, max_size=64)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def _places(tree: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*way, key)
        yield from _places(value, (*way, key))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(default_bundle(), tmp_path_factory.mktemp("facts") / "bundle"))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    facts = json.loads((default_bundle() / "bundle.json").read_text(encoding="utf-8"))
    facts.pop("digest")
    *outer, last = data.draw(st.sampled_from(sorted(_places(facts), key=str)))
    held = altered = deepcopy(facts)
    for key in outer:
        held = held[key]
    held[last] = data.draw(VALUES)
    text = json.dumps({**altered, "digest": "0" * 64}, indent=2)  # NaN too, which `sealed` would not write
    told = hashlib.sha256(text.encode()).hexdigest()
    (folder / "bundle.json").write_text(text.replace('"digest": "' + "0" * 64, '"digest": "' + told), encoding="utf-8")
    with suppress(LeukoscopeError):
        read_bundle(folder)
