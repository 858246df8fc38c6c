"""A linear head over sites from sums alone: what the joined cells give, to rounding.

Round 0 sums moments of the embedding by class. From them the centre has Fisher's discriminant, both classes weighed
alike: one round, and a head. Each further round sums loss, gradient and curvature of the logistic loss at the centre's
head, and the centre makes a step of Newton's method: after a few rounds it is the logistic regression of the joined
cells.

Numbers are standardised by the pooled mean and spread after round 0; a head pays ``strength / 2 |w|^2`` on those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.federation.rounds import LocalRound

Array = NDArray[np.float64]
Balance = Literal["groups", "none"]
STRENGTH: Final = 0.01
DONE: Final = 1e-9  # what a further step would gain, of the mean log loss
_STILL: Final = 1e-4  # spread below this share of the mean, or of the others' spread
_KINDS: Final = ("count", "sum", "square")


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """A head as the centre holds it between rounds: logit = weight . (x - mean) / spread + bias.

    Attributes:
        mean: of the embedding, pooled, float64 [E]; ``spread`` its standard deviation.
        weight: float64 [E].
        bias: of the logit.
        loss: mean penalised log loss of the head before the last step; None before the first.
        before: weight and bias before the last step, float64 [E + 1].
        gain: that the last step promised.
    """

    mean: Array
    spread: Array
    weight: Array
    bias: float
    loss: float | None = None
    before: Array | None = None
    gain: float = float("inf")

    @property
    def done(self) -> bool:
        """Whether another round would change nothing that matters."""
        return self.gain < DONE

    def plain(self) -> tuple[Array, float]:
        """Weight [E] and bias by the embedding as it is."""
        weight = self.weight / self.spread
        return weight, float(self.bias - weight @ self.mean)

    def logits(self, features: NDArray[Any]) -> Array:
        """Float64 [N] of embeddings [N, E]."""
        weight, bias = self.plain()
        return np.asarray(features.astype(np.float64) @ weight + bias)

    def to_arrays(self) -> dict[str, Array]:
        """For a parcel."""
        before = np.zeros(0) if self.before is None else self.before
        loss = np.zeros(0) if self.loss is None else np.array([self.loss])
        last = np.array([self.bias, min(self.gain, 1e9)])
        return {
            "mean": self.mean, "spread": self.spread, "weight": self.weight, "bias_gain": last, "loss": loss,
            "before": before,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave.

        Raises:
            DataError: arrays are missing, of other shapes, or not finite.
        """
        try:
            made = cls(
                arrays["mean"], arrays["spread"], arrays["weight"], float(arrays["bias_gain"][0]),
                float(arrays["loss"][0]) if len(arrays["loss"]) else None,
                arrays["before"] if len(arrays["before"]) else None, float(arrays["bias_gain"][1]),
            )  # fmt: skip
            good = made.mean.shape == made.spread.shape == made.weight.shape and made.mean.ndim == 1
        except (KeyError, IndexError) as error:
            raise DataError(f"the state holds no head ({error!r})", remedy="take the centre's newest file") from error
        numbers = np.concatenate([made.mean, made.weight, 1 / made.spread, [made.bias]]) if good else np.array([np.nan])
        if not np.isfinite(numbers).all():
            raise DataError("the state's head is not finite, or of several sizes", remedy="ask the centre")
        return made


def head_round(
    head: LinearHead | None,
    features: NDArray[Any],
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    balance: Balance = "groups",
) -> LocalRound:
    """A site's sums for a round.

    Args:
        head: the centre's; None: round 0.
        features: embeddings [N, E].
        labels: int64 [N], 1 blast.
        groups: patient of each cell, [N].
        balance: ``groups``: within a class a patient counts by the root of its cells; ``none``: by its cells.

    Returns:
        Weighted sums by class. Round 0: ``count`` [2], ``sum`` [2, E], ``square`` [2, E, E]. Later: ``count``,
        ``loss`` [2], ``slope`` [2, E + 1], ``curve`` [2, E + 1, E + 1]. The last of E + 1 belongs to the bias.

    Raises:
        DataError: an embedding is not finite.
    """
    x = features.astype(np.float64)
    if not np.isfinite(x).all():
        raise DataError("a cell's embedding is not finite", remedy="leave the cell out")
    weights = _cell_weights(labels, groups, balance)
    patients = len(np.unique(groups))
    if head is None:
        sums = [_moments(x[labels == each], weights[labels == each]) for each in (0, 1)]
        return LocalRound({name: np.stack([s[k] for s in sums]) for k, name in enumerate(_KINDS)}, patients, {})
    z = np.column_stack([(x - head.mean) / head.spread, np.ones(len(x))])
    logits = z @ np.append(head.weight, head.bias)
    stated = 0.5 * (1 + np.tanh(logits / 2))
    losses = np.logaddexp(0, np.where(labels == 1, -logits, logits))
    found: dict[str, list[Any]] = {"count": [], "loss": [], "slope": [], "curve": []}
    for each in (0, 1):
        own = labels == each
        v, rows, p = weights[own], z[own], stated[own]
        found["count"].append(v.sum())
        found["loss"].append(v @ losses[own])
        found["slope"].append(rows.T @ (v * (p - each)))
        found["curve"].append(rows.T @ (rows * (v * p * (1 - p))[:, None]))
    told = {"log_loss": float(weights @ losses / weights.sum()), "accuracy": float(((logits > 0) == labels).mean())}
    return LocalRound({name: np.array(values) for name, values in found.items()}, patients, told)


def combine_heads(
    head: LinearHead | None, rounds: Sequence[LocalRound], *, strength: float = STRENGTH, same_sites: bool = True
) -> LinearHead:
    """The centre's next head, from the sums of the sites.

    Args:
        head: that they were asked about; None: round 0.
        rounds: of one kind and size, finite.
        strength: of the penalty, above 0.
        same_sites: the sites are those of the round before, so that losses compare. A step after which the loss rose is
            halved.

    Raises:
        DataError: no round, or one class only over all sites.
    """
    if not rounds:
        raise DataError("no site's round is left to combine", remedy="wait for the sites, or ask them again")
    total = {name: np.sum([each.weights[name] for each in rounds], axis=0) for name in rounds[0].weights}
    count = total["count"]
    if (count <= 0).any():
        missing = ("normal cell", "blast")[int(np.argmin(count))]
        raise DataError(f"no site has a {missing}", remedy="a head needs cells of both classes, over all sites")
    if head is None:
        return _discriminant(total, strength)
    share = 0.5 / count  # both classes alike
    place = np.append(head.weight, head.bias)
    penalty = np.append(np.full(len(head.weight), strength), 0.0)
    loss = float(share @ total["loss"] + penalty @ place**2 / 2)
    if same_sites and head.before is not None and head.loss is not None and loss > head.loss + 1e-12:
        halved = (place + head.before) / 2
        return replace(head, weight=halved[:-1], bias=float(halved[-1]))
    slope = share @ total["slope"] + penalty * place
    curve = np.tensordot(share, total["curve"], 1) + np.diag(penalty + 1e-12)
    step = np.linalg.solve(curve, slope)
    after = place - step
    return replace(
        head, weight=after[:-1], bias=float(after[-1]), loss=loss, before=place, gain=float(slope @ step / 2)
    )


def _discriminant(total: Mapping[str, Array], strength: float) -> LinearHead:
    count, sums, square = total["count"], total["sum"], total["square"]
    means = sums / count[:, None]
    scatter = np.mean([square[k] / count[k] - np.outer(means[k], means[k]) for k in (0, 1)], axis=0)
    middle = means.mean(axis=0)
    spread = np.sqrt(np.maximum(np.diag(scatter) + ((means - middle) ** 2).mean(axis=0), 0))
    # A number that hardly varies would get a weight so large that its rounding decides.
    spread = np.maximum(spread, _STILL * np.maximum(np.abs(middle), max(float(np.sqrt(np.mean(spread**2))), 1e-9)))
    within = scatter / spread / spread[:, None]
    apart = (means[1] - means[0]) / spread
    weight = np.linalg.solve(within + strength * np.eye(len(apart)), apart)
    return LinearHead(middle, spread, weight, 0.0)  # the bias: halfway between the classes, where z is 0


def _moments(x: Array, weights: Array) -> tuple[Any, Array, Array]:
    return weights.sum(), weights @ x, x.T @ (x * weights[:, None])


def _cell_weights(labels: NDArray[np.int64], groups: NDArray[np.str_], balance: Balance) -> Array:
    weights = np.ones(len(labels))
    if balance == "groups":
        for each in (0, 1):
            own = labels == each
            _, unit, size = np.unique(groups[own], return_inverse=True, return_counts=True)
            weights[own] = 1 / np.sqrt(size[unit])
    return weights
