"""What `leukoscope adapt` gains: in other laboratories, and for held-out patients under a fixed strange finish.

    python benchmarks/adapt.py laboratories --bundle NAME=BUNDLE ... --data DATA [--out docs/figures/adapt.json]
    python benchmarks/adapt.py bench --bundle NAME=BUNDLE ... --data DATA [--out docs/figures/adapt.json]
    python benchmarks/adapt.py fields --bundle NAME=BUNDLE ... --data DATA [--out docs/figures/adapt.json]

DATA is the folder that holds cnmc2019, munich-aml, pbc and txl-pbc-raabin. `laboratories` adapts to each alone and
writes down what the command says: cross-validated by picture, since no patient is known there, and the two kinds of
cells are not those that the bundles were made for. `bench`: cells of C-NMC 2019 that a bundle has not seen, at most 40
of each patient group, with mixed dyes, another gamma, blurred and smaller, always in the same way. Half of the patients
of each class are local, again and again: so many of their cells are labelled, the others come without a label, and
figures are of the other half, of whom nothing was known (`other patients`). Or half of the cells of everybody are local
(`same patients`). Whose the labelled cells are is not told to the command, as most laboratories would have it; `told`
is the AUC that it then states. Each time once more with `--keep-head`, and once with the means of the features alone
brought home, which takes no label. `fields`: white cells found in fields of txl-pbc-raabin, mature ones without a label
of blast or normal: what a gate, and the means of the features, do that were fitted on half of the fields, asked about
the other half, both ways. Bundles of one NAME are folds of one recipe: their figures are averaged.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import Needed, auc, by_name, command_line, write_part
from fields_truth import ratio  # the script beside this one
from leukoscope.bundle.decision import logit_at
from leukoscope.bundle.head import GraphHead
from leukoscope.bundle.read import Bundle, read_bundle
from leukoscope.cells.read import read_picture
from leukoscope.cli._data import cache_folder
from leukoscope.datasets.open import open_sets
from leukoscope.datasets.patients import unknown_patient
from leukoscope.datasets.readers import read_dataset
from leukoscope.datasets.record import class_words
from leukoscope.errors import DataError
from leukoscope.fitting.gate import fit_gate, flagged
from leukoscope.fitting.head import BIAS_ALONE, PULLS
from leukoscope.fitting.laboratory import Home, LocalCells, changed_logits, fit_laboratory
from leukoscope.fitting.moments import Moments
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.metrics.scores import Scores
from leukoscope.runs.laboratory import adapt_bundle, measured_cells, read_laboratory
from leukoscope.runs.measure import unseen_by
from robust.changes import blurred, lit, rescaled, restained

LABORATORIES = {
    "munich-aml": ("blast=myeloblast", "normal=seg_neutrophil"),
    "pbc": ("blast=ig,erythroblast", "normal=lymphocyte,monocyte"),
}
UNLABELLED = "txl-pbc-raabin"
LEFT_OUT = {"pbc": ("basophil", "eosinophil", "neutrophil", "platelet")}
DYES = np.array([[1.10, 0.12, -0.05], [-0.10, 0.85, 0.12], [0.08, -0.06, 1.15]])  # of optical densities
GAMMA, BLUR, SCALE = 1.2, 1.0, 0.92
SIZES, EACH = (20, 40, 80), 40
HEADS = {"": PULLS, ", head kept": BIAS_ALONE}


def strange(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A cell under the fixed finish."""
    return blurred(lit(restained(rescaled(rgb, SCALE), DYES), gamma=GAMMA), BLUR)


def laboratory(bundle: Bundle, name: str, data: Path, cache: Path, folder: Path) -> dict[str, Any]:
    """What the command says of one laboratory."""
    place = data / name
    if name in LEFT_OUT:  # the kinds that are compared, without the others
        place = folder / name
        place.mkdir(exist_ok=True)
        for kind in (data / name).iterdir():
            if kind.name not in LEFT_OUT[name] and not (place / kind.name).exists():
                (place / kind.name).symlink_to(kind.resolve())
    sets = open_sets([place], cut_folder=cache, classes=class_words(LABORATORIES[name]), both_classes=True)
    read = read_laboratory(bundle, sets.manifest, threads=1)
    started = time.perf_counter()
    adapted = adapt_bundle(bundle, read)
    found = adapted.found
    return {
        "cells": len(read.labelled.scores), "blasts": int(read.labelled.scores.label.sum()),
        "classes": LABORATORIES[name], "by_patient": read.labelled.by_patient, "turned_down": adapted.gate.before,
        "turned_down_after": adapted.gate.after, "alignment": found.alignment, "pull": found.pull.words(),
        "steps": [[s.name, s.choice, s.kept, s.without, s.with_it] for s in found.steps],
        "before": {key: each.to_json() for key, each in found.before.items()},
        "after": {key: each.to_json() for key, each in found.after.items()},
        "curve": [[c.cells, c.auc, c.least, c.most] for c in found.curve], "better": found.better,
        "warning": read.warning, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def fields(bundle: Bundle, data: Path, seed: int) -> dict[str, Any]:
    """Gate and alignment fitted without any label on half of the fields and asked about the other half, both ways."""
    paths = sorted((data / UNLABELLED / "images").glob("*.jpg"))
    classifier = Classifier(bundle, threads=1)
    answers = classifier.predict_many(paths, quality=True, fields=True)
    seen = [a for a in answers if a.embedding is not None and a.quality is not None]
    cells = measured_cells(seen, [Path(str(a.path)).stem for a in seen])
    moments, head = Moments.of_training(bundle.facts.gate), GraphHead(bundle)
    assert cells is not None
    assert moments is not None
    names, at = np.unique(cells.group, return_inverse=True)
    half = np.random.default_rng(seed).permutation(len(names))[at] % 2
    asked = {key: np.zeros(len(seen)) for key in ("before", "after")}
    away_by = {key: np.zeros(len(seen)) for key in ("before", "after")}
    logit = {key: np.zeros(len(seen)) for key in ("before", "after")}
    for part in (0, 1):
        fit, out = half != part, half == part
        gate = fit_gate(cells.take(fit), data=UNLABELLED)
        scale, shift = Moments.of(cells.embedding[fit]).brought_to(moments, "mean")
        brought = {"before": cells.embedding[out], "after": cells.embedding[out] * scale + shift}
        for key, facts in (("before", bundle.facts.gate), ("after", gate)):
            assert facts is not None
            asked[key][out] = flagged(facts, cells)[out]
            logit[key][out] = head.logits(brought[key])
            away_by[key][out] = np.sqrt((((brought[key].mean(0) - moments.mean) / moments.spread) ** 2).mean())
    limit = logit_at(bundle.facts.decision.threshold, bundle.facts.decision)
    ones = np.bincount(at)

    def share(flags: NDArray[np.float64]) -> dict[str, float]:
        return ratio(np.bincount(at, weights=flags), ones)

    return {
        "fields": len(names), "cells": len(seen),
        "referred by the gate": {key: share(each) for key, each in asked.items()},
        "on the side of blast": {key: share((each >= limit).astype(float)) for key, each in logit.items()},
        "mean away, in deviations of the training cells": {
            key: round(float(each.mean()), 3) for key, each in away_by.items()
        },
    }  # fmt: skip


def away(bundle: Bundle, data: Path, rng: np.random.Generator) -> tuple[LocalCells, LocalCells]:
    """Unseen cells of C-NMC 2019 as they are, and under the strange finish; their groups are the patients'."""
    part = unseen_by(bundle, read_dataset(data / "cnmc2019").labelled(), calibrated=False)
    groups = part.groups()
    rows = np.concatenate([rng.permutation(np.flatnonzero(groups == name))[:EACH] for name in np.unique(groups)])
    part = part.select(np.sort(rows))
    classifier = Classifier(bundle, threads=1)
    found = []
    for change in (lambda rgb: rgb, strange):
        answers = list(classifier.predict_many(change(read_picture(path).rgb) for path in part.paths()))
        logit, chance = (np.array([getattr(a, key) for a in answers], dtype=float) for key in ("logit", "probability"))
        paths = tuple(record.path for record in part.records)
        scores = Scores(paths, part.labels(), chance, logit, part.subjects(), part.groups())
        found.append(LocalCells(scores, np.array([a.embedding for a in answers], dtype=np.float64)))
    return found[0], found[1]


def labelled(cells: LocalCells, half: NDArray[np.bool_], size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """``size`` cells of the local half, as many of either class as can be."""
    label = cells.scores.label
    pools = [rng.permutation(np.flatnonzero(half & (label == k))) for k in (0, 1)]
    normal = min(len(pools[0]), max(size // 2, size - len(pools[1])))
    chosen = np.zeros(len(label), bool)
    chosen[pools[0][:normal]] = True
    chosen[pools[1][: size - normal]] = True
    return chosen


def bench(bundle: Bundle, data: Path, seed: int, repeats: int) -> list[dict[str, Any]]:
    """Adapt to some of the cells under the strange finish, again and again; one row each."""
    rng = np.random.default_rng(seed)
    home, cells = away(bundle, data, rng)
    moments, head = Moments.of_training(bundle.facts.gate), GraphHead(bundle)
    label, group = cells.scores.label, cells.scores.group
    names, first = np.unique(group, return_index=True)
    rows: list[dict[str, Any]] = []
    for repeat in range(repeats):
        drawn = [rng.permutation(names[label[first] == k]) for k in (0, 1)]
        chosen = np.concatenate([each[: -(-len(each) // 2)] for each in drawn])
        for whose, half in (
            ("other patients", np.isin(group, chosen)), ("same patients", rng.random(len(label)) < 0.5),
        ):  # fmt: skip
            test = cells.take(~half)
            if len(np.unique(test.scores.label)) < 2:
                continue
            truth = test.scores.label
            ranks = {"home": auc(truth, home.take(~half).scores.logit), "before": auc(truth, test.scores.logit)}
            if moments is not None:
                scale, shift = Moments.of(cells.embedding[half]).brought_to(moments, "mean")
                brought = auc(truth, head.logits(test.embedding * scale + shift))
                rows.append(
                    {"whose": f"{whose}, means alone", "labels": 0, "repeat": repeat, **ranks, "after": brought}
                )
            for size in SIZES:
                taken = labelled(cells, half, size, rng)
                local = cells.take(taken)
                unknown = np.array([unknown_patient(path) for path in local.scores.path])
                s = local.scores
                nobody = np.full(len(unknown), "")
                hidden = LocalCells(Scores(s.path, s.label, s.probability, s.logit, nobody, unknown), local.embedding)
                known = None if moments is None else Home(head.logits, moments, cells.embedding[half & ~taken])
                for kept, pulls in HEADS.items():
                    try:
                        found = fit_laboratory(
                            hidden, bundle.facts.decision, data="away", home=known, pulls=pulls, replicates=50
                        )
                    except DataError:
                        continue
                    rows.append({
                        "whose": whose + kept, "labels": size, "repeat": repeat, **ranks,
                        "after": auc(truth, changed_logits(test, found.change, known)),
                        "told": found.after["auc"].value, "alignment": found.alignment, "trust": found.pull.trust,
                        "better": found.better,
                    })  # fmt: skip
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over rows, by whose cells they are and by labels, with 5 % and 95 % of `after`."""
    found: dict[str, Any] = {}
    for key in sorted({(row["whose"], row["labels"]) for row in rows}):
        these = [row for row in rows if (row["whose"], row["labels"]) == key]
        told = ("told",) if "told" in these[0] else ()
        mean = {name: float(np.mean([row[name] for row in these])) for name in ("home", "before", "after", *told)}
        found[f"{key[0]}, {key[1]}"] = {
            **mean, "of_home": mean["after"] / mean["home"], "repeats": len(these),
            "after_5_95": np.quantile([row["after"] for row in these], [0.05, 0.95]).tolist(),
        }  # fmt: skip
        if told:
            found[f"{key[0]}, {key[1]}"] |= {
                "aligned": float(np.mean([row["alignment"] != "none" for row in these])),
                "written": f"{sum(row['better'] for row in these)} of {len(these)}",
            }
    return found


def main() -> None:
    """Measure, print, write."""
    parser = command_line(
        __doc__, "step", bundle=Needed(str, many=True), data=Needed(), cache=cache_folder(), seed=0, repeats=10,
        out=Path("docs/figures/adapt.json"),
    )  # fmt: skip
    args = parser.parse_args()
    step = str(args.step)
    if step not in {"laboratories", "bench", "fields"}:
        parser.error("the step is laboratories, bench or fields")
    known = json.loads(args.out.read_text(encoding="utf-8")).get(step, {}) if args.out.exists() else {}
    for name, folders in by_name(args.bundle).items():
        bundles = [read_bundle(folder) for folder in folders]
        if step == "laboratories":
            place = args.cache / "laboratories"
            place.mkdir(parents=True, exist_ok=True)
            known[name] = {each: laboratory(bundles[0], each, args.data, args.cache, place) for each in LABORATORIES}
        elif step == "fields":
            known[name] = fields(bundles[0], args.data, args.seed)
        else:
            known[name] = summary(
                [row for bundle in bundles for row in bench(bundle, args.data, args.seed, args.repeats)]
            )
        print(name, json.dumps(known[name], indent=1))
        write_part(args.out, step, known | {"machine": describe_machine()})


if __name__ == "__main__":
    main()
