"""One page for each audit of a bundle: the verdict, the rules, the figures, the drawings, the pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukoscope.errors import missing_extra
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.reports.evaluation import STATEMENT, inline
from leukoscope.reports.plots import BLUE, INK, MUTED, RULE, plain_axes
from leukoscope.studies.audits.rules import Rule, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THUMBNAIL = 224  # pixels


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words under their heads; the first column names the row."""

    title: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_page(
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
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("leukoscope.studies.audits").joinpath("audit.html.j2").read_text(encoding="utf-8")
    passed, sentence = verdict(rules)
    return environment.from_string(source).render(
        title=title,
        sub=sub,
        passed=passed,
        sentence=sentence,
        rules=rules,
        tables=tables,
        figures=[(name, inline(name, svg), caption) for name, svg, caption in drawings],
        pictures=[(caption, _png(picture)) for caption, picture in pictures],
        notes=notes,
        facts=facts,
        statement=STATEMENT,
    )


def _png(picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


_WIDTH = 5.2  # inches


def sheet(title: str, sub: str, draw: Callable[[Axes], None], *, height: float = 4.0) -> bytes:
    """An SVG with one pair of axes under a title and a line that says what was measured.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("drawing figures", "train") from error
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(_WIDTH, height), facecolor="none")
        axes = figure.subplots()
        plain_axes(axes)
        draw(axes)
        axes.set_title(f"{title}\n", loc="left", color=INK, weight="bold", size=11)
        axes.text(0, 1.03, sub, transform=axes.transAxes, color=MUTED, size=7.5)
        out = io.BytesIO()
        metadata = {"Title": title, "Date": None, "Creator": None}
        figure.savefig(out, format="svg", bbox_inches="tight", metadata=metadata)
        return out.getvalue()


def bars(rows: Sequence[tuple[str, Estimate]], label: str, *, chance: float | None = None) -> Callable[[Axes], None]:
    """Points with their intervals, one row each, the first on top; a dashed line at ``chance``."""

    def draw(axes: Axes) -> None:
        if chance is not None:
            axes.axvline(chance, color=RULE, lw=1, ls=(0, (4, 3)))
        for place, (_, each) in enumerate(rows):
            axes.plot([each.low, each.high], [place, place], color=BLUE, lw=4, alpha=0.35, solid_capstyle="butt")
            axes.plot([each.value], [place], "o", color=BLUE, ms=5)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label)

    return draw
