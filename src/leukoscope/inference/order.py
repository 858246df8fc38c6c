"""In which order to look at the cells of a batch: by their score, whatever was decided or referred."""

from __future__ import annotations

from collections.abc import Iterable

#: What an order is, in one sentence for people.
ORDER = (
    "The order ranks cells by the network's score, those to look at first on top; it is no probability, and a referred "
    "cell keeps its place in it."
)


def places(scores: Iterable[float | None]) -> list[int | None]:
    """Place of each cell, from 1 for the highest score; None where the network was not asked. Ties: as given.

    >>> places([0.5, None, 2.0, 0.5])
    [2, None, 1, 3]
    """
    held = list(scores)
    found: list[int | None] = [None] * len(held)
    asked = [(-score, row) for row, score in enumerate(held) if score is not None]
    for place, (_, row) in enumerate(sorted(asked), 1):
        found[row] = place
    return found
