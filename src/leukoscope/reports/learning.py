"""How runs learn: figures by epoch, drawn for a report, and as a page that shows itself anew while they go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from leukoscope.page import render
from leukoscope.reports.evaluation import inline
from leukoscope.reports.plots import BLUE, INK, MUTED, ORANGE, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Sequence[Mapping[str, float]]
SECONDS: Final = 5  # after which the page of runs that go on is loaded anew
_SIZE: Final = (5.5, 3.2)  # inches
_COLOURS: Final = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", MUTED)
_PARTS: Final = {"": ("training (augmented)", (0, (2, 1.5))), "val_": ("validation", "-")}
_DRAWN: Final = {
    "auc": ("AUC by epoch", "AUC on the validation part"),
    "loss": ("Loss by epoch", "Cross-entropy"),
}


def draw_learning(runs: Mapping[str, History], figure: str, *, lines: Iterable[str] = ()) -> bytes | None:
    """One figure of all runs over their epochs, as SVG; None where none of them tells it.

    Args:
        runs: figures by epoch, as `leukoscope.runs.run.Run.history` gives them, by the name that is shown.
        figure: ``auc`` or ``loss``.
        lines: what the runs are, below the title.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    title, axis = _DRAWN[figure]
    told = {name: history for name, history in runs.items() if any(f"val_{figure}" in each for each in history)}
    if not told:
        return None

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - an optional extra

        for at, (name, history) in enumerate(told.items()):
            for prefix, (part, dash) in _PARTS.items():
                points = [(each["epoch"], each[f"{prefix}{figure}"]) for each in history if f"{prefix}{figure}" in each]
                label = name if len(told) > 1 else part
                label = label if prefix or len(told) == 1 else ""  # the key names a run once
                if points:
                    axes.plot(
                        *zip(*points, strict=True), color=_COLOURS[at % len(_COLOURS)], ls=dash, lw=1.4, marker=".",
                        label=label,
                    )  # fmt: skip
        axes.set_xlabel("Epoch")
        axes.set_ylabel(axis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, ncols=1 + len(told) // 6)

    return sheet(title, list(lines), draw, size=_SIZE)


def learning_drawings(runs: Mapping[str, History]) -> list[tuple[str, str, str]]:
    """The drawings for a page: name, SVG to be put into it, caption."""
    drawn = ((figure, draw_learning(runs, figure)) for figure in _DRAWN)
    caption = (
        "Drawn through: the validation part; dashed: the training part, with augmentation, where the run tells it."
    )
    return [(f"learning-{name}", inline(f"learning-{name}", svg), caption) for name, svg in drawn if svg is not None]


def learning_page(runs: Mapping[str, History], *, title: str, finished: bool) -> str:
    """The page as HTML that needs no other file; until all is finished it asks to be loaded anew every `SECONDS`.

    A browser does that with a file, too: no server, no script, and nothing is asked of another machine.
    """
    last = {name: history[-1] for name, history in runs.items() if history}
    return render(
        "reports/learning.html.j2",
        title=title,
        figures=learning_drawings(runs),
        runs=runs,
        last=last,
        keys=sorted({key for each in last.values() for key in each} - {"epoch", "seconds", "member"}),
        refresh=None if finished else SECONDS,
    )
