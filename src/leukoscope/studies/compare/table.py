"""One honest table: what entries reached on the same cells, against the reference, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from leukoscope._version import __version__
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import LEVEL, REPLICATES
from leukoscope.runs.recipe_row import Outcome
from leukoscope.studies.compare.cost import BATCHES, Counts, Subject, Timing, count, time_all
from leukoscope.studies.compare.pool import (
    COMPARED,
    Entry,
    Measure,
    measure_entries,
    on_common_cells,
    pool_entries,
)
from leukoscope.tables import csv_text


@dataclass(frozen=True, slots=True)
class Cost:
    """What one entry costs: counts, peak memory in MiB by batch, and times."""

    counts: Counts
    memory: Mapping[int, float]
    timings: tuple[Timing, ...]

    def time(self, engine: str, threads: int, batch: int) -> Timing | None:
        """The time of one setting, if it was taken."""
        wanted = (engine, threads, batch)
        return next((each for each in self.timings if (each.engine, each.threads, each.batch) == wanted), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison, whole.

    Attributes:
        names: all entries in the order of the table, those that failed too.
        reference: what differences are taken to; None where nothing was measured.
        entries: what is known of the runs, by name, for those with figures.
        measures: figures by name.
        costs: costs by name.
        faults: by name, why figures or costs are missing.
        notes: what to know before quoting.
        counts: cells, patient groups and classes that the figures are about.
        context: command, machine, seeds and replicates.
    """

    names: tuple[str, ...]
    reference: str | None
    entries: Mapping[str, Entry]
    measures: Mapping[str, Measure]
    costs: Mapping[str, Cost]
    faults: Mapping[str, str]
    notes: tuple[str, ...]
    counts: Mapping[str, int]
    context: Mapping[str, Any]

    def front(self, cost: Callable[[Cost], float | None], key: str = "auc") -> list[str]:
        """Names on the Pareto front: no other entry is at least as good and at most as dear, and better in one."""
        points = {
            name: (spent, measure.figures[key].value)
            for name, measure in self.measures.items()
            if name in self.costs and (spent := cost(self.costs[name])) is not None
        }
        return [
            name
            for name, (x, y) in points.items()
            if not any(u <= x and v >= y and (u, v) != (x, y) for u, v in points.values())
        ]

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return {
            "format": "leukoscope-comparison",
            "format_version": 1,
            "software": __version__,
            "context": dict(self.context),
            "reference": self.reference,
            "counts": dict(self.counts),
            "notes": list(self.notes),
            "entries": [self._entry(name) for name in self.names],
        }

    def _entry(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = {"name": name, "fault": self.faults.get(name)}
        if name in self.entries:
            entry = self.entries[name]
            value["runs"] = {
                "protocol": entry.protocol,
                "folds": list(entry.folds),
                "seeds": [pool.seed for pool in entry.pools],
                "data": entry.data[0],
                "fingerprint": entry.data[1],
                **entry.facts,
            }
        if name in self.measures:
            value |= self.measures[name].to_json()
        if name in self.costs:
            cost = self.costs[name]
            value["cost"] = {
                **asdict(cost.counts),
                "peak_memory_mib": {str(batch): round(each, 1) for batch, each in cost.memory.items()},
                "ms_per_cell": [{k: v for k, v in asdict(each).items() if k != "name"} for each in cost.timings],
            }
        return value

    def to_csv(self) -> str:
        """One line per entry; empty where unknown."""
        settings = [
            (each.engine, each.threads, each.batch) for cost in list(self.costs.values())[:1] for each in cost.timings
        ]
        head = ["entry", "fault", "protocol", "folds", "seeds", "shortened", "training_minutes"]
        head += [
            f"{key}{end}" for key in COMPARED for end in ("", "_low", "_high", "_minus", "_minus_low", "_minus_high")
        ]
        head += ["parameters", "macs", "activations", "file_bytes", "input_size", "memory_mib_1", "memory_mib_32"]
        head += [
            f"{kind}_{engine}_{threads}t_b{batch}" for kind in ("ms", "cpu_ms") for engine, threads, batch in settings
        ]
        rows: list[list[Any]] = []
        for name in self.names:
            row: list[Any] = [name, self.faults.get(name)]
            entry = self.entries.get(name)
            row += (
                [None] * 5
                if entry is None
                else [
                    entry.protocol,
                    " ".join(map(str, entry.folds)),
                    " ".join(str(pool.seed) for pool in entry.pools),
                    entry.facts.get("shortened"),
                    (entry.facts.get("training_minutes") or {}).get("median"),
                ]
            )
            measure = self.measures.get(name)
            for key in COMPARED:
                for found in () if measure is None else (measure.figures[key], measure.differences.get(key)):
                    row += [None] * 3 if found is None else [found.value, found.low, found.high]
                row += [None] * (6 if measure is None else 0)
            cost = self.costs.get(name)
            if cost is None:
                row += [None] * (7 + 2 * len(settings))
            else:
                row += [*asdict(cost.counts).values(), cost.memory.get(1), cost.memory.get(32)]
                taken = [cost.time(*setting) for setting in settings]
                row += [None if each is None else each.median for each in taken]
                row += [None if each is None else each.cpu for each in taken]
            rows.append([None if isinstance(each, float) and math.isnan(each) else each for each in row])
        return csv_text(head, rows)


def compare_runs(
    outcomes: Sequence[Outcome],
    *,
    reference: str | None = None,
    costs: Mapping[str, Cost] | None = None,
    faults: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
    replicates: int = REPLICATES,
    seed: int = 0,
    context: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare runs on the cells that all of them were tested on.

    Args:
        outcomes: of rows, failed ones too.
        reference: entry that differences are taken to; the first with figures by default.
        costs: by entry, from ``measure_costs``.
        faults: by entry, why a cost is missing.
        names: order of the table; other entries follow.
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.
        context: further facts to keep, such as the command.

    Raises:
        DataError: the reference has no figures, or the shared cells are of one class.
    """
    costs, all_faults = dict(costs or {}), dict(faults or {})
    entries, unmeasured = pool_entries(outcomes)
    notes: list[str] = []
    measures: dict[str, Measure] = {}
    counts: dict[str, int] = {}
    if entries:
        reference = reference or entries[0].name
        entries, foreign, notes = on_common_cells(entries, reference)
        unmeasured |= foreign
        measures, plan = measure_entries(entries, reference, replicates=replicates, seed=seed)
        notes += plan.notes
        scores = entries[0].pools[0].scores
        counts = {
            "cells": len(scores),
            "blasts": int(scores.label.sum()),
            "normals": int((scores.label == 0).sum()),
            **plan.counts,
        }
    else:
        reference = None
    shown = tuple(dict.fromkeys([*names, *(each.row.entry for each in outcomes), *costs, *all_faults]))
    return Comparison(
        names=shown,
        reference=reference,
        entries={each.name: each for each in entries},
        measures=measures,
        costs=costs,
        faults={**all_faults, **unmeasured},
        notes=tuple(notes),
        counts=counts,
        context={
            **(context or {}),
            "machine": describe_machine(),
            "interval": {"level": LEVEL, "unit": "patient group", "replicates": replicates, "seed": seed},
        },
    )


def measure_costs(
    subjects: Sequence[Subject], *, say: Callable[[str], None] = lambda _line: None, **timing: Any
) -> tuple[dict[str, Cost], dict[str, str]]:
    """Costs of all subjects by name, times taken in turns; and why one has none.

    Args:
        subjects: what is measured.
        say: called with lines that say what goes on.
        timing: for ``timing.time_all``.
    """
    from leukoscope.studies.compare.cost import peaks  # noqa: PLC0415 - beside what it is called with

    counts: dict[str, Counts] = {}
    memory: dict[str, dict[int, float]] = {}
    faults: dict[str, str] = {}
    for subject in subjects:
        say(f"counting {subject.name}")
        try:
            counts[subject.name] = count(subject)
            memory[subject.name] = peaks(subject, timing.get("batches", BATCHES))
        except Exception as error:  # noqa: BLE001 - one network that cannot be run leaves the others their row
            faults[subject.name] = str(error)
    able = [subject for subject in subjects if subject.name not in faults]
    timings = time_all(able, say=say, **timing) if able else []
    return {
        each.name: Cost(counts[each.name], memory[each.name], tuple(t for t in timings if t.name == each.name))
        for each in able
    }, faults
