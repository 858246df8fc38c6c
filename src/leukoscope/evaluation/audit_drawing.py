"""The sheet that the drawings of an audit are made on, in the palette of the other figures."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from leukoscope.errors import missing_extra
from leukoscope.evaluation.canvas import BLUE, INK, MUTED, RULE, plain_axes
from leukoscope.evaluation.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
