"""Bundles asked about held-out cells again under another finish, and about normal cells of other laboratories.

Answers are written cell by cell, so that a study that was stopped goes on where it was. `robustness_report` turns them
into figures.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.read import read_bundle
from leukoscope.cells.read import read_picture
from leukoscope.data.manifest import Manifest
from leukoscope.data.sampling import limit
from leukoscope.errors import DataError, PictureError
from leukoscope.evaluation.consistency_changes import CHANGES
from leukoscope.fields import STANDARD_UM_PER_PX, find_cells, standard_cell
from leukoscope.fields.normalise import StainReference
from leukoscope.inference.classifier import Classifier
from leukoscope.studies.measuring import read_run
from leukoscope.studies.robustness_backgrounds import (
    Background,
    cell_at,
    composed,
    cut_again,
    each_normalised,
    other_stain,
)

AS_IT_IS: Final = "as it is"
RESTAINED: Final = 0.2  # strength of the stain matrix of whole re-stained fields
ASSUMED_UM_PER_PX: Final = (0.07, 0.08, 0.09, 0.10, 0.11, 0.12, 0.13)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Bundles that never saw the same test part.

    Attributes:
        number: of the fold.
        manifest: the test part's sample, in random order.
        classifiers: by the name of the network.
    """

    number: int
    manifest: Manifest
    classifiers: dict[str, Classifier]


def read_folds(runs: Sequence[Path], cells: int, seed: int = 0) -> list[Fold]:
    """Runs of several networks on the same folds, and a stratified sample of each test part.

    Args:
        runs: folders of `leukoscope train`.
        cells: of each fold, see `data.sampling.limit`: of each class as many as its share, of each patient group one
            before a second of any.
        seed: of the sample and its order.

    Raises:
        DataError: two runs of one fold have other test parts, or one network twice.
    """
    folds: dict[int, Fold] = {}
    tests: dict[int, NDArray[np.int64]] = {}
    for run in runs:
        _, manifest, split = read_run(run)
        classifier = Classifier(read_bundle(run / "bundle"), threads=1)
        training = classifier.bundle.facts.training
        name = run.name if training is None else training.model
        if split.fold not in folds:
            part = limit(manifest.select(split.test), cells, seed)
            order = np.random.default_rng(seed).permutation(len(part))
            folds[split.fold] = Fold(split.fold, part.select(order), {})
            tests[split.fold] = split.test
        if not np.array_equal(tests[split.fold], split.test) or name in folds[split.fold].classifiers:
            raise DataError(
                f"fold {split.fold} has another test part, or two runs of {name}",
                path=run,
                remedy="give one run of each network on the same folds",
            )
        folds[split.fold].classifiers[name] = classifier
    return [folds[number] for number in sorted(folds)]


def ask_again(
    fold: Fold, places: dict[str, list[Background]], reference: StainReference, seed: int = 0
) -> Iterator[list[Row]]:
    """All answers on one cell after another: as it is, under each change, and on foreign fields.

    Args:
        fold: from `read_folds`.
        places: from `backgrounds`, by set.
        reference: for the normalisations, and for the light that the cells were photographed under.
        seed: of all that is random in the changes; each cell draws its own, the same for every network.
    """
    for path, record in zip(fold.manifest.paths(), fold.manifest.records, strict=True):
        rgb = read_picture(path).rgb
        asked: list[tuple[str, NDArray[np.uint8] | None]] = [(AS_IT_IS, rgb)]
        asked += [(each.name, each.apply(rgb, _rng(record.path, each.name, seed))) for each in CHANGES]
        for name, several in places.items():
            rng = _rng(record.path, name, seed)
            background = several[int(rng.integers(len(several)))]
            field = composed(rgb, background, reference.statistics.ground)
            for title, picture in (
                (f"onto {name}", field),
                (f"onto {name}, re-stained", other_stain(field, RESTAINED, rng)),
            ):
                again = cut_again(picture, background.place, reference)
                asked += [(f"{title}; {method}", made) for method, made in again.items()]
                if not again:
                    asked.append((f"{title}; none", None))
        facts = {"fold": fold.number, "path": record.path, "label": record.label, "group": record.group}
        yield [
            facts | {"model": model, "change": title, **answer}
            for model, classifier in fold.classifiers.items()
            for title, answer in zip((title for title, _ in asked), _answers(classifier, asked), strict=True)
        ]


def ask_foreign(
    paths: Iterable[Path], folds: Sequence[Fold], reference: StainReference, *, one: bool
) -> Iterator[list[Row]]:
    """Answers on white cells of foreign pictures, one picture after another.

    Args:
        paths: pictures with surroundings.
        folds: whose bundles answer.
        reference: for the normalisations.
        one: only the cell in the middle, at every assumed scale too; else all whole cells, at the ruler's scale.
    """
    for path in paths:
        rgb = read_picture(path).rgb
        try:
            finding = find_cells(rgb)
        except PictureError:
            yield [{"picture": path.name, "kind": path.parent.name, "lost": True}]
            continue
        middle = cell_at(finding, (rgb.shape[1] / 2, rgb.shape[0] / 2))
        cells = [cell for cell in finding.cells if cell.state == "whole"] if not one else [middle] if middle else []
        rows: list[Row] = [] if cells else [{"picture": path.name, "kind": path.parent.name, "lost": True}]
        for number, cell in enumerate(cells):
            asked: list[tuple[str, NDArray[np.uint8] | None]] = []
            scale = finding.ruler.um_per_px
            if scale is not None:
                made = each_normalised(rgb, finding, cell, scale, reference, STANDARD_UM_PER_PX)
                asked += [(f"ruler; {method}", picture) for method, picture in made]
            if one:
                asked += [(f"{um:.2f} um/px; none", standard_cell(rgb, cell, um)) for um in ASSUMED_UM_PER_PX]
            facts = {
                "picture": path.name, "kind": path.parent.name, "cell": number, "lost": False, "um_per_px": scale,
                "diameter_px": round(cell.diameter, 1),
            }  # fmt: skip
            rows += [
                facts | {"model": model, "fold": fold.number, "change": title, **answer}
                for fold in folds
                for model, classifier in fold.classifiers.items()
                for (title, _), answer in zip(asked, _answers(classifier, asked), strict=True)
            ]
        yield rows


def collect(into: Path, made: Callable[[int], Iterator[list[Row]]]) -> int:
    """Append what is made to a file of JSON lines, one item a line; go on after the items that are there.

    Args:
        into: the file; a last line that was cut short is written anew.
        made: items from a number on.

    Returns:
        How many items were added.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    done = len(read_collected(into))
    if into.exists():
        kept = into.read_bytes().splitlines(keepends=True)[:done]
        into.write_bytes(b"".join(kept))
    count = 0
    with into.open("a", encoding="utf-8") as file:
        for rows in made(done):
            file.write(json.dumps(rows) + "\n")
            file.flush()
            count += 1
    return count


def read_collected(path: Path) -> list[list[Row]]:
    """Items of `collect`; a line cut short ends them."""
    found: list[list[Row]] = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n"):
            break
        found.append(json.loads(line))
    return found


def _answers(classifier: Classifier, asked: Sequence[tuple[str, NDArray[np.uint8] | None]]) -> Iterator[Row]:
    given = [picture for _, picture in asked if picture is not None]
    answers = classifier.predict_many(given, 4)
    threshold = classifier.bundle.facts.decision.threshold
    for _, picture in asked:
        answer = None if picture is None else next(answers)
        if answer is None or answer.logit is None or answer.probability is None:
            yield {"logit": None, "called": None, "decision": "lost"}
        else:
            yield {
                "logit": round(answer.logit, 4),
                "called": answer.probability >= threshold,
                "decision": answer.decision,
                "gate": answer.gate,
            }


def _rng(path: str, change: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(path.encode()), zlib.crc32(change.encode())])
