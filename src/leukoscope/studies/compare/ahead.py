"""What can be told of a comparison before hours of training: whether its runs will be tested on the same cells."""

from __future__ import annotations

from collections.abc import Sequence

from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.split import make_split
from leukoscope.errors import DataError
from leukoscope.runs.recipe_row import Outcome, Row
from leukoscope.runs.run import given_to
from leukoscope.studies.compare.pool import Truth, pool_entries, shared_cells, truth_of

_FOLDS = "give the same --fold and --folds to all; recipes differ in how many there are: --set split.folds=N"


def check_ahead(
    rows: Sequence[Row], data: Manifest, given: Sequence[Outcome] = (), reference: str | None = None
) -> None:
    """Draw the test parts of all rows, and refuse what could not be put into one table once it is trained.

    Args:
        rows: to be trained; with none nothing is checked.
        data: what they are trained on.
        given: runs that were trained before; failed ones stand in the table as missing, and are not looked at.
        reference: entry that differences will be taken to; the first row's by default.

    Raises:
        DataError: a test part cannot be drawn, the parts of one entry overlap or differ from seed to seed, an entry
            shares no cell with the reference, or all entries share no cells of both classes.
    """
    if not rows:
        return
    tested = {name: (data.name, truth) for name, truth in _planned(rows, data).items()}
    entries, _ = pool_entries(given)
    tested |= {each.name: (each.data[0], truth_of(each.pools[0].scores)) for each in entries}
    home = reference or rows[0].entry
    if home not in tested:
        raise DataError(
            f"the reference {home!r} will have no figures; nothing was trained", remedy="choose another --reference"
        )
    _, faults = shared_cells(tested, home)
    for name, why in faults.items():
        raise DataError(f"{name}: {why}; nothing was trained", remedy=f"leave it out, or {_FOLDS}")


def _planned(rows: Sequence[Row], data: Manifest) -> dict[str, Truth]:
    """Label and group of the cells that each entry will be tested on, by path."""
    drawn: dict[str, Truth] = {}  # splits by what decides them: entries and seeds share most
    parts: dict[str, dict[int, dict[str, Truth]]] = {}  # entry, seed, folder of the run
    for row in rows:
        recipe = row.to_recipe()
        known, limit = given_to(recipe, data, row.limit)
        choice = recipe.split
        key = f"{choice!r} {limit is not None and (limit, recipe.seed)}"
        if key not in drawn:
            split = make_split(
                known, choice.protocol, fold=choice.fold, folds=choice.folds, seed=choice.seed,
                val_fraction=choice.val_fraction, train_share=choice.train_share,
            )  # fmt: skip
            test = known.select(split.test)
            told = zip(test.labels().tolist(), test.groups().tolist(), strict=True)
            drawn[key] = dict(zip((record.path for record in test.records), told, strict=True))
        parts.setdefault(row.entry, {}).setdefault(recipe.seed, {})[row.slug()] = drawn[key]
    return {entry: _whole(entry, [list(each.values()) for each in seeds.values()]) for entry, seeds in parts.items()}


def _whole(entry: str, seeds: list[list[Truth]]) -> Truth:
    """The test parts of one entry put together, which are those of each of its seeds."""
    wholes: list[Truth] = [{path: told for part in parts for path, told in part.items()} for parts in seeds]
    if any(len(whole) < sum(map(len, parts)) for whole, parts in zip(wholes, seeds, strict=True)):
        raise DataError(
            f"the folds of {entry} test the same cells twice; nothing was trained",
            remedy="give --fold once, or another --protocol: picture has one test part",
        )
    if any(whole.keys() != wholes[0].keys() for whole in wholes):
        raise DataError(
            f"the seeds of {entry} would be tested on different cells; nothing was trained",
            remedy="leave --limit away, which draws by the seed, or give one seed",
        )
    return wholes[0]
