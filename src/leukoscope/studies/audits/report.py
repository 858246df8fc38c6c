"""One page for each audit of a bundle: the verdict, the rules, the figures, the drawings, the pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.files import together, write_json, write_text
from leukoscope.page import render
from leukoscope.reports.evaluation import inline
from leukoscope.reports.wording import of_whom
from leukoscope.studies.audits.rules import Audit, verdict_from

THUMBNAIL = 224  # pixels
AXES = (4.0, 3.0)  # inches


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words under their heads; the first column names the row."""

    title: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def verdict_lines(audit: Audit) -> list[str]:
    """The verdict and each rule, for a terminal."""
    return [
        f"verdict: {verdict_from(audit.rules)[1]}",
        *(f"  {r.outcome:<13} {r.title}: {r.found}" for r in audit.rules),
    ]


def subtitle(audit: Audit) -> str:
    """Which cells were asked about."""
    return f"{audit.counts['cells']:,} cells ({audit.counts['blasts']:,} blasts) of {of_whom(audit.counts)}"


def write_audit(
    audit: Audit,
    folder: Path,
    name: str,
    title: str,
    tables: Sequence[Table],
    drawings: Sequence[tuple[str, bytes, str]],
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
) -> Path:
    """Write ``name``.json and ``name``.html, which needs no other file; returns the path of the page.

    Args:
        audit: what came out.
        folder: made if absent.
        name: of the files.
        title: of the page.
        tables: of figures.
        drawings: name, SVG and caption.
        pictures: caption and uint8 RGB picture.

    Raises:
        LeukoscopeError: the folder cannot be written.
    """
    passed, sentence = verdict_from(audit.rules)
    page = render(
        "studies/audits/audit.html.j2",
        name=title,
        sub=f"{audit.context.get('data', 'Data')}: {subtitle(audit)}.",
        passed=passed,
        sentence=sentence,
        rules=audit.rules,
        tables=tables,
        figures=[(key, inline(key, svg), caption) for key, svg, caption in drawings],
        pictures=[(caption, _png(picture)) for caption, picture in pictures],
        warnings=audit.notes,
        made_with=[(key.replace("_", " ").capitalize(), str(value)) for key, value in audit.context.items()],
    )
    with together(folder) as place:
        write_text(place / f"{name}.html", page)
        write_json(place / f"{name}.json", audit.to_json())
    return folder / f"{name}.html"


def _png(picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
