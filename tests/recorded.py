"""A progress that keeps what it is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Recorded:
    """Stages as (label, total), and the number done in the last one after each step.

    Args:
        then: called with that number, after each step.
    """

    def __init__(self, then: Callable[[int], None] = lambda _done: None) -> None:
        self.stages: list[tuple[str, int]] = []
        self.steps: list[int] = []
        self.lines: list[str] = []
        self._then = then

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        self.stages.append((label, total))
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.steps.append(done)
            self._then(done)

        yield advance

    def say(self, line: str) -> None:
        self.lines.append(line)
