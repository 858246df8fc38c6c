"""A bundle that answers: for cells, and for the cells that are found in fields."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import cast, overload

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.decision import decide, probability_of
from leukoscope.bundle.gate import Gate
from leukoscope.bundle.read import Bundle, default_bundle, read_bundle
from leukoscope.bundle.signature import read_trusted
from leukoscope.cells.read import MAX_PIXELS
from leukoscope.errors import BundleError, PictureError
from leukoscope.inference.answer import Answer, Answers
from leukoscope.inference.cells import BATCH_SIZE, UNFRAMED, Cell, CellReader, Channels, Reading, ReadOptions, Source
from leukoscope.inference.graph import Graph, Outputs
from leukoscope.inference.morphology import describe
from leukoscope.inference.words import Judgement, words
from leukoscope.machine import cpu_count
from leukoscope.smears import RED_CELL_UM, STANDARD_UM_PER_PX
from leukoscope.smears.normalise import Normalisation


def load(
    path: str | PathLike[str] | None = None,
    *,
    threads: int | None = None,
    provider: str | None = None,
    trust: Iterable[str] = (),
) -> Classifier:
    """Load a bundle, by default the one that comes with the package.

    Args:
        path: the bundle's folder, or a name of `leukoscope.bundle.read.PACKAGED`.
        threads: how many threads to use; by default one for each available core.
        provider: what of ONNX Runtime runs the graph, such as ``cuda``; the processor where that is not offered.
        trust: public keys, or files of them, one of which must have signed the bundle; by default those that the
            environment variable LEUKOSCOPE_TRUST names. None there: it need not be signed.

    Raises:
        BundleError: the bundle is missing, damaged, not ours, or not signed with a key that is trusted.
    """
    bundle = read_trusted(default_bundle() if path is None else path, trust)
    return Classifier(bundle, threads=threads, provider=provider)


def _loaded(folder: Path, threads: int, digest: str, provider: str | None) -> Classifier:
    """The copy of a classifier in another process: of the very same bundle."""
    bundle = read_bundle(folder)
    if bundle.digest != digest:
        raise BundleError(
            "is no longer the bundle that was loaded", path=folder, remedy="load it again where the work is shared out"
        )
    return Classifier(bundle, threads=threads, provider=provider)


class Classifier:
    """A bundle, ready to answer. May be shared by threads.

    Args:
        bundle: from `leukoscope.bundle.read.read_bundle`.
        threads: how many threads read pictures, and how many run the graph; by default one for each available core.
        provider: what of ONNX Runtime runs the graph, such as ``cuda``; see `Classifier.provider` for what does.

    Raises:
        BundleError: the graph cannot be run or is not as the schema says.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, provider: str | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.bundle = bundle
        self.threads = threads or cpu_count()
        self._asked_provider = provider
        self._graph = Graph(bundle, self.threads, provider)
        self._gate = None if bundle.facts.gate is None else Gate(bundle.facts.gate)

    def __reduce__(self) -> tuple[Callable[..., Classifier], tuple[Path, int, str, str | None]]:
        """Copies are loaded from the bundle's folder, which must hold the same bundle: processes can share the work."""
        return _loaded, (self.bundle.folder, self.threads, self.bundle.digest, self._asked_provider)

    def __repr__(self) -> str:
        return f"Classifier({self.bundle.facts.name!r}, threads={self.threads})"

    @property
    def provider(self) -> str:
        """What of ONNX Runtime runs the graph: the one asked for, or the processor where that is not offered."""
        return self._graph.provider

    @property
    def standard_um_per_px(self) -> float:
        """The scale of the training cells, micrometres per pixel: the bundle's, or that of C-NMC 2019."""
        return self.bundle.facts.um_per_px or STANDARD_UM_PER_PX

    @overload
    def predict(self, source: Source, *, channels: Channels = "rgb") -> Answer: ...  # type: ignore[overload-overlap]  # str is a Sequence[str]
    @overload
    def predict(self, source: Iterable[Source], *, channels: Channels = "rgb") -> list[Answer]: ...
    def predict(self, source: Source | Iterable[Source], *, channels: Channels = "rgb") -> Answer | list[Answer]:
        """Answer for one cell, or for a list of cells: on black, or with their surroundings.

        Args:
            source: a file's path, its bytes, an open binary file, a Pillow image, or uint8 RGB [H, W, 3]; or several of
                these: a list, a tuple, a generator, or uint8 RGB [N, H, W, 3].
            channels: order of the colours of arrays: `bgr` for those of OpenCV. Files say it themselves.

        Raises:
            ValueError: there is no such order.
            PictureError: the one picture given cannot be read, or shows more than one white cell or none. In a list, it
                becomes an answer with the decision `unreadable` instead.
        """
        options = ReadOptions(channels=channels)
        stack = isinstance(source, np.ndarray) and source.ndim == 4
        if stack or isinstance(source, list | tuple) or _is_iterator(source):
            return [self._only(answers) for answers in self.answers(cast("Iterable[Source]", source), options)]
        (answers,) = self.ask([self._reader(options).read(cast("Source", source))])
        error = answers.reading.error
        if error is not None and error.what.startswith(UNFRAMED):
            told = error.what.replace(UNFRAMED, "no cell on a black surround; as Classifier.read_field has it")
            raise PictureError(told, path=error.path, remedy=error.remedy)
        if error is not None:
            raise error
        answer = self._only(answers)
        if len(answers.cells) != 1:
            raise PictureError(answer.error or "", path=answer.path)
        return answer

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
        channels: Channels = "rgb",
    ) -> Iterator[Answer]:
        """Answer for many pictures, in their order, in flat memory: pictures are read while the graph runs.

        Args:
            sources: paths, uint8 RGB arrays [H, W, 3], or a `PictureError` in place of a picture known to be bad.
            batch_size: how many frames go through the graph at once.
            progress: called with the number of pictures newly answered, after each batch.
            max_pixels: larger pictures are refused as unreadable.
            morphology: measure each cell too, and say what stands out in words.
            quality: measure each picture as a gate does, also where the bundle has none.
            fields: the white cells of a picture that is not one cell on black are found, by the threads that read.
            um_per_px: the scale of the pictures, where it is known: cells on black are brought to that of the training
                cells, fields need no ruler.
            channels: order of the colours of arrays.

        Yields:
            One answer for each source; with ``fields``, one for each white cell of a field or crop, or a single
            `unreadable` one. An unreadable picture never stops the rest.
        """
        options = ReadOptions(
            max_pixels, um_per_px, channels=channels, fields=fields, quality=quality, measure=morphology
        )
        for answers in self.answers(sources, options, batch_size=batch_size, progress=progress):
            yield from answers

    def answers(
        self,
        sources: Iterable[Source],
        options: ReadOptions | None = None,
        *,
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Answers]:
        """Answer for many pictures, in their order: for each its cells, or why there is none. See `predict_many`.

        Args:
            sources: as `predict_many` takes.
            options: how pictures are read.
            batch_size: how many pictures are read ahead, and how many frames go through the graph at once.
            progress: called with the number of pictures newly answered.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        reader = self._reader(options or ReadOptions())
        for batch in reader.read_all(sources, batch_size=batch_size, threads=self.threads):
            yield from self.ask(batch, reader.options, batch_size=batch_size)
            if progress is not None:
                progress(len(batch))

    def read_field(
        self,
        source: Source,
        *,
        um_per_px: float | None = None,
        red_cell_um: float = RED_CELL_UM,
        max_pixels: int = MAX_PIXELS,
        morphology: bool = False,
        stain: Normalisation = "none",
        channels: Channels = "rgb",
    ) -> Answers:
        """Find and answer for the white cells of one field, or of a crop; one cell on black is a field with one cell.

        The picture is kept. See `leukoscope.inference.cells.ReadOptions` for the arguments; a picture of more than
        `leukoscope.smears.find.MAX_FIELD_PIXELS` is read in windows, and takes with its decoder about 10 bytes a pixel.

        Raises:
            PictureError: the picture cannot be read, is larger than allowed, black or blank.
        """
        options = ReadOptions(
            max_pixels, um_per_px, red_cell_um, stain, channels, measure=morphology, keep=True
        )  # fmt: skip
        (answers,) = self.ask([self._reader(options).read(source)], options)
        if answers.reading.error is not None:
            raise answers.reading.error
        return answers

    def ask(
        self, readings: Sequence[Reading], options: ReadOptions | None = None, *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Answers]:
        """Answer for pictures that were read: all their cells go through the graph together.

        Args:
            readings: of this bundle's frame size.
            options: by which they were read.
            batch_size: how many frames go through the graph at once.
        """
        stain = "none" if options is None else options.stain
        worded = options is not None and options.measure
        asked = (cell.frame for reading in readings for cell in reading.cells if cell.frame is not None)
        outputs = self._outputs(list(asked), batch_size)
        for reading in readings:
            spent = sum(reading.timings.values()) / max(len(reading.cells), 1)
            each = [
                self._withheld(reading, cell, spent)
                if cell.frame is None
                else self._answer(reading, cell, spent, *next(outputs))
                for cell in reading.cells
            ]
            if not each:
                each = [self._unreadable(reading, words("unreadable", None) if worded else None)]
            yield Answers(reading, tuple(each), self.bundle.facts.name, stain)

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
        return self._graph.run(frames)

    def _reader(self, options: ReadOptions) -> CellReader:
        facts = self.bundle.facts
        quality = options.quality or self._gate is not None
        sides = frozenset[int]() if facts.gate is None else facts.gate.known_sides
        return CellReader(facts.preparation, facts.um_per_px, replace(options, quality=quality), sides)

    def _outputs(
        self, frames: list[NDArray[np.uint8]], batch_size: int
    ) -> Iterator[tuple[np.float32, NDArray[np.float32], NDArray[np.float32], float]]:
        """Logit, heat map, embedding of each frame, and the milliseconds that it took."""
        for first in range(0, len(frames), batch_size):
            part = frames[first : first + batch_size]
            start = time.perf_counter()
            outputs = self.predict_frames(part[0][None] if len(part) == 1 else np.stack(part))
            ms = 1e3 * (time.perf_counter() - start) / len(part)
            for logit, heatmap, embedding in zip(*outputs, strict=True):
                yield logit, heatmap, embedding, ms

    def _answer(
        self, reading: Reading, cell: Cell, spent: float, logit: np.float32, heatmap: NDArray[np.float32],
        embedding: NDArray[np.float32], ms: float,
    ) -> Answer:  # fmt: skip
        rule = self.bundle.facts.decision
        value = float(logit)
        if not math.isfinite(value):  # NaN compares as false: it must not pass for normal
            why = f"the model gave no finite answer ({value})"
            if cell.place is not None:
                return self._withheld(reading, replace(cell, withheld=why), spent)
            return self._unreadable(reading, None, why)
        probability = float(probability_of(value, rule))
        judged = Judgement(*decide(probability, rule))
        if self._gate is not None:
            assert cell.quality is not None
            judged = judged.after(self._gate, cell.quality, embedding)
        numbers, text = None, None
        if cell.measured is not None:
            numbers, text = describe(cell.measured, heatmap, judged.decision, judged.findings)
        return Answer(
            reading.path, reading.sha256, probability, value, judged.decision, self.bundle.facts.name, spent + ms,
            reason=judged.reason, cell=cell, heatmap=heatmap.copy(), embedding=embedding.copy(),
            timings={**reading.timings, "graph": ms}, gate=judged.gate, findings=judged.findings,
            gate_score=judged.score, morphology=numbers, words=text,
        )  # fmt: skip

    def _withheld(self, reading: Reading, cell: Cell, spent: float) -> Answer:
        """The answer for a cell that was not asked: it is referred."""
        name = self.bundle.facts.name
        return Answer(
            reading.path, reading.sha256, None, None, "refer", name, spent, reason=cell.withheld, cell=cell,
            timings=reading.timings,
        )  # fmt: skip

    def _unreadable(self, reading: Reading, text: str | None, why: str | None = None) -> Answer:
        """The answer for a picture without a cell."""
        if why is None:
            why = _why(reading)
        ms = float(sum(reading.timings.values()))
        name = self.bundle.facts.name
        return Answer(
            reading.path, reading.sha256, None, None, "unreadable", name, ms, why, timings=reading.timings, words=text
        )

    def _only(self, answers: Answers) -> Answer:
        """The answer for the one cell of a picture; `unreadable` where there are several."""
        if len(answers) == 1:
            return answers.each[0]
        why = f"shows {len(answers)} white cells, not one; use Classifier.read_field, or predict_many with fields=True"
        return self._unreadable(answers.reading, None, why)


def _is_iterator(source: object) -> bool:
    """Whether it gives pictures one by one; an open file gives lines, and is one picture."""
    return isinstance(source, Iterator) and not hasattr(source, "read")


def _why(reading: Reading) -> str:
    """Why there is no cell, and the remedy."""
    if reading.error is not None:
        return "; ".join(part for part in (reading.error.what, reading.error.remedy) if part)
    finding = reading.finding
    others = 0 if finding is None else finding.platelets
    small = (f"{others} platelets or specks of dirt were left out",) if others else ()
    warnings = () if finding is None else finding.warnings
    return f"{UNFRAMED}: " + "; ".join(dict.fromkeys(("no white cell was found", *small, *warnings)))
