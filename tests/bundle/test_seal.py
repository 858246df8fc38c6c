"""No bit of bundle.json changes unnoticed, and what is no JSON of ours is refused in words."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bundle_factory import make_bundle
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.bundle.seal import AlteredError, sealed, unsealed
from leukoscope.errors import BundleError


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_the_checksum_is_that_of_the_text_with_zeros_in_its_place() -> None:
    content, told = sealed({"name": "ü", "n": 1})
    assert json.loads(content)["digest"] == told
    assert hashlib.sha256(content.replace(told.encode(), b"0" * 64)).hexdigest() == told
    assert unsealed(content) == ({"name": "ü", "n": 1}, told)


def test_what_was_written_without_a_checksum_is_still_read(tmp_path: Path) -> None:
    assert read_bundle(make_bundle(tmp_path / "b")).facts.name == "by-hand"
    assert unsealed(b'{"a": 1}') == ({"a": 1}, None)


def test_a_bundle_is_named_by_its_checksum(copied: Path, tmp_path: Path) -> None:
    told = json.loads((copied / "bundle.json").read_text())["digest"]
    bundle = read_bundle(copied)
    assert bundle.digest == told
    other = bundle.with_facts(name="other")
    written = other.write(tmp_path / "other")
    assert len({told, other.digest, written.digest}) == 3  # the version and the card are facts too
    assert read_bundle(tmp_path / "other").digest == written.digest
    bare = read_bundle(make_bundle(tmp_path / "bare"))  # without a checksum: the one that it would have
    assert bare.seal is None
    assert len(bare.digest) == 64


def test_no_flipped_bit_of_the_default_bundle_is_read(copied: Path) -> None:
    file = copied / "bundle.json"
    content = file.read_bytes()
    read_bundle(copied)
    for bit in np.random.default_rng(0).choice(8 * len(content), 300, replace=False).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(BundleError):
            read_bundle(copied)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"threshold": 0.', '"threshold": 1.', "is damaged or was altered"),
        ('"name": ', '"name": "first", "name": ', "is not JSON .it names 'name' twice"),
        ('"temperature": ', '"temperature": Infinity, "t": ', "Infinity is no number"),
        ('"digest": "', '"digest": "0', "its own checksum|its SHA-256"),
    ],
)
def test_what_was_altered_is_said(copied: Path, old: str, new: str, words: str) -> None:
    file = copied / "bundle.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(BundleError, match=words):
        read_bundle(copied)


def test_numbers_that_cannot_be_are_refused_even_where_nothing_was_altered(copied: Path) -> None:
    facts, _ = unsealed((copied / "bundle.json").read_bytes())
    for wrong in ({"input_size": 0}, {"um_per_px": -1.0}, {"decision": facts["decision"] | {"temperature": 1e300}}):
        (copied / "bundle.json").write_bytes(sealed(facts | wrong)[0])
        with pytest.raises(BundleError, match=r"is invalid at"):
            read_bundle(copied)


def test_infinite_numbers_are_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed({"temperature": float("inf")})


def test_a_digest_that_is_none_is_told() -> None:
    with pytest.raises(AlteredError):
        unsealed(b'{"digest": 1}')
