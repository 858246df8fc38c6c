"""What teachers say of the cells that a network is trained on: bundles of any size, asked before the training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.datasets.combine import same_patients
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.split import Split
from leukoscope.errors import PictureError, TrainingError
from leukoscope.inference.classifier import Classifier
from leukoscope.runs.measure import table_of
from leukoscope.training.recipe import Recipe


def teach(data: Manifest, split: Split, recipe: Recipe) -> NDArray[np.float64]:
    """Mean probability of blast over the teachers, for each picture of the training part.

    Args:
        data: the pictures.
        split: which of them train.
        recipe: names the teachers; `{fold}` and `{seed}` in a path stand for those of the run.

    Returns:
        float64 [len(split.train)], in 0..1.

    Raises:
        TrainingError: a teacher was trained on a patient of the validation or test part: what it says of the training
            part would carry that knowledge over.
        BundleError: a teacher cannot be read.
        PictureError: a picture of the training part cannot be read.
    """
    assert recipe.distillation is not None
    part = data.select(split.train)
    said = []
    for name in recipe.distillation.teachers:
        bundle = read_bundle(name.format(fold=recipe.split.fold, seed=recipe.seed))
        _refuse_leak(bundle, data, split, name)
        scores, unreadable = table_of(Classifier(bundle), part)
        if unreadable:
            raise PictureError(unreadable[0].error or "gave no answer", path=unreadable[0].path)
        said.append(scores.probability)
    return np.asarray(np.mean(said, axis=0), dtype=np.float64)


def _refuse_leak(bundle: Bundle, data: Manifest, split: Split, name: str) -> None:
    """A teacher may have been stopped by the patients of the validation part, but not have learned from them."""
    training, groups = bundle.facts.training, data.groups()
    if training is None:
        raise TrainingError("this bundle does not say what it was trained on", path=name, remedy="use another teacher")
    learned = same_patients(training.data, training.groups_trained, data)
    stopped = same_patients(training.data, training.groups_validated, data)
    seen = sum(g in learned for g in groups[split.val].tolist())
    seen += sum(g in learned | stopped for g in groups[split.test].tolist())
    if seen:
        raise TrainingError(
            f"this teacher was trained on patients of {seen} pictures of the validation or test part",
            path=name,
            remedy="use teachers trained on the same fold of the same split",
        )
