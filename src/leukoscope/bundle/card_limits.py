"""The parts of the model card that say where a bundle ends: limits, adaptation, and the TRIPOD+AI checklist."""

from __future__ import annotations

from leukoscope.bundle.claims import share
from leukoscope.bundle.estimate import in_brackets
from leukoscope.bundle.schema import BundleFacts, MeasuredFacts
from leukoscope.bundle.tripod import checklist, source

_ALWAYS = (
    "Research use only. It is decision support for people who read smears, never a diagnosis, and no medical device.",
    "It knows two answers. Cells that are neither lymphoblasts nor normal lymphoid cells may get one of the two.",
    "Cell size is a cue in the training data; a picture at another scale gets another answer.",
    "Age, sex and origin of the people in the training data are not known, nor whether it serves all of them alike.",
)
_HOME = {
    "cnmc2019": "It was trained on pictures of one laboratory, one stain and one camera, stain-normalised. Elsewhere "
    "its figures do not hold until they have been measured there. All cells of a patient are labelled alike, blast or "
    "normal; no red cell and no clinical fact comes with them.",
    "rendered": "**It was trained on rendered cells.** What it says of real cells means nothing.",
}
_ELSEWHERE = "With another laboratory, stain or camera its figures do not hold until they have been measured there."


def limits(facts: BundleFacts) -> str:
    """What the bundle cannot do, with its worst subject and its worst fold, as a list."""
    lines = [*_ALWAYS, _HOME.get("" if facts.training is None else facts.training.data, _ELSEWHERE)]
    lines += [_worst_subject(m) for m in facts.measured]
    return "\n".join(f"- {line}" for line in [*lines, *_worst_fold(facts.measured)])


def _worst_subject(measured: MeasuredFacts) -> str:
    where = f"of {measured.data}, fold {measured.fold}"
    worst = measured.worst_subject
    if worst is None:
        return f"Worst subject {where}: not recorded."
    return f"Worst subject {where}: {worst.subject}, {share(worst.accuracy)} of {worst.cells} cells decided rightly."


def _worst_fold(measured: list[MeasuredFacts]) -> list[str]:
    known = [(m.metrics["auc"].value, m) for m in measured if "auc" in m.metrics and m.metrics["auc"].value is not None]
    if not known:
        return []
    if len(known) == 1:
        return ["Worst fold: this network was measured on one part only; other folds are other networks."]
    _, worst = min(known, key=lambda pair: pair[0] if pair[0] is not None else 1.0)
    return [f"Worst part by ROC AUC: {worst.data}, fold {worst.fold}, {in_brackets(worst.metrics['auc'])}."]


def adapted(facts: BundleFacts) -> list[str]:
    """Heading and text of an adapted bundle; nothing for others."""
    parent = facts.parent
    if parent is None:
        return []
    left_out = "patient groups" if parent.by_patient else "parts of the cells, whose patients are not known,"
    rows = [
        f"| {key} | {in_brackets(parent.before[key])} | {in_brackets(after)} | {in_brackets(parent.gain[key])} |"
        for key, after in parent.after.items()
    ]
    pull = (
        "of which only the bias moved"
        if parent.strength is None
        else f"pulled towards the old one with strength {parent.strength:g}"
    )
    forced = " **It was written although nothing was clearly gained.**" if parent.forced else ""
    files = ", ".join(f"{name} `{digest[:16]}`" for name, digest in parent.files.items())
    return [
        "## Adapted",
        (
            f"The last layer of {parent.name} ({files}) was fitted anew on {parent.cells} cells of {parent.data}, "
            f"{parent.blasts} of them blasts, {pull}.{forced} "
            f"Figures are of cells left out of the fit, {len(parent.units)} {left_out} one by one. Figures below that "
            "were measured elsewhere are not those of the adapted bundle."
        ),
        "\n".join(["| figure | before | after | gain |", "|---|---|---|---|", *rows]),
    ]


def tripod_table(facts: BundleFacts) -> str:
    """The checklist with where each item is answered."""
    items = checklist(facts)
    answered = sum(each.answered for each in items)
    head = f"{source()} Answered: {answered} of {len(items)} parts."
    rows = [f"| {i.item} | {i.section} | {i.asks} | {i.where} |" for i in items]
    return "\n".join([head, "", "| item | section | asks for | where |", "|---|---|---|---|", *rows])
