"""How many pictures of a test part a bundle's gate turns down, with an interval over patient groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukoscope.metrics.bootstrap import Estimate, Resampling
from leukoscope.metrics.counts import Array
from leukoscope.metrics.panel import measure


@dataclass(frozen=True, slots=True)
class GateShare:
    """Share of pictures turned down, in all and by reason; a picture may have several reasons."""

    turned_down: Estimate
    by_reason: dict[str, float]
    pictures: int

    def sentence(self) -> str:
        """In words, the most frequent reasons first."""
        found = self.turned_down
        interval = f" [{100 * found.low:.1f}, {100 * found.high:.1f}]" if found.has_interval else ""
        reasons = ", ".join(f"{name} {100 * share:.1f} %" for name, share in list(self.by_reason.items())[:5])
        return (
            f"{100 * found.value:.1f} %{interval} of {self.pictures:,} pictures are referred by the gate"
            + (f" ({reasons})" if reasons else "")
            + "; all other figures count them as answered."
        )


def gate_share(
    reasons: Sequence[Sequence[str]], label: NDArray[np.int64], group: NDArray[np.str_], *, replicates: int = 2000
) -> GateShare:
    """Measure the share of N pictures that are turned down.

    Args:
        reasons: for each picture the reasons to turn it down, none if it passed.
        label: int64 [N], 1 blast, 0 normal: groups are resampled within strata.
        group: str [N], the patient group.
        replicates: of the bootstrap.
    """
    flags = np.array([bool(each) for each in reasons], dtype=np.float64)
    plan = Resampling.by_group(label, group, replicates=replicates)

    def statistic(weights: Array) -> Array:
        return np.asarray((weights @ flags / weights.sum(axis=-1))[..., None])

    (found,) = measure(statistic, ("turned_down",), plan).values()
    names = sorted({name for each in reasons for name in each})
    shares = {name: sum(name in each for each in reasons) / len(reasons) for name in names}
    return GateShare(found, dict(sorted(shares.items(), key=lambda item: -item[1])), len(reasons))
