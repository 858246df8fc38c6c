"""The figures of a comparison: accuracy against cost with the Pareto front, and all ROC curves on one sheet.

Colours are those of Okabe & Ito, told apart with any colour vision; line styles and markers tell entries apart without.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

from leukoscope.errors import missing_extra
from leukoscope.evaluation.canvas import BLUE, INK, MUTED, ORANGE, RULE, plain_axes
from leukoscope.evaluation.panel import GRID
from leukoscope.evaluation.wording import counted, intervals_over, of_whom, protocol_title, with_interval
from leukoscope.studies.comparison import Comparison, Cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", MUTED)
_DASHES = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_MARKERS = "osD^vPX"
_SIZE = (6.4, 4.9)  # inches
_LEFT, _RIGHT, _BELOW = 0.72, 0.18, 0.62  # inches around the axes

Engine = tuple[str, int, int]


def roc(comparison: Comparison) -> bytes:
    """Sensitivity against false positive rate of all entries, as SVG."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=RULE, lw=1, ls=(0, (4, 3)))
        for at, (name, measure) in enumerate(comparison.measures.items()):
            colour, dash = _style(at)
            label = f"{name}: AUC {with_interval(measure.figures['auc'])}"
            axes.plot(GRID, measure.roc, color=colour, ls=dash, lw=1.7, label=label)
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_xlabel("False positive rate (1 - specificity)")
        axes.set_ylabel("Sensitivity")
        axes.legend(loc="lower right", frameon=False, fontsize=7.5, labelcolor=INK)

    return _sheet(comparison, "ROC curves on the same cells", draw)


def pareto(comparison: Comparison, title: str, label: str, spent: Callable[[Cost], float | None]) -> bytes | None:
    """AUC with its interval against one kind of cost on a logarithmic scale, as SVG; None with fewer than two points.

    Args:
        comparison: with figures and costs.
        title: of the figure.
        label: of the axis of costs.
        spent: the cost of an entry, None where it was not measured.
    """
    points = {
        name: (cost, measure.figures["auc"])
        for name, measure in comparison.measures.items()
        if name in comparison.costs and (cost := spent(comparison.costs[name])) is not None
    }
    if len(points) < 2:
        return None
    front = sorted(comparison.front(spent), key=lambda name: points[name][0])

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - an optional extra

        axes.set_xscale("log")
        axes.set_xlim(min(cost for cost, _ in points.values()) / 1.7, max(cost for cost, _ in points.values()) * 1.7)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        steps = [(points[name][0], points[name][1].value) for name in front]
        axes.plot(*zip(*steps, strict=True), color=RULE, lw=4, drawstyle="steps-post", zorder=1, label="Pareto front")
        for at, (name, (cost, auc)) in enumerate(points.items()):
            colour, _ = _style(at)
            if auc.low == auc.low:  # not NaN
                axes.vlines(cost, auc.low, auc.high, color=colour, alpha=0.35, lw=3)
            on_front = name in front
            face = colour if on_front else "none"
            axes.plot([cost], [auc.value], _MARKERS[at % 7], color=colour, mfc=face, ms=8, label=name, ls="none")
        axes.set_xlabel(label)
        axes.set_ylabel("AUC (bar: 95 % interval over patient groups)")
        axes.legend(loc="best", frameon=False, fontsize=7.5, labelcolor=INK)

    return _sheet(comparison, title, draw)


def _style(at: int) -> tuple[str, object]:
    return COLOURS[at % len(COLOURS)], _DASHES[at % len(_DASHES)]


def _sheet(comparison: Comparison, title: str, draw: Callable[[Axes], None]) -> bytes:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("drawing figures", "train") from error
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "text.parse_math": False}):
        stamp = [line for text in stamps(comparison) for line in textwrap.wrap(text, 84)]
        head = 0.62 + 0.19 * len(stamp)
        width, height = _SIZE[0], _SIZE[1] + head
        figure = Figure(figsize=(width, height), facecolor="none")
        box = (_LEFT / width, _BELOW / height, 1 - (_LEFT + _RIGHT) / width, 1 - (_BELOW + head) / height)
        axes = figure.add_axes(box)
        plain_axes(axes)
        draw(axes)
        left = _LEFT / width
        figure.text(left, 1 - 0.2 / height, title, size=12.5, weight="bold", color=INK, va="center")
        figure.text(left, 1 - 0.4 / height, _subtitle(comparison), size=7.5, color=MUTED, va="center")
        for row, line in enumerate(stamp):
            y = 1 - (0.6 + 0.19 * row) / height
            figure.text(left, y, line, size=8, weight="bold", color=ORANGE, va="center")
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
        return out.getvalue()


def stamps(comparison: Comparison) -> list[str]:
    """What was cut short, one line for all entries that were cut alike."""
    found: dict[str, list[str]] = {}
    for name, entry in comparison.entries.items():
        short = entry.facts.get("shortened")
        if short and any(short if isinstance(short, list) else [short]):
            words = "; ".join(filter(None, short)) if isinstance(short, list) else str(short)
            found.setdefault(words, []).append(name)
    everyone = len(comparison.entries)
    return [
        f"SHORTENED RUN{'S' if len(names) > 1 else ''}"
        f"{'' if len(names) == everyone else ' (' + ', '.join(names) + ')'}: {words}"
        for words, names in found.items()
    ]


def _subtitle(comparison: Comparison) -> str:
    counts = comparison.counts
    size = f"{counted(counts['cells'], 'cell')} of {of_whom(counts)}"
    protocols = list(dict.fromkeys(protocol_title(each.protocol) for each in comparison.entries.values()))
    return f"{'; '.join(protocols)}; {size}; {intervals_over(counts)}"
