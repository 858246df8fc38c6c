"""`push` and `pull` against a hub on loopback, as a user runs them: processes that know its address alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")

import yaml
from huggingface_hub import ModelCardData

from bundle_factory import WEIGHTS, make_bundle, make_graph
from hub_server import TOKEN, Hub, hub_on_loopback
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.signature import sign_bundle
from leukoscope.files import write_text
from leukoscope.hub.card import hub_card
from leukoscope.keys import new_key, read_key

REPO = "laboratory/cells"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_on_loopback() as served:
        yield served


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def leukoscope(hub: Hub | str, home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    at = hub if isinstance(hub, str) else hub.url
    own = {
        "HF_ENDPOINT": at, "HF_HOME": str(home / "hf"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-m", "leukoscope", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | own, timeout=120)
    assert "Traceback" not in done.stderr
    return done


def test_there_and_back_is_the_same_bundle(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    digest = read_bundle(bundle).digest
    pushed = leukoscope(hub, tmp_path, "push", bundle, REPO)
    assert pushed.returncode == 0, pushed.stderr
    assert f"digest {digest[:16]}" in pushed.stdout
    number, files = hub.commits[REPO][-1]
    assert number in pushed.stdout
    assert len(hub.commits[REPO]) == 2  # one commit
    assert {name for name in files if name.startswith("bundle/")} == {
        f"bundle/{each.name}" for each in bundle.iterdir() if not each.name.startswith(".")
    }
    assert list(hub.large.values()) == [(bundle / "model.onnx").read_bytes()]

    out = tmp_path / "pulled"
    pulled = leukoscope(hub, tmp_path, "pull", REPO, "--revision", number, "--out", out)
    assert pulled.returncode == 0, pulled.stderr
    assert {each.name: each.read_bytes() for each in out.iterdir()} == {
        each.name: each.read_bytes() for each in bundle.iterdir()
    }
    assert not list((tmp_path / "hf").glob("**/model.onnx"))  # nothing is kept elsewhere
    assert leukoscope(hub, tmp_path, "pull", REPO, "--out", out).returncode == 0  # it is there already

    make_bundle(tmp_path / "other", graph=make_graph(weights=-WEIGHTS))
    assert leukoscope(hub, tmp_path, "push", tmp_path / "other", REPO).returncode == 0
    told = leukoscope(hub, tmp_path, "pull", REPO, "--out", out)
    assert told.returncode == 2
    assert f"holds another bundle (by-hand, digest {digest[:16]})" in told.stderr
    assert read_bundle(out).digest == digest
    assert leukoscope(hub, tmp_path, "pull", REPO, "--out", out, "--replace").returncode == 0
    assert read_bundle(out).digest == read_bundle(tmp_path / "other").digest


def test_what_is_altered_on_the_hub_is_refused(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    assert leukoscope(hub, tmp_path, "push", bundle, REPO).returncode == 0
    _, files = hub.commits[REPO][-1]
    graph = bytearray(files["bundle/model.onnx"])
    graph[len(graph) // 2] ^= 1
    hub.commit(REPO, {**files, "bundle/model.onnx": bytes(graph)})
    told = leukoscope(hub, tmp_path, "pull", REPO, "--out", tmp_path / "out")
    assert told.returncode == 2
    assert f"what {REPO} holds: " in told.stderr
    assert "was altered" in told.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))

    hub.commit(REPO, {name: content for name, content in files.items() if not name.startswith("bundle/")})
    told = leukoscope(hub, tmp_path, "pull", REPO, "--out", tmp_path / "out")
    assert (told.returncode, "holds no bundle" in told.stderr) == (2, True)


def test_a_signature_goes_along_and_is_asked_for(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "site.key")
    key = read_key(tmp_path / "site.key")
    assert leukoscope(hub, tmp_path, "push", bundle, REPO).returncode == 0
    out = tmp_path / "out"
    unsigned = leukoscope(hub, tmp_path, "pull", REPO, "--out", out, "--trust", key.public)
    assert (unsigned.returncode, "no key that is trusted here has signed" in unsigned.stderr) == (2, True)
    assert not out.exists()
    sign_bundle(bundle, key)
    assert leukoscope(hub, tmp_path, "push", bundle, REPO).returncode == 0
    signed = leukoscope(hub, tmp_path, "pull", REPO, "--out", out, "--trust", key.public)
    assert signed.returncode == 0, signed.stderr
    assert (out / "signatures.txt").read_bytes() == (bundle / "signatures.txt").read_bytes()


def test_what_goes_wrong_is_one_line_and_leaves_nothing(hub: Hub, bundle: Path, tmp_path: Path) -> None:
    assert leukoscope(hub, tmp_path, "push", bundle, REPO).returncode == 0
    out = tmp_path / "out"

    def refused(*arguments: object, at: Hub | str = hub) -> str:
        told = leukoscope(at, tmp_path, *arguments)
        assert told.returncode == 2, told.stderr
        assert told.stderr.count("\n") == 1, told.stderr
        assert not out.exists()
        assert not list(tmp_path.glob(".out*"))
        return told.stderr

    assert f"{REPO} has no revision 'v2'" in refused("pull", REPO, "--revision", "v2", "--out", out)
    assert "has no repository laboratory/none" in refused("pull", "laboratory/none", "--out", out)
    assert "is no repository's name; give OWNER/NAME" in refused("pull", "a/b/c", "--out", out)
    nowhere = "http://127.0.0.1:1"
    for act in (("pull", REPO, "--out", out), ("push", bundle, REPO)):
        assert f"{nowhere} cannot be reached, or broke off (" in refused(*act, at=nowhere)
    hub.break_off = 300  # of every file that is longer: the download never comes to its end
    assert "broke off (" in refused("pull", REPO, "--out", out)
    hub.break_off = None
    damaged = bundle / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = len(hub.commits[REPO])
    assert "altered" in refused("push", bundle, REPO)
    assert len(hub.commits[REPO]) == before


def test_the_cards_header_is_the_hubs() -> None:
    bundle = read_bundle("default")
    head, rest = hub_card(bundle, (bundle.folder / "README.md").read_text()).removeprefix("---\n").split("\n---\n", 1)
    value = yaml.safe_load(head)
    told = ModelCardData(**value, ignore_metadata_errors=False)  # the hub's library reads it
    assert (value["license"], value["library_name"], value["pipeline_tag"]) == (
        "apache-2.0", "leukoscope", "image-classification"
    )  # fmt: skip
    assert value["bundle_digest"] == bundle.digest
    assert told.eval_results is not None
    [auc] = [each for each in told.eval_results if each.metric_type == "roc_auc"]
    measured = bundle.facts.measured[0].metrics["auc"]
    assert (auc.metric_value, auc.metric_args["low"]) == (measured.value, measured.low)
    assert f"{measured.low:.3f} to {measured.high:.3f}" in auc.metric_name
    assert rest.lstrip().startswith(f"# {bundle.facts.name}")


def test_without_the_extra_one_line_says_so(bundle: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['huggingface_hub'] = None; from leukoscope.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "pull", REPO, "--out", str(tmp_path / "out")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, "pip install 'leukoscope[hub]'" in told.stderr) == (2, True)
    write_text(tmp_path / "x", "")  # the folder can be written
