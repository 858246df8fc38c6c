"""What a network costs: parameters, multiply-accumulates, activations, file size; peak memory; time for a cell.

Peak memory is that of a fresh process that loads only ONNX Runtime and the graph. Times on a machine that others use
drift. All networks therefore take turns within one run, one call each per round, and a row states median, smallest and
largest of its rounds: what moved them moved all rows alike. Beside the wall clock stands the processor time that a call
used, over all its threads: other processes do not add to it, though they cost it cache and clock speed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leukoscope.errors import BundleError
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import cpu_count
from leukoscope.runs.recipe_row import Outcome, Row

if TYPE_CHECKING:
    from leukoscope.bundle.read import Bundle
    from leukoscope.models import CellClassifier


@dataclass(frozen=True, slots=True)
class Counts:
    """Costs that need no clock, of one cell at the network's own input size.

    Attributes:
        parameters: trainable numbers, all layers unfrozen.
        macs: multiply-accumulates of convolutions and matrix products in one forward pass to the logit; biases,
            normalisations, activations and pooling are not counted, as is usual.
        activations: numbers that these same operations put out (Radosavovic et al. 2020, "Designing network design
            spaces": they tell the time on memory-bound machines better than multiply-accumulates).
        file_bytes: of the bundle's graph.
        input_size: pixels.
    """

    parameters: int
    macs: int
    activations: int
    file_bytes: int
    input_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """Something whose cost is measured: the same network in PyTorch and as the graph of a bundle."""

    name: str
    model: CellClassifier
    bundle: Bundle


def count_operations(model: CellClassifier, size: int) -> tuple[int, int]:
    """Multiply-accumulates and activations of one picture of ``size`` pixels.

    PyTorch's own counter gives the floating-point operations of each convolution and matrix product as they are
    dispatched, whatever module they are called from; two of them are one multiply-accumulate.
    """
    import torch  # noqa: PLC0415 - an optional extra
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    model = model.cpu().eval()
    counter = FlopCounterMode(display=False)
    outputs = _outputs_counter(set(counter.flop_registry))
    with torch.no_grad(), counter, outputs:
        model(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops()) // 2, int(outputs.total)


def _outputs_counter(counted: set[Any]) -> Any:
    """A dispatch mode that adds up the sizes of what the operations ``counted`` put out."""
    import torch  # noqa: PLC0415
    from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC0415 - the documented extension point

    class Outputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
        total = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if getattr(func, "overloadpacket", None) in counted:
                first = result[0] if isinstance(result, tuple) else result
                if isinstance(first, torch.Tensor):
                    self.total += first.numel()
            return result

    return Outputs()  # type: ignore[no-untyped-call]


def count(subject: Subject) -> Counts:
    """All costs of a subject that need no clock."""
    size = subject.bundle.facts.input_size
    macs, activations = count_operations(subject.model, size)
    parameters = sum(each.numel() for each in subject.model.parameters())
    return Counts(parameters, macs, activations, len(subject.bundle.graph), size)


def subject_of_run(name: str, outcome: Outcome) -> Subject:
    """The network and the bundle of a finished run."""
    return subject_of_bundle(name, outcome.run.bundle())


def subject_of_bundle(name: str, bundle: Bundle) -> Subject:
    """The network that a bundle says it holds, with fresh weights: no cost depends on them.

    Raises:
        BundleError: the bundle does not say what network it holds.
    """
    from leukoscope.models import create_model  # noqa: PLC0415 - needs torch

    training = bundle.facts.training
    if training is None:
        raise BundleError(
            "the bundle does not say which network it holds", path=bundle.folder, remedy="use a bundle of a run"
        )
    return Subject(name, create_model(training.model, **training.arguments).eval(), bundle)


def subject_of_row(name: str, row: Row) -> Subject:
    """An untrained network, at the input size of its recipe, exported as a bundle in memory."""
    from pathlib import Path  # noqa: PLC0415

    from leukoscope import _version  # noqa: PLC0415
    from leukoscope.bundle.export import graph_bytes  # noqa: PLC0415 - needs torch
    from leukoscope.bundle.read import Bundle  # noqa: PLC0415
    from leukoscope.bundle.schema import BundleFacts  # noqa: PLC0415
    from leukoscope.models import create_model  # noqa: PLC0415

    recipe = row.to_recipe()
    model = create_model(recipe.model.name, **recipe.model.arguments).eval()
    graph = graph_bytes(model, recipe.input.size, recipe.input.preparation.frame_size)
    facts = BundleFacts(
        name=name,
        version=_version.__version__,
        created="untrained",
        preparation=recipe.input.preparation,
        input_size=recipe.input.size,
        files={},
    )
    return Subject(name, model, Bundle(Path(name), facts, graph))


def each_subject(
    makers: dict[str, Callable[[], Subject]], *, say: Callable[[str], None] = lambda _line: None
) -> tuple[list[Subject], dict[str, str]]:
    """Build all subjects, and say which is being built; by name why others cannot be built."""
    subjects: list[Subject] = []
    faults: dict[str, str] = {}
    for name, make in makers.items():
        say(f"building {name}")
        try:
            subjects.append(make())
        except Exception as error:  # noqa: BLE001 - one network that cannot be exported leaves the others their row
            faults[name] = str(error)
    return subjects, faults


def peak_memory(subject: Subject, batch: int, *, threads: int = 1) -> float:
    """Peak resident memory in MiB of a process that loads the graph and answers ``batch`` frames once, on one thread.

    It includes Python, NumPy and ONNX Runtime: about 60 MiB whatever the network.

    Raises:
        BundleError: the process failed.
    """
    size = subject.bundle.facts.preparation.frame_size
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        graph.write_bytes(subject.bundle.graph)
        command = [sys.executable, "-c", _SCRIPT, str(graph), str(size), str(batch), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise BundleError(f"{subject.name} cannot be run in a process of its own ({why})")
    return float(json.loads(done.stdout)["mib"])


def peaks(subject: Subject, batches: Sequence[int]) -> dict[int, float]:
    """Peak memory by batch."""
    return {batch: peak_memory(subject, batch) for batch in batches}


_SCRIPT = """
import ctypes, json, resource, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # killed when the thread that started it ends
import numpy as np, onnxruntime as ort
graph, size, batch, threads = sys.argv[1], *map(int, sys.argv[2:])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
session.run(None, {"frames": np.zeros((batch, size, size, 3), np.uint8)})
try:  # what getrusage tells on Linux also holds the parent, whose memory the child had until it became Python
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
except (OSError, StopIteration):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps({"mib": peak}))
"""


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
    `cells.frame.prepare`: resize, network, heat map and embedding.

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
