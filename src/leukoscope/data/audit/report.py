"""What an audit leaves behind: groups.csv for splits, audit.json for machines, audit.html for people."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from leukoscope._version import __version__
from leukoscope.data.audit.gallery import choose, exhibits
from leukoscope.data.audit.graph import subject_graph
from leukoscope.data.audit.grouping import RULE, SubjectPair
from leukoscope.data.audit.links import Kind, Link
from leukoscope.data.audit.result import AuditResult
from leukoscope.data.audit.shortcuts import measure_shortcuts
from leukoscope.data.groups import apply_groups, natural
from leukoscope.data.record import LABEL_WORDS
from leukoscope.files import write_json, write_text


def evidence(result: AuditResult) -> dict[str, str]:
    """For every subject, in one sentence, what joins it to others."""
    told: dict[str, list[str]] = {subject: [] for subject in result.groups}
    for pair in sorted(result.pairs, key=lambda pair: (natural(pair.first), natural(pair.second))):
        kinds = ", ".join(f"{count} {kind}" for kind, count in pair.kinds.items() if count)
        note = "" if pair.joined else "; left for review, not joined"
        for subject, other in ((pair.first, pair.second), (pair.second, pair.first)):
            told[subject].append(f"{len(pair.links)} links to {other} ({kinds}{note})")
    return {subject: "; ".join(parts) or "no link to another subject" for subject, parts in told.items()}


def groups_csv(result: AuditResult) -> str:
    """The table subject, group, evidence."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("subject", "group", "evidence"))
    told = evidence(result)
    writer.writerows((subject, group, told[subject]) for subject, group in result.groups.items())
    return text.getvalue()


def crossings(result: AuditResult, part_of: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """How many links join each two parts of a split: part, part, links.

    Args:
        result: of an audit.
        part_of: path to the name of its part; pictures that are not named are left out.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for link in result.links:
        ends = [part_of.get(result.manifest.records[i].path) for i in (link.first, link.second)]
        a, b = sorted(end or "" for end in ends)
        if a and a != b:
            counts[a, b] += 1
    return [(a, b, count) for (a, b), count in sorted(counts.items())]


def describe(result: AuditResult, split: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole result as plain data.

    Args:
        result: of an audit.
        split: path to part, of a split of the user's.
    """
    records = result.manifest.records
    folds = {record.path: f"fold {record.fold}" for record in records if record.fold is not None}
    clean = apply_groups(result.manifest, result.groups)
    return {
        "leukoscope": __version__,
        "data_set": result.manifest.name,
        "fingerprint": result.manifest.fingerprint(),
        "pictures": len(records),
        "compared": len(records) - len(result.unreadable) - len(result.blank),
        "subjects": len(result.groups),
        "grouping": "possible" if result.groups else "impossible: no subject is known, links join pictures only",
        "rule": RULE,
        "pairs_possible": len(records) * (len(records) - 1) // 2,
        "pairs_aligned": result.candidates,
        "calibration": {
            "unrelated_pairs": result.null.pairs,
            "aligned": result.null.aligned,
            "highest_score": result.null.highest,
            "threshold": result.null.threshold,
        },
        "seconds": dict(result.seconds),
        "links_by_kind": {
            str(kind): {"across_subjects": result.count(kind, across=True), "other": result.count(kind, across=False)}
            for kind in Kind
        },
        "groups": dict(result.groups),
        "subject_pairs": [_pair(pair) for pair in result.pairs],
        "left_for_review": [[pair.first, pair.second] for pair in result.review],
        "conflicts": [_link(result, result.links[n]) for n in result.conflicts],
        "links_across_official_folds": crossings(result, folds),
        "links_across_split": None if split is None else crossings(result, split),
        "unreadable": [list(entry) for entry in result.unreadable],
        "blank": list(result.blank),
        "without_black_surround": result.whole,
        "case_collisions": [list(paths) for paths in result.collisions],
        "shortcuts": [
            {"name": s.name, "auc": s.auc, "low": s.low, "high": s.high}
            for s in measure_shortcuts(result.measures, clean.labels(), clean.groups())
        ],
        "links": [_link(result, link) for link in result.links],
    }


def verdict(facts: Mapping[str, Any]) -> str:
    """What it comes to, in a few sentences."""
    across = sum(kind["across_subjects"] for kind in facts["links_by_kind"].values())
    other = sum(kind["other"] for kind in facts["links_by_kind"].values())
    if not across + other:
        return f"No two of the {facts['compared']:,} pictures compared show the same cell."
    parts = []
    if not facts["subjects"]:
        parts.append(f"{other:,} pairs of pictures show the same cell. No subject is known, so grouping is impossible.")
    elif across:
        members = Counter(facts["groups"].values())
        joined = sum(count for count in members.values() if count > 1)
        parts.append(
            f"{across:,} pairs of pictures show one cell under two subjects: {joined} of {facts['subjects']} subjects "
            f"are joined into {sum(count > 1 for count in members.values())} patient groups. "
            "A split by subject leaks; split by group."
        )
    else:
        parts.append("No cell stands under two subjects.")
    if facts["subjects"] and other:
        parts.append(f"{other:,} further pairs lie within one subject, where a split by subject or group keeps them.")
    folds = sum(count for *_, count in facts["links_across_official_folds"])
    if folds:
        parts.append(f"{folds:,} links cross the official folds.")
    parts.append(
        f"{len(facts['conflicts']):,} links join a blast to a normal cell."
        if facts["conflicts"]
        else "No link joins a blast to a normal cell."
    )
    return " ".join(parts)


def write_report(result: AuditResult, out: Path, *, split: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Write `audit.json`, `audit.html` and, where subjects are known, `groups.csv` into a folder.

    Returns:
        What stands in `audit.json`.
    """
    facts = describe(result, split)
    facts["verdict"] = verdict(facts)
    shown = exhibits(result, choose(result))
    template = files("leukoscope.data.audit").joinpath("audit.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        template
    )
    cards = [(_link(result, result.links[item.link]), item.strip, item.link in result.conflicts) for item in shown]
    html = page.render(f=facts, cards=cards, graph=subject_graph(result), total=len(result.links))
    write_json(out / "audit.json", facts)
    write_text(out / "audit.html", html)
    if result.groups:
        write_text(out / "groups.csv", groups_csv(result))
    return facts


def _pair(pair: SubjectPair) -> dict[str, Any]:
    kinds = {str(kind): count for kind, count in pair.kinds.items() if count}
    ends = {"first": pair.first, "second": pair.second}
    return {
        **ends,
        "links": len(pair.links),
        "cells": pair.cells,
        "kinds": kinds,
        "best": pair.best,
        "joined": pair.joined,
    }


def _link(result: AuditResult, link: Link) -> dict[str, Any]:
    a, b = (result.manifest.records[i] for i in (link.first, link.second))
    transform = link.transform
    return {
        "first": a.path,
        "second": b.path,
        "subjects": [a.subject, b.subject],
        "labels": [LABEL_WORDS[a.label] or None, LABEL_WORDS[b.label] or None],
        "kind": str(link.kind),
        "score": round(link.score, 4),
        "fine": round(link.fine, 4),
        "overlap": round(link.overlap, 3),
        "angle": round(transform.angle, 2),
        "mirror": transform.mirror,
        "scale": round(transform.scale, 4),
        "shift": [round(value, 1) for value in transform.shift],
        "neighbours": link.neighbours,
    }
