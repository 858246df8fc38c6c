"""A bundle's graph in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from leukoscope.bundle.label import told_otherwise
from leukoscope.bundle.operators import check_operators
from leukoscope.bundle.read import Bundle
from leukoscope.errors import BundleError, PictureError
from leukoscope.threads import in_order

_CPU = "CPUExecutionProvider"
_INPUT = ("frames", "tensor(uint8)", 4)
_OUTPUTS = (("logit", "tensor(float)", 1), ("heatmap", "tensor(float)", 3), ("embedding", "tensor(float)", 2))

Outputs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class Graph:
    """The graph, ready to run. May be shared by threads.

    Args:
        bundle: whose graph it is.
        threads: how many run it.
        provider: what of ONNX Runtime runs it, such as ``CUDAExecutionProvider`` or in short ``cuda``; where it is not
            offered here, or does not start, the processor does.

    Raises:
        BundleError: the graph cannot be run or is not as the schema says, or the gate was fitted to another.
    """

    def __init__(self, bundle: Bundle, threads: int, provider: str | None = None) -> None:
        self._bundle = bundle
        self._threads = threads
        self._session = _session(bundle, _providers(provider))
        _check_gate(bundle, self._session)

    @property
    def provider(self) -> str:
        """What runs it."""
        return str(self._session.get_providers()[0])

    def run(self, frames: NDArray[np.uint8]) -> Outputs:
        """See `leukoscope.inference.classifier.Classifier.predict_frames`."""
        size = self._bundle.facts.preparation.frame_size
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
            raise PictureError(
                f"frames must be uint8 [N, {size}, {size}, 3], not {frames.dtype} {list(frames.shape)}",
                remedy="pass them through leukoscope.cells.frame.prepare",
            )
        if self.provider != _CPU or len(frames) < 2:
            return self._part(frames)
        # Each core has a cell of its own: its feature maps stay in the cache, no thread waits for another's share of a
        # layer, and an answer does not depend on the cells beside it.
        cells = (frames[at : at + 1] for at in range(len(frames)))
        logit, heatmap, embedding = map(np.concatenate, zip(*in_order(self._part, cells, self._threads), strict=True))
        return logit, heatmap, embedding

    def _part(self, frames: NDArray[np.uint8]) -> Outputs:
        try:
            logit, heatmap, embedding = self._session.run(
                [name for name, _, _ in _OUTPUTS], {_INPUT[0]: np.ascontiguousarray(frames)}
            )
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise _foreign(self._bundle, f"fails on {len(frames)} frames ({error})") from error
        if not (logit.shape == (len(frames),) and len(heatmap) == len(embedding) == len(frames)):
            raise _foreign(self._bundle, f"answers with {len(logit)} logits for {len(frames)} frames")
        return logit, heatmap, embedding


def _providers(asked: str | None) -> list[str]:
    """What is asked for, if it is offered here, and the processor."""
    wanted = (asked or "").lower().removesuffix("executionprovider")
    offered = [name for name in ort.get_available_providers() if name.lower() == f"{wanted}executionprovider"]
    return [*(name for name in offered if name != _CPU), _CPU]


def offered_providers() -> list[str]:
    """What of ONNX Runtime can run a graph here, in short: ``cpu``, and where it is installed ``cuda`` and others."""
    return [name.removesuffix("ExecutionProvider").lower() for name in ort.get_available_providers()]


def _session(bundle: Bundle, providers: list[str]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # `Graph.run` shares out cells, not the inside of a layer
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # failures come as exceptions; its log would repeat them on stderr
    check_operators(bundle.graph, str(bundle.folder / "model.onnx"))
    try:
        session = ort.InferenceSession(  # its fallback would only repeat the failure on standard output
            bundle.graph, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        raise _foreign(bundle, f"cannot be run ({error})") from error
    size = bundle.facts.preparation.frame_size
    found = [(node.name, node.type, len(node.shape)) for node in (*session.get_inputs(), *session.get_outputs())]
    if len(session.get_inputs()) != 1 or found[0] != _INPUT or not set(_OUTPUTS) <= set(found[1:]):
        listed = ", ".join(f"{name} {kind} of {rank} axes" for name, kind, rank in found)
        raise _foreign(bundle, f"has other inputs and outputs than a Leukoscope graph: {listed}")
    shape = session.get_inputs()[0].shape
    if any(isinstance(side, int) and side != want for side, want in zip(shape[1:], (size, size, 3), strict=True)):
        raise _foreign(bundle, f"takes frames of {shape[1:]}, but bundle.json says {[size, size, 3]}")
    if told_otherwise(session.get_modelmeta().custom_metadata_map, bundle.facts.preparation):
        raise _foreign(bundle, "says of itself that its frames are prepared in another way than bundle.json says")
    if isinstance(shape[0], int):
        raise _foreign(bundle, f"takes exactly {shape[0]} frames at a time")
    return session


def _check_gate(bundle: Bundle, session: ort.InferenceSession) -> None:
    """Refuse a gate that was fitted to another graph."""
    known = None if bundle.facts.gate is None else bundle.facts.gate.embedding
    if known is None:
        return
    found = next(node.shape for node in session.get_outputs() if node.name == "embedding")[-1]
    if isinstance(found, int) and found != known.size:
        raise BundleError(
            f"has a gate for embeddings of {known.size} numbers, but its graph gives {found}",
            path=bundle.folder / "bundle.json",
            remedy="fit the gate again with `leukoscope calibrate --gate`",
        )


def _foreign(bundle: Bundle, what: str) -> BundleError:
    return BundleError(
        what[:400], path=bundle.folder / "model.onnx", remedy="export the bundle with `leukoscope export`"
    )
