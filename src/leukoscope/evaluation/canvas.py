"""The sheet that each figure of an evaluation is drawn on: square axes under a head that says what was measured."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from leukoscope.errors import missing_extra
from leukoscope.evaluation.wording import counted, intervals_over, of_whom, protocol_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from leukoscope.evaluation.result import Evaluation

Kind = Literal["svg", "png"]
BLUE, ORANGE, INK, MUTED, RULE = "#0072b2", "#d55e00", "#1d2330", "#667080", "#c9ced6"
_SQUARE = (4.8, 5.0)  # inches


def square(
    evaluation: Evaluation,
    title: str,
    draw: Callable[[Axes], None],
    kind: Kind,
    *,
    height: float = _SQUARE[1],
    unit_limits: bool = True,
) -> bytes:
    """A square plot under a head that says what was measured, and whether the run was cut short."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("drawing figures", "train") from error
    # Real text in the SVG, same identifiers each time, and a dollar in a name is a dollar.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "text.parse_math": False}):
        lines = _subtitle(evaluation)
        stamp = textwrap.wrap(_stamp(evaluation), 58)
        head = 0.42 + 0.16 * len(lines) + 0.19 * len(stamp)
        total = height + head - 0.6
        figure = Figure(figsize=(_SQUARE[0], total), facecolor="none")
        side = _SQUARE[0] - 0.85
        axes = figure.add_axes((0.68 / _SQUARE[0], 1 - (head + side) / total, side / _SQUARE[0], side / total))
        plain_axes(axes)
        if unit_limits:
            axes.set_xlim(-0.01, 1.01)
            axes.set_ylim(-0.01, 1.01)
        draw(axes)
        _head(figure, title, lines, stamp, total)
        return _saved(figure, kind, title)


def _head(figure: Figure, title: str, lines: list[str], stamp: list[str], total: float) -> None:
    left = 0.68 / _SQUARE[0]
    y = 0.2
    figure.text(left, 1 - y / total, title, size=12.5, weight="bold", color=INK, va="center")
    for line in lines:
        y += 0.17
        figure.text(left, 1 - y / total, line, size=7.5, color=MUTED, va="center")
    for line in stamp:
        y += 0.19
        figure.text(left, 1 - y / total, line, size=8, weight="bold", color=ORANGE, va="center")


def plain_axes(axes: Axes) -> None:
    """Quiet axes: two spines, a faint grid, no ground of their own."""
    axes.set_facecolor("none")
    axes.grid(visible=True, color=RULE, lw=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=8, length=3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in {"left", "bottom"})
        spine.set_color(RULE)


def _subtitle(evaluation: Evaluation) -> list[str]:
    counts = evaluation.counts
    size = f"{counted(counts['pictures'], 'picture')} of {of_whom(counts)}"
    split = protocol_title(evaluation.context["protocol"], evaluation.context.get("fold"))
    return [*textwrap.wrap(split, 68, max_lines=2), f"{size}; {intervals_over(counts)}"]


def _stamp(evaluation: Evaluation) -> str:
    shortened = evaluation.context.get("shortened")
    return f"SHORTENED RUN: {shortened}" if shortened else ""


def _saved(figure: Figure, kind: Kind, title: str) -> bytes:
    out = io.BytesIO()
    if kind == "svg":
        figure.savefig(out, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    else:
        figure.savefig(out, format="png", dpi=200, facecolor="white", metadata={"Software": None, "Title": title})
    return out.getvalue()
