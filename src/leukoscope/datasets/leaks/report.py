"""What an audit leaves behind: groups.csv for splits, audit.json for machines, audit.html for people.

The proof to look at: both cells, the second laid on the first, what differs, and the textures that were compared.

The subjects and their links, drawn as SVG.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from leukoscope._version import __version__
from leukoscope.cells.read import read_picture
from leukoscope.datasets.groups import apply_groups
from leukoscope.datasets.leaks.coarse import warp
from leukoscope.datasets.leaks.links import RULE, AuditResult, Kind, Link, SubjectPair
from leukoscope.datasets.leaks.shortcuts import measure_shortcuts
from leukoscope.datasets.leaks.store import CHUNK, load_tile
from leukoscope.datasets.leaks.tiles import TILE_SIDE, texture
from leukoscope.datasets.record import LABEL_WORDS
from leukoscope.files import together, write_json, write_text
from leukoscope.page import render
from leukoscope.tables import csv_text
from leukoscope.text import natural

PER_SUBJECT_PAIR = 4
MOST_PAIRS = 160
_CHECK = 24  # pixels, a square of the checkerboard


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One pair of the gallery.

    Attributes:
        link: index into the result's links.
        strip: JPEG as a data URL: first, second aligned, checkerboard of both, difference, both textures.
    """

    link: int
    strip: str


def choose(result: AuditResult) -> list[int]:
    """Links worth showing: conflicts and cases for review first, then some of every subject pair, then others.

    Of a subject pair the weakest and the strongest are shown: the weakest is what a doubter should see.
    """
    chosen: dict[int, None] = dict.fromkeys(result.conflicts)
    for pair in result.review:
        chosen.update(dict.fromkeys(pair.links))
    for pair in result.pairs:
        ranked = sorted(pair.links, key=lambda n: result.links[n].score)
        unlike = [n for n in ranked if not result.links[n].identical]
        chosen.update(dict.fromkeys((unlike or ranked)[: PER_SUBJECT_PAIR - 1] + ranked[-1:]))
    inside = [n for n, link in enumerate(result.links) if not result.crosses_subjects(link)]
    for kind in Kind:
        weakest = sorted((n for n in inside if result.links[n].kind is kind), key=lambda n: result.links[n].score)
        chosen.update(dict.fromkeys(weakest[:8]))
    return list(chosen)[:MOST_PAIRS]


def exhibits(result: AuditResult, numbers: Sequence[int]) -> list[Exhibit]:
    """Draw pairs; see `Exhibit`."""
    shown = []
    for number in numbers:
        _, data = cv2.imencode(
            ".jpg",
            cv2.cvtColor(draw_pair(result, result.links[number]), cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, 82],
        )
        shown.append(Exhibit(number, "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()))
    return shown


def draw_pair(result: AuditResult, link: Link) -> NDArray[np.uint8]:
    """Strip of six panels, uint8 [TILE_SIDE, 6 * TILE_SIDE, 3].

    The difference is taken after both are brought to the same mean and contrast inside the overlap, so that another
    exposure or colour normalisation does not show, but another cell does.
    """
    grey = [load_tile(result.store, result.keys, i) for i in (link.first, link.second)]
    colour = [_colour(result, i) for i in (link.first, link.second)]
    matrix = np.array(link.matrix).reshape(2, 3)
    if link.transform.mirror:
        grey[1] = np.ascontiguousarray(grey[1][:, ::-1])
        colour[1] = np.ascontiguousarray(colour[1][:, ::-1])
    textures = [texture(tile, fine=1.0, coarse=5.0, fade=4.0)[0] for tile in grey]
    second = np.clip(warp(colour[1].astype(np.float32), matrix), 0, 255).astype(np.uint8)
    moved = warp(grey[1].astype(np.float32), matrix)
    shared = (grey[0] > 0) & (warp((grey[1] > 0).astype(np.float32), matrix) > 0.99)
    rows, columns = np.mgrid[:TILE_SIDE, :TILE_SIDE] // _CHECK
    board = np.where(((rows + columns) % 2 == 0)[..., None], colour[0], second)
    difference = np.zeros((TILE_SIDE, TILE_SIDE), np.float32)
    if shared.any():
        a, b = grey[0][shared].astype(np.float32), moved[shared]
        difference[shared] = np.abs((a - a.mean()) / (a.std() + 1) - (b - b.mean()) / (b.std() + 1))
    panels = [colour[0], second, board, _as_grey(60 * difference)]
    panels += [_as_grey(128 + 60 * t) for t in (textures[0], warp(textures[1], matrix))]
    return np.concatenate(panels, axis=1)


def _as_grey(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.repeat(np.clip(levels, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _colour(result: AuditResult, index: int) -> NDArray[np.uint8]:
    """The picture in colour, laid out as its tile."""
    rgb = read_picture(result.manifest.locate(result.manifest.records[index])).rgb
    with np.load(result.store / f"facts-{result.keys[index // CHUNK]}.npz") as facts:
        place = facts["place"][index % CHUNK]
    size = (TILE_SIDE, TILE_SIDE)
    blurred = cv2.GaussianBlur(rgb, (0, 0), max(0.35 / max(float(place[0, 0]), 1e-3), 0.1))
    return np.asarray(cv2.warpAffine(blurred, place, size, flags=cv2.INTER_LINEAR), np.uint8)


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
    told = evidence(result)
    rows = ((subject, group, told[subject]) for subject, group in result.groups.items())
    return csv_text(("subject", "group", "evidence"), rows)


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
    cards = [(_link(result, result.links[item.link]), item.strip, item.link in result.conflicts) for item in shown]
    html = render("datasets/leaks/audit.html.j2", f=facts, cards=cards, total=len(result.links))
    with together(out, gone=() if result.groups else ("groups.csv",)) as place:
        write_json(place / "audit.json", facts)
        write_text(place / "audit.html", html)
        if result.groups:
            write_text(place / "groups.csv", groups_csv(result))
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
