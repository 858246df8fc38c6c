"""How long a cell takes, network beside network: interleaved, so that a busy minute slows all of them.

Times on a machine that others use drift. All networks therefore take turns within one run, one call each per round, and
a row states median, smallest and largest of its rounds: what moved them moved all rows alike. Beside the wall clock
stands the processor time that a call used, over all its threads: other processes do not add to it, though they cost it
cache and clock speed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from leukoscope.inference.classifier import Classifier
from leukoscope.machine import cpu_count
from leukoscope.studies.cost import Subject

ENGINES = ("pytorch", "onnxruntime")
BATCHES = (1, 32)
ROUNDS = (3, 15)  # at least, at most
SECONDS = 2.0  # of calls, after which a row that has its least rounds is done

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds per cell of one network, engine, number of threads and batch.

    ``median``, ``low`` and ``high`` are of the wall clock, ``cpu`` is the median of processor time over all threads.
    """

    name: str
    engine: str
    threads: int
    batch: int
    median: float
    low: float
    high: float
    cpu: float
    rounds: int


def interleave(
    calls: dict[str, Call], *, rounds: tuple[int, int] = ROUNDS, seconds: float = SECONDS
) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each call, taken in turns after one unmeasured call each.

    A call that has its least number of rounds and has used up ``seconds`` sits out the rest. The order turns by one
    from round to round, so that none always runs behind the same one.
    """
    for call in calls.values():
        call()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds[1]):
        shift = turn % max(len(names), 1)
        for name in names[shift:] + names[:shift]:
            if len(taken[name]) >= rounds[0] and sum(wall for wall, _ in taken[name]) >= seconds:
                continue
            start, used = time.perf_counter(), time.process_time()
            calls[name]()
            taken[name].append((time.perf_counter() - start, time.process_time() - used))
    return taken


def time_all(
    subjects: Sequence[Subject],
    *,
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] | None = None,
    rounds: tuple[int, int] = ROUNDS,
    seconds: float = SECONDS,
    say: Callable[[str], None] = lambda _line: None,
) -> list[Timing]:
    """Time all subjects in both engines.

    Both engines do the same work on the same frames, uint8 RGB at the bundle's frame size, as they come out of
    ``cells.prepare``: resize, network, heat map and embedding.

    Args:
        subjects: networks with their bundles.
        batches: frames per call.
        threads: numbers of threads; one and all cores by default.
        rounds: least and greatest number of timed calls of each row.
        seconds: see ``interleave``.
        say: called with a line per setting.
    """
    found: list[Timing] = []
    rng = np.random.default_rng(0)
    for count in threads or sorted({1, cpu_count()}):
        runners = {s.name: (_pytorch(s), Classifier(s.bundle, threads=count).predict_frames) for s in subjects}
        with _threads(count):
            for batch in batches:
                say(f"timing {len(subjects)} networks, {count} threads, batch {batch}")
                calls: dict[str, Call] = {}
                for subject in subjects:
                    side = subject.bundle.facts.preparation.frame_size
                    frames = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
                    for engine, run in zip(ENGINES, runners[subject.name], strict=True):
                        calls[f"{subject.name}\n{engine}"] = _bound(run, frames)
                for key, taken in interleave(calls, rounds=rounds, seconds=seconds).items():
                    name, engine = key.split("\n")
                    ms, cpu = ([1e3 * each / batch for each in column] for column in zip(*taken, strict=True))
                    middle, used = statistics.median(ms), statistics.median(cpu)
                    found.append(Timing(name, engine, count, batch, middle, min(ms), max(ms), used, len(ms)))
    return found


def _bound(run: Callable[[Any], object], frames: Any) -> Call:
    return lambda: run(frames)


def _pytorch(subject: Subject) -> Callable[[Any], object]:
    import torch  # noqa: PLC0415 - an optional extra

    from leukoscope.bundle.export import ExplainedGraph  # noqa: PLC0415

    graph = ExplainedGraph(subject.model.cpu().eval(), subject.bundle.facts.input_size).eval()
    graph = graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload,unused-ignore]

    def run(frames: Any) -> object:
        with torch.inference_mode():
            return graph(torch.from_numpy(frames))

    return run


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
