"""A comparison as files: comparison.html, comparison.json, comparison.csv, and its drawings as SVG.

Colours are those of Okabe & Ito, told apart with any colour vision; line styles and markers tell entries apart without.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukoscope.files import together, write_bytes, write_json, write_text
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.metrics.glossary import BY_KEY
from leukoscope.metrics.panel import GRID
from leukoscope.page import render
from leukoscope.reports import wording
from leukoscope.reports.evaluation import inline
from leukoscope.reports.plots import BLUE, INK, MUTED, ORANGE, RULE, sheet
from leukoscope.reports.wording import intervals_over, of_whom, protocol_title, with_interval
from leukoscope.studies.compare.pool import COMPARED, Measure
from leukoscope.studies.compare.table import Comparison, Cost
from leukoscope.text import UNDEFINED, UNKNOWN, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", MUTED)
_DASHES = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_MARKERS = "osD^vPX"
_AXES = (5.5, 4.28)  # inches

Engine = tuple[str, int, int]


def draw_rocs(comparison: Comparison) -> bytes:
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


def draw_pareto(comparison: Comparison, title: str, label: str, spent: Callable[[Cost], float | None]) -> bytes | None:
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
    stamp = [line for text in stamps(comparison) for line in textwrap.wrap(text, 84)]
    return sheet(title, [_subtitle(comparison)], draw, stamp=stamp, size=_AXES, below=0.62)


def stamps(comparison: Comparison) -> list[str]:
    """What was cut short, one line for all entries that were cut alike."""
    found: dict[str, list[str]] = {}
    for name, entry in comparison.entries.items():
        if words := entry.told("shortened"):
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


Drawing = tuple[str, bytes, str]  # name, SVG, caption
HEADLINES = ("auc", "balanced_accuracy", "sensitivity", "specificity", "f1_weighted", "ece")
_NAMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write page, drawings, CSV and JSON as one generation (`leukoscope.files.together`).

    Returns:
        The path of comparison.html.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LeukoscopeError: the folder cannot be written.
    """
    drawings = comparison_drawings(comparison)
    page = comparison_page(comparison, drawings)
    with together(folder) as place:
        write_text(place / "comparison.csv", comparison.to_csv())
        write_text(place / "comparison.html", page)
        for name, svg, _ in drawings:
            # Alone, a drawing brings its ground along: readers with a dark one show its dark letters too.
            grounded = re.sub(rb"(<svg[^>]*>)", rb'\1<rect width="100%" height="100%" fill="#fff"/>', svg)
            write_bytes(place / f"{name}.svg", grounded)
        write_json(place / "comparison.json", comparison.to_json())
    return folder / "comparison.html"


def comparison_page(comparison: Comparison, drawings: Sequence[Drawing]) -> str:
    """The page as HTML that needs no other file."""
    protocols = {each.protocol for each in comparison.entries.values()}
    return render(
        "studies/compare/comparison.html.j2",
        c=comparison,
        figures=[(name, inline(name, svg), caption) for name, svg, caption in drawings],
        stamps=stamps(comparison),
        meanings=[wording.protocol_meaning(each) for each in sorted(protocols - wording.NEW_PATIENTS)],
        headlines=[BY_KEY[key] for key in HEADLINES],
        others=[BY_KEY[key] for key in COMPARED if key not in HEADLINES],
        verdict=_verdict,
        settings=_settings(comparison),
        engines=_NAMES,
        made_with=made_with(comparison),
        number=_number,
        of_whom=of_whom,
        signed=_signed,
    )


def comparison_drawings(comparison: Comparison) -> list[Drawing]:
    """The drawings of a comparison: name, SVG, caption; without measured entries none."""
    if not comparison.measures:
        return []
    caption = (
        "Filled: on the Pareto front, nothing measured here is both better and cheaper. Intervals of entries overlap "
    )
    caption += "where the cells do not tell them apart; the table of differences is the test."
    found: list[tuple[str, bytes | None, str]] = [
        (
            "time",
            draw_pareto(
                comparison,
                "Accuracy against time",
                "Processor milliseconds per cell, ONNX Runtime, one thread, batch 1 (logarithmic)",
                _one_thread,
            ),
            caption,
        ),
        (
            "size",
            draw_pareto(
                comparison,
                "Accuracy against size",
                "Size of the graph in MB (logarithmic)",
                lambda cost: cost.counts.file_bytes / 1e6,
            ),
            caption,
        ),
        ("roc", draw_rocs(comparison), "Mean over seeds. The dashed grey line is a coin."),
    ]
    return [(name, svg, text) for name, svg, text in found if svg is not None]


def _one_thread(cost: Cost) -> float | None:
    """Processor time: on an idle machine the wall clock's, on a busy one what it would be."""
    found = cost.time("onnxruntime", 1, 1)
    return None if found is None else found.cpu or found.median  # a coarse clock may give 0


def _settings(comparison: Comparison) -> list[tuple[str, int, int]]:
    taken = (each for cost in comparison.costs.values() for each in cost.timings)
    return sorted({(each.engine, each.threads, each.batch) for each in taken}, key=lambda each: (each[1:], each[0]))


def _verdict(measure: Measure, key: str) -> str:
    better = measure.better(key)
    return "not told apart" if better is None else ("better" if better else "worse")


def made_with(comparison: Comparison) -> list[tuple[str, str]]:
    """What a page says of how its figures were made: name and words."""
    interval = comparison.context["interval"]
    told: dict[str, Any] = {
        "Command": comparison.context.get("command"),
        "Machine": comparison.context["machine"],
        "Busy": comparison.context.get("load"),
        "Data": ", ".join(
            dict.fromkeys(f"{e.data[0]}, fingerprint {e.data[1][:16]}" for e in comparison.entries.values())
        ),
        "Intervals": f"{interval['replicates']:,} replicates over patient groups, seed {interval['seed']}, paired",
        "Trained on": "; ".join(
            dict.fromkeys(str(e.facts["machine"]) for e in comparison.entries.values() if e.facts.get("machine"))
        ),
    }
    return [(name, str(value)) for name, value in told.items() if value]


def _number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent: 1,234,567, 22.1, 0.0514.

    >>> _number(22.123), _number(1234567), _number(None), _number(0.05141)
    ('22.1', '1,234,567', '', '0.0514')
    """
    if value is None:
        return ""
    if value == int(value) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    places = digits - 1 if value == 0 else max(digits - 1 - _exponent(abs(value)), 0)
    return f"{value:,.{places}f}"


def _exponent(value: float) -> int:
    """The exponent of the first significant digit."""
    return int(f"{value:e}".partition("e")[2])


def _signed(each: Estimate) -> str:
    if each.value != each.value:
        return UNDEFINED
    ends = UNKNOWN if each.low != each.low else f"{each.low:+.3f} to {each.high:+.3f}"
    return f"{each.value:+.3f} ({ends})"
