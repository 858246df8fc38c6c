"""The course of a run as a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from leukoscope.files import atomic_path

_TRAIN, _VAL = "#0072b2", "#d55e00"  # distinguishable without colour vision (Okabe & Ito 2008)


def draw_curves(history: list[dict[str, float]], path: Path, *, title: str, best_epoch: int) -> None:
    """Draw loss, validation AUC and learning rate over epochs as PNG.

    Args:
        history: one dict of figures per epoch, as :func:`leukoscope.training.loop.fit` returns it.
        path: of the picture, replaced whole.
        title: shown above.
        best_epoch: marked by a line.
    """
    figure = Figure(figsize=(10, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    epochs = [h["epoch"] for h in history]
    panels = figure.subplots(1, 3)
    panels[0].plot(epochs, [h["loss"] for h in history], color=_TRAIN, label="training (augmented)", marker=".")
    panels[0].plot(epochs, [h["val_loss"] for h in history], color=_VAL, label="validation", marker=".")
    panels[0].set_ylabel("cross-entropy")
    panels[0].legend(frameon=False, fontsize=8)
    panels[1].plot(epochs, [h["val_auc"] for h in history], color=_VAL, marker=".", label="ROC AUC")
    panels[1].plot(epochs, [h["val_accuracy"] for h in history], color=_VAL, marker=".", ls=":", label="accuracy")
    panels[1].set_ylabel("validation")
    panels[1].legend(frameon=False, fontsize=8)
    panels[2].semilogy(epochs, [h["learning_rate"] for h in history], color=_TRAIN, marker=".")
    panels[2].set_ylabel("learning rate")
    for panel in panels:
        panel.axvline(best_epoch, color="0.7", lw=1, zorder=0)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
