"""The reproduction as a page for people, JSON for machines, CSV for spreadsheets, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leukoscope.files import together, write_json, write_text
from leukoscope.page import render
from leukoscope.studies.paper.study import SHOWN
from leukoscope.tables import csv_text

JSON_FILE, PAGE_FILE = "reproduction.json", "reproduction.html"
CLAIMS_FILE, FIGURES_FILE = "claims.csv", "figures.csv"
TITLES = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "precision_blast": "Precision",
    "sensitivity": "Recall",
    "specificity": "Specificity",
    "f1_blast": "F1 of blast",
    "f1_weighted": "F1, weighted",
}
WHERES = (("stated", "the paper's split"), ("new_patients", "new patients"))


def write_reproduction(value: Mapping[str, Any], folder: Path) -> Path:
    """Write reproduction.json, claims.csv, figures.csv and reproduction.html; the path of the page.

    Args:
        value: what ``reproduce`` gave.
        folder: made if absent.

    Raises:
        LeukoscopeError: the folder cannot be written.
    """
    with together(folder) as place:
        write_text(place / CLAIMS_FILE, claims_csv(value))
        write_text(place / FIGURES_FILE, figures_csv(value))
        write_text(place / PAGE_FILE, paper_page(value))
        write_json(place / JSON_FILE, dict(value))
    return folder / PAGE_FILE


def paper_page(value: Mapping[str, Any]) -> str:
    """The page as HTML that needs no other file."""
    arms = {arm["key"]: arm["title"] for arm in value["arms"]}
    return render(
        "studies/paper/reproduce.html.j2",
        v=value,
        arms=arms,
        shown=[(key, TITLES[key]) for key in SHOWN],
        counts=verdict_counts(value),
        wheres=WHERES,
        figure=figure_text,
        verdict=verdict_text,
    )


def claims_csv(value: Mapping[str, Any]) -> str:
    """One row per claim, network and split."""
    columns = (
        "id", "claim", "place", "claimed", "model", "split", "reproduced", "low", "high", "verdict", "reason",
        "shortened",
    )  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for row in value["claims"]:
        for where, title in WHERES:
            said = row[where]
            if said is None:
                continue
            ends = said["figure"] or {"value": said["reproduced"], "low": None, "high": None}
            rows.append(
                (row["id"], row["claim"], row["place"], row["claimed"], row["model"], title, *ends.values(),
                 said["verdict"], said["reason"], said["shortened"])
            )  # fmt: skip
    return csv_text(columns, rows)


def figures_csv(value: Mapping[str, Any]) -> str:
    """One row per split, network and figure; networks without figures say why."""
    columns = ("trained_on", "tested_on", "split", "model", "figure", "value", "low", "high", "pictures", "note")
    rows: list[tuple[object, ...]] = []
    for table in ("figures", "across", "combined"):
        for row in value[table]:
            head = (
                row.get("trained_on", value["data"]),
                row.get("tested_on", value["data"]),
                row.get("arm", "stated"),
                row["model"],
            )
            if "missing" in row:
                rows.append((*head, "", "", "", "", "", row["missing"]))
                continue
            for key, ends in row["metrics"].items():
                note = f"shortened: {row['shortened']}" if row["shortened"] else ""
                rows.append((*head, key, *ends.values(), row["pictures"], note))
    return csv_text(columns, rows)


def figure_text(ends: Mapping[str, float | None]) -> str:
    """Value and interval with three decimals."""
    if ends["value"] is None:
        return "undefined"
    if ends["low"] is None:
        return f"{ends['value']:.3f} (no interval)"
    return f"{ends['value']:.3f} ({ends['low']:.3f} to {ends['high']:.3f})"


def verdict_text(said: Mapping[str, Any] | None) -> str:
    """A verdict in words, with its reason, and labelled where it rests on a shortened run.

    >>> verdict_text({"verdict": "cannot be checked", "reason": "no cell", "shortened": None})
    'cannot be checked because no cell'
    """
    if said is None:
        return ""
    plain = said["verdict"] == "cannot be checked" and not said["reason"].startswith("not measured")
    joint = " because " if plain else ": "
    text = f"{said['verdict']}{joint}{said['reason']}" if said["reason"] else str(said["verdict"])
    return text + (" [shortened run]" if said["shortened"] else "")


def verdict_counts(value: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """By split, how many rows of claims have each verdict."""
    counts: dict[str, dict[str, int]] = {}
    for where, title in WHERES:
        mine = counts.setdefault(title, {"holds": 0, "does not hold": 0, "cannot be checked": 0})
        for row in value["claims"]:
            if row[where] is not None:
                mine[row[where]["verdict"]] += 1
    return counts


def lines(value: Mapping[str, Any]) -> list[str]:
    """The result for a terminal: every claim, what the picture-level split was worth, and what was cut short."""
    told = [f"{value['data']}: {value['pictures']:,} pictures of {value['groups']:,} patient groups"]
    if value["shortened"]:
        told.append(f"SHORTENED RUNS: {value['shortened']}")
    for row in value["claims"]:
        model = f" ({row['model']})" if row["model"] else ""
        told.append(f"{row['claim']}{model}; claimed: {row['claimed']}")
        for where, title in WHERES:
            if row[where] is not None:
                shown = f"{row[where]['reproduced']}: " if row[where]["reproduced"] else ""
                told.append(f"    {title}: {shown}{verdict_text(row[where])}")
    told.append("What the picture-level split was worth:")
    told += [f"  {row['sentence']}" for row in value["worth"]] or ["  cannot be said: both splits must be measured"]
    for title, mine in verdict_counts(value).items():
        held, failed, unsettled = mine.values()
        told.append(f"On {title}: {held} hold, {failed} do not hold, {unsettled} cannot be checked")
    return told
