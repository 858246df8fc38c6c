"""A signed bundle answers where its key is trusted; an unsigned or altered one does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bundle_factory import disc, make_bundle
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.signature import SIGNATURES_FILE, check_signed, sign_bundle
from leukoscope.cli import main
from leukoscope.errors import BundleError, DataError
from leukoscope.keys import new_key

pytest.importorskip("cryptography", reason="the extra `federation` is not installed")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    read_bundle(make_bundle(tmp_path / "raw")).write(tmp_path / "bundle")
    return tmp_path / "bundle"


def leukoscope(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_predict_answers_by_a_signed_bundle_only(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(disc((200, 30, 90))).save(tmp_path / "cell.png")
    predict = ("predict", tmp_path / "cell.png", "--bundle", bundle, "--format", "jsonl")
    made = leukoscope("federate", "key", tmp_path / "k")
    key = made.output.split()[-1]
    told = leukoscope(*predict, "--trust", key)
    assert (told.exit_code, told.stdout) == (2, "")
    assert "no key that is trusted here has signed this bundle (it is not signed); sign it with" in told.output
    assert leukoscope("sign", bundle, "--key", tmp_path / "k").exit_code == 0
    assert leukoscope(*predict, "--trust", key).exit_code == 0
    (tmp_path / "keys").write_text(f"# ours\n{'0' * 64}\n{key}  # of the laboratory\n")
    monkeypatch.setenv("LEUKOSCOPE_TRUST", str(tmp_path / "keys"))
    assert leukoscope(*predict).exit_code == 0
    monkeypatch.setenv("LEUKOSCOPE_TRUST", "0" * 64)
    assert f"it is signed by {key[:16]}" in leukoscope(*predict).output
    assert leukoscope("serve", "--bundle", bundle, "--data", tmp_path / "wb").exit_code == 2


def test_what_was_altered_since_is_not_signed(bundle: Path, tmp_path: Path) -> None:
    key = new_key(tmp_path / "k")
    sign_bundle(bundle, key)
    assert check_signed(read_bundle(bundle), [key.public]) == key.public
    signatures = (bundle / SIGNATURES_FILE).read_text()
    changed = read_bundle(bundle).with_facts(um_per_px=0.2).write(bundle)  # whole, with all its checksums
    assert not (bundle / SIGNATURES_FILE).exists()
    with pytest.raises(BundleError, match="it is not signed"):
        check_signed(changed, [key.public])
    (bundle / SIGNATURES_FILE).write_text(signatures)
    with pytest.raises(BundleError, match="was altered after it was signed"):
        check_signed(changed, [key.public])
    other = new_key(tmp_path / "other")
    sign_bundle(bundle, other)
    assert check_signed(read_bundle(bundle), [key.public, other.public]) == other.public
    bare = json.loads((bundle / "bundle.json").read_text()) | {"um_per_px": 0.3}
    del bare["digest"]  # without a checksum, too
    (bundle / "bundle.json").write_text(json.dumps(bare))
    with pytest.raises(BundleError, match="was altered after it was signed"):
        check_signed(read_bundle(bundle), [other.public])


def test_keys_that_are_none_are_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("rather a name\n")
    for word, told in ((str(tmp_path / "keys"), "which is no public key"), ("abc", "abc: is no public key")):
        with pytest.raises(DataError, match=told):
            check_signed(read_bundle(bundle), [word])


def test_cryptography_is_imported_only_where_something_is_signed(bundle: Path) -> None:
    script = "import sys; sys.modules['cryptography'] = None; from leukoscope import load; load(sys.argv[1], **{})"
    subprocess.run([sys.executable, "-c", script, bundle], check=True)
    script = script.replace("**{}", f"trust=['{'0' * 64}']")
    (bundle / SIGNATURES_FILE).write_text(f"{'0' * 64} {'0' * 128}\n")
    done = subprocess.run([sys.executable, "-c", script, bundle], check=False, capture_output=True, text=True)
    assert "signing needs packages that the base install leaves out; run: pip install" in done.stderr
