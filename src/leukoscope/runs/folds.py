"""Answers on patients by networks that never saw them: the test parts of the folds of one split by patient group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.bundle.read import Bundle
from leukoscope.errors import DataError
from leukoscope.metrics.scores import Scores
from leukoscope.runs.run import Run


@dataclass(frozen=True, slots=True)
class FoldAnswers:
    """What the networks of several folds said of their test parts.

    Attributes:
        tables: one a run.
        data: name of their data set.
    """

    tables: tuple[Scores, ...]
    data: str

    @property
    def protocol(self) -> str:
        """Whose answers they are, in words."""
        if len(self.tables) == 1:
            return "the test part of one split by patient group"
        many = len(self.tables)
        return f"the test parts of {many} networks, pooled: each patient answered by a network that never saw it"

    def of_groups(self, bundle: Bundle) -> Scores:
        """All in one table, of the patient groups that a bundle was trained or validated on: others stay new to it.

        Raises:
            DataError: there are none.
        """
        training = bundle.facts.training
        known = [] if training is None else [*training.groups_trained, *training.groups_validated]
        path = tuple(name for table in self.tables for name in table.path)
        columns = ("label", "probability", "logit", "subject", "group")
        whole = Scores(path, *(np.concatenate([getattr(each, name) for each in self.tables]) for name in columns))
        rows = np.flatnonzero(np.isin(whole.group, known))
        if not len(rows):
            raise DataError("the runs were tested on no patient that the bundle was trained on", path=bundle.folder)
        return whole.take(rows)


def fold_answers(bundle: Bundle, runs: Sequence[Path]) -> FoldAnswers:
    """The answers of runs that are the folds of one split, of the network and recipe of a bundle.

    Raises:
        TrainingError: a folder holds no run.
        DataError: a run was split otherwise, or has another network, preparation or data than the bundle.
    """
    names = [_check(bundle, run) for run in runs]
    return FoldAnswers(tuple(Run.open(run).scores() for run in runs), names[0])


def _check(bundle: Bundle, run: Path) -> str:
    """Name of the run's data; an error where its network or its preparation is another than the bundle's."""
    found = Run.open(run)
    split = found.split
    if split.protocol != "group":
        raise DataError(
            f"was split by {split.protocol}: its patients are not new to the network", path=run,
            remedy="give runs split by group",
        )  # fmt: skip
    ours, theirs = bundle.facts, found.bundle().facts
    if ours.training is None or theirs.training is None:
        raise DataError("the bundle does not say how it was trained", path=bundle.folder)
    pairs = {
        "network": (ours.training.model, theirs.training.model),
        "arguments": (ours.training.arguments, theirs.training.arguments),
        "recipe": (ours.training.recipe, theirs.training.recipe),
        "shortening": (ours.training.shortened, theirs.training.shortened),
        "input size": (ours.input_size, theirs.input_size),
        "preparation": (ours.preparation, theirs.preparation),
        "data": (ours.training.data, found.dataset.name),
    }
    for name, (mine, other) in pairs.items():
        if mine != other:
            raise DataError(
                f"has another {name} than the bundle ({other} and {mine})", path=run,
                remedy="give the folds that belong to the bundle",
            )  # fmt: skip
    return found.dataset.name
