"""Finished runs on disk, with answers drawn at random: what a comparison reads, without the training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bundle_factory import make_bundle
from leukoscope.datasets.dataset import Manifest, Record
from leukoscope.datasets.split import make_split
from leukoscope.files import write_json
from leukoscope.metrics.scores import Scores
from leukoscope.runs.recipe_row import Row


def cells(count: int = 240, groups: int = 12, *, name: str = "drawn") -> Manifest:
    """A manifest without pictures: even groups are blasts, odd ones normal."""
    records = []
    for at in range(count):
        person = f"s{at % groups}"
        records.append(Record(f"{at:04d}.png", (at % groups + 1) % 2, person, person, fold=None, source=name))
    return Manifest(Path("/nowhere"), tuple(records), name)


def write_run(
    folder: Path,
    data: Manifest,
    *,
    model: str = "plain_cnn",
    fold: int = 0,
    seed: int = 0,
    skill: float = 1.0,
    threshold: float = 0.5,
    protocol: str = "group",
    measured: int | None = None,
    seconds: tuple[float, ...] = (),
) -> Path:
    """A run whose logits are noise plus ``skill`` for blasts; ``measured`` cells of its test part, all by default.

    ``seconds``: of its epochs; without them it has no log of epochs.
    """
    row = Row("x", model=model, overrides=("epochs=2",), protocol=protocol, fold=fold, folds=3, seed=seed)
    recipe = row.to_recipe()
    split = make_split(data, protocol, fold=fold, folds=3)
    folder.mkdir(parents=True)
    data.write_csv(folder / "manifest.csv")
    write_json(folder / "split.json", split.to_json(data))
    identity = {"recipe": recipe.model_dump(mode="json"), "data": data.name, "fingerprint": data.fingerprint()}
    write_json(folder / "run.json", identity | {"limit": None})
    training = {
        "model": model, "arguments": {}, "parameters": 1, "recipe": "paper", "seed": seed, "data": data.name,
        "data_fingerprint": data.fingerprint(), "pictures": len(split.train), "groups_trained": [],
        "groups_validated": [], "shortened": "epochs=2 (recipe: 50)", "machine": "here",
    }  # fmt: skip
    make_bundle(folder / "bundle", training=training, input_size=64)
    test = data.select(split.test[:measured])
    rng = np.random.default_rng([fold, seed, len(model)])
    logit = rng.normal(size=len(test)) + skill * (2 * test.labels() - 1)
    scores = Scores(
        path=tuple(r.path for r in test.records),
        label=test.labels(),
        probability=1 / (1 + np.exp(-logit)),
        logit=logit,
        subject=test.subjects(),
        group=test.groups(),
    )
    scores.write_csv(folder / "evaluation" / "predictions.csv")
    metrics = {"threshold": threshold, "counts": {"pictures": len(test)}}
    (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    if seconds:
        epochs = [json.dumps({"epoch": at, "seconds": each}) for at, each in enumerate(seconds, 1)]
        (folder / "metrics.jsonl").write_text("\n".join(epochs) + "\n")
    return folder
