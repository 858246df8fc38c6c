"""Dividing a data set into training, validation and test parts.

| protocol | the test part |
|---|---|
| `group` | one of K folds of whole patient groups, stratified by class: the default |
| `subject` | one of K folds of whole subjects, stratified by class; aliases of one patient may cross |
| `official` | one of the folds that the data set was published with; aliases of one patient may cross |
| `laboratory` | one whole data set of several: what each laboratory is worth to the others |
| `picture` | a fifth of the pictures, stratified by class: cells of one patient stand on both sides |

Whatever the protocol, the validation part is carved out of the training part by patient group and the test part is not
looked at. All but `group` and `laboratory` are there to be compared with the first.

Choosing whole patient groups so that they hold a wanted share of the pictures of each class.

A smaller data set that is still like the whole one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.datasets.combine import parts_of
from leukoscope.datasets.dataset import Manifest
from leukoscope.datasets.patients import unknown_patient
from leukoscope.errors import DataError, missing_extra
from leukoscope.text import natural, nearest_first

_TOLERANCE: Final = 0.01  # subsets this near to the best share count as equally near
_WORK: Final = 1_000_000  # group visits in one search
_CLASSES: Final = ("normal", "blast")


def carve_groups(labels: NDArray[np.int64], groups: NDArray[Any], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups that hold about ``fraction`` of the pictures of each class.

    Group sizes of patients are very uneven (one group of C-NMC 2019 holds a tenth of all pictures), so that groups
    drawn at random miss the share widely. Many random orders are walked through instead; each takes a group whenever
    that brings the shares nearer. Among the subsets that come within 0.01 of the nearest, the one whose share of the
    groups of each class is nearest to ``fraction`` too is taken, so that neither side is made of one huge patient.

    Args:
        labels: int64 [N], 0 or 1.
        groups: strings [N].
        fraction: wanted share, between 0 and 1.
        seed: of the random orders; the result does not depend on the order of the pictures.

    Returns:
        bool [N], True for the pictures of the chosen groups; both classes are on both sides.

    Raises:
        DataError: the fraction is not between 0 and 1, or a class stands in too few groups.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the validation share {fraction} is not between 0 and 1")
    names, member = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), 2), dtype=np.int64)  # pictures of each class by group
    np.add.at(counts, (member, labels), 1)
    holds = (counts > 0).sum(axis=0)
    for label, word in enumerate(_CLASSES):
        if holds[label] < 2:
            raise DataError(
                f"the class {word} stands in {holds[label]} patient groups of the training part, too few to set one "
                "aside for validation",
                remedy="add pictures of more patients, or give fewer folds",
            )
    rng = np.random.default_rng(seed)
    restarts = int(np.clip(_WORK // len(names), 32, 4096))
    orders = rng.permuted(np.tile(np.arange(len(names)), (restarts, 1)), axis=1)
    taken = np.zeros((restarts, len(names)), dtype=np.bool_)
    held = np.zeros((restarts, 2), dtype=np.int64)
    totals = counts.sum(axis=0)
    cost = _miss(held, totals, fraction)
    rows = np.arange(restarts)
    for step in orders.T:  # every restart visits its own next group
        trial = held + counts[step]
        better = (trial_cost := _miss(trial, totals, fraction)) < cost
        held[better], cost[better] = trial[better], trial_cost[better]
        taken[rows[better], step[better]] = True
    if cost.min() >= 1:
        raise DataError(
            "no whole patient groups can be set aside for validation so that both classes stand on both sides",
            remedy="add pictures of more patients",
        )
    shares = taken.astype(np.int64) @ (counts > 0) / holds
    spread = np.abs(shares - fraction).sum(axis=1)
    near = np.flatnonzero(cost <= cost.min() + _TOLERANCE)
    chosen: NDArray[np.bool_] = taken[near[np.lexsort((cost[near], spread[near]))[0]]][member]
    return chosen


def _miss(held: NDArray[np.int64], totals: NDArray[np.int64], fraction: float) -> NDArray[np.float64]:
    """How far the shares of the classes are from the wanted one, [R]; 1 more for each class that one side lacks."""
    lacking = (held == 0) | (held == totals)
    miss: NDArray[np.float64] = (np.abs(held / totals - fraction) + lacking).sum(axis=1)
    return miss


def limit(manifest: Manifest, n: int, seed: int) -> Manifest:
    """A stratified subsample that keeps as many patient groups as possible.

    The shares of the classes stay (each keeps at least one picture where ``n`` allows); within a class one picture of
    each group is taken before a second one of any.

    Args:
        manifest: the pictures.
        n: how many to keep; all of them where there are no more.
        seed: of the choice.

    Returns:
        ``n`` pictures in the manifest's order.

    Raises:
        DataError: ``n`` is below 1.
    """
    if n < 1:
        raise DataError(f"a data set cannot be limited to {n} pictures", remedy="give a number of at least 1")
    if n >= len(manifest):
        return manifest
    labels, groups = manifest.labels(), manifest.groups()
    present, counts = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for label, quota in zip(present.tolist(), _quotas(counts, n), strict=True):
        members: dict[str, list[int]] = defaultdict(list)
        for index in rng.permutation(np.flatnonzero(labels == label)).tolist():
            members[groups[index]].append(index)
        # The r-th picture of every group comes before the (r + 1)-th of any; groups in the order first drawn.
        ranked = sorted((rank, turn, i) for turn, m in enumerate(members.values()) for rank, i in enumerate(m))
        chosen += [index for _, _, index in ranked[:quota]]
    return manifest.select(np.sort(np.array(chosen, dtype=np.int64)))


def _quotas(counts: NDArray[np.int64], n: int) -> list[int]:
    """Divide ``n`` in proportion to ``counts`` by largest remainders, at least 1 each where ``n`` allows."""
    least = np.minimum(counts, 1) if n >= len(counts) else np.zeros_like(counts)
    exact = counts * n / counts.sum()
    quotas = np.maximum(np.floor(exact).astype(np.int64), least)
    while quotas.sum() != n:
        step = 1 if quotas.sum() < n else -1
        free = quotas < counts if step > 0 else quotas > least
        gap = np.where(free, (exact - quotas) * step, -np.inf)
        quotas[int(np.argmax(gap))] += step
    return [int(quota) for quota in quotas]


__all__ = ["PROTOCOLS", "Split", "limit", "make_split"]

PROTOCOLS: Final = ("group", "subject", "official", "laboratory", "picture")
PICTURE_TEST_SHARE: Final = 0.2
_PARTS: Final = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Which pictures of a manifest train, validate and test.

    Attributes:
        protocol: one of `PROTOCOLS`.
        fold: which fold is the test part.
        folds: how many there are; 1 for `picture`.
        seed: of all random choices.
        train: sorted indices into the manifest, int64; so are the others.
        val: carved out of the training part by patient group.
        test: never looked at while the others are chosen.
    """

    protocol: str
    fold: int
    folds: int
    seed: int
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]

    def crossing_groups(self, manifest: Manifest) -> list[str]:
        """The patient groups that stand in more than one part: what leaks from training into the test."""
        groups = manifest.groups()
        parts = [set(groups[getattr(self, part)].tolist()) for part in _PARTS]
        crossing = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
        return sorted(crossing, key=natural)

    def to_json(self, manifest: Manifest) -> dict[str, Any]:
        """The split as plain data for JSON, with paths instead of indices and the manifest's fingerprint."""
        parts = {part: [manifest.records[i].path for i in getattr(self, part).tolist()] for part in _PARTS}
        head = {"protocol": self.protocol, "fold": self.fold, "folds": self.folds, "seed": self.seed}
        return {**head, "fingerprint": manifest.fingerprint(), **parts}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], manifest: Manifest) -> Self:
        """What `to_json` gave, for the same pictures in whatever order.

        Raises:
            DataError: not such data, or the manifest has another fingerprint.
        """
        try:
            if value["fingerprint"] != manifest.fingerprint():
                raise DataError(
                    "the split was drawn from other data than these",
                    path=manifest.root,
                    remedy="use the data set that it was made for, or make a new split",
                )
            where = {record.path: index for index, record in enumerate(manifest.records)}
            parts = [_frozen([where[path] for path in value[part]]) for part in _PARTS]
            return cls(str(value["protocol"]), int(value["fold"]), int(value["folds"]), int(value["seed"]), *parts)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a stored split ({error!r})", path=manifest.root) from error


def make_split(
    manifest: Manifest,
    protocol: str = "group",
    *,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    val_fraction: float = 0.15,
    train_share: float = 1.0,
) -> Split:
    """Divide the labelled pictures of a data set; those without a label stand in no part.

    Args:
        manifest: the pictures.
        protocol: one of `PROTOCOLS`.
        fold: which fold is the test part; ignored by `picture`.
        folds: number of folds of `group` and `subject`; `official` has those of the data set and leaves pictures
            without a fold aside; `laboratory` has one for each data set, in the order of their names.
        seed: of all random choices.
        val_fraction: share of the pictures of the training part that validate, as nearly as whole groups allow.
        train_share: share of what is left for training that is used, in whole patient groups of both classes, as
            nearly as they allow; the other parts do not depend on it.

    Raises:
        DataError: an unknown protocol, a fold that there is not, no official folds, or too few groups or classes.
        MissingExtraError: scikit-learn is not installed.
    """
    if protocol not in PROTOCOLS:
        near = ", ".join(nearest_first(protocol, PROTOCOLS))
        raise DataError(f"there is no split protocol {protocol!r}", remedy=f"use one of {near}")
    labels, groups = manifest.labels(), manifest.groups()
    pool = np.flatnonzero(labels >= 0)
    _need_both(labels[pool], "the data set", manifest)
    if protocol == "picture":
        fold, folds, test = 0, 1, _picture_test(pool, labels, seed)
    elif protocol == "official":
        folds, pool, test = _official_test(manifest, pool, fold)
    elif protocol == "laboratory":
        folds, pool, test = _laboratory_test(manifest, pool, fold)
    else:
        units = groups if protocol == "group" else _subject_units(manifest)
        test = _fold_test(pool, labels, units, protocol, fold, folds, seed, manifest)
    rest = np.setdiff1d(pool, test)
    _need_both(labels[test], f"fold {fold} of the protocol {protocol}", manifest)
    _need_both(labels[rest], f"what fold {fold} of the protocol {protocol} leaves for training", manifest)
    val = carve_groups(labels[rest], groups[rest], val_fraction, seed)
    train = rest[~val]
    if train_share < 1:
        train = train[carve_groups(labels[train], groups[train], train_share, seed)]
    return Split(protocol, fold, folds, seed, _frozen(train), _frozen(rest[val]), _frozen(test))


def _picture_test(pool: NDArray[np.int64], labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    try:
        from sklearn.model_selection import train_test_split  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("splitting a data set", "train") from error
    if np.bincount(labels[pool], minlength=2).min() < 5:
        raise DataError("a stratified fifth needs at least 5 pictures of each class")
    _, test = train_test_split(pool, test_size=PICTURE_TEST_SHARE, stratify=labels[pool], random_state=seed)
    return np.asarray(test, dtype=np.int64)


def _official_test(
    manifest: Manifest, pool: NDArray[np.int64], fold: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Number of official folds, the labelled pictures that have one, and those of the wanted fold."""
    official = np.array([-1 if record.fold is None else record.fold for record in manifest.records], dtype=np.int64)
    pool = pool[official[pool] >= 0]
    held = np.unique(official[pool]).tolist()
    if not held:
        raise DataError("the data set has no official folds", path=manifest.root, remedy="use the protocol group")
    if fold not in held:
        raise DataError(f"there is no official fold {fold}, only {', '.join(map(str, held))}", path=manifest.root)
    return max(held) + 1, pool, pool[official[pool] == fold]


def _laboratory_test(
    manifest: Manifest, pool: NDArray[np.int64], fold: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Number of data sets, the pictures that train or test, and those of the one left out; none of a shared patient."""
    part = parts_of(manifest)[pool]
    names = np.unique(part).tolist()
    if len(names) < 2:
        raise DataError(
            "there is one laboratory only to leave out", path=manifest.root, remedy="give --data for each of several"
        )
    if not 0 <= fold < len(names):
        told = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise DataError(f"there is no laboratory {fold}", path=manifest.root, remedy=f"they are {told}")
    test = pool[part == names[fold]]
    groups = manifest.groups()
    return len(names), pool[(part == names[fold]) | ~np.isin(groups[pool], groups[test])], test


def _subject_units(manifest: Manifest) -> NDArray[Any]:
    return np.array([record.subject or unknown_patient(record.path) for record in manifest.records], dtype=np.str_)


def _fold_test(
    pool: NDArray[np.int64],
    labels: NDArray[np.int64],
    units: NDArray[Any],
    protocol: str,
    fold: int,
    folds: int,
    seed: int,
    manifest: Manifest,
) -> NDArray[np.int64]:
    """One fold of whole units, stratified by class."""
    try:
        from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("splitting a data set", "train") from error
    if folds < 2 or not 0 <= fold < folds:
        raise DataError(
            f"there is no fold {fold} of {folds}", remedy="give at least 2 folds, and a fold counted from 0"
        )
    for label, word in enumerate(("normal", "blast")):
        held = len(np.unique(units[pool][labels[pool] == label]))
        if held < folds:
            raise DataError(
                f"the class {word} has {held} {protocol}s, too few for {folds} folds",
                path=manifest.root,
                remedy="give fewer folds or add patients",
            )
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(pool, labels[pool], units[pool])
    test = next(part for index, (_, part) in enumerate(parts) if index == fold)
    return np.asarray(pool[test], dtype=np.int64)


def _need_both(labels: NDArray[np.int64], what: str, manifest: Manifest) -> None:
    for label, word in enumerate(("normal", "blast")):
        if not np.any(labels == label):
            raise DataError(
                f"{what} holds no picture of the class {word}",
                path=manifest.root,
                remedy="add pictures of both classes, or choose other folds",
            )


def _frozen(indices: Any) -> NDArray[np.int64]:
    array = np.sort(np.asarray(indices, dtype=np.int64))
    array.setflags(write=False)
    return array
