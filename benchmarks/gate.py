"""What the gate turns down: cells of patients it has not seen, foreign pictures, and cells disturbed more and more.

    python benchmarks/gate.py cells     RUN... --into DIR                 C-NMC cells: measured and embedded by each run
    python benchmarks/gate.py foreign   RUN... --data DATA --into DIR     foreign pictures, likewise
    python benchmarks/gate.py disturbed RUN... --into DIR                 cells disturbed more and more, first run
    python benchmarks/gate.py report    RUN... --into DIR --out docs/figures/gate.json --figure docs/figures/gate.png
    python benchmarks/gate.py time      RUN... --into DIR                 what gate and words add, on one thread

RUN are the group folds of one recipe (`leukoscope train --protocol group --fold K`) on one data set; DATA is the folder
of the real data sets. The first three collect measurements and may run side by side; the first goes through the cells
in random order, writes as it goes, and may be stopped and gone on with: the report says how many cells it rests on. For
each run the report fits the gate on cells of its training and validation part and asks it about its test part alone,
whose patients neither network nor gate have seen, and about everything foreign.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from sklearn.covariance import LedoitWolf, ShrunkCovariance
from sklearn.neighbors import NearestNeighbors

import gate_pictures as pictures
from _common import Needed, auc, command_line, load_of_machine, report
from leukoscope.bundle.gate import Gate, GateFacts, embedding_distances
from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.cells.frame import Preparation, equalise, frame_cell
from leukoscope.cells.quality import MEASURES, measure_quality
from leukoscope.cells.read import read_picture
from leukoscope.errors import PictureError
from leukoscope.files import write_json
from leukoscope.fitting.gate import GateCells, fit_embedding, fit_gate
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import Resampling, estimates
from leukoscope.runs.run import Run

TRAIN, VALIDATION, TEST = 0, 1, 2
MOST_TRAINED = 1200  # cells of a run's training part that are embedded
LENDERS = 60  # cells of the first run's test part that lend their outlines, or are disturbed


def measured(rgb: np.ndarray, preparation: Preparation) -> tuple[np.ndarray, np.ndarray]:
    """Measurements and stain of a picture as one row [M + 9], and its frame for the graph."""
    frame = frame_cell(rgb, preparation.frame_size)
    found = measure_quality(rgb, frame)
    return np.concatenate([list(found.values.values()), found.stain]), equalise(frame, preparation)


def collect_cells(runs: list[Path], into: Path) -> None:
    """Every cell measured once, and embedded by each run in whose parts it is drawn; written every 150 cells."""
    read = [Run.open(run) for run in runs]
    manifest = read[0].dataset
    classifiers = [Classifier(read_bundle(run / "bundle"), threads=1) for run in runs]
    preparation = classifiers[0].bundle.facts.preparation
    rng = np.random.default_rng(0)
    role = np.full((len(manifest), len(runs)), -1)
    for k, split in enumerate(each.split for each in read):
        role[split.test, k] = TEST
        role[split.val, k] = VALIDATION
        role[rng.permutation(split.train)[:MOST_TRAINED], k] = TRAIN
    order = rng.permutation(len(manifest))
    rows = np.zeros((len(manifest), len(MEASURES) + 9))
    embedding = np.full((len(manifest), len(runs), 256), np.nan, np.float32)
    before = 0
    if (into / "cnmc_part.npz").exists():  # go on where an earlier call was stopped
        found = dict(np.load(into / "cnmc_part.npz"))
        before = len(found["done"])
        assert (found["done"] == order[:before]).all(), "the folder holds cells of other runs"
        rows, embedding = found["Q"], found["E"]
    for done, i in enumerate(order[before:], before):
        rows[i], frame = measured(read_picture(manifest.paths()[i]).rgb, preparation)
        for k, classifier in enumerate(classifiers):
            if role[i, k] >= 0:
                embedding[i, k] = classifier.predict_frames(frame[None])[2][0]
        if done % 150 == 149 or done + 1 == len(order):
            np.savez(
                into / "cnmc_part.npz", Q=rows, E=embedding, role=role, group=manifest.groups(),
                label=manifest.labels(), done=order[: done + 1],
            )  # fmt: skip


def lenders(runs: list[Path]) -> list[np.ndarray]:
    """Pictures of cells of the first run's test part."""
    run = Run.open(runs[0])
    paths = run.dataset.paths()
    return [read_picture(paths[i]).rgb for i in np.random.default_rng(1).permutation(run.split.test)[:LENDERS]]


def collect_foreign(runs: list[Path], data: Path, into: Path, limit: int) -> None:
    """Foreign pictures, measured and embedded by each run; those that cannot be framed are counted."""
    classifiers = [Classifier(read_bundle(run / "bundle"), threads=1) for run in runs]
    found: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    refused: list[tuple[str, str]] = []
    for kind, form, rgb in pictures.foreign(data, lenders(runs), 0, limit):
        try:
            row, frame = measured(rgb, classifiers[0].bundle.facts.preparation)
        except PictureError:
            refused.append((kind, form))
            continue
        found.append((kind, form, row, np.stack([each.predict_frames(frame[None])[2][0] for each in classifiers])))
    columns = [np.array(column) for column in zip(*found, strict=True)]
    np.savez(
        into / "foreign.npz", kind=columns[0], form=columns[1], Q=columns[2], E=columns[3], refused=np.array(refused)
    )


def collect_disturbed(runs: list[Path], into: Path, count: int) -> None:
    """Cells of the first run's test part, disturbed; a picture that cannot be framed counts as turned down: NaN."""
    classifier = Classifier(read_bundle(runs[0] / "bundle"), threads=1)
    cells = lenders(runs)[:count]
    names, strengths, rows, embeddings = [], [], [], []
    for name, (disturb, _, tried) in pictures.DISTURBANCES.items():
        for strength in tried:
            for cell in cells:
                names.append(name)
                strengths.append(strength)
                try:
                    row, frame = measured(disturb(cell, strength), classifier.bundle.facts.preparation)
                    rows.append(row)
                    embeddings.append(classifier.predict_frames(frame[None])[2][0])
                except PictureError:
                    rows.append(np.full(len(MEASURES) + 9, np.nan))
                    embeddings.append(np.full(256, np.nan))
    np.savez(into / "disturbed.npz", name=names, strength=strengths, Q=np.array(rows), E=np.array(embeddings))


def gate_of(collected: dict[str, np.ndarray], fold: int) -> GateFacts:
    """The gate of a run, fitted on those cells of its training and validation part that were collected."""
    done = collected["done"]
    role = collected["role"][done, fold]
    used = done[(role == TRAIN) | (role == VALIDATION)]
    rows = collected["Q"][used]
    cells = GateCells(
        rows[:, : len(MEASURES)],
        rows[:, len(MEASURES) :],
        collected["E"][used, fold].astype(np.float64),
        collected["group"][used],
        collected["role"][used, fold] == VALIDATION,
    )
    return fit_gate(cells, data="cnmc2019")


def asked(facts: GateFacts, rows: np.ndarray, embedding: np.ndarray) -> list[tuple[float, list[str]]]:
    """Score and reasons for each of N pictures; infinite, `not framed`, where there is no measurement."""
    answers: list[tuple[float, list[str]]] = []
    gate = Gate(facts)
    for row, seen in zip(rows, embedding, strict=True):
        if np.isnan(row).any():
            answers.append((np.inf, ["not framed"]))
            continue
        verdict = gate.check(dict(zip(MEASURES, row, strict=False)), row[len(MEASURES) :], seen)
        answers.append((verdict.score, [finding.reason for finding in verdict.findings]))
    return answers


def share(flags: np.ndarray, group: np.ndarray | None) -> dict[str, Any]:
    """Share of flagged pictures with its 95 % interval, over patient groups or over pictures."""
    plan = Resampling.by_group(np.zeros(len(flags)), np.arange(len(flags)) if group is None else group)

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.asarray((weights @ flags / weights.sum(axis=-1))[..., None])

    value = np.array([flags.mean()])
    return {"pictures": len(flags), **estimates(value, plan.apply(statistic))[0].to_json()}


def auroc(home: np.ndarray, foreign: np.ndarray) -> float:
    """Area under the ROC curve of a score that should be higher for foreign pictures."""
    label = np.concatenate([np.zeros(len(home)), np.ones(len(foreign))]).astype(np.int64)
    return auc(label, np.nan_to_num(np.concatenate([home, foreign]), posinf=1e9))


def counted(reasons: list[list[str]]) -> dict[str, float]:
    """Share of pictures with each reason, the most frequent first."""
    names = sorted({name for each in reasons for name in each})
    shares = {name: sum(name in each for each in reasons) / len(reasons) for name in names}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def rivals(train: np.ndarray, label: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Distances of embeddings, float64 [N, E] to [N], that are compared.

    Ours, by principal components; one Gaussian with the shrinkage of Ledoit and Wolf; relative Mahalanobis (Ren et al.
    2021, "A simple fix to Mahalanobis distance for improving near-OOD detection"): nearest class less all; and the
    distance to the tenth neighbour on the sphere (Sun et al. 2022, "Out-of-distribution detection with deep nearest
    neighbors", ICML).
    """
    ours = fit_embedding(train)
    assert not isinstance(ours, str)
    full = LedoitWolf().fit(train)
    means = [train[label == each].mean(axis=0) for each in (0, 1)]
    within = ShrunkCovariance(shrinkage=full.shrinkage_, assume_centered=True).fit(train - np.stack(means)[label])
    near = NearestNeighbors(n_neighbors=10).fit(train / np.linalg.norm(train, axis=1, keepdims=True))
    return {
        "principal components": lambda x: embedding_distances(ours, x),
        "Ledoit-Wolf": lambda x: np.sqrt(full.mahalanobis(x)),
        "relative": lambda x: np.min([within.mahalanobis(x - mean) for mean in means], axis=0) - full.mahalanobis(x),
        "neighbours": lambda x: near.kneighbors(x / np.linalg.norm(x, axis=1, keepdims=True))[0][:, -1],
    }


def summary(runs: list[Path], into: Path, looked_at: int) -> dict[str, Any]:
    """All figures as JSON; the first ``looked_at`` cells were seen when the rule for the limits was chosen."""
    collected = dict(np.load(into / "cnmc_part.npz"))
    foreign = dict(np.load(into / "foreign.npz"))
    done = collected["done"]
    home: list[tuple[float, list[str]]] = []
    groups: list[str] = []
    fresh: list[bool] = []
    part_of: list[int] = []
    abroad: list[list[tuple[float, list[str]]]] = []
    tests: dict[str, dict[str, list[np.ndarray]]] = {}
    for fold in range(len(runs)):
        facts = gate_of(collected, fold)
        test = done[collected["role"][done, fold] == TEST]
        home += asked(facts, collected["Q"][test], collected["E"][test, fold])
        groups += collected["group"][test].tolist()
        part_of += [fold] * len(test)
        fresh += np.isin(test, done[looked_at:]).tolist()
        abroad.append(asked(facts, foreign["Q"], foreign["E"][:, fold]))
        fits = done[collected["role"][done, fold] == TRAIN]
        held = done[collected["role"][done, fold] == VALIDATION]
        known = collected["E"][fits, fold].astype(np.float64)
        for name, distance in rivals(known, collected["label"][fits]).items():
            parts = tests.setdefault(name, {"home": [], "foreign": []})
            unseen = distance(collected["E"][held, fold].astype(np.float64))
            middle, limit = np.quantile(unseen, (0.5, 0.99))
            for part, seen in (("home", collected["E"][test, fold]), ("foreign", foreign["E"][:, fold])):
                parts[part].append((distance(seen.astype(np.float64)) - middle) / (limit - middle))
    score = np.array([each[0] for each in home])
    flags = score > 1
    group, run_of = np.array(groups), np.array(part_of)
    sizes = {name: int((group == name).sum()) for name in np.unique(group).tolist()}
    by_group = {name: float(flags[group == name].mean()) for name, size in sizes.items() if size >= 20}
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "runs": [run.name for run in runs],
        "fitted_on": [
            int((collected["role"][done, k] == r).sum()) for k in range(len(runs)) for r in (TRAIN, VALIDATION)
        ],
        "home": {**share(flags, group), "groups": len(sizes), "reasons": counted([each[1] for each in home])},
        "home_not_looked_at": share(flags[fresh], group[fresh]) if any(fresh) else None,
        "home_by_run": [float(flags[run_of == k].mean()) for k in range(len(runs))],
        "home_by_group": dict(sorted(by_group.items(), key=lambda item: -item[1])),
        "foreign": {},
        "embedding": {},
    }
    kinds = sorted(set(zip(foreign["kind"].tolist(), foreign["form"].tolist(), strict=True)))
    refused = [tuple(each) for each in foreign["refused"].tolist()]
    for kind, form in [*kinds, *sorted(set(refused) - set(kinds))]:
        rows = np.flatnonzero((foreign["kind"] == kind) & (foreign["form"] == form))
        answers = [fold[i] for i in rows for fold in abroad]
        unframed = refused.count((kind, form))
        # Each picture is judged by the gates of all runs; its flag is their mean.
        each = np.array([np.mean([fold[i][0] > 1 for fold in abroad]) for i in rows] + [1.0] * unframed)
        entry: dict[str, Any] = {**share(each, None), "not_framed": unframed}
        if len(rows):
            entry["auroc"] = auroc(score, np.array([answer[0] for answer in answers]))
            entry["reasons"] = counted([answer[1] for answer in answers])
        result["foreign"].setdefault(kind, {})[form] = entry
    for name, parts in tests.items():
        at_home = np.concatenate(parts["home"])
        result["embedding"][name] = {"home_turned_down": float((at_home > 1).mean())}
        for kind, form in kinds:
            here = (foreign["kind"] == kind) & (foreign["form"] == form)
            far = np.concatenate([each[here] for each in parts["foreign"]])
            result["embedding"][name][f"{kind}, {form}"] = {
                "auroc": auroc(at_home, far),
                "turned_down": float((far > 1).mean()),
            }
    if (into / "disturbed.npz").exists():
        result["disturbed"] = curves(gate_of(collected, 0), dict(np.load(into / "disturbed.npz")))
    if (into / "time.json").exists():
        result["time"] = json.loads((into / "time.json").read_text())
    return result


def curves(facts: GateFacts, disturbed: dict[str, np.ndarray]) -> dict[str, Any]:
    """Share turned down by strength, with the reason named most often."""
    result: dict[str, Any] = {}
    answers = asked(facts, disturbed["Q"], disturbed["E"])
    for name, (_, unit, tried) in pictures.DISTURBANCES.items():
        points = []
        for strength in tried:
            rows = np.flatnonzero((disturbed["name"] == name) & (disturbed["strength"] == strength))
            flags = np.array([answers[i][0] > 1 for i in rows], dtype=np.float64)
            points.append(
                {"strength": strength, **share(flags, None), "reasons": counted([answers[i][1] for i in rows])}
            )
        result[name] = {"unit": unit, "points": points}
    return result


def draw(result: dict[str, Any], path: Path) -> None:
    """The sensitivity curves, one panel for each disturbance."""
    found = result["disturbed"]
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    panels = figure.subplots(2, 4, sharey=True).ravel()
    for panel, (name, curve) in zip(panels, found.items(), strict=False):
        x = [point["strength"] for point in curve["points"]]
        y, low, high = ([100 * point[key] for point in curve["points"]] for key in ("value", "low", "high"))
        panel.fill_between(x, low, high, color="#4477aa", alpha=0.25, linewidth=0)
        panel.plot(x, y, "o-", color="#4477aa", markersize=4)
        panel.axhline(5, color="0.5", linewidth=0.8, linestyle=":")
        panel.set(title=name, xlabel=curve["unit"], ylim=(-3, 103))
    for panel in panels[len(found) :]:
        panel.axis("off")
    for panel in panels[::4]:
        panel.set_ylabel("turned down, %")
    cells = found["blur"]["points"][0]["pictures"]
    figure.suptitle(
        f"Gate of {result['runs'][0]}: {cells} C-NMC 2019 cells of its test part, disturbed; bands 95 % over cells"
    )
    figure.savefig(path, dpi=110)


def timed(runs: list[Path], into: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds of processor time per cell: neither, the gate, words, both; in turns on the same cells."""
    cv2.setNumThreads(1)
    bundle = read_bundle(runs[0] / "bundle")
    facts = bundle.facts.model_copy(update={"gate": None})
    bare = Classifier(Bundle(bundle.folder, facts, bundle.graph), threads=1)
    facts = bundle.facts
    if facts.gate is None:
        facts = facts.model_copy(update={"gate": gate_of(dict(np.load(into / "cnmc_part.npz")), 0)})
    gated = Classifier(Bundle(bundle.folder, facts, bundle.graph), threads=1)
    calls: dict[str, Callable[[np.ndarray], object]] = {
        "without": bare.predict,
        "gate": gated.predict,
        "words": lambda cell: list(bare.predict_many([cell], morphology=True)),
        "gate_and_words": lambda cell: list(gated.predict_many([cell], morphology=True)),
    }
    cells = lenders(runs)[:20]
    spent: dict[str, list[float]] = {name: [] for name in calls}
    stages: dict[str, list[float]] = {"quality": [], "measure": []}
    for number in range(repeats + 1):
        for cell in cells:
            for name in list(calls)[:: 1 if number % 2 else -1]:
                start = time.process_time()
                answer = calls[name](cell)
                if number and name == "gate_and_words":
                    assert isinstance(answer, list)
                    for stage, found in stages.items():
                        found.append(answer[0].timings[stage])
                if number:  # the first round warms up
                    spent[name].append(1e3 * (time.process_time() - start))
    # The least of the repeats of each cell is what the work takes where nothing else disturbs it.
    taken = {name: np.array(values).reshape(repeats, len(cells)) for name, values in spent.items()}
    result: dict[str, Any] = {
        "run": runs[0].name,
        "cells": len(cells),
        "repeats": repeats,
        "machine": describe_machine(),
        "load": load_of_machine(),
        "clock": "processor time of the process, one thread; the machine was shared",
    }
    result["stages_ms_least"] = {  # by the clock on the wall: the gate's and the words' measurements
        stage: float(np.median(np.array(values).reshape(repeats, len(cells)).min(axis=0)))
        for stage, values in stages.items()
    }
    for name, each in taken.items():
        result[name] = {"ms_median": float(np.median(each)), "ms_least": float(np.median(each.min(axis=0)))}
        if name != "without":
            added = each - taken["without"]
            low, middle, high = np.quantile(added, (0.25, 0.5, 0.75))
            result[name] |= {
                "added_ms": float(middle),
                "added_ms_quartiles": [float(low), float(high)],
                "added_ms_least": float(np.median(each.min(axis=0) - taken["without"].min(axis=0))),
                "ratio": float(np.median(each / taken["without"])),
            }
    return result


def main() -> None:
    """Read the command line and do one of the steps."""
    parser = command_line(  # foreign pictures of a kind; cells that are disturbed; cells seen when the rule was chosen
        __doc__, data=Path, into=Needed(), limit=40, cells=20, looked_at=0, repeats=10, out=Path, figure=Path
    )
    parser.add_argument("step", choices=["cells", "foreign", "disturbed", "report", "time"])
    parser.add_argument("runs", nargs="+", type=Path)
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    if args.step == "cells":
        collect_cells(args.runs, args.into)
    elif args.step == "foreign":
        if args.data is None:
            parser.error("`foreign` needs --data")
        collect_foreign(args.runs, args.data, args.into, args.limit)
    elif args.step == "disturbed":
        collect_disturbed(args.runs, args.into, args.cells)
    elif args.step == "time":
        write_json(args.into / "time.json", timed(args.runs, args.into, args.repeats))
    else:
        result = summary(args.runs, args.into, args.looked_at)
        report(result, args.out)
        if args.figure and "disturbed" in result:
            draw(result, args.figure)


if __name__ == "__main__":
    main()
