"""The pure parts of training, against independent references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.errors import RecipeError, TrainingError
from leukoscope.runs.run import describe_changes
from leukoscope.training.batches import class_weights, epoch_order
from leukoscope.training.optimise import epochs_without_improvement, learning_rate, reductions
from leukoscope.training.recipe import OneCycle, Plateau, Recipe, differences, load_recipe
from leukoscope.training.runtime import batch_loss, choose_dtype

# ---- recipe


def test_the_paper_recipe_says_what_the_paper_says() -> None:
    recipe = load_recipe("paper")
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("adam", 1e-4)
    assert (recipe.batch_size, recipe.epochs, recipe.input.size) == (32, 50, 224)
    assert recipe.early_stopping is not None
    assert recipe.early_stopping.patience == 5
    assert isinstance(recipe.schedule, Plateau)
    assert (recipe.schedule.factor, recipe.schedule.patience) == (0.5, 3)
    assert recipe.input.preparation.clahe is not None


def test_what_decides_about_the_weights_beside_the_training_part() -> None:
    assert load_recipe("paper", ()).steered_by_validation
    for recipe in ("champion", "two_views"):
        assert not load_recipe(recipe, ()).steered_by_validation
    for key in ("keep=best", "schedule={name: plateau}", "early_stopping={patience: 3}"):
        assert load_recipe("champion", (key,)).steered_by_validation, key


def test_yaml_round_trip() -> None:
    recipe = load_recipe(
        "paper", ("optimizer.learning_rate=3e-4", "input.preparation.clahe=null", "model.name=plain_cnn")
    )
    assert recipe.optimizer.learning_rate == 3e-4
    assert recipe.input.preparation.clahe is None
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


def test_what_stands_in_quotes_stays_text() -> None:
    recipe = load_recipe("paper", (f'model.weights_sha256="{"0" * 64}"', "optimizer.learning_rate=1e-3"))
    assert recipe.model.weights_sha256 == "0" * 64
    assert recipe.optimizer.learning_rate == 1e-3


def test_changes_are_named_and_free_choices_are_not() -> None:
    recipe = load_recipe("paper", ("epochs=3", "model.name=plain_cnn", "split.fold=2", "seed=4"))
    assert differences(recipe, load_recipe("paper"))["epochs"] == (3, 50)
    assert describe_changes(recipe, None) == "epochs=3 (recipe: 50)"
    assert describe_changes(recipe, 100) == "epochs=3 (recipe: 50), 100 pictures only"
    assert describe_changes(load_recipe("paper"), None) is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "is not KEY=VALUE"),
        ("epochs=0", "epochs: Input should be greater than or equal to 1"),
        ("epoch=3", "epoch: Extra inputs are not permitted"),
        ("epochs.x=3", "holds no keys"),
        ("augment.zoom=2", "augment.zoom"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("paper", (override,))


def test_bad_recipe_files(tmp_path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe is called 'papr'; use one of paper"):
        load_recipe("papr")
    with pytest.raises(RecipeError, match="no such recipe file"):
        load_recipe(str(tmp_path / "absent.yaml"))
    for text, message in (
        ("a: [1", "not valid YAML"),
        ("- 1", "no keys at the top"),
        ("[" * 100_000, "not valid YAML .more than 200,000 characters or 500 brackets"),
        ("- " * 3000 + "1", "not valid YAML .nested too deeply"),
        ("a: " + "x" * 300_000, "more than 200,000 characters"),
        ("name: x", "model: Field required"),
    ):
        (tmp_path / "r.yaml").write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(str(tmp_path / "r.yaml"))


# ---- schedule


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=40), st.integers(1, 4))
def test_plateau_is_pytorchs_scheduler(losses: list[float], patience: int) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    # PyTorch reduces when more than `patience` epochs were bad, Keras when `patience` were.
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=1e-4, threshold_mode="abs", eps=0
    )
    for count in range(1, len(losses) + 1):
        reference.step(losses[count - 1])
        assert 0.5 ** reductions(losses[:count], patience) == optimizer.param_groups[0]["lr"]


def test_one_cycle_rises_and_ends_at_zero() -> None:
    schedule = OneCycle(name="one_cycle", warmup=0.25)
    rates = [learning_rate(schedule, 1.0, [0.0] * (i // 10), i % 10, 10, 8) for i in range(80)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == rates[20] == pytest.approx(1.0)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 0.01


def test_early_stopping_counts_from_the_best_epoch() -> None:
    assert epochs_without_improvement([]) == 0
    assert epochs_without_improvement([3, 2, 1]) == 0
    assert epochs_without_improvement([3, 1, 2, 1, 5]) == 3


# ---- sampling


def test_order_is_a_permutation_that_changes_by_epoch_and_not_by_call() -> None:
    labels = np.arange(50) % 2
    first, again, other = (epoch_order(labels, "none", 1, e) for e in (0, 0, 1))
    assert sorted(first) == list(range(50))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_balanced_order_has_as_many_of_each_class() -> None:
    labels = np.r_[np.zeros(7, np.int64), np.ones(43, np.int64)]
    order = epoch_order(labels, "sample", 0, 0)
    assert len(order) == 50
    assert labels[order].sum() == 25
    counts = np.bincount(order[order < 7], minlength=7)
    assert counts.max() - counts.min() <= 1  # no normal cell is drawn twice as often as another


def test_groups_are_shown_by_the_root_of_their_size() -> None:
    sizes = {("0", "a"): 400, ("0", "b"): 25, ("1", "c"): 100, ("1", "d"): 100}
    labels = np.concatenate([np.full(n, int(label)) for (label, _), n in sizes.items()])
    groups = np.concatenate([np.full(n, group) for (_, group), n in sizes.items()])
    order = epoch_order(labels, "groups", 0, 0, groups=groups)
    assert len(order) == 625
    shown = {group: int((groups[order] == group).sum()) for group in "abcd"}
    assert shown["a"] + shown["b"] == 312  # half of each class
    assert shown["a"] / shown["b"] == pytest.approx(20 / 5, rel=0.03)
    assert abs(shown["c"] - shown["d"]) <= 1
    with pytest.raises(ValueError, match="needs the group"):
        epoch_order(labels, "groups", 0, 0)


def test_class_weights_make_classes_weigh_the_same() -> None:
    labels = np.r_[np.zeros(30, np.int64), np.ones(70, np.int64)]
    normal, blast = class_weights(labels, "loss")
    assert normal * 30 == pytest.approx(blast * 70)
    assert (normal * 30 + blast * 70) / 100 == pytest.approx(1)
    assert class_weights(labels, "none") == (1, 1)


def test_batch_loss_is_the_formula() -> None:
    logits, labels = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1.0, 1.0, 0.0])
    by_hand = 0.5 * math.log1p(math.exp(-2)) + 0.5 * math.log1p(math.exp(1)) + 3 * math.log1p(math.exp(0.5))
    assert float(batch_loss(logits, labels, (3.0, 0.5))) == pytest.approx(by_hand, rel=1e-6)


def test_label_smoothing_is_pytorchs() -> None:
    logits, labels = torch.randn(7, 1, generator=torch.Generator().manual_seed(0)), torch.arange(7).remainder(2).float()
    both = torch.cat([torch.zeros(7, 1), logits], 1)  # the logistic loss is the softmax of (0, z)
    reference = torch.nn.functional.cross_entropy(both, labels.long(), label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(batch_loss(logits, labels, (1.0, 1.0), 0.1), reference)


def test_precision_is_chosen_for_the_device() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("fp32", cpu) is torch.float32
    assert choose_dtype("bf16", cpu) is torch.bfloat16
    assert choose_dtype("auto", cpu) in {torch.float32, torch.bfloat16}
    with pytest.raises(TrainingError, match="fp16 training needs a GPU"):
        choose_dtype("fp16", cpu)
