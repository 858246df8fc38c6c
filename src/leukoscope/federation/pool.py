"""From the summaries of several sites to figures over all of them, by site, and how far the sites differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.federation.admission import check_alike
from leukoscope.federation.between import Heterogeneity, heterogeneity, pooled_temperature, pooled_thresholds, shift_of
from leukoscope.federation.summary import SiteSummary
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling, estimates
from leukoscope.metrics.panel import Panel
from leukoscope.metrics.scores import Scores

KEYS: Final = (
    "auc", "subject_auc", "sensitivity", "specificity", "balanced_accuracy", "f1_weighted", "brier", "ece",
    "sensitivity_at_95_specificity", "specificity_at_95_sensitivity",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """One site's own figures.

    Attributes:
        summary: what it sent.
        figures: of its cells alone, by key, with intervals over its patients.
        shift: how far its stain and its embedding lie from those of the other sites, in standard deviations: the
            largest of the stain's measures by name, and the root mean square over the embedding; None for one site.
        fails: its AUC lies below the sites' mean, beyond chance.
    """

    summary: SiteSummary
    figures: Mapping[str, Estimate]
    shift: Mapping[str, float] | None
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Pooled:
    """Figures over all sites.

    Attributes:
        sites: each by itself, in the order of their names.
        figures: of all cells together, by key: patients are drawn within their sites.
        heterogeneity: by key, where two sites or more have an interval.
        temperature: by which the stated logits would have to be divided to be calibrated over all sites.
        thresholds: probability at which a specificity, or a sensitivity, of 0.95 is reached over all sites.
        width: of the narrowest bin, at the threshold, in logits: what lies closer cannot be told apart.
        notes: to be read before a figure is quoted.
    """

    sites: tuple[Site, ...]
    figures: Mapping[str, Estimate]
    heterogeneity: Mapping[str, Heterogeneity]
    temperature: float
    thresholds: Mapping[str, float]
    width: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        first = self.sites[0].summary
        return {
            "bundle": first.bundle,
            "digest": first.digest,
            "sites": [
                {
                    "site": site.summary.site, "key": site.summary.key, "data": site.summary.data,
                    "cells": site.summary.cells, "patients": site.summary.patients,
                    "figures": {key: each.to_json() for key, each in site.figures.items()},
                    "shift": None if site.shift is None else dict(site.shift), "fails": site.fails,
                }
                for site in self.sites
            ],
            "figures": {key: each.to_json() for key, each in self.figures.items()},
            "heterogeneity": {
                key: {"mean": each.mean.to_json(), "tau": each.tau, "i_squared": each.i_squared, "sites": each.sites}
                for key, each in self.heterogeneity.items()
            },
            "temperature": self.temperature,
            "thresholds": dict(self.thresholds),
            "bin_width": self.width,
            "notes": list(self.notes),
        }  # fmt: skip


def pool_sites(summaries: Sequence[SiteSummary], *, replicates: int = REPLICATES, seed: int = 0) -> Pooled:
    """Pool summaries of one bundle.

    Args:
        summaries: of different sites, their signatures checked already (`read_summary`).
        replicates: of the bootstrap over patient groups, drawn within sites and kinds of patients.
        seed: of the draws.

    Raises:
        DataError: no summary; summaries of different bundles or bins; one site, one key or one data set twice; a
            patient counted at two sites.
    """
    ordered = sorted(summaries, key=lambda summary: summary.site)
    check_alike(ordered)
    tables = [table_of(summary) for summary in ordered]
    threshold = ordered[0].threshold
    drawn: list[dict[str, NDArray[np.float64]]] = []
    alone: list[dict[str, Estimate]] = []
    for table in tables:
        figures, replicated = _measured([table], threshold, replicates, seed)
        alone.append(figures)
        drawn.append(replicated)
    together, _ = _measured(tables, threshold, replicates, seed)
    spread = {key: each for key in KEYS if (each := heterogeneity([f[key] for f in alone], [d[key] for d in drawn]))}
    mean = spread.get("auc")
    sites = tuple(
        Site(summary, figures, shift_of(summary, ordered), mean is not None and _below(figures["auc"], mean.mean))
        for summary, figures in zip(ordered, alone, strict=True)
    )
    whole = _joined_table(tables)
    width = float(np.min(np.diff(ordered[0].edges)))
    return Pooled(
        sites,
        together,
        spread,
        pooled_temperature(whole),
        pooled_thresholds(whole),
        width,
        tuple(_notes(ordered, together)),
    )


def table_of(summary: SiteSummary) -> Scores:
    """The counted cells as a table: each has the logit of its bin's middle, and no name."""
    edges = np.array(summary.edges)
    centres = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    bins, labels, groups = [], [], []
    for number, group in enumerate(summary.groups):
        for label, pairs in ((1, group.blast), (0, group.normal)):
            for bin_, count in pairs:
                bins += [bin_] * count
                labels += [label] * count
                groups += [f"{summary.site}/{number}"] * count
    place = np.array(bins, np.int64)
    return Scores(
        tuple(f"{summary.site}/{number}" for number in range(len(place))), np.array(labels, np.int64),
        np.array(summary.probability)[place], centres[place], np.full(len(place), ""), np.array(groups, np.str_),
    )  # fmt: skip


def _joined_table(tables: Sequence[Scores]) -> Scores:
    return Scores(
        tuple(path for table in tables for path in table.path),
        *(
            np.concatenate([getattr(table, name) for table in tables])
            for name in ("label", "probability", "logit", "subject", "group")
        ),
    )


def _measured(
    tables: Sequence[Scores], threshold: float, replicates: int, seed: int
) -> tuple[dict[str, Estimate], dict[str, NDArray[np.float64]]]:
    """Figures of some sites together, and their replicates: patients are drawn within their site and kind."""
    whole = _joined_table(tables)
    unit, strata, first = [], [], 0
    for table in tables:
        plan = Resampling.by_group(table.label, table.group)
        unit.append(plan.unit + first)
        strata += [units + first for units in plan.strata]
        first += int(plan.unit.max()) + 1
    plan = Resampling(np.concatenate(unit), tuple(strata), replicates, seed)
    panel = Panel.of(whole, threshold, KEYS)
    value = panel.figures(np.ones(len(whole)))
    drawn = plan.apply(panel.figures)
    found = dict(zip(KEYS, estimates(value, drawn), strict=True))
    if not any(len(units) > 1 for units in strata):  # all replicates agree: that is no certainty
        found = {key: each.bare() for key, each in found.items()}
    return found, dict(zip(KEYS, drawn.T, strict=True))


def _below(figure: Estimate, mean: Estimate) -> bool:
    return figure.has_interval and figure.high < mean.value


def _notes(summaries: Sequence[SiteSummary], together: Mapping[str, Estimate]) -> list[str]:
    notes = []
    for summary in summaries:
        name, groups = summary.site, summary.groups
        blasts, normals = any(group.blast for group in groups), any(group.normal for group in groups)
        if not (blasts and normals):
            notes.append(
                f"{name} sent {'blasts' if blasts else 'normal cells'} alone: its AUC is undefined, and what tells its "
                "site from the others may pass for the disease."
            )
        unknown = sum(group.cells for group in groups if group.unknown)
        if unknown:
            notes.append(f"{name}: {unknown:,} cells are of unknown patients; intervals are likely too narrow.")
        if summary.epsilon is not None:
            notes.append(
                f"{name} added noise to its counts (epsilon {summary.epsilon:g} a cell): its figures are blurred, most "
                "where counts are small."
            )
        if summary.unreadable:
            notes.append(f"{name}: {summary.unreadable:,} pictures could not be read and are not counted.")
    if not any(group.digests for summary in summaries for group in summary.groups):
        notes.append("No digests of patients were sent: one who was seen at two sites counts twice, unnoticed.")
    if len(summaries) < 3:
        notes.append("With fewer than three sites their spread is hardly known.")
    if not together["auc"].has_interval:
        notes.append("Too few patients for an interval.")
    return notes
