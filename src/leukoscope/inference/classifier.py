"""Running a bundle's graph with ONNX Runtime: over cells, and over the cells that are found in fields."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from leukoscope.bundle.decision import decide, probability_of
from leukoscope.bundle.gate import Gate
from leukoscope.bundle.read import Bundle, default_bundle, read_bundle
from leukoscope.cells.read import MAX_PIXELS, read_picture
from leukoscope.errors import BundleError, PictureError
from leukoscope.inference.answer import Place, Prediction
from leukoscope.inference.cells import BATCH_SIZE, UNFRAMED, Finder, Found, Loaded, Source, load_all, load_one
from leukoscope.inference.morphology import in_words
from leukoscope.inference.words import gated
from leukoscope.machine import cpu_count
from leukoscope.smears import RED_CELL_UM, STANDARD_UM_PER_PX, Finding, WhiteCell
from leukoscope.smears.find import MAX_FIELD_PIXELS
from leukoscope.smears.normalise import Normalisation
from leukoscope.smears.rings import valid_ring
from leukoscope.text import decodable

if TYPE_CHECKING:
    pass

HONEST = (
    "The model was trained on cells of one laboratory, cut out on black; a field of another microscope, stain or "
    "camera is outside of what it was trained and measured on."
)
_AT_ONCE = 2  # cells through the graph: no slower on a CPU than more, and each takes 45 MB
Channels = Literal["rgb", "bgr"]
FieldDecision = Literal["blast", "normal", "refer"]


@dataclass(frozen=True, slots=True, eq=False)
class FieldCell:
    """One white cell of a field with its answer.

    Attributes:
        number: from 1, from top to bottom, as drawn on the picture.
        found: place, contours and state, in pixels of the field.
        decision: `refer` too where nothing could be asked: a cell that is cut or smudged, a field without scale.
        reason: why it is referred; None otherwise.
        prediction: the graph's answer for the cell at the standard scale; None where it was not asked.
    """

    number: int
    found: WhiteCell
    decision: FieldDecision
    reason: str | None
    prediction: Prediction | None = None

    @property
    def classified(self) -> bool:
        """Whether the graph was asked."""
        return self.prediction is not None and self.prediction.probability is not None

    def to_json(self, um_per_px: float | None) -> dict[str, Any]:
        """The cell as JSON-ready values; sizes in micrometres are None where the scale is unknown."""
        cell, answer = self.found, self.prediction
        um = None if cell.state == "cut" else um_per_px
        return {
            "number": self.number,
            "state": cell.state,
            "decision": self.decision,
            "probability": None if answer is None else answer.probability,
            "logit": None if answer is None else answer.logit,
            "reason": self.reason,
            "gate": None if answer is None else answer.gate,
            "box": list(cell.box),
            "diameter_um": None if um is None else round(cell.diameter * um, 2),
            "nucleus_area_um2": None if um is None else round(cell.nucleus_area * um**2, 1),
            "nucleus_share": None if cell.state == "cut" else round(min(1.0, cell.nucleus_area / cell.area), 3),
            "outline": valid_ring(cell.outline).tolist(),
            "nucleus": [valid_ring(ring).tolist() for ring in cell.nucleus],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What a bundle says about one field. Decision support for research, never a diagnosis.

    Attributes:
        path: the file, None where an array was given.
        sha256: of its bytes, None for an array.
        kind: `field`, or `crop` for one cell with its surroundings, which is a small field.
        finding: cells, red cells, scale, warnings.
        cells: white cells with their answers.
        model: the bundle's name.
        rgb: uint8 [H, W, 3], the picture; None where it was not kept.
        stain: how its light and stain were brought to those of the training cells before the model was asked.
    """

    path: str | None
    sha256: str | None
    kind: Literal["crop", "field"]
    finding: Finding
    cells: tuple[FieldCell, ...]
    model: str
    rgb: NDArray[np.uint8] | None = field(default=None, repr=False)
    stain: Normalisation = "none"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the answer may suffer from."""
        return self.finding.warnings

    def count(self, decision: FieldDecision) -> int:
        """How many cells got this decision."""
        return sum(cell.decision == decision for cell in self.cells)

    def predictions(self) -> list[Prediction]:
        """The answers as `predict` states them: one for each white cell; a single `unreadable` one where there is none.

        Cells that could not be asked are referred, without a probability.
        """
        if not self.cells:
            others = self.finding.platelets
            small = (f"{others} platelets or specks of dirt were left out",) if others else ()
            why = "; ".join(dict.fromkeys(("no white cell was found", *small, *self.warnings)))
            return [Prediction(self.path, self.sha256, None, None, "unreadable", self.model, 0.0, error=why)]
        nothing = Prediction(None, None, None, None, "refer", self.model, 0.0)
        return [
            replace(
                cell.prediction or nothing, path=self.path, sha256=self.sha256, decision=cell.decision,
                reason=cell.reason, error=None,
                place=Place(cell.number, cell.found.box, self.kind, self.finding.ruler.um_per_px, self.warnings),
            )
            for cell in self.cells
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The field without its pixels, as JSON-ready values in a fixed order."""
        ruler = self.finding.ruler
        height, width = self.finding.shape
        return {
            "path": None if self.path is None else decodable(self.path),
            "sha256": self.sha256,
            "kind": self.kind,
            "width": width,
            "height": height,
            "model": self.model,
            "stain": self.stain,
            "statement": HONEST,
            "ruler": ruler.to_json(),
            "warnings": list(self.warnings),
            "white_cells": len(self.cells),
            "blast": self.count("blast"),
            "normal": self.count("normal"),
            "refer": self.count("refer"),
            "platelets_or_dirt": self.finding.platelets,
            "cells": [cell.to_json(ruler.um_per_px) for cell in self.cells],
            "error": None,
        }


def read_field(
    classifier: Classifier,
    source: str | PathLike[str] | NDArray[np.uint8],
    *,
    um_per_px: float | None = None,
    red_cell_um: float = RED_CELL_UM,
    max_pixels: int = MAX_FIELD_PIXELS,
    morphology: bool = False,
    stain: Normalisation = "none",
) -> Field:
    """Find and answer for the white cells of one field, or of a crop of one cell with its surroundings.

    Args:
        classifier: what answers.
        source: a file's path, or uint8 RGB [H, W, 3].
        um_per_px: the scale where it is known; None: the red cells of the field give it.
        red_cell_um: mean diameter of a red cell, micrometres.
        max_pixels: larger pictures are refused before they are decoded. From `MAX_FIELD_PIXELS` on, a picture is
            read in windows, see `smears.find`; it is held whole, with its decoder about 10 bytes a pixel.
        morphology: measure each cell that is asked too, and say what stands out in words.
        stain: how light and stain are brought to those of the training cells, see `smears.normalise`.

    Raises:
        PictureError: the picture cannot be read, is a cell on black, larger than allowed, black or blank.
    """
    path = sha256 = None
    if isinstance(source, np.ndarray):
        rgb = source
    else:
        path = fspath(source)
        picture = read_picture(path, max_pixels=max_pixels)
        rgb, sha256 = picture.rgb, picture.sha256
    finder = Finder(classifier.standard_um_per_px, um_per_px, red_cell_um, stain)
    try:
        found = finder(rgb)
    except PictureError as error:
        raise PictureError(error.what, path=path, remedy=error.remedy) from error
    cells = _answered(classifier, found, morphology)
    return Field(path, sha256, found.kind, found.finding, cells, classifier.bundle.facts.name, rgb, stain)


def _answered(classifier: Classifier, found: Found, morphology: bool) -> tuple[FieldCell, ...]:
    answers = classifier.predict_many(
        found.pictures, _AT_ONCE, morphology=morphology, um_per_px=classifier.standard_um_per_px
    )
    return tuple(
        FieldCell(number, cell, "refer", reason) if reason else _asked(number, cell, next(answers))
        for number, (cell, reason) in enumerate(zip(found.finding.cells, found.withheld, strict=True), 1)
    )


def _asked(number: int, cell: WhiteCell, answer: Prediction) -> FieldCell:
    decision: FieldDecision = "refer"
    if answer.decision == "blast" or answer.decision == "normal":  # noqa: PLR1714  (mypy narrows this form)
        decision = answer.decision
    return FieldCell(number, cell, decision, answer.reason or answer.error, answer)


_INPUT = ("frames", "tensor(uint8)", 4)
_OUTPUTS = (("logit", "tensor(float)", 1), ("heatmap", "tensor(float)", 3), ("embedding", "tensor(float)", 2))

Outputs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def load(path: str | PathLike[str] | None = None, *, threads: int | None = None) -> Classifier:
    """Load a bundle, by default the one that comes with the package.

    Args:
        path: the bundle's folder.
        threads: how many threads to use; by default one for each available core.

    Raises:
        BundleError: the bundle is missing, damaged or not ours.
    """
    return Classifier(read_bundle(default_bundle() if path is None else path), threads=threads)


def _loaded(folder: Path, threads: int) -> Classifier:
    return load(folder, threads=threads)


class Classifier:
    """A bundle, ready to answer. May be shared by threads.

    Args:
        bundle: from `leukoscope.bundle.read.read_bundle`.
        threads: how many threads decode pictures, and how many run the graph; by default one for each available core.

    Raises:
        BundleError: the graph cannot be run or is not as the schema says.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.bundle = bundle
        self.threads = threads or cpu_count()
        self._session = _session(bundle, self.threads)
        self._gate = None if bundle.facts.gate is None else Gate(bundle.facts.gate)
        _check_gate(bundle, self._session)

    def __reduce__(self) -> tuple[Callable[..., Classifier], tuple[Path, int]]:
        """Copies are loaded from the bundle's folder, so that processes can share the work."""
        return _loaded, (self.bundle.folder, self.threads)

    def __repr__(self) -> str:
        return f"Classifier({self.bundle.facts.name!r}, threads={self.threads})"

    @property
    def standard_um_per_px(self) -> float:
        """The scale of the training cells, micrometres per pixel: the bundle's, or that of C-NMC 2019."""
        return self.bundle.facts.um_per_px or STANDARD_UM_PER_PX

    @overload
    def predict(self, source: Source, *, channels: Channels = "rgb") -> Prediction: ...  # type: ignore[overload-overlap]  # str is a Sequence[str]
    @overload
    def predict(self, source: Sequence[Source], *, channels: Channels = "rgb") -> list[Prediction]: ...
    def predict(
        self, source: Source | Sequence[Source], *, channels: Channels = "rgb"
    ) -> Prediction | list[Prediction]:
        """Answer for one picture or for a list of pictures.

        Args:
            source: a file's path, its bytes, an open binary file, a Pillow image, or uint8 RGB [H, W, 3]; or a list.
            channels: order of the colours of arrays: `bgr` for those of OpenCV. Files say it themselves.

        Raises:
            ValueError: there is no such order.
            PictureError: the one picture given cannot be read. In a list, it becomes a prediction with the decision
                `unreadable` instead.
        """
        if channels not in ("rgb", "bgr"):
            raise ValueError(f"channels must be 'rgb' or 'bgr', not {channels!r}")
        if isinstance(source, list | tuple):
            return list(self.predict_many(_in_order(each, channels) for each in source))
        loaded = load_one(
            _in_order(source, channels),
            self.bundle.facts.preparation,
            quality=self._gate is not None,
        )
        if loaded.error is not None:
            raise loaded.error
        return next(self._answers([loaded]))

    def predict_many(
        self,
        sources: Iterable[Source],
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int], None] | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        morphology: bool = False,
        quality: bool = False,
        fields: bool = False,
        um_per_px: float | None = None,
    ) -> Iterator[Prediction]:
        """Answer for many pictures, in their order, in flat memory: pictures are decoded while the graph runs.

        Args:
            sources: paths, uint8 RGB arrays [H, W, 3], or a `PictureError` in place of a picture known to be bad.
            batch_size: how many frames go through the graph at once.
            progress: called with the number of pictures newly answered, after each batch.
            max_pixels: larger pictures are refused as unreadable.
            morphology: measure each cell too, and say what stands out in words.
            quality: measure each picture as a gate does, also where the bundle has none.
            fields: the white cells of a picture that is not one cell on black are found, by the threads that decode.
            um_per_px: the scale of the pictures, where it is known: cells on black are brought to that of the training
                cells, fields need no ruler.

        Yields:
            One prediction for each source; with ``fields``, one for each white cell of a field or crop, or a single
            `unreadable` one. An unreadable picture never stops the rest.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        preparation = self.bundle.facts.preparation
        batches = load_all(
            sources, preparation, batch_size=batch_size, threads=self.threads, max_pixels=max_pixels,
            quality=quality or self._gate is not None, morphology=morphology, um_per_px=self.bundle.facts.um_per_px,
            zoom=None if um_per_px is None else um_per_px / self.standard_um_per_px,
            finder=Finder(self.standard_um_per_px, um_per_px) if fields else None,
        )  # fmt: skip
        for batch in batches:
            answers = self._answers([item for item in batch if item.found is None])
            for item in batch:
                if item.found is not None:
                    yield from self._cells_of(item, item.found, morphology)
                else:
                    answer = next(answers)
                    yield in_words(answer, item.measured) if morphology else answer
            if progress is not None:
                progress(len(batch))

    def read_field(
        self,
        source: str | PathLike[str] | NDArray[np.uint8],
        *,
        um_per_px: float | None = None,
        max_pixels: int = MAX_FIELD_PIXELS,
        stain: Normalisation = "none",
    ) -> Field:
        """Find and answer for the white cells of one field; see `leukoscope.inference.classifier.read_field`."""
        return read_field(self, source, um_per_px=um_per_px, max_pixels=max_pixels, stain=stain)

    def predict_frames(self, frames: NDArray[np.uint8]) -> Outputs:
        """Run the graph on prepared frames.

        Args:
            frames: uint8 RGB [N, F, F, 3] as `cells.frame.prepare` makes them, F the bundle's frame size.

        Returns:
            Logit float32 [N], heat map float32 [N, h, w], embedding float32 [N, E].

        Raises:
            PictureError: the frames have another dtype or shape.
            BundleError: the graph fails, or answers with other shapes than the schema's.
        """
        size = self.bundle.facts.preparation.frame_size
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
            raise PictureError(
                f"frames must be uint8 [N, {size}, {size}, 3], not {frames.dtype} {list(frames.shape)}",
                remedy="pass them through leukoscope.cells.frame.prepare",
            )
        try:
            logit, heatmap, embedding = self._session.run(
                [name for name, _, _ in _OUTPUTS], {_INPUT[0]: np.ascontiguousarray(frames)}
            )
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise _foreign(self.bundle, f"fails on {len(frames)} frames ({error})") from error
        if not (logit.shape == (len(frames),) and len(heatmap) == len(embedding) == len(frames)):
            raise _foreign(self.bundle, f"answers with {len(logit)} logits for {len(frames)} frames")
        return logit, heatmap, embedding

    def _answers(self, batch: list[Loaded]) -> Iterator[Prediction]:
        frames = [item.frame for item in batch if item.frame is not None]
        start = time.perf_counter()
        stack = frames[0][None] if len(frames) == 1 else np.stack(frames) if frames else None
        outputs = iter(()) if stack is None else zip(*self.predict_frames(stack), strict=True)
        graph_ms = 1e3 * (time.perf_counter() - start) / max(len(frames), 1)
        for item in batch:
            if item.error is not None:
                yield self._unreadable(item)
            else:
                yield self._answer(item, *next(outputs), graph_ms)

    def _cells_of(self, item: Loaded, found: Found, morphology: bool) -> Iterator[Prediction]:
        """Answers for the cells of a picture that is no cell on black."""
        start = time.perf_counter()
        cells = _answered(self, found, morphology)
        answers = Field(item.path, item.sha256, found.kind, found.finding, cells, self.bundle.facts.name).predictions()
        ms = (sum(item.timings.values()) + 1e3 * (time.perf_counter() - start)) / len(answers)
        for answer in answers:
            known = answer.error is None
            yield replace(answer, ms=ms, error=None if known else f"{UNFRAMED}: {answer.error}")

    def _answer(
        self, item: Loaded, logit: np.float32, heatmap: NDArray[np.float32], embedding: NDArray[np.float32], ms: float
    ) -> Prediction:
        rule = self.bundle.facts.decision
        value = float(logit)
        if not math.isfinite(value):  # NaN compares as false: it must not pass for normal
            return self._unreadable(item, f"the model gave no finite answer ({value})")
        probability = float(probability_of(value, rule))
        decision, reason = decide(probability, rule)
        timings = {**item.timings, "graph": ms}
        answer = Prediction(
            item.path, item.sha256, probability, value, decision, self.bundle.facts.name, sum(timings.values()),
            reason=reason, heatmap=heatmap.copy(), embedding=embedding.copy(), frame=item.frame, timings=timings,
            quality=item.quality,
        )  # fmt: skip
        return answer if self._gate is None else gated(answer, self._gate)

    def _unreadable(self, item: Loaded, why: str | None = None) -> Prediction:
        if why is None and item.error is not None:
            why = "; ".join(part for part in (item.error.what, item.error.remedy) if part)
        name = self.bundle.facts.name
        ms = float(sum(item.timings.values()))
        return Prediction(item.path, item.sha256, None, None, "unreadable", name, ms, error=why, timings=item.timings)


def _in_order(source: Any, channels: Channels) -> Any:
    """The source, an array of colours in the order of RGB."""
    swap = channels == "bgr" and isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] == 3
    return np.ascontiguousarray(source[..., ::-1]) if swap else source


def _session(bundle: Bundle, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take a quarter of the processor from those that decode the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # failures come as exceptions; its log would repeat them on stderr
    try:
        session = ort.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])
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
