"""The same rounds over NVFlare: its simulator, and real processes with certificates of which one is killed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from federation_sites import SITES, cells_of
from leukoscope.bundle.read import default_bundle, read_bundle
from leukoscope.datasets.readers import read_dataset
from leukoscope.federation.parcel import read_parcel
from leukoscope.keys import new_key, read_key

pytest.importorskip("nvflare", reason="the extra flare is not installed")
pytest.importorskip("cryptography")
from nvflare.fuel.flare_api.flare_api import new_secure_session
from nvflare.tool.poc.poc_commands import prepare_poc_provision

from leukoscope.federation.flare import flare_job
from leukoscope.federation.heads import LinearHead, combine_heads, head_round
from leukoscope.federation.site import site_cells

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]


def prepared(home: Path) -> tuple[Path, str]:
    """Cells, keys and settings of three sites and a centre; returns the centre's settings and the sites' pattern."""
    trust = {}
    for seed, site in enumerate(SITES):
        data = cells_of(home / site, site, seed=seed, each=4)
        data.write_csv(data.root / "labels.csv")
        trust[site] = new_key(home / f"{site}.key").public
        given: dict[str, Any] = {
            "bundle": str(default_bundle()), "data": [str(data.root / "labels.csv")], "key": str(home / f"{site}.key"),
            "cache": str(home / f"{site}.cache"), "out": str(home / f"{site}.sent"), "keep_aside": 0,
        }  # fmt: skip
        (home / f"{site}.json").write_text(json.dumps(given))
    new_key(home / "centre.key")
    centre = {
        "key": str(home / "centre.key"),
        "out": str(home / "centre"),
        "trust": trust,
    }
    (home / "centre.json").write_text(json.dumps(centre))
    return home / "centre.json", str(home / "{site}.json")


def joined_head(home: Path, rounds: int, sites: tuple[str, ...] = SITES) -> LinearHead:
    """What the sites' cells give at one place."""
    bundle = read_bundle(default_bundle())
    cells = [site_cells(bundle, read_dataset(home / site / "labels.csv"), home / "own") for site in sites]
    x, y, g = (np.concatenate([getattr(each, name) for each in cells]) for name in ("features", "labels", "groups"))
    head = None
    for _ in range(rounds):
        head = combine_heads(head, [head_round(head, x, y, g)])
    assert head is not None
    return head


def test_the_simulator_gives_the_joined_head(tmp_path: Path) -> None:
    centre, pattern = prepared(tmp_path)
    job = flare_job(centre, pattern, rounds=3, wait=30, limit=200)
    job.simulator_run(str(tmp_path / "simulator"), clients=list(SITES), threads=3, log_config="error")
    told = json.loads((tmp_path / "centre/rounds.json").read_text())
    assert [each["sites"] for each in told] == [list(SITES)] * 3
    assert all(each["refused"] == [] for each in told)
    state = read_parcel(tmp_path / "centre/state-3", "state")
    assert state.head.key == read_key(tmp_path / "centre.key").public
    head, one = LinearHead.from_arrays(state.arrays), joined_head(tmp_path, 3)
    np.testing.assert_allclose(head.weight, one.weight, atol=1e-6)
    assert len((tmp_path / "Aachen.sent/Aachen.log").read_text().splitlines()) == 3


CLASSES = ("leukoscope.federation.flare.FlareCentre", "leukoscope.federation.flare.FlareSite")
KIND = {"server": ("server.server_train", "fed_server.json"), "site": ("client.client_train", "fed_client.json")}


def provisioned(home: Path) -> Path:
    """Startup kits with certificates for a server and three sites on this machine, at a free port."""
    prepare_poc_provision(
        clients=list(SITES), number_of_clients=3, workspace=str(home / "poc"), docker_image=None, use_he=False,
        project_conf_path="", examples_dir=None,
    )  # fmt: skip
    [kits] = (home / "poc").glob("*/prod_00")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for file in kits.glob("*/startup/fed_*.json"):
        file.write_text(file.read_text().replace("8002", str(port)))
    for kit in (kits / name for name in ("server", *SITES)):
        for file in kit.glob("local/resources.json*"):
            told = json.loads(file.read_text())
            if "class_allow_list" in told:
                file.write_text(json.dumps(told | {"class_allow_list": [*told["class_allow_list"], *CLASSES]}))
    return kits


@contextmanager
def running(kits: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Server and sites as processes, each the head of a group of its own."""
    found: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ("server", *SITES):
            module, config = KIND["server" if name == "server" else "site"]
            (kits / name / "transfer").mkdir(exist_ok=True)
            told = ["secure_train=true", "org=nvidia", "config_folder=config"]
            told += [] if name == "server" else [f"uid={name}"]
            command = [sys.executable, "-m", f"nvflare.private.fed.app.{module}", "-m", str(kits / name), "-s", config]
            with (kits / f"{name}.txt").open("wb") as out:
                found[name] = subprocess.Popen([*command, "--set", *told], stdout=out, stderr=out, cwd=kits / name)
        yield found
    finally:
        for each in found.values():
            killed(each)


def killed(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it started, which lives in sessions of its own."""
    if process.poll() is None:
        for each in psutil.Process(process.pid).children(recursive=True):
            each.kill()
        process.kill()
    process.wait()


def test_real_processes_with_certificates_one_of_them_killed_in_a_round(tmp_path: Path) -> None:
    centre, pattern = prepared(tmp_path)
    kits = provisioned(tmp_path)
    assert '"mtls"' in (kits / "Aachen/startup/fed_client.json").read_text()
    (tmp_path / "Cork.sent").mkdir()
    os.mkfifo(tmp_path / "Cork.sent/Cork.log")  # nobody reads it: Cork hangs before it sends round 0
    flare_job(centre, pattern, rounds=3, wait=2, limit=200).export_job(str(tmp_path / "jobs"))
    with running(kits) as processes:
        session = new_secure_session("admin@nvidia.com", str(kits / "admin@nvidia.com"), timeout=60.0)
        try:
            while len(session.get_system_info().client_info) < 3:
                time.sleep(0.5)
            job = session.submit_job(str(tmp_path / "jobs/leukoscope"))
            while not (tmp_path / "Cork.sent/Cork.round-0").exists():
                assert session.get_job_meta(job)["status"] in {"SUBMITTED", "APPROVED", "DISPATCHED", "RUNNING"}
                time.sleep(0.5)
            killed(processes["Cork"])
            session.monitor_job(job, timeout=200.0)
        finally:
            session.close()
    told = json.loads((tmp_path / "centre/rounds.json").read_text())
    assert [each["sites"] for each in told] == [list(SITES[:2])] * 3
    head = LinearHead.from_arrays(read_parcel(tmp_path / "centre/state-3", "state").arrays)
    np.testing.assert_allclose(head.weight, joined_head(tmp_path, 3, SITES[:2]).weight, atol=1e-6)
