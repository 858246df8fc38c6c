"""What a network costs before any clock runs: parameters, multiply-accumulates, activations, file size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leukoscope.errors import BundleError
from leukoscope.studies.outcome import Outcome
from leukoscope.studies.row import Row

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
    from leukoscope.bundle.read import read_bundle  # noqa: PLC0415

    return subject_of_bundle(name, read_bundle(outcome.bundle))


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
