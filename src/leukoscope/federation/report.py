"""Pooled figures for people: a page with a forest plot, and JSON."""

from __future__ import annotations

from pathlib import Path

from leukoscope.federation.pool import KEYS, Pooled
from leukoscope.files import together, write_json, write_text
from leukoscope.metrics.glossary import BY_KEY
from leukoscope.page import render
from leukoscope.reports.evaluation import inline
from leukoscope.reports.plots import bars, sheet

FIGURES, PAGE = "pooled.json", "report.html"


def lines_of(pooled: Pooled) -> list[str]:
    """What a terminal shows."""
    lines = []
    for site in pooled.sites:
        told = f"{site.summary.site}: {site.summary.patients} patient groups, {site.summary.cells:,} cells, "
        lines.append(told + f"AUC {site.figures['auc'].in_brackets()}" + (" - below the others" if site.fails else ""))
    lines += [f"all sites: {BY_KEY[key].title} {pooled.figures[key].in_brackets()}" for key in KEYS]
    spread = pooled.heterogeneity.get("auc")
    if spread is not None:
        lines.append(
            f"between {spread.sites} sites: AUC {spread.mean.in_brackets()} on average, tau {spread.tau:.3f}, "
            f"I2 {100 * spread.i_squared:.0f} % (random effects, DerSimonian and Laird)"
        )
    return lines


def write_pooled(pooled: Pooled, folder: Path) -> Path:
    """Write pooled.json and report.html as one generation; returns the path of the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LeukoscopeError: the folder cannot be written.
    """
    rows = [(site.summary.site, site.figures["auc"]) for site in pooled.sites]
    rows.append(("all cells", pooled.figures["auc"]))
    spread = pooled.heterogeneity.get("auc")
    if spread is not None:
        rows.append(("mean of sites", spread.mean))
    sub = f"{len(pooled.sites)} sites, {sum(site.summary.patients for site in pooled.sites)} patient groups"
    forest = sheet("AUC by site", [sub], bars(rows, "AUC", chance=0.5), size=(4.0, 3.0), close=True)
    text = render(
        "federation/pooled.html.j2",
        pooled=pooled,
        keys=[(key, BY_KEY[key].title) for key in KEYS],
        sub=sub,
        figures=[
            ("forest", inline("forest", forest), "AUC with its 95 % interval over patients, by site and over all.")
        ],
        warnings=pooled.notes,
        made_with=[
            ("Bundle", f"{pooled.sites[0].summary.bundle}, {pooled.sites[0].summary.digest[:16]}"),
            (
                "Resolution",
                f"bins of {pooled.width:.3f} logits at the threshold, wider far from it; decisions are exact",
            ),
            ("Intervals", "95 %, bootstrap over patient groups, drawn within their site and kind"),
        ],
    )
    with together(folder) as place:
        write_json(place / FIGURES, pooled.to_json())
        write_text(place / PAGE, text)
    return folder / PAGE
