"""Small work of several threads, done at once by one of them: a transaction costs as much for one picture as for ten.

Whoever comes while others are at it waits, and then does what has gathered meanwhile, for all. Nobody waits for others
to come: one alone is as quick as before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Piece(Generic[T]):
    given: T
    done: bool = False
    result: Any = None


class Together(Generic[T, R]):
    """One kind of work.

    Args:
        most: pieces that are done at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._waiting: list[_Piece[T]] = []

    def do(self, given: T, work: Callable[[Sequence[T]], Sequence[R | Exception]]) -> R:
        """Have a piece done.

        Args:
            given: what it is about.
            work: does several, and gives for each its result or what went wrong with it alone; the same for all pieces.

        Raises:
            Exception: what went wrong with this piece, or with all that were done with it.
        """
        mine = _Piece(given)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            while not mine.done:
                with self._lock:
                    part, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                try:
                    results: Sequence[Any] = work([each.given for each in part])
                except Exception as error:  # noqa: BLE001  (it is raised again, in each thread that waits for it)
                    results = [error] * len(part)
                for each, result in zip(part, results, strict=True):
                    each.result, each.done = result, True
        if isinstance(mine.result, Exception):
            raise mine.result
        return cast("R", mine.result)
