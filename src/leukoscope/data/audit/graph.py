"""The subjects and their links, drawn as SVG."""

from __future__ import annotations

import math
from collections import defaultdict
from html import escape

from leukoscope.data.audit.result import AuditResult
from leukoscope.data.groups import natural

_CELL, _ROW = 230, 5  # pixels a group takes; groups in a row


def subject_graph(result: AuditResult) -> str:
    """SVG of every group of more than one subject and of single links left for review; empty where there is none.

    A line is as thick as its number of links, which stands on it; links left for review are dashed.
    """
    clusters: dict[str, set[str]] = defaultdict(set)
    for pair in result.pairs:
        for subject in (pair.first, pair.second):
            clusters[result.groups[subject]].add(subject)
    if not clusters:
        return ""
    spot: dict[str, tuple[float, float]] = {}
    ordered = sorted(clusters.items(), key=lambda item: (-len(item[1]), natural(item[0])))
    for number, (_, members) in enumerate(ordered):
        x0 = (number % _ROW + 0.5) * _CELL
        y0 = (number // _ROW + 0.5) * _CELL
        radius = 0 if len(members) == 1 else min(80, 40 + 8 * len(members))
        for k, subject in enumerate(sorted(members, key=natural)):
            turn = 2 * math.pi * k / len(members) - math.pi / 2
            spot[subject] = (x0 + radius * math.cos(turn), y0 + radius * math.sin(turn))
    width = min(len(ordered), _ROW) * _CELL
    height = math.ceil(len(ordered) / _ROW) * _CELL
    lines, texts = [], []
    for pair in result.pairs:
        (x1, y1), (x2, y2) = spot[pair.first], spot[pair.second]
        dash = "" if pair.joined else ' stroke-dasharray="5 4"'
        thick = 1.5 + 1.6 * math.log(len(pair.links))
        lines.append(f'<path d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}" stroke-width="{thick:.1f}"{dash}/>')
        texts.append(f'<text class="w" x="{(x1 + x2) / 2:.0f}" y="{(y1 + y2) / 2 + 4:.0f}">{len(pair.links)}</text>')
    nodes = [
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="17"/><text x="{x:.0f}" y="{y + 4.5:.0f}">{escape(subject)}</text>'
        for subject, (x, y) in spot.items()
    ]
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Subjects joined by shared cells" '
        f'style="max-width:{width}px">{"".join(lines)}{"".join(texts)}{"".join(nodes)}</svg>'
    )
