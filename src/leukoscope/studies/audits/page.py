"""One page for each audit of a bundle: the verdict, the rules, the figures, the drawings, the pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.page import render
from leukoscope.reports.evaluation import inline
from leukoscope.studies.audits.rules import Rule, verdict

THUMBNAIL = 224  # pixels
AXES = (4.0, 3.0)  # inches


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words under their heads; the first column names the row."""

    title: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def audit_page(
    title: str,
    sub: str,
    rules: Sequence[Rule],
    tables: Sequence[Table],
    drawings: Sequence[tuple[str, bytes, str]],
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    notes: Sequence[str],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The page as HTML that needs no other file.

    Args:
        title: of the page.
        sub: what was measured, in a sentence.
        rules: the verdict's.
        tables: of figures.
        drawings: name, SVG and caption.
        pictures: caption and uint8 RGB picture.
        notes: to be read before quoting a figure.
        facts: name and value of what the figures were made with.
    """
    passed, sentence = verdict(rules)
    return render(
        "studies/audits/audit.html.j2",
        name=title,
        sub=sub,
        passed=passed,
        sentence=sentence,
        rules=rules,
        tables=tables,
        figures=[(name, inline(name, svg), caption) for name, svg, caption in drawings],
        pictures=[(caption, _png(picture)) for caption, picture in pictures],
        warnings=notes,
        made_with=facts,
    )


def _png(picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
