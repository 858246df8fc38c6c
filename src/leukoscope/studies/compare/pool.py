"""From runs to entries: the test parts of all folds of one entry put together, on cells that all entries share.

The figures of a comparison as one function of cell weights, and their paired bootstrap over patient groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.combine import parts_of
from leukoscope.errors import DataError, LeukoscopeError
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling
from leukoscope.metrics.counts import Array
from leukoscope.metrics.glossary import BY_KEY
from leukoscope.metrics.panel import ENOUGH_CELLS, GRID, Panel, subject_names, with_intervals
from leukoscope.metrics.scores import Scores
from leukoscope.runs.recipe_row import Outcome
from leukoscope.runs.run import Run

Truth = dict[str, tuple[int, str]]  # of cells by path: label and patient group


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The answers of one entry with one seed: each cell judged by the network whose fold left it out.

    Attributes:
        seed: of the training.
        scores: all test parts, sorted by path.
        called: bool [N], whether the cell is called blast at the fold's own threshold. Folds are calibrated apart, so
            that their thresholds differ.
        fold: int64 [N], which fold a cell was tested in.
    """

    seed: int
    scores: Scores
    called: NDArray[np.bool_]
    fold: NDArray[np.int64]

    def take(self, paths: Iterable[str]) -> Pool:
        """The cells of these paths, in their order."""
        place = {path: row for row, path in enumerate(self.scores.path)}
        return self.part(np.array([place[path] for path in paths], dtype=np.int64))

    def part(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Pool:
        """The cells at these places."""
        return Pool(self.seed, self.scores.take(which), self.called[which], self.fold[which])

    def panel(self, keys: Sequence[str]) -> Panel:
        """Its figures: cells are ranked by logit across folds, and called as each fold's own bundle calls them."""
        return Panel.called_apart(self.scores, self.called, keys)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is compared: one network trained in one way, over all its folds and seeds.

    Attributes:
        name: as shown.
        pools: one per seed, sorted by it; all on the same cells in the same order.
        protocol: how its test parts were separated.
        folds: the folds that are in, sorted.
        data: name and fingerprint of the data.
        facts: what was cut short, what machine trained it, which recipe: the same for all runs, or listed; the bundle
            of each run; and the minutes that a run was trained, where all of them tell.
    """

    name: str
    pools: tuple[Pool, ...]
    protocol: str
    folds: tuple[int, ...]
    data: tuple[str, str]
    facts: Mapping[str, Any]

    def told(self, key: str) -> str | None:
        """A fact in words; where the runs differ, all that they say. None where none says anything."""
        value = self.facts.get(key)
        said = [str(each) for each in (value if isinstance(value, list) else [value]) if each]
        return "; ".join(said) or None


def pool_entries(outcomes: Sequence[Outcome]) -> tuple[list[Entry], dict[str, str]]:
    """Entries in the order in which they first occur, and by name why others are none.

    An entry with a failed run is none: its figures would be those of other cells than the rest.
    """
    names = list(dict.fromkeys(each.row.entry for each in outcomes))
    entries: list[Entry] = []
    faults: dict[str, str] = {}
    for name in names:
        mine = [each for each in outcomes if each.row.entry == name]
        failed = [each for each in mine if not each.ok]
        try:
            if failed:
                part = f" ({len(failed)} of {len(mine)} runs)" if len(mine) > 1 else ""
                faults[name] = f"{failed[0].reason}{part}"
            else:
                entries.append(pool_entry(name, mine))
        except LeukoscopeError as error:
            faults[name] = str(error)
    return entries, faults


def pool_entry(name: str, outcomes: Sequence[Outcome]) -> Entry:
    """Runs put together, those of one seed as one table.

    Raises:
        LeukoscopeError: a run is damaged, or they are not of one thing: several protocols, data sets, or runs tested on
            the same cells.
    """
    parts: dict[int, list[Run]] = {}
    protocols, folds, data = set(), set(), set()
    facts: dict[str, list[Any]] = {}
    for folder in dict.fromkeys(each.folder for each in outcomes):
        run = Run.open(folder)
        bundle, split = run.bundle().facts, run.split
        parts.setdefault(run.recipe.seed, []).append(run)
        protocols.add(split.protocol)
        folds.add(split.fold)
        data.add((str(run.asked["data"]), str(run.asked["fingerprint"])))
        told: dict[str, Any] = {"recipe": run.recipe.name, "input_size": bundle.input_size}
        if split.protocol == "laboratory":
            told["laboratories"] = tuple(np.unique(parts_of(run.dataset)).tolist())
        if bundle.training is not None:
            told |= {"model": bundle.training.model, "shortened": bundle.training.shortened}
            told |= {"machine": bundle.training.machine}
        for key, value in told.items():
            if value not in facts.setdefault(key, []):
                facts[key].append(value)
    for what, found in (("protocols", protocols), ("data sets", data)):
        if len(found) > 1:
            words = ", ".join(sorted(" ".join(each) if isinstance(each, tuple) else each for each in found))
            raise DataError(
                f"the runs of the entry {name!r} have several {what}: {words}", remedy="give them different entries"
            )
    pools = [_pool(name, seed, parts[seed]) for seed in sorted(parts)]
    if any(pool.scores.path != pools[0].scores.path for pool in pools):
        raise DataError(f"the seeds of the entry {name!r} were tested on different cells", remedy="run all folds")
    single = {key: values[0] if len(values) == 1 else values for key, values in facts.items()}
    single["bundles"] = [_origin(run) for seed in sorted(parts) for run in parts[seed]]
    single["training_minutes"] = _minutes([run for part in parts.values() for run in part])
    return Entry(name, tuple(pools), protocols.pop(), tuple(sorted(folds)), data.pop(), single)


def _origin(run: Run) -> dict[str, Any]:
    """Which bundle answered a part, at which threshold."""
    bundle = run.bundle()
    told = {"bundle": bundle.digest, "threshold": run.threshold, "software": bundle.facts.version}
    return {"fold": run.split.fold, "seed": run.recipe.seed, **told}


def _minutes(runs: Sequence[Run]) -> dict[str, float] | None:
    """Median, least and most, of one run; what else the machine did meanwhile is in it."""
    taken = [each.minutes for each in runs]
    known = [each for each in taken if each is not None]
    if len(known) < len(taken):
        return None
    return {"median": round(float(np.median(known)), 1), "low": round(min(known), 1), "high": round(max(known), 1)}


def _pool(name: str, seed: int, runs: list[Run]) -> Pool:
    tables = [run.scores() for run in runs]
    path = [each for scores in tables for each in scores.path]
    if len(set(path)) != len(path):
        folders = ", ".join(str(run.folder) for run in runs)
        raise DataError(
            f"runs of the entry {name!r} with seed {seed} were tested on the same cells ({folders})",
            remedy="give them different entries",
        )
    order = np.argsort(np.array(path, dtype=object))
    columns = {
        key: np.concatenate([getattr(scores, key) for scores in tables])
        for key in ("label", "probability", "logit", "subject", "group")
    }
    pairs = list(zip(tables, runs, strict=True))
    called = np.concatenate([scores.probability >= run.threshold for scores, run in pairs])
    fold = np.concatenate([np.full(len(scores), run.split.fold, dtype=np.int64) for scores, run in pairs])
    scores = Scores(path=tuple(path), **columns).take(order)
    return Pool(seed, scores, called[order], fold[order])


def on_common_cells(entries: Sequence[Entry], reference: str) -> tuple[list[Entry], dict[str, str], list[str]]:
    """Cut all entries down to the cells that they share by name.

    Args:
        entries: what is compared.
        reference: the entry whose data set counts.

    Returns:
        The entries that can be compared, why others cannot (other data, other labels or groups, no shared cells), and
        notes on what was left out.

    Raises:
        DataError: there is no such reference.
    """
    tested = {each.name: (each.data[0], truth_of(each.pools[0].scores)) for each in entries}
    if reference not in tested:
        raise DataError(f"the reference {reference!r} has no figures", remedy="choose another --reference")
    common, faults = shared_cells(tested, reference)
    kept = [each for each in entries if each.name not in faults]
    notes = [
        f"{each.name} was tested on {len(each.pools[0].scores):,} cells; its figures here are those of the "
        f"{len(common):,} that all entries share."
        for each in kept
        if len(each.pools[0].scores) != len(common)
    ]
    if len({each.protocol for each in kept}) > 1:
        words = ", ".join(f"{each.name}: {each.protocol}" for each in kept)
        notes.append(f"The entries were split by different protocols ({words}): what differs is not the network alone.")
    paths = sorted(common)
    return [replace(each, pools=tuple(p.take(paths) for p in each.pools)) for each in kept], faults, notes


def shared_cells(tested: Mapping[str, tuple[str, Truth]], reference: str) -> tuple[set[str], dict[str, str]]:
    """The cells that all entries share by name.

    Args:
        tested: by entry, the name of its data, and label and patient group of each cell that it is tested on.
        reference: the entry whose data count.

    Returns:
        Paths of those cells, and why other entries cannot be compared (other data, other labels or groups, no shared
        cells); these do not count for the first.

    Raises:
        DataError: the cells that are shared are of one class.
    """
    home, truth = tested[reference]
    faults: dict[str, str] = {}
    for name, (data, mine) in tested.items():
        shared = truth.keys() & mine.keys()
        if data != home:
            faults[name] = f"measured on other data ({data}) than the reference ({home})"
        elif not shared:
            faults[name] = f"shares no test cell with the reference {reference}"
        elif differing := next((path for path in sorted(shared) if truth[path] != mine[path]), None):
            faults[name] = f"gives the cell {differing} another label or patient group than {reference}"
    common = set.intersection(*(set(mine) for name, (_, mine) in tested.items() if name not in faults))
    if len({truth[path][0] for path in common}) < 2:
        remedy = "compare the same folds; recipes differ in how many: give the run's --recipe, or --set split.folds=N"
        raise DataError("the cells that all entries share are not of both classes", remedy=remedy)
    return common, faults


def truth_of(scores: Scores) -> Truth:
    """Label and patient group of each cell, by path."""
    return dict(zip(scores.path, zip(scores.label.tolist(), scores.group.tolist(), strict=True), strict=True))


COMPARED = (
    "auc", "balanced_accuracy", "sensitivity", "specificity", "accuracy", "f1_weighted", "f1_macro", "matthews",
    "average_precision", "sensitivity_at_95_specificity", "specificity_at_95_sensitivity", "brier", "ece",
    "subject_auc",
)  # fmt: skip


FOLD_KEYS = ("auc", "f1_weighted")


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """What an entry reached.

    Attributes:
        figures: key to the mean over seeds, with its interval over patient groups.
        differences: key to this entry minus the reference, paired; empty for the reference itself.
        seeds: seed to the figures of that seed.
        folds: fold to the figures ``FOLD_KEYS`` within it, mean over seeds.
        laboratories: of the protocol laboratory, figures of each that was left out, by name, mean over seeds, with
            their intervals over its patient groups.
        worst: of the subjects with ``ENOUGH_CELLS`` cells or more, the one with the fewest cells decided rightly, and
            that share, mean over seeds; None if no subject has so many.
        roc: sensitivity on ``panel.GRID``, mean over seeds, float64 [101].
    """

    figures: dict[str, Estimate]
    differences: dict[str, Estimate]
    seeds: dict[int, dict[str, float]]
    folds: dict[int, dict[str, float]]
    worst: tuple[str, float] | None
    roc: Array
    laboratories: dict[str, dict[str, Estimate]] = field(default_factory=dict)

    def better(self, key: str) -> bool | None:
        """Whether the entry is better than the reference; None if the cells do not tell them apart."""
        found = self.differences.get(key)
        if found is None or np.isnan(found.low) or found.low <= 0 <= found.high:
            return None
        return (found.low > 0) == BY_KEY[key].higher_is_better

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; NaN becomes None."""

        def number(value: float) -> float | None:
            return None if np.isnan(value) else float(value)

        return {
            "metrics": {key: each.to_json() for key, each in self.figures.items()},
            "minus_reference": {key: each.to_json() for key, each in self.differences.items()} or None,
            "better_than_reference": {key: self.better(key) for key in self.differences} or None,
            "by_seed": {str(s): {key: number(v) for key, v in each.items()} for s, each in self.seeds.items()},
            "by_fold": {str(f): {key: number(v) for key, v in each.items()} for f, each in self.folds.items()},
            "by_laboratory": {
                name: {key: each.to_json() for key, each in found.items()} for name, found in self.laboratories.items()
            }
            or None,
            "worst_subject": self.worst and {"subject": self.worst[0], "accuracy": self.worst[1]},
            "roc": {"false_positive_rate": GRID.tolist(), "sensitivity": [number(v) for v in self.roc.tolist()]},
        }


def measure_entries(
    entries: Sequence[Entry], reference: str, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[dict[str, Measure], Resampling]:
    """Figures of all entries on the same replicates of the same cells.

    What makes a patient hard for two networks cancels in their difference (paired bootstrap: Efron & Tibshirani 1993).
    A figure of several seeds is the mean of the seeds' figures, in each replicate too: the interval is about patients,
    and how much seeds differ is shown beside it. Intervals are not widened for the number of comparisons.

    Args:
        entries: from ``pool.on_common_cells``: same cells, same order.
        reference: what differences are taken to.
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.
    """
    scores = entries[0].pools[0].scores
    plan = Resampling.by_group(scores.label, scores.group, replicates=replicates, seed=seed)
    panels = {entry.name: [pool.panel(COMPARED) for pool in entry.pools] for entry in entries}
    names = list(panels)

    def everything(weights: Array) -> Array:
        means = [np.mean([each.figures(weights) for each in panels[name]], axis=0) for name in names]
        return np.stack(means, axis=-2)

    value = everything(np.ones(len(scores)))
    drawn = plan.apply(everything)
    home = names.index(reference)
    found: dict[str, Measure] = {}
    ones = np.ones(len(scores))
    for at, entry in enumerate(entries):
        own = panels[entry.name]
        gap = value[at] - value[home], drawn[:, at] - drawn[:, home]
        alone = zip(entry.pools, own, strict=True)
        found[entry.name] = Measure(
            figures=with_intervals(COMPARED, value[at], drawn[:, at], plan),
            differences={} if at == home else with_intervals(COMPARED, *gap, plan),
            seeds={pool.seed: dict(zip(COMPARED, each.figures(ones).tolist(), strict=True)) for pool, each in alone},
            folds={fold: _within(entry, fold) for fold in sorted(set(entry.pools[0].fold.tolist()))},
            worst=_worst(entry),
            roc=np.mean([each.roc() for each in own], axis=0),
            laboratories={
                name: fold_figures(entry, fold, replicates=replicates, seed=seed)
                for fold, name in enumerate(entry.facts.get("laboratories") or ())
                if (entry.pools[0].fold == fold).any()
            },
        )
    return found, plan


def _within(entry: Entry, fold: int) -> dict[str, float]:
    parts = [pool.part(pool.fold == fold).panel(COMPARED) for pool in entry.pools]
    means = np.mean([part.figures(np.ones(len(part.scores))) for part in parts], axis=0)
    return {key: float(means[COMPARED.index(key)]) for key in FOLD_KEYS}


def fold_figures(entry: Entry, fold: int, *, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Estimate]:
    """Figures of an entry within one fold, mean over seeds, with their intervals over the fold's patient groups."""
    parts = [pool.part(pool.fold == fold) for pool in entry.pools]
    panels = [part.panel(COMPARED) for part in parts]
    scores = parts[0].scores
    plan = Resampling.by_group(scores.label, scores.group, replicates=replicates, seed=seed)

    def mean(weights: Array) -> Array:
        return np.asarray(np.mean([panel.figures(weights) for panel in panels], axis=0))

    return with_intervals(COMPARED, mean(np.ones(len(scores))), plan.apply(mean), plan)


def _worst(entry: Entry) -> tuple[str, float] | None:
    first = entry.pools[0].scores
    names, index = np.unique(subject_names(first), return_inverse=True)
    right = np.mean([pool.called == pool.scores.label for pool in entry.pools], axis=0)
    cells = np.bincount(index)
    share = np.bincount(index, weights=right) / cells
    many = np.flatnonzero(cells >= ENOUGH_CELLS).tolist()
    at = min(many, key=lambda place: (share[place], -cells[place]), default=None)
    return None if at is None else (str(names[at]), float(share[at]))
