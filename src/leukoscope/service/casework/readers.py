"""How readers agree, with each other and with the model: over all cases read, with intervals over subjects."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from leukoscope.service.casework.lanes import known_lanes
from leukoscope.service.casework.verdicts import current_marks, kappa_of_table, readers_done
from leukoscope.service.database.tables import CaseRow, CellRow, UserRow
from leukoscope.service.workbench import Workbench

REPLICATES = 1000


def agreement_of_readers(bench: Workbench) -> dict[str, Any]:
    """Kappa of each two readers of blind double readings, and how far each reader goes with a suggestion in sight.

    Intervals are of subjects drawn again, 95 %; None where there are fewer than two subjects. `anchoring` is the share
    of cells that a reader calls as the model does where the suggestion was seen, minus that where it was not.
    """
    tables: dict[tuple[str, str], dict[str, NDArray[np.float64]]] = defaultdict(dict)
    seen: dict[str, dict[str, NDArray[np.float64]]] = defaultdict(dict)
    with bench.database.read() as connection:
        labels = known_lanes(connection)
        names = dict(connection.execute(select(UserRow.id, UserRow.name)).all())
        query = select(CaseRow.id, CaseRow.subject, CaseRow.version, CaseRow.readers)
        for case in connection.execute(query.where(CaseRow.state.in_(("complete", "signed")))):
            marks = current_marks(connection, case.id)
            rows = connection.execute(
                select(CellRow.id, CellRow.decision, CellRow.gate).where(CellRow.case_id == case.id)
            )
            decided = {row.id: row.decision for row in rows if row.gate != "turned down"}
            by_reader: dict[str, dict[str, bool]] = defaultdict(dict)
            for mark in marks:
                if not labels[mark.label].counts:
                    continue
                blast = labels[mark.label].blast
                by_reader[mark.reader][mark.cell] = blast
                said = decided.get(mark.cell)
                if said in ("blast", "normal"):
                    table = seen[mark.reader].setdefault(case.subject, np.zeros((2, 2)))
                    table[int(mark.seen), int(blast == (said == "blast"))] += 1
            done = readers_done(connection, case.id, case.version)[: case.readers]
            for one, other in combinations(sorted(done), 2):
                table = tables[one, other].setdefault(case.subject, np.zeros((2, 2)))
                for cell in by_reader[one].keys() & by_reader[other].keys():
                    table[int(by_reader[one][cell]), int(by_reader[other][cell])] += 1
    return {
        "pairs": [
            {"readers": [names[one], names[other]], **with_interval(list(found.values()), kappa_of_table)}
            for (one, other), found in tables.items()
        ],
        "anchoring": [
            {"reader": names[reader], **with_interval(list(found.values()), anchoring)}
            for reader, found in seen.items()
        ],
    }


def anchoring(table: NDArray[np.float64]) -> float | None:
    """Agreement with the model where it was seen minus where not, of a table [seen, agrees] of counts.

    >>> anchoring(np.array([[1.0, 1.0], [1.0, 3.0]]))
    0.25
    """
    total = table.sum(axis=1)
    return None if not total.all() else float(table[1, 1] / total[1] - table[0, 1] / total[0])


def with_interval(tables: list[NDArray[np.float64]], figure: Any, seed: int = 0) -> dict[str, Any]:
    """A figure of the sum of tables of subjects, with the interval of subjects drawn again."""
    stack = np.stack(tables)
    found = {"value": figure(stack.sum(axis=0)), "low": None, "high": None, "subjects": len(tables)}
    found["cells"] = int(stack.sum())
    if len(tables) < 2 or found["value"] is None:
        return found
    drawn = np.random.default_rng(seed).integers(0, len(tables), (REPLICATES, len(tables)))
    values = [value for rows in drawn if (value := figure(stack[rows].sum(axis=0))) is not None]
    if len(values) >= REPLICATES // 2:
        found["low"], found["high"] = (float(end) for end in np.quantile(values, (0.025, 0.975)))
    return found
