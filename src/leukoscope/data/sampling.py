"""A smaller data set that is still like the whole one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from leukoscope.data.manifest import Manifest
from leukoscope.errors import DataError


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
