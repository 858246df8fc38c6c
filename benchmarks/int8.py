"""What 8-bit weights cost and save: a float bundle and its 8-bit form on the same unseen cells, and time.

    python benchmarks/int8.py answers RUN [RUN ...] --data DIR [--cells N] --work DIR --out docs/figures/int8.json
    python benchmarks/int8.py time --bundle NAME=DIR [--bundle ...] --pictures DIR --out docs/figures/speed.json

`answers` quantises each run's bundle with `leukoscope export --int8` (calibrated on its training part) and compares the
two on the run's test part: paired intervals over patient groups. `time` lets all bundles take turns, call by call, on
one thread: the graph alone at batch 1 and 8, and from file to answer for BMP, PNG and WebP, in parts. Beside the wall
clock stands processor time, which other processes add less to.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from _common import ONE_THREAD_KINDS, differences, joined, load_of_machine, pictures_in, scores_of, written_as
from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.split import limit
from leukoscope.files import write_json
from leukoscope.inference.cells import CellReader, ReadOptions
from leukoscope.inference.classifier import Classifier
from leukoscope.inference.graph import Outputs
from leukoscope.machine import describe_machine
from leukoscope.metrics.scores import Scores
from leukoscope.runs.run import Run
from leukoscope.studies.compare.cost import Call, interleave

SHOWN = ("f1_weighted", "auc", "balanced_accuracy", "sensitivity", "specificity", "ece")
BATCH = 8
NAMES = ("fp32", "int8")


def size_of(bundle: Bundle) -> dict[str, int]:
    """Bytes of the graph, and of the numbers in it."""
    graph = onnx.load_from_string(bundle.graph).graph
    numbers = [numpy_helper.to_array(each) for each in graph.initializer]
    return {"model_onnx": len(bundle.graph), "weights": sum(each.nbytes for each in numbers)}


def pearson(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of two stacks of maps [N, h, w], map by map; NaN where one is constant."""
    a, b = (m.reshape(len(m), -1).astype(np.float64) for m in (first, second))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))


def framed(classifier: Classifier, part: Manifest) -> Iterator[tuple[list[int], np.ndarray]]:
    """Frames of the cells that can be read, a batch at a time, each with their rows."""
    at = 0
    reader = CellReader(classifier.bundle.facts.preparation, options=ReadOptions(fields=False))
    for batch in reader.read_all(part.paths(), batch_size=BATCH, threads=1):
        good = [(at + i, cell.frame) for i, item in enumerate(batch) for cell in item.cells if cell.frame is not None]
        at += len(batch)
        if good:
            yield [row for row, _ in good], np.stack([frame for _, frame in good])


def answer_both(pair: tuple[Classifier, Classifier], part: Manifest) -> tuple[list[Outputs], list[int]]:
    """Outputs of both over a manifest, each picture decoded once; rows of the pictures that could be read."""
    found: list[list[Outputs]] = [[], []]
    rows: list[int] = []
    for some, frames in framed(pair[0], part):
        rows += some
        for outputs, classifier in zip(found, pair, strict=True):
            outputs.append(classifier.predict_frames(frames))
    logits, maps, embeddings = zip(*(map(np.concatenate, zip(*outputs, strict=True)) for outputs in found), strict=True)
    return list(zip(logits, maps, embeddings, strict=True)), rows


def quantise(run: Path, data: Path, out: Path) -> None:
    """As a user would."""
    command = [sys.executable, "-m", "leukoscope", "export", str(run), "--int8", "--data", str(data), "--out", str(out)]
    subprocess.run(command, check=True)


def answers(runs: list[Path], data: Path, cells: int | None, work: Path, out: Path) -> None:
    """Compare the answers of each run's bundle with those of its 8-bit form; the file grows run by run."""
    report: dict[str, Any] = {
        "what": "int8 minus fp32 on the test parts of the runs; interval: bootstrap over patient groups, paired, 95 %",
        "machine": describe_machine(),
        "runs": {},
    }
    tables: tuple[list[Scores], list[Scores]] = ([], [])
    thresholds: set[float] = set()
    for run in runs:
        quantise(run, data, work / run.name)
        bundles = read_bundle(run / "bundle"), read_bundle(work / run.name)
        whole = Run.open(run)
        split, part = whole.split, whole.part("test")
        part = part if cells is None else limit(part, cells, 0)
        start = time.perf_counter()
        outputs, rows = answer_both((Classifier(bundles[0], threads=1), Classifier(bundles[1], threads=1)), part)
        kept = part.select(rows)
        pair = [scores_of(kept, each[0], bundle.facts.decision) for bundle, each in zip(bundles, outputs, strict=True)]
        for table, each in zip(tables, pair, strict=True):
            table.append(each)
        threshold = bundles[0].facts.decision.threshold
        alike = pearson(outputs[0][1], outputs[1][1])
        alike = alike[np.isfinite(alike)]
        called = [each.probability >= threshold for each in pair]
        made = bundles[1].facts.quantised
        report["runs"][run.name] = {
            "data": whole.asked["data"], "fingerprint": whole.asked["fingerprint"],
            "protocol": split.protocol, "fold": split.fold,
            "cells": len(kept), "of": len(split.test), "unreadable": len(part) - len(kept),
            "groups": len(set(kept.groups().tolist())),
            "calibration": None if made is None else {"cells": made.pictures, "groups": len(made.groups)},
            "figures": differences(pair[0], pair[1], SHOWN, threshold=threshold, names=NAMES),
            "called_otherwise": float(np.mean(called[0] != called[1])),
            "probability_off": {
                "median": float(np.median(np.abs(pair[0].probability - pair[1].probability))),
                "largest": float(np.abs(pair[0].probability - pair[1].probability).max()),
            },
            "heatmap_correlation": {
                "median": float(np.median(alike)), "p05": float(np.quantile(alike, 0.05)), "cells": len(alike),
            },
            "bytes": {"fp32": size_of(bundles[0]), "int8": size_of(bundles[1])},
            "seconds": time.perf_counter() - start,
        }  # fmt: skip
        thresholds.add(threshold)
        if len(tables[0]) > 1 and len(thresholds) == 1:
            one, other = (joined(each) for each in tables)
            report["pooled"] = differences(one, other, SHOWN, threshold=threshold, names=NAMES)
        write_json(out, report)
        print(run.name, report["runs"][run.name]["figures"]["f1_weighted"], flush=True)


def milliseconds(taken: list[tuple[float, float]], cells: int) -> dict[str, float]:
    """Per cell: wall clock, smallest, median and largest; processor time, smallest and median."""
    wall, cpu = (sorted(1e3 * each / cells for each in column) for column in zip(*taken, strict=True))
    return {
        "wall_min": wall[0], "wall_median": statistics.median(wall), "wall_max": wall[-1], "cpu_min": cpu[0],
        "cpu_median": statistics.median(cpu), "rounds": len(wall),
    }  # fmt: skip


def stages(classifier: Classifier, paths: Iterator[Path], kept: list[dict[str, float]]) -> None:
    """The next file to its answer; its parts are kept."""
    kept.append(classifier.predict(next(paths)).timings)


def times(bundles: dict[str, Path], pictures: Path, count: int, rounds: int, out: Path) -> None:
    """Time all bundles in turns on one thread."""
    classifiers = {name: Classifier(read_bundle(path), threads=1) for name, path in bundles.items()}
    files = pictures_in(pictures)[:count]
    report: dict[str, Any] = {
        "what": "milliseconds per cell on one thread; bundles take turns call by call",
        "machine": describe_machine(),
        "load": load_of_machine(),
        "cells": len(files),
        "source": pictures.name,
        "bundles": {
            name: {
                "name": c.bundle.facts.name,
                "precision": c.bundle.facts.precision,
                "input_size": c.bundle.facts.input_size,
                **size_of(c.bundle),
            }
            for name, c in classifiers.items()
        },
    }
    with tempfile.TemporaryDirectory() as temporary:
        kinds = ONE_THREAD_KINDS.items()
        written = {kind: written_as(kind, files, Path(temporary), **options) for kind, options in kinds}
        graph: dict[str, Any] = {}
        for batch in (1, BATCH):
            calls: dict[str, Call] = {}
            for name, classifier in classifiers.items():
                reader = CellReader(classifier.bundle.facts.preparation, options=ReadOptions(fields=False))
                readings = next(reader.read_all(written["bmp"], batch_size=batch, threads=1))
                frames = np.stack([cell.frame for item in readings for cell in item.cells if cell.frame is not None])
                calls[name] = partial(classifier.predict_frames, frames)
            taken = interleave(calls, rounds=(rounds, rounds), seconds=0)
            graph[f"batch_{batch}"] = {name: milliseconds(each, batch) for name, each in taken.items()}
        report["graph"] = graph
        whole: dict[str, Any] = {}
        for kind, paths in written.items():
            parts: dict[str, list[dict[str, float]]] = {name: [] for name in classifiers}
            calls = {}
            for name, classifier in classifiers.items():
                turn = iter(paths * (rounds // len(paths) + 2))
                calls[name] = partial(stages, classifier, turn, parts[name])
            taken = interleave(calls, rounds=(rounds, rounds), seconds=0)
            whole[kind] = {
                name: milliseconds(each, 1)
                | {
                    f"{stage}_{word}": pick([one[stage] for one in parts[name][1:]])
                    for stage in ("read", "prepare", "graph")
                    for word, pick in (("min", min), ("median", statistics.median))
                }
                for name, each in taken.items()
            }
        report["file_to_answer"] = whole
    write_json(out, report)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("answers")
    one.add_argument("runs", nargs="+", type=Path)
    one.add_argument("--data", type=Path, required=True)
    one.add_argument("--cells", type=int, help="of each test part; all by default")
    one.add_argument("--work", type=Path, required=True, help="where the 8-bit bundles go")
    one.add_argument("--out", type=Path, required=True)
    two = verbs.add_parser("time")
    two.add_argument("--bundle", action="append", required=True, metavar="NAME=DIR")
    two.add_argument("--pictures", type=Path, required=True)
    two.add_argument("--count", type=int, default=25, help="pictures")
    two.add_argument("--rounds", type=int, default=100)
    two.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.verb == "answers":
        answers(args.runs, args.data, args.cells, args.work, args.out)
    else:
        named = dict(each.split("=", 1) for each in args.bundle)
        times({name: Path(path) for name, path in named.items()}, args.pictures, args.count, args.rounds, args.out)


if __name__ == "__main__":
    main()
