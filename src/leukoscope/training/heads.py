"""Heads fitted on a frozen trunk's statistics: in seconds, by what the library of classical learning offers.

Whatever the kind, statistics are standardised and turned to their principal components first, and the result is plain
numbers that the network's own operators run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from leukoscope.errors import DataError

Array = NDArray[np.float64]
Kind = Literal["linear", "mlp", "radial"]


class Steadying(BaseModel):
    """How much a head is kept from what another preparation changes; 0: not at all.

    Each number weighs the covariance of what one kind of change does to the statistics of a cell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    dyes: Annotated[float, Field(ge=0)] = 0.0  # mixtures and strengths of dyes, exposure, white balance
    detail: Annotated[float, Field(ge=0)] = 0.0  # focus and compression
    outline: Annotated[float, Field(ge=0)] = 0.0  # cut too tightly or widely, scraps and bites
    size: Annotated[float, Field(ge=0)] = 0.0

    def weights(self) -> dict[str, float]:
        """By kind, those that are not 0."""
        return {kind: weight for kind, weight in self.model_dump().items() if weight}


class HeadChoice(BaseModel):
    """Which head, and how it is fitted. Plain data: it is part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Kind = "radial"
    components: Annotated[int, Field(ge=1, le=1024)] = 64  # principal components that it sees
    cost: Annotated[float, Field(gt=0)] = 1.0  # of an error against smoothness: C of the support vector machine
    width: Annotated[float, Field(gt=0)] = 1.0  # of the kernel's exponent against 1 / (components * variance)
    hidden: Annotated[int, Field(ge=1, le=1024)] = 64  # units of the mlp
    parts: Annotated[int, Field(ge=2, le=50)] = 10  # of the training groups, each answered by a head without it
    steady: Steadying = Steadying()


@dataclass(frozen=True, slots=True, eq=False)
class Shaken:
    """What changes did to the statistics of some cells.

    Attributes:
        rows: which cells, int64 [M].
        apart: by kind of change, the changed less the plain statistics, float [M, D].
    """

    rows: NDArray[np.int64]
    apart: Mapping[str, NDArray[np.float32]]

    def among(self, rows: NDArray[np.int64]) -> Shaken:
        """Those of some rows, int64 [N], counted among them."""
        order = np.argsort(rows)
        place = np.searchsorted(rows, self.rows, sorter=order).clip(max=len(rows) - 1)
        kept = rows[order[place]] == self.rows
        return Shaken(order[place][kept], {kind: each[kept] for kind, each in self.apart.items()})

    def covariance(self, weights: Mapping[str, float], learned: NDArray[np.int64]) -> Array | None:
        """Weighted second moments of what the changes do to cells that are learned from, float64 [D, D]."""
        own = np.isin(self.rows, learned)
        found = [
            weight * (each.T @ each) / len(each)
            for kind, weight in weights.items()
            for each in (self.apart[kind][own].astype(np.float64),)
        ]
        return np.sum(found, axis=0) if found else None


def balance_weights(labels: NDArray[np.int64], groups: NDArray[np.str_], balance: str) -> Array:
    """What each cell weighs, float64 [N], mean 1.

    | balance | weights |
    |---|---|
    | `none` | all alike |
    | `loss`, `sample` | both classes alike |
    | `groups` | both classes alike; within one, a patient group by the root of its size |
    """
    weights = np.ones(len(labels))
    if balance == "none":
        return weights
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        if not len(rows):
            raise DataError(f"no cell to fit a head on is {('normal', 'a blast')[label]}", remedy="add such cells")
        share = np.ones(len(rows))
        if balance == "groups":
            _, unit, size = np.unique(groups[rows], return_inverse=True, return_counts=True)
            share = 1 / np.sqrt(size[unit])
        weights[rows] = share / share.sum() * len(labels) / 2
    return weights


def fit_head(
    statistics: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: Array,
    choice: HeadChoice,
    seed: int = 0,
    *,
    shaking: Array | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Fit a head.

    Directions that other preparations change are shrunk before components are taken: by ``(1 + c) ** -0.5`` where the
    covariance c of the changes is in units of the statistics' own spread (within-class covariance normalisation:
    A. Hatch, S. Kajarekar, A. Stolcke, Interspeech 2006). It is one matrix more in the projection, none in the network.

    Args:
        statistics: float32 [N, D] of `MaskedTrunk.statistics`.
        labels: int64 [N].
        weights: float64 [N] from :func:`balance_weights`.
        choice: which head.
        seed: of the solver of components and of the mlp's start.
        shaking: float64 [D, D] of `Shaken.covariance`; None: nothing is shrunk.

    Returns:
        What `Eye` holds beside its trunk, by name: ``project.weight`` [K, D], ``project.bias`` [K], ``head.weight``,
        ``head.bias``; of a radial head ``supports`` [S, K] and ``gamma`` []; of an mlp ``hidden.weight`` and
        ``hidden.bias``.

    Raises:
        DataError: one class only, or fewer cells than components.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415

    if len(np.unique(labels)) < 2:
        raise DataError("the cells to fit a head on are of one class", remedy="add cells of the other")
    kept = choice.components
    if min(statistics.shape) < kept:
        raise DataError(
            f"{len(statistics)} cells of {statistics.shape[1]} numbers do not have {kept} components",
            remedy=f"give more cells, or --set head.components={max(min(statistics.shape) // 2, 1)}",
        )
    values = statistics.astype(np.float64)
    mean = values.mean(axis=0)
    spread = values.std(axis=0)
    spread[spread < 1e-9] = 1.0
    shrink = _shrinking(shaking, spread)
    found = PCA(kept, random_state=seed).fit((values - mean) / spread @ shrink)
    project = found.components_ @ shrink / spread
    shift = -project @ mean - found.components_ @ found.mean_
    seen = values @ project.T + shift
    made = {"project.weight": project, "project.bias": shift}
    made |= {"radial": _radial, "linear": _linear, "mlp": _mlp}[choice.kind](seen, labels, weights, choice, seed)
    return {name: np.asarray(each, dtype=np.float32) for name, each in made.items()}


def _shrinking(shaking: Array | None, spread: Array) -> Array:
    """Symmetric [D, D]: the inverse root of one plus the covariance of the changes in units of the spread."""
    if shaking is None:
        return np.eye(len(spread))
    size, axes = np.linalg.eigh(shaking / spread / spread[:, None])
    return np.asarray(axes / np.sqrt(1 + np.maximum(size, 0)) @ axes.T)


def _radial(seen: Array, labels: NDArray[np.int64], weights: Array, choice: HeadChoice, _seed: int) -> dict[str, Array]:
    from sklearn.svm import SVC  # noqa: PLC0415

    gamma = choice.width / (seen.shape[1] * seen.var())
    found = SVC(C=choice.cost, gamma=gamma, cache_size=1000).fit(seen, labels, sample_weight=weights)
    return {
        # Exact in half precision, and stored so: half of a bundle's growth with the number of supports.
        "supports": found.support_vectors_.astype(np.float16), "gamma": np.array(gamma),
        "head.weight": found.dual_coef_, "head.bias": found.intercept_,
    }  # fmt: skip


def _linear(seen: Array, labels: NDArray[np.int64], weights: Array, choice: HeadChoice, _seed: int) -> dict[str, Array]:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    scale = seen.std(axis=0).mean()
    found = LogisticRegression(C=choice.cost, max_iter=5000).fit(seen / scale, labels, sample_weight=weights)
    return {"head.weight": found.coef_ / scale, "head.bias": found.intercept_}


def _mlp(seen: Array, labels: NDArray[np.int64], weights: Array, choice: HeadChoice, seed: int) -> dict[str, Array]:
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    scale = float(seen.std())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, last = nn.Linear(seen.shape[1], choice.hidden), nn.Linear(choice.hidden, 1)
        net = nn.Sequential(nn.Dropout(0.3), first, nn.ReLU(), nn.Dropout(0.3), last)
        x, y, w = (torch.from_numpy(each).float() for each in (seen / scale, labels, weights))
        optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.01 / choice.cost)
        for _ in range(15):
            for rows in torch.split(torch.randperm(len(x)), 128):
                optimizer.zero_grad()
                loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows], weight=w[rows])
                torch.autograd.backward(loss)
                optimizer.step()
    return {
        "hidden.weight": first.weight.detach().numpy() / scale, "hidden.bias": first.bias.detach().numpy(),
        "head.weight": last.weight.detach().numpy(), "head.bias": last.bias.detach().numpy(),
    }  # fmt: skip


def head_logits(head: Mapping[str, NDArray[np.float32]], statistics: NDArray[np.float32]) -> Array:
    """Logits of a fitted head, float64 [N], without the network: as `Eye` has them but for rounding."""
    held = {name: each.astype(np.float64) for name, each in head.items()}
    seen = statistics.astype(np.float64) @ held["project.weight"].T + held["project.bias"]
    if "supports" in held:
        supports = held["supports"]
        apart = (seen**2).sum(1)[:, None] + (supports**2).sum(1) - 2 * seen @ supports.T
        seen = np.exp(-held["gamma"] * np.maximum(apart, 0))
    elif "hidden.weight" in held:
        seen = np.maximum(seen @ held["hidden.weight"].T + held["hidden.bias"], 0)
    return np.asarray((seen @ held["head.weight"].T + held["head.bias"])[:, 0])


def left_out_logits(
    statistics: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    choice: HeadChoice,
    balance: str,
    seed: int = 0,
    *,
    shaken: Shaken | None = None,
) -> Array:
    """Each cell answered by a head that never saw its patient group, float64 [N].

    Groups are dealt into ``choice.parts`` parts of like class shares, fewer where a class has fewer groups. ``shaken``
    counts its rows among the given cells.

    Raises:
        DataError: a class has fewer than two groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415

    fewest = min(len(np.unique(groups[labels == label])) for label in (0, 1))
    if fewest < 2:
        raise DataError("a class comes from fewer than two patient groups", remedy="add cells of other patients")
    dealt = StratifiedGroupKFold(min(choice.parts, fewest), shuffle=True, random_state=seed)
    logits = np.empty(len(labels))
    for rest, out in dealt.split(statistics, labels, groups):
        weights = balance_weights(labels[rest], groups[rest], balance)
        shaking = None if shaken is None else shaken.covariance(choice.steady.weights(), rest)
        head = fit_head(statistics[rest], labels[rest], weights, choice, seed, shaking=shaking)
        logits[out] = head_logits(head, statistics[out])
    return logits
