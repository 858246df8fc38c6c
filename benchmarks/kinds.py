"""Whether kinds of normal cells can be suggested: heads on features that are at hand, here and in other laboratories.

    python benchmarks/kinds.py --data DIR [--weights WEIGHTS] [--per-kind 500] [--out docs/figures/kinds.json]

DIR holds `pbc-208` (8 kinds), `wbc-seg` and `munich-aml`. Features: the default bundle's embedding, which the workbench
has of each cell anyway; and statistics of a frozen ImageNet trunk inside the cell, for what another network could do.
The head is multinomial logistic regression on standardised features, kinds weighted alike, cost 1: nothing was tuned.

Within `pbc-208` two splits: five parts at random, pictures with the same pixels together; and five parts by the number
in the name, so that pictures taken one after the other, which may be of one person, stand together. No patient is
named. Another laboratory is asked of the head fitted on all; its scale is such that its neutrophils are as large as
those of `pbc-208`. Intervals: 2,000 draws of pictures with replacement, within each kind.

Said before any figure was seen: a suggestion is worth a lane where the lower end is at least 0.85 in each laboratory
that the head was not fitted on, as technologists agree with 82 to 89 % of what an analyser proposes.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from _common import Needed, command_line, report
from leukoscope.cells.crop import segment_crop
from leukoscope.cells.frame import resize_frame
from leukoscope.cells.read import read_picture
from leukoscope.datasets.kinds import kind_of, read_kinds
from leukoscope.inference.cells import ReadOptions
from leukoscope.inference.classifier import Classifier, load
from leukoscope.machine import describe_machine
from leukoscope.models.masked import MaskedTrunk
from leukoscope.training.features import cell_statistics

Array = NDArray[np.float64]
UM_PER_PX = 0.1 / 0.65  # of pbc-208: about 0.1 um per pixel as published, scaled by 0.65
TRUNK, STAGES, SIDE = "tf_efficientnet_lite0", (3, 4, 5), 192
ZHENG = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil")  # 1 to 5 in the tables of wbc-seg
FOLDS, DRAWS, FEW, REPEATS, ENOUGH = 5, 2000, 20, 10, 0.85


@dataclass(frozen=True)
class Pictures:
    """Pictures of one laboratory: their files, their kinds, and how many micrometres a pixel is."""

    name: str
    paths: list[Path]
    kinds: NDArray[np.str_]
    um_per_px: float

    def take(self, rows: NDArray[np.intp]) -> Pictures:
        """Some of them."""
        return Pictures(self.name, [self.paths[k] for k in rows], self.kinds[rows], self.um_per_px)


@dataclass(frozen=True)
class Features:
    """Features of the pictures of which a cell was found. ``lost``: how many of the others there are."""

    pictures: Pictures
    by_name: dict[str, Array]
    lost: int


def size(paths: list[Path]) -> float:
    """Median of the cells' diameters, in pixels."""
    outlines = (segment_crop(read_picture(path).rgb).outline for path in paths[:60])
    return float(np.median([2 * np.sqrt(outline.sum() / np.pi) for outline in outlines]))


def laboratories(data: Path, per_kind: int) -> Iterator[Pictures]:
    """`pbc-208` first, then the others at its scale."""
    found = read_kinds(data / "pbc-208", per_kind=per_kind)
    kinds = np.array([kind_of(record) for record in found.records])
    own = Pictures("pbc-208", [found.root / record.path for record in found.records], kinds, UM_PER_PX)
    yield own
    wanted = UM_PER_PX * size([path for path, kind in zip(own.paths, kinds, strict=True) if kind == "neutrophil"])
    for number in (1, 2):
        table = (data / "wbc-seg" / f"Class Labels of Dataset {number}.csv").read_text()
        told = {int(image): ZHENG[int(kind) - 1] for image, kind in re.findall(r"^(\d+),(\d)", table, re.MULTILINE)}
        paths = [data / "wbc-seg" / f"dataset{number}" / f"{each:03d}.png" for each in told]
        kinds = np.array(list(told.values()))
        neutrophils = [path for path, kind in zip(paths, kinds, strict=True) if kind == "neutrophil"]
        yield Pictures(f"wbc-seg {number}", paths, kinds, wanted / size(neutrophils))
    paths = sorted((data / "munich-aml" / "seg_neutrophil").iterdir())
    yield Pictures("munich-aml", paths, np.full(len(paths), "neutrophil"), wanted / size(paths))


def features_of(pictures: Pictures, classifier: Classifier, trunk: MaskedTrunk | None, cache: Path) -> Features:
    """The features of the first cell of each picture."""
    rows, embeddings, frames = [], [], []
    options = ReadOptions(um_per_px=pictures.um_per_px)
    for row, answers in enumerate(classifier.answers(pictures.paths, options)):
        first = next((each for each in answers.cells if each.embedding is not None), None)
        if first is not None and first.frame is not None:
            rows.append(row)
            embeddings.append(first.embedding)
            frames.append(resize_frame(first.frame, SIDE))
    by_name = {"embedding of the default bundle": np.array(embeddings, np.float64)}
    if trunk is not None:
        statistics = cell_statistics(np.stack(frames), trunk, cache, jobs=1)
        by_name[f"statistics of {TRUNK}, stages 3 to 5"] = statistics.astype(np.float64)
    return Features(pictures.take(np.array(rows)), by_name, len(pictures.paths) - len(rows))


def head() -> Pipeline:
    """The head, not fitted."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))


def balanced(kinds: NDArray[np.str_], called: NDArray[np.str_]) -> dict[str, Any]:
    """Mean over the kinds of the share called right, with its interval, and each share."""
    rng = np.random.default_rng(0)
    hits = {str(kind): (called == kinds)[kinds == kind].astype(float) for kind in np.unique(kinds)}
    drawn = np.mean([rng.choice(each, (DRAWS, len(each))).mean(1) for each in hits.values()], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "balanced_accuracy": round(float(np.mean([each.mean() for each in hits.values()])), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "right": {kind: f"{each.mean():.2f} of {len(each)}" for kind, each in hits.items()},
    }


def within(table: Array, kinds: NDArray[np.str_], groups: NDArray[Any]) -> dict[str, Any]:
    """Each picture called by a head that never saw its group."""
    called = np.empty_like(kinds)
    for learned, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(table, kinds, groups):
        called[test] = head().fit(table[learned], kinds[learned]).predict(table[test])
    return balanced(kinds, called)


def few(table: Array, kinds: NDArray[np.str_]) -> dict[str, Any]:
    """Fitted on so few of each kind, asked of all others: the spread over draws."""
    found = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        learned = np.concatenate(
            [rng.choice(np.flatnonzero(kinds == kind), FEW, replace=False) for kind in np.unique(kinds)]
        )
        test = np.setdiff1d(np.arange(len(kinds)), learned)
        called = head().fit(table[learned], kinds[learned]).predict(table[test])
        found.append(np.mean([(called == kinds[test])[kinds[test] == kind].mean() for kind in np.unique(kinds)]))
    return {
        "balanced_accuracy": round(float(np.mean(found)), 3),
        "least_and_most_of_draws": [round(float(np.min(found)), 3), round(float(np.max(found)), 3)],
    }


def main() -> None:
    """Measure and write."""
    weights = Path(os.environ.get("LEUKOSCOPE_WEIGHTS") or "../shared/weights")
    args = command_line(
        __doc__, data=Needed(), weights=weights, per_kind=500, cache=Path, out=Path("docs/figures/kinds.json")
    ).parse_args()
    trunk = None
    if (args.weights / f"{TRUNK}.safetensors").is_file():
        trunk = MaskedTrunk(TRUNK, STAGES)
        trunk.load(args.weights / f"{TRUNK}.safetensors")
        trunk.eval()
    classifier = load(threads=1)
    cache = args.cache or Path(tempfile.mkdtemp())
    own, *others = [features_of(each, classifier, trunk, cache) for each in laboratories(args.data, args.per_kind)]
    kinds = own.pictures.kinds
    pixels = np.array([sha256(read_picture(path).rgb.tobytes()).hexdigest() for path in own.pictures.paths])
    numbers = np.array([int(re.sub(r"\D", "", path.stem) or 0) for path in own.pictures.paths])
    blocks = np.searchsorted(np.quantile(numbers, np.linspace(0, 1, 51)[1:-1]), numbers)
    result: dict[str, Any] = {
        "machine": describe_machine(), "bundle": classifier.bundle.facts.name, "per_kind_at_most": args.per_kind,
        "pictures": {each.pictures.name: len(each.pictures.paths) for each in (own, *others)},
        "without_a_cell": {each.pictures.name: each.lost for each in (own, *others)},
        "enough": f"lower end at least {ENOUGH} in each other laboratory", "features": {},
    }  # fmt: skip
    for name, table in own.by_name.items():
        fitted = head().fit(table, kinds)
        there = {
            each.pictures.name: balanced(each.pictures.kinds, fitted.predict(each.by_name[name])) for each in others
        }
        result["features"][name] = {
            "numbers": table.shape[1],
            "pbc-208, five parts at random": within(table, kinds, pixels),
            "pbc-208, five parts by number": within(table, kinds, blocks),
            f"pbc-208, {FEW} of each kind learned": few(table, kinds),
            **there,
            "enough": all(each["interval"][0] >= ENOUGH for each in there.values()),
        }
    report(result, args.out)


if __name__ == "__main__":
    main()
