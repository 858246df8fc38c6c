"""A bundle is fitted to what was signed, tried on all signed cases, and activated by a signature."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bundle_factory import make_bundle
from leukoscope.bundle.export import graph_bytes
from leukoscope.models import create_model
from workbench_client import PASSWORD, cells_of, key, sign, work


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An untrained network: its features differ by colour, its head knows nothing."""
    torch.manual_seed(1)
    graph = graph_bytes(create_model("plain_cnn", widths=(4, 6, 8, 10)), 32, 64)
    return make_bundle(tmp_path / "bundle", graph=graph)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bundle_is_fitted_tried_and_activated_by_a_signature(guest, signed, make_case) -> None:
    manager = guest.as_("manager")
    for number in range(3):  # more cells, for the fit
        signer = guest.as_("signer", login="another")
        case = make_case(40, shade=number, subject=f"Q {number}")
        for place, cell in enumerate(cells_of(signer, case, sort="probability")):
            key(signer, case, cell["id"], "blast" if place < 20 else "normal")
        signer.post(f"/api/v1/cases/{case}/complete", json={})
        assert sign(signer, case).status_code == 201
    fixed = manager.post(f"/api/v1/cases/{signed[0]}/fixed-set", json={"fixed_set": True})
    assert fixed.json()["fixed_set"]
    done = work(manager, manager.post("/api/v1/adaptations", json={"force": True}))
    assert any("left out of the fit" in line for line in done["said"])
    new = done["bundle"]
    path = f"/api/v1/bundles/{new}"
    early = manager.post(f"{path}/activate", json={"password": PASSWORD})
    assert early.status_code == 409
    tried = work(manager, manager.post(f"{path}/trial", json={}))
    assert tried["cases"] == 6
    assert tried["fixed_set"] == [signed[0]]
    before = tried["figures"]["all"]["before"]["false_alarms"]
    assert before["subjects"] == 6
    assert tried["figures"]["fixed_set"]["after"]["sensitivity"]["cells"] == 4
    assert manager.post(f"{path}/activate", json={"password": "not this one"}).status_code == 401
    manager.post(f"/api/v1/cases/{signed[1]}/fixed-set", json={"fixed_set": True})
    assert "fixed set" in manager.post(f"{path}/activate", json={"password": PASSWORD}).json()["detail"]
    work(manager, manager.post(f"{path}/trial", json={}))
    assert manager.post(f"{path}/activate", json={"password": PASSWORD}).json()["state"] == "active"
    states = {each["id"]: each["state"] for each in manager.get("/api/v1/bundles").json()["bundles"]}
    assert states[new] == "active"
    assert sorted(states.values()) == ["active", "retired"]
