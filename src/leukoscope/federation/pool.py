"""From the summaries of several sites to figures over all of them, by site, and how far the sites differ."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope.cells.stain import STAIN_NAMES
from leukoscope.errors import DataError
from leukoscope.federation.summary import Moments, SiteSummary
from leukoscope.metrics.bootstrap import REPLICATES, Estimate, Resampling, estimates
from leukoscope.metrics.panel import Panel
from leukoscope.metrics.scores import Scores

KEYS: Final = (
    "auc", "subject_auc", "sensitivity", "specificity", "balanced_accuracy", "f1_weighted", "brier", "ece",
    "sensitivity_at_95_specificity", "specificity_at_95_sensitivity",
)  # fmt: skip
_AIM: Final = 0.95  # specificity and sensitivity of the thresholds that are stated


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """How far the sites differ in one figure, by the random-effects model of DerSimonian & Laird (1986).

    Attributes:
        mean: of the sites, each weighed by what it adds, with its 95 % interval (normal approximation, cut
            at 0 and 1, where all figures end).
        tau: standard deviation of the sites' true values.
        i_squared: share of the spread between the sites that chance does not explain (Higgins & Thompson 2002).
        sites: how many count: those with an interval.
    """

    mean: Estimate
    tau: float
    i_squared: float
    sites: int


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
    _check(ordered)
    tables = [table_of(summary) for summary in ordered]
    threshold = ordered[0].threshold
    drawn: list[dict[str, NDArray[np.float64]]] = []
    alone: list[dict[str, Estimate]] = []
    for table in tables:
        figures, replicated = _measured([table], threshold, replicates, seed)
        alone.append(figures)
        drawn.append(replicated)
    together, _ = _measured(tables, threshold, replicates, seed)
    spread = {key: each for key in KEYS if (each := _heterogeneity([f[key] for f in alone], [d[key] for d in drawn]))}
    mean = spread.get("auc")
    sites = tuple(
        Site(summary, figures, _shift(summary, ordered), mean is not None and _below(figures["auc"], mean.mean))
        for summary, figures in zip(ordered, alone, strict=True)
    )
    whole = _joined_table(tables)
    width = float(np.min(np.diff(ordered[0].edges)))
    return Pooled(
        sites, together, spread, _temperature(whole), _thresholds(whole), width, tuple(_notes(ordered, together))
    )


def check_trust(summaries: Sequence[SiteSummary], trust: Sequence[str]) -> None:
    """Hold the sites' keys against those that are trusted, each given as ``SITE=KEY``; none given: all are taken.

    Raises:
        DataError: a site without a trusted key, or with another; a text that is no such pair.
    """
    pairs = [each.partition("=") for each in trust]
    if wrong := [site for site, equals, _ in pairs if not equals]:
        raise DataError(f"{wrong[0]!r} is no SITE=KEY", remedy="give the line that `federate key` printed at the site")
    keys = {site: key.strip().lower() for site, _, key in pairs}
    for summary in summaries if keys else ():
        if keys.get(summary.site) != summary.key:
            what = (
                "has no trusted key" if summary.site not in keys else "is signed with another key than the trusted one"
            )
            raise DataError(f"the summary of {summary.site} {what}", remedy="ask the site, and check --trust")


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


def _heterogeneity(figures: Sequence[Estimate], drawn: Sequence[NDArray[np.float64]]) -> Heterogeneity | None:
    known = [
        (each.value, float(np.nanvar(replicates)))
        for each, replicates in zip(figures, drawn, strict=True)
        if each.has_interval and np.nanvar(replicates) > 0
    ]
    if len(known) < 2:
        return None
    value, variance = np.array(known).T
    weight = 1 / variance
    fixed = float(np.average(value, weights=weight))
    q = float((weight * (value - fixed) ** 2).sum())
    freedom = len(known) - 1
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    tau2 = max(0.0, (q - freedom) / scale) if scale > 0 else 0.0
    full = 1 / (variance + tau2)
    mean, error = float(np.average(value, weights=full)), float(1 / math.sqrt(full.sum()))
    i_squared = max(0.0, (q - freedom) / q) if q > 0 else 0.0
    return Heterogeneity(
        Estimate(mean, max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error)),
        math.sqrt(tau2),
        i_squared,
        len(known),
    )


def _below(figure: Estimate, mean: Estimate) -> bool:
    return figure.has_interval and figure.high < mean.value


def _shift(summary: SiteSummary, all_of: Sequence[SiteSummary]) -> dict[str, float] | None:
    others = [other for other in all_of if other is not summary]
    if not others:
        return None
    stain = _away(summary.stain, [other.stain for other in others])
    features = _away(summary.embedding, [other.embedding for other in others])
    largest = int(np.argmax(np.abs(stain)))
    return {
        f"stain: {STAIN_NAMES[largest]}": round(float(stain[largest]), 3),
        "embedding": round(float(np.sqrt(np.mean(features**2))), 3),
    }


def _away(own: Moments, others: Sequence[Moments]) -> NDArray[np.float64]:
    """Difference of means over the standard deviation of the others' cells, of each number."""
    counts = np.array([each.count for each in others], np.float64)
    means = np.array([each.mean for each in others])
    deviations = np.array([each.deviation for each in others])
    mean = np.average(means, axis=0, weights=counts)
    variance = np.average(deviations**2 + (means - mean) ** 2, axis=0, weights=counts)
    return (np.array(own.mean) - mean) / np.sqrt(np.maximum(variance, 1e-12))


def _temperature(table: Scores) -> float:
    """Of least log loss over all cells, from 0.1 to 10 in steps of 2 %; the probabilities' own is divided by it."""
    odds = np.clip(table.probability, 1e-6, 1 - 1e-6)
    stated = np.log(odds / (1 - odds))
    sign = np.where(table.label == 1, 1.0, -1.0)
    grid = np.exp(np.linspace(math.log(0.1), math.log(10), 233))
    losses = [float(np.logaddexp(0, -sign * stated / each).mean()) for each in grid]
    return round(float(grid[int(np.argmin(losses))]), 3)


def _thresholds(table: Scores) -> dict[str, float]:
    """The highest probability that still reaches a sensitivity, the lowest that reaches a specificity, of `_AIM`."""
    if len(set(table.label.tolist())) < 2:
        return {}
    stated = np.unique(table.probability)[::-1]
    found = {}
    reached = np.array([np.mean(table.probability[table.label == 1] >= each) for each in stated])
    spared = np.array([np.mean(table.probability[table.label == 0] < each) for each in stated])
    if (reached >= _AIM).any():
        found["sensitivity_95"] = round(float(stated[reached >= _AIM].max()), 6)
    if (spared >= _AIM).any():
        found["specificity_95"] = round(float(stated[spared >= _AIM].min()), 6)
    return found


def _check(summaries: Sequence[SiteSummary]) -> None:
    if not summaries:
        raise DataError("no summary is given", remedy="give the files of two sites or more")
    first = summaries[0]
    for other in summaries[1:]:
        if other.digest != first.digest:
            raise DataError(
                f"{other.site} measured another bundle ({other.bundle}, {other.digest[:12]}) than {first.site} "
                f"({first.bundle}, {first.digest[:12]})", remedy="let all sites measure the same bundle",
            )  # fmt: skip
        if other.edges != first.edges:
            raise DataError(
                f"{other.site} and {first.site} counted in different bins", remedy="let both use the same --bins"
            )
    for what, values in (
        ("name", [summary.site for summary in summaries]),
        ("key", [summary.key for summary in summaries]),
        ("data set (by its fingerprint)", [summary.data for summary in summaries]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1 and value]
        if twice:
            raise DataError(
                f"two summaries have the same {what}: {twice[0][:40]}", remedy="give each site once, its newest file"
            )
    homes: dict[str, set[str]] = defaultdict(set)
    for summary in summaries:
        for digest in (digest for group in summary.groups for digest in group.digests):
            homes[digest].add(summary.site)
    shared = [sites for sites in homes.values() if len(sites) > 1]
    if shared:
        raise DataError(
            f"{len(shared)} patients are counted at two sites ({' and '.join(sorted(shared[0]))})",
            remedy="let one of the sites leave them out: they would count twice",
        )


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
