"""The sheet that figures are drawn on, the five figures of an evaluation, and the course of a run.

Drawn with matplotlib's objects: no window, no global figure.

Colours are those of Okabe & Ito, told apart with any colour vision. Shaded bands are pointwise 95 % intervals from the
bootstrap over patient groups.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from leukoscope.errors import missing_extra
from leukoscope.files import atomic_path
from leukoscope.metrics.panel import GRID
from leukoscope.reports.wording import intervals_over, of_whom, protocol_title, with_interval
from leukoscope.text import counted, decimal, percentage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from leukoscope.metrics.bootstrap import Estimate
    from leukoscope.metrics.evaluation import Curve, Evaluation

Kind = Literal["svg", "png"]
BLUE, ORANGE, INK, MUTED, RULE = "#0072b2", "#d55e00", "#1d2330", "#667080", "#c9ced6"
_LEFT, _RIGHT = 0.68, 0.17  # inches beside the axes
_SQUARE = 3.95  # inches, a side of the axes
_STEP = {"line": 0.17, "stamp": 0.19}  # inches from one line of the head to the next


def sheet(
    title: str,
    lines: Sequence[str],
    draw: Callable[[Axes], None],
    *,
    stamp: Sequence[str] = (),
    size: tuple[float, float] = (_SQUARE, _SQUARE),
    below: float = 0.45,
    kind: Kind = "svg",
    close: bool = False,
) -> bytes:
    """One pair of axes under a head that says what was measured, and whether runs were cut short.

    Args:
        title: of the drawing.
        lines: what was measured, and what the intervals hold.
        draw: draws on the axes.
        stamp: what was cut short.
        size: of the axes, width and height in inches.
        below: inches below the axes.
        kind: of picture.
        close: the sheet is as wide as what is drawn, such as the names beside bars.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("drawing figures", "train") from error
    # Real text in the SVG, same identifiers each time, and a dollar in a name is a dollar.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "text.parse_math": False}):
        head = 0.42 + 0.16 * len(lines) + _STEP["stamp"] * len(stamp)
        width, height = _LEFT + size[0] + _RIGHT, head + size[1] + below
        figure = Figure(figsize=(width, height), facecolor="none")
        axes = figure.add_axes((_LEFT / width, below / height, size[0] / width, size[1] / height))
        plain_axes(axes)
        draw(axes)
        left, y = _LEFT / width, 0.2
        figure.text(left, 1 - y / height, title, size=12.5, weight="bold", color=INK, va="center")
        for text, step in [*((line, "line") for line in lines), *((line, "stamp") for line in stamp)]:
            y += _STEP[step]
            style: dict[str, Any] = (
                {"size": 7.5, "color": MUTED} if step == "line" else {"size": 8, "color": ORANGE, "weight": "bold"}
            )
            figure.text(left, 1 - y / height, text, va="center", **style)
        out = io.BytesIO()
        box = "tight" if close else None
        if kind == "svg":
            metadata = {"Title": title, "Date": None, "Creator": None}
            figure.savefig(out, format="svg", bbox_inches=box, metadata=metadata)
        else:
            metadata = {"Software": None, "Title": title}
            figure.savefig(out, format="png", dpi=200, facecolor="white", bbox_inches=box, metadata=metadata)
        return out.getvalue()


def _square(
    evaluation: Evaluation,
    title: str,
    draw: Callable[[Axes], None],
    kind: Kind,
    *,
    below: float = 0.45,
    unit_limits: bool = True,
) -> bytes:
    """A square drawing of an evaluation."""
    counts, made = evaluation.counts, evaluation.provenance
    split = textwrap.wrap(protocol_title(made.protocol, made.fold), 68, max_lines=2)
    size = f"{counted(counts['pictures'], 'picture')} of {of_whom(counts)}"
    stamp = textwrap.wrap(f"SHORTENED RUN: {made.shortened}", 58) if made.shortened else []

    def both(axes: Axes) -> None:
        if unit_limits:
            axes.set_xlim(-0.01, 1.01)
            axes.set_ylim(-0.01, 1.01)
        draw(axes)

    return sheet(title, [*split, f"{size}; {intervals_over(counts)}"], both, stamp=stamp, below=below, kind=kind)


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


_FIRST_COVERAGE = 0.05  # among fewer pictures one error more or less moves the curve over the whole sheet


def draw_roc(evaluation: Evaluation, kind: Kind = "svg") -> bytes:
    """Sensitivity against false positive rate, with the operating point at the threshold."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=RULE, lw=1, ls=(0, (4, 3)))
        _band(axes, evaluation.roc, from_index=0)
        axes.plot(evaluation.roc.x, evaluation.roc.y, color=BLUE, lw=1.8)
        sensitivity, specificity = (evaluation.metrics[key].value for key in ("sensitivity", "specificity"))
        axes.plot([1 - specificity], [sensitivity], "o", color=ORANGE, ms=7, mec="white", mew=1)
        axes.text(0.97, 0.13, f"AUC {with_interval(evaluation.metrics['auc'])}", ha="right", color=BLUE, weight="bold")
        found = f"sensitivity {decimal(sensitivity)}, specificity {decimal(specificity)}"
        point = f"● threshold {evaluation.threshold:.3g}: {found}"
        axes.text(0.97, 0.05, point, ha="right", color=ORANGE, size=7.5)
        axes.set_xlabel("False positive rate (1 - specificity)")
        axes.set_ylabel("Sensitivity")

    return _square(evaluation, "ROC curve", draw, kind)


def draw_precision_recall(evaluation: Evaluation, kind: Kind = "svg") -> bytes:
    """Precision against recall of blast; the dashed line is what a coin gets."""

    def draw(axes: Axes) -> None:
        prevalence = evaluation.counts["blasts"] / evaluation.counts["pictures"]
        axes.plot([0, 1], [prevalence] * 2, color=RULE, lw=1, ls=(0, (4, 3)))
        _band(axes, evaluation.precision_recall, from_index=1)
        curve = evaluation.precision_recall
        axes.plot(curve.x[1:], curve.y[1:], color=BLUE, lw=1.8, drawstyle="steps-pre")
        recall, precision = (evaluation.metrics[key].value for key in ("sensitivity", "precision_blast"))
        axes.plot([recall], [precision], "o", color=ORANGE, ms=7, mec="white", mew=1)
        label = f"Average precision {with_interval(evaluation.metrics['average_precision'])}"
        axes.text(0.03, 0.13, label, color=BLUE, weight="bold")
        point = f"● threshold {evaluation.threshold:.3g}: recall {decimal(recall)}, precision {decimal(precision)}"
        axes.text(0.03, 0.05, point, color=ORANGE, size=7.5)
        axes.set_xlabel("Recall of blast (sensitivity)")
        axes.set_ylabel("Precision of blast")

    return _square(evaluation, "Precision and recall", draw, kind)


def draw_reliability(evaluation: Evaluation, kind: Kind = "svg") -> bytes:
    """Share of blasts against stated probability in 15 bins, above the number of pictures in each bin."""
    bins = evaluation.reliability.bins

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=RULE, lw=1, ls=(0, (4, 3)))
        full = bins.weight > 0
        x, y = bins.mean_probability[full], bins.observed[full]
        low, high = evaluation.reliability.low[full], evaluation.reliability.high[full]
        axes.vlines(x, low, high, color=BLUE, alpha=0.45, lw=3)
        axes.plot(x, y, "-o", color=BLUE, lw=1.2, ms=4.5)
        label = f"Calibration error {with_interval(evaluation.metrics['ece'])}"
        axes.text(0.97, 0.05, label, ha="right", color=BLUE, weight="bold")
        axes.set_ylabel("Observed share of blasts")
        axes.tick_params(labelbottom=False)
        below = axes.inset_axes((0, -0.35, 1, 0.24))
        plain_axes(below)
        edges = np.linspace(0, 1, len(bins.weight) + 1)
        width, normals = edges[1] * 0.86, bins.weight - bins.blasts
        middle = (edges[1:] + edges[:-1]) / 2
        below.bar(middle, normals, width, color=RULE, label="normal")
        below.bar(middle, bins.blasts, width, bottom=normals, color=BLUE, label="blast")
        below.set_xlim(-0.01, 1.01)
        below.set_ylabel("Pictures")
        below.set_xlabel("Stated probability of blast")
        below.legend(
            loc="lower right",
            bbox_to_anchor=(1.02, 0.94),
            frameon=False,
            fontsize=7.5,
            labelcolor=MUTED,
            ncols=2,
        )

    return _square(evaluation, "Reliability", draw, kind, below=1.85)


def draw_coverage(evaluation: Evaluation, kind: Kind = "svg") -> bytes:
    """What is decided wrongly, and which blasts are called normal, against the share of pictures decided."""
    risk, missed = evaluation.risk_coverage, evaluation.missed_coverage

    def draw(axes: Axes) -> None:
        highest = 0.02
        for curve, colour, style in ((risk, BLUE, "-"), (missed, ORANGE, (0, (5, 2)))):
            shown = (max(curve.x[0], _FIRST_COVERAGE) <= GRID) & ~np.isnan(curve.on_grid)
            points = curve.x >= _FIRST_COVERAGE
            axes.fill_between(GRID[shown], curve.low[shown], curve.high[shown], color=colour, alpha=0.15, lw=0)
            axes.plot(curve.x[points], curve.y[points], color=colour, lw=1.8, ls=style)
            ends = np.concatenate([curve.y[points], curve.high[shown]])
            highest = max(highest, float(np.nanmax(ends, initial=0.0)))
        axes.set_ylim(-0.03 * highest, 1.35 * highest)
        axes.axhline(0.01, color=RULE, lw=1, ls=(0, (4, 3)))
        lines = [
            ("━ decided wrongly, least sure referred first", BLUE),
            ("╍ blasts called normal, cells below the threshold referred", ORANGE),
        ]
        if evaluation.referral is not None:
            decided, blasts = (evaluation.referral.figures[key].value for key in ("decided", "missed"))
            axes.plot([decided], [blasts], "o", color=ORANGE, ms=7, mec="white", mew=1)
            lines.append(
                (f"● band in use: {percentage(decided)} decided, {percentage(blasts)} of blasts missed", ORANGE)
            )
        for row, (text, colour) in enumerate(lines):
            axes.text(0.03, 0.95 - 0.055 * row, text, transform=axes.transAxes, color=colour, size=8, va="center")
        axes.set_xlabel("Share of pictures decided (coverage)")
        axes.set_ylabel("Share wrong; share of blasts called normal")

    return _square(evaluation, "What referring is worth", draw, kind)


def draw_confusion(evaluation: Evaluation, kind: Kind = "svg") -> bytes:
    """Counts of truth against decision, with the share of each true class."""
    counts = evaluation.confusion
    rows = (("Blast", counts["tp"], counts["fn"], 0), ("Normal", counts["fp"], counts["tn"], 1))

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle  # noqa: PLC0415 - an optional extra

        for _name, blast, normal, y in rows:
            for x, count in enumerate((blast, normal)):
                part = count / (blast + normal) if blast + normal else 0.0
                colour = BLUE if x == y else ORANGE
                axes.add_patch(Rectangle((x + 0.01, y + 0.01), 0.98, 0.98, fc=colour, alpha=0.08 + 0.5 * part, lw=0))
                axes.text(x + 0.5, y + 0.46, f"{count:,}", ha="center", va="center", size=19, weight="bold", color=INK)
                of_class = f"{percentage(part)} of {rows[y][0].lower()}" if blast + normal else "no pictures"
                axes.text(x + 0.5, y + 0.66, of_class, ha="center", va="center", size=8.5, color=INK)
        axes.set_xlim(0, 2)
        axes.set_ylim(2, 0)
        axes.set_xticks([0.5, 1.5], ["Blast", "Normal"])
        axes.set_yticks([0.5, 1.5], ["Blast", "Normal"], rotation=90, va="center")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel(f"Called (blast where probability ≥ {evaluation.threshold:.3g})")
        axes.set_ylabel("Truth")

    return _square(evaluation, "Decisions", draw, kind, unit_limits=False)


DRAWINGS: dict[str, Callable[..., bytes]] = {
    "roc": draw_roc,
    "pr": draw_precision_recall,
    "reliability": draw_reliability,
    "coverage": draw_coverage,
    "confusion": draw_confusion,
}


def _band(axes: Axes, curve: Curve, *, from_index: int) -> None:
    axes.fill_between(GRID[from_index:], curve.low[from_index:], curve.high[from_index:], color=BLUE, alpha=0.18, lw=0)


def draw_curves(history: list[dict[str, float]], path: Path, *, title: str, best_epoch: int) -> None:
    """Draw loss, validation AUC and learning rate over epochs as PNG.

    Args:
        history: one dict of figures per epoch, as :func:`leukoscope.training.loop.fit` returns it.
        path: of the picture, replaced whole.
        title: shown above.
        best_epoch: marked by a line.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure = Figure(figsize=(10, 3.2), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10)
    epochs = [h["epoch"] for h in history]
    panels = figure.subplots(1, 3)
    panels[0].plot(epochs, [h["loss"] for h in history], color=BLUE, label="training (augmented)", marker=".")
    panels[0].plot(epochs, [h["val_loss"] for h in history], color=ORANGE, label="validation", marker=".")
    panels[0].set_ylabel("cross-entropy")
    panels[0].legend(frameon=False, fontsize=8)
    panels[1].plot(epochs, [h["val_auc"] for h in history], color=ORANGE, marker=".", label="ROC AUC")
    panels[1].plot(epochs, [h["val_accuracy"] for h in history], color=ORANGE, marker=".", ls=":", label="accuracy")
    panels[1].set_ylabel("validation")
    panels[1].legend(frameon=False, fontsize=8)
    panels[2].semilogy(epochs, [h["learning_rate"] for h in history], color=BLUE, marker=".")
    panels[2].set_ylabel("learning rate")
    for panel in panels:
        panel.axvline(best_epoch, color="0.7", lw=1, zorder=0)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
