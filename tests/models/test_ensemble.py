"""An ensemble against the networks that it was joined from."""

from __future__ import annotations

import pytest
import torch

from leukoscope.errors import ModelError
from leukoscope.models import CellClassifier, closed_form_cam, count_parameters, create_model
from leukoscope.models.ensemble import Ensemble

SMALL = (
    {"name": "compact_cnn", "arguments": {"widths": [4, 8]}},
    {"name": "compact_cnn", "arguments": {"widths": [6, 12], "standardise": False}},
)


def trained(members: tuple[dict[str, object], ...]) -> list[CellClassifier]:
    """Networks with statistics of their own in each normalisation, in evaluation mode."""
    torch.manual_seed(5)
    made = [create_model(str(m["name"]), **m.get("arguments", {})) for m in members]  # type: ignore[attr-defined]
    for model in made:
        for _ in range(3):
            model.train()(torch.rand(8, 3, 32, 32))
    return [model.eval() for model in made]


def joined(members: tuple[dict[str, object], ...], models: list[CellClassifier]) -> Ensemble:
    ensemble = create_model("ensemble", members=members).eval()
    assert isinstance(ensemble, Ensemble)
    ensemble.join(models)
    return ensemble


@pytest.mark.parametrize(
    "members", [SMALL, (SMALL[0],), (SMALL[0], {"name": "crse_cnn", "arguments": {"widths": [8, 16]}})]
)
def test_logit_and_heat_map_are_the_means_of_the_members(members: tuple[dict[str, object], ...]) -> None:
    models = trained(members)
    ensemble = joined(members, models)
    x = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        logits = torch.stack([model(x) for model in models])
        torch.testing.assert_close(ensemble(x), logits.mean(0))
        features = [model.forward_features(x) for model in models]
        maps = torch.stack([closed_form_cam(model, each) for model, each in zip(models, features, strict=True)])
        torch.testing.assert_close(closed_form_cam(ensemble, ensemble.forward_features(x)), maps.mean(0))
        embedding = torch.cat([model.embed(each) for model, each in zip(models, features, strict=True)], 1)
        torch.testing.assert_close(ensemble.embed(ensemble.forward_features(x)), embedding)
    assert len(members) == 1 or (logits[0] - logits[1]).abs().max() > 1e-3  # the test can fail


def test_it_has_one_unit_and_no_parameter_besides_the_members() -> None:
    models = trained(SMALL)
    assert count_parameters(joined(SMALL, models)) == sum(map(count_parameters, models)) - 1


def test_by_default_it_is_two_views_under_100_000_parameters() -> None:
    model = create_model("ensemble").eval()
    assert count_parameters(model) <= 100_000
    x = torch.rand(2, 3, 112, 112) * 0.5 + 0.1
    with torch.no_grad():
        one, other = torch.split(model.forward_features(x), 64, 1)
        brighter, changed = torch.split(model.forward_features(x * 1.5), 64, 1)
    torch.testing.assert_close(one, brighter, atol=0.05, rtol=0.05)
    assert (other - changed).abs().max() > 0.05


def test_what_cannot_be_joined_is_told() -> None:
    with pytest.raises(ModelError, match="an ensemble needs a member"):
        create_model("ensemble", members=[])
    with pytest.raises(ModelError, match="no member of an ensemble: 'compact_cnn'"):
        create_model("ensemble", members=["compact_cnn"])
    with pytest.raises(ModelError, match="no model is called 'compct_cnn'"):
        create_model("ensemble", members=[{"name": "compct_cnn"}])
    with pytest.raises(ModelError, match="plain_cnn cannot be a member"):
        create_model("ensemble", members=[{"name": "plain_cnn"}])
    uneven = create_model("ensemble", members=[SMALL[0], {"name": "compact_cnn", "arguments": {"widths": [4, 8, 8]}}])
    with pytest.raises(ModelError, match=r"maps differ in size \(16 x 16, 8 x 8\)"):
        uneven.eval()(torch.rand(1, 3, 32, 32))
