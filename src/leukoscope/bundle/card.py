"""The model card: what a bundle is, what it was trained on, what it scored and where it ends, for people.

The TRIPOD+AI checklist (G. Collins et al., BMJ 385, e078378, 2024) is data, `tripod.json`, filled in from the facts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final

from leukoscope.bundle.audits import audit_claim
from leukoscope.bundle.decision import calibration_claim, refer_claim, share
from leukoscope.bundle.gate import gate_claim
from leukoscope.bundle.patients import subject_claim
from leukoscope.bundle.schema import BundleFacts, MeasuredFacts, ParentFacts
from leukoscope.datasets.known_sets import known_sets
from leukoscope.datasets.patients import Patients


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the checklist, and where it is answered; ``answered`` is False where ``where`` says why not."""

    item: str
    section: str
    asks: str
    answered: bool
    where: str


def _home(facts: BundleFacts) -> str | None:
    return None if facts.training is None else facts.training.data


#: What the words under `when` of tripod.json mean: what a bundle must hold for an answer to be there.
CONDITIONS: Final[Mapping[str, Callable[[BundleFacts], bool]]] = MappingProxyType(
    {
        "always": lambda facts: True,
        "training": lambda facts: facts.training is not None,
        "cnmc2019": lambda facts: _home(facts) == "cnmc2019",
        "measured": lambda facts: bool(facts.measured),
        "external": lambda facts: any(m.data != _home(facts) for m in facts.measured),
        "worst": lambda facts: any(m.worst_subject is not None for m in facts.measured),
        "calibration": lambda facts: facts.decision.calibration is not None,
        "gate": lambda facts: facts.gate is not None,
        "parent": lambda facts: facts.parent is not None,
        "data_licences": lambda facts: bool(facts.data_licences),
    }
)


def checklist(facts: BundleFacts) -> list[Item]:
    """All items in order, answered by the first answer whose condition the bundle meets."""
    text = (resources.files("leukoscope.bundle") / "tripod.json").read_text(encoding="utf-8")
    items: list[Item] = []
    for entry in json.loads(text)["items"]:
        met = [answer["where"] for answer in entry["answers"] if CONDITIONS[answer["when"]](facts)]
        where = met[0] if met else f"not answered because {entry['otherwise']}"
        items.append(Item(entry["item"], entry["section"], entry["asks"], bool(met), where))
    return items


def source() -> str:
    """What the checklist is taken from."""
    text = (resources.files("leukoscope.bundle") / "tripod.json").read_text(encoding="utf-8")
    return str(json.loads(text)["source"])


_ALWAYS = (
    "Research use only. It is decision support for people who read smears, never a diagnosis, and no medical device.",
    "It knows two answers. Cells that are neither lymphoblasts nor normal lymphoid cells may get one of the two.",
    "Cell size is a cue in the training data; a picture at another scale gets another answer.",
    "Age, sex and origin of the people in the training data are not known, nor whether it serves all of them alike.",
)
_ELSEWHERE = "With another laboratory, stain or camera its figures do not hold until they have been measured there."


def limits(facts: BundleFacts) -> str:
    """What the bundle cannot do, with its worst subject and its worst fold, as a list."""
    trained_on = known_sets().get(_home(facts) or "")
    lines = [*_ALWAYS, (trained_on.limits if trained_on else "") or _ELSEWHERE]
    lines += [_worst_subject(m) for m in facts.measured]
    return "\n".join(f"- {line}" for line in [*lines, *_worst_fold(facts.measured)])


def _worst_subject(measured: MeasuredFacts) -> str:
    where = f"of {measured.data}, fold {measured.fold}"
    worst = measured.worst_subject
    if worst is None:
        return f"Worst subject {where}: not recorded."
    return f"Worst subject {where}: {worst.subject}, {share(worst.accuracy)} of {worst.cells} cells decided rightly."


def _worst_fold(measured: list[MeasuredFacts]) -> list[str]:
    known = [(m.metrics["auc"].value, m) for m in measured if "auc" in m.metrics]
    known = [pair for pair in known if not math.isnan(pair[0])]
    if not known:
        return []
    if len(known) == 1:
        return ["Worst fold: this network was measured on one part only; other folds are other networks."]
    _, worst = min(known, key=lambda pair: pair[0])
    return [f"Worst part by ROC AUC: {worst.data}, fold {worst.fold}, {worst.metrics['auc'].in_brackets()}."]


def adapted(facts: BundleFacts) -> list[str]:
    """Heading and text of an adapted bundle; nothing for others."""
    parent = facts.parent
    if parent is None:
        return []
    left_out = "patient groups" if parent.by_patient else "parts of the cells, whose patients are not known,"
    rows = [
        f"| {key} | {parent.before[key].in_brackets()} | {after.in_brackets()} | {parent.gain[key].in_brackets()} |"
        for key, after in parent.after.items()
    ]
    pull = (
        "of which only the bias moved"
        if parent.strength is None
        else f"pulled towards {'the old one' if parent.trust else 'none'} with strength {parent.strength:g}"
    )
    forced = " **It was written although nothing was clearly gained.**" if parent.forced else ""
    files = ", ".join(f"{name} `{digest[:16]}`" for name, digest in parent.files.items())
    return [
        "## Adapted",
        (
            f"The head of {parent.name} ({files}) was fitted anew on {parent.cells} cells of {parent.data}, "
            f"{parent.blasts} of them blasts, {pull}.{forced} "
            f"Figures are of cells left out of the fit, {len(parent.units)} {left_out} one by one. Figures below that "
            "were measured elsewhere are not those of the adapted bundle."
        ),
        "\n".join(["| figure | before | after | gain |", "|---|---|---|---|", *rows]),
        *_steps(parent),
    ]


def _steps(parent: ParentFacts) -> list[str]:
    """What each step of an adaptation did, and how the figures grow with the number of labels."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    found = [*parent.warnings]
    if parent.steps:
        rows = [
            f"| {each.name} | {each.choice} | {number(each.without)} | {number(each.with_it)} | "
            f"{'yes' if each.kept else 'no'} |"
            for each in parent.steps
        ]
        found.append(
            "Each step was kept only where it clearly paid on cells left out (mean log loss; of the gate, share turned "
            f"down). {parent.unlabelled:,} cells without a label served the first and the last."
        )
        found.append("\n".join(["| step | choice | without | with | kept |", "|---|---|---|---|---|", *rows]))
    if parent.curve:
        rows = [f"| {each.cells} | {each.auc:.3f} | {each.least:.3f} to {each.most:.3f} |" for each in parent.curve]
        found.append(
            "With fewer labels, drawn out of the other parts, cells left out are ranked so (alignment and pull were "
            "chosen with all labels, which flatters the first rows):"
        )
        found.append("\n".join(["| labels | AUC, mean of draws | least to most |", "|---|---|---|", *rows]))
    return found


def tripod_table(facts: BundleFacts) -> str:
    """The checklist with where each item is answered."""
    items = checklist(facts)
    answered = sum(each.answered for each in items)
    head = f"{source()} Answered: {answered} of {len(items)} parts."
    rows = [f"| {i.item} | {i.section} | {i.asks} | {i.where} |" for i in items]
    return "\n".join([head, "", "| item | section | asks for | where |", "|---|---|---|---|", *rows])


def precision_claim(facts: BundleFacts) -> list[str]:
    """Heading and text of an 8-bit bundle; nothing for others."""
    made = facts.quantised
    if made is None:
        return []
    files = ", ".join(f"{name} `{digest[:16]}`" for name, digest in made.files.items())
    patients = Patients.of(made.groups)
    return [
        "## 8-bit weights",
        (
            f"This is the 8-bit form of {made.parent} ({files}). The weights of {made.convolutions} of its "
            "convolutions are kept in 8 bits; slope and offset of its logit were fitted to the float bundle's on "
            f"{made.pictures} cells of {made.data} from {patients.words()} that the network was trained "
            f"on: {patients.listing()}. Threshold, "
            "probabilities, band, gate and subject rule are those of the float bundle and were not fitted again. The "
            "float bundle's figures are not repeated here: they were measured with another graph."
        ),
    ]


_SHOWN = {
    "auc": "ROC AUC",
    "subject_auc": "ROC AUC over subjects, by their mean probability",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_weighted": "F1, support-weighted",
    "sensitivity": "sensitivity (blasts found)",
    "specificity": "specificity (normal cells left alone)",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "ece_adaptive": "expected calibration error, bins of equal numbers",
    "aurc": "area under the risk-coverage curve",
    "decided": "share of cells decided, not referred",
    "missed": "share of blasts called normal, referred ones counted as not",
    "turned_down": "share of pictures that the gate turned down",
    "missed_decided": "share of blasts called normal among those decided",
}


def model_card(facts: BundleFacts) -> str:
    """Write the card of a bundle as Markdown; it says nothing that is not in ``facts`` or true of every bundle."""
    parts = [
        f"# {facts.name}",
        f"A Leukoscope bundle, written on {facts.created} by leukoscope {facts.version}. {facts.intended_use}",
        "## Intended use",
        _INTENDED,
        "## What it does",
        (
            f"One segmented white blood cell on black, {facts.preparation.frame_size} px square, "
            "goes in as uint8 RGB; the logit of *blast*, a signed Grad-CAM heat map and an embedding come out of one "
            f"forward pass. The network sees {facts.input_size} px."
        ),
        _preparation(facts),
        f"Decision: blast where the probability is at least {facts.decision.threshold:g}.",
        "## How far to trust a probability",
        calibration_claim(facts.decision),
        *_calibrated_on(facts),
        refer_claim(facts.decision) or "No cell is referred for its probability.",
        gate_claim(facts.gate),
        "## Subjects",
        subject_claim(facts),
        "## Training",
        _training(facts),
        *adapted(facts),
        *precision_claim(facts),
        "## Figures on patients that it never saw",
    ]
    parts += [_measured(m) for m in facts.measured] or ["None were measured."]
    parts += [
        "## Audits",
        audit_claim(facts.audits),
        "## Limits",
        limits(facts),
        "## Licences",
        f"Weights: {facts.licence}.",
    ]
    if facts.data_licences:
        parts.append("Training data: " + " ".join(facts.data_licences))
    parts += ["## TRIPOD+AI", tripod_table(facts)]
    return "\n\n".join(parts) + "\n"


_INTENDED = """\
- For: a second look at single white blood cells, and at subjects as the sum of theirs, in research on acute leukemia.
- By: people who read smears and know that the answer can be wrong, and people who develop and compare such methods.
- The outcome is the label of a cell, blast or normal, as the data set gave it: no diagnosis, no subtype, no prognosis.
- Not for: diagnosis, triage or treatment of anybody; cells of other kinds, stains, cameras or scales than those of
  training, unless its figures were measured there; pictures of screens or prints; measuring response to treatment.
- A human looks at every cell that is called blast or referred, and at a sample of those called normal."""


def _preparation(facts: BundleFacts) -> str:
    clahe = facts.preparation.clahe
    if clahe is None:
        return "The frame is used as it is, without equalisation."
    return (
        f"Before the graph, lightness is equalised by CLAHE (clip {clahe.clip_limit:g}, "
        f"{clahe.tiles} x {clahe.tiles} tiles)."
    )


def _calibrated_on(facts: BundleFacts) -> list[str]:
    fitted = facts.decision.calibration
    if fitted is None:
        return []
    lines = [_groups("Groups fitted on", fitted.groups)]
    if fitted.log_loss:
        losses = ", ".join(f"{name} {loss:.4f}" for name, loss in fitted.log_loss.items())
        lines.append(f"- Log loss on groups left out of the fit: {losses}; the simplest not clearly worse was taken")
    return ["\n".join(lines)]


def _groups(title: str, groups: list[str]) -> str:
    patients = Patients.of(groups)
    return f"- {title} ({patients.count}): {patients.listing()}"


def _training(facts: BundleFacts) -> str:
    t = facts.training
    if t is None:
        return "Not recorded."
    arguments = ", ".join(f"{k}={v}" for k, v in t.arguments.items())
    lines = [
        f"- Network: `{t.model}`{f' ({arguments})' if arguments else ''}, {t.parameters:,} trainable parameters",
        f"- Recipe: `{t.recipe}`, seed {t.seed}",
        f"- Data: {t.data}, {t.pictures:,} pictures, fingerprint `{t.data_fingerprint[:16]}`",
        _groups("Groups trained on", t.groups_trained),
        _groups("Groups of the validation part", t.groups_validated),
        f"- Machine: {t.machine}",
    ]
    if t.weights:
        lines.append(
            f"- Started from the weights {t.weights.source} (SHA-256 `{t.weights.sha256[:16]}`), "
            f"licence: {t.weights.licence or 'not stated in the file'}"
        )
    if t.shortened:
        lines.append(f"- **Shortened** against the recipe: {t.shortened}")
    return "\n".join(lines)


def _measured(m: MeasuredFacts) -> str:
    patients = Patients.of(m.groups)
    groups = f"{m.pictures:,} pictures of {patients.words()}"
    rows = [f"| {_SHOWN[k]} | {v.in_brackets()} |" for k, v in m.metrics.items() if k in _SHOWN]
    return "\n".join(
        [
            f"{m.data}, {groups} (protocol `{m.protocol}`, fold {m.fold}): {patients.listing()}.",
            "",
            "| figure | value [95 % interval over patient groups] |",
            "|---|---|",
            *rows,
        ]
    )
