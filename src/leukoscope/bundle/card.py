"""The model card: what a bundle is, what it was trained on, what it scored and where it ends, for people.

Its words are `card.md.j2`. The TRIPOD+AI checklist (G. Collins et al., BMJ 385, e078378, 2024) is data, `tripod.json`,
filled in from the facts, and from what is known of a published data set that a bundle was trained on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Template

from leukoscope.bundle.audits import audit_claim
from leukoscope.bundle.decision import calibration_claim, refer_claim, share
from leukoscope.bundle.gate import gate_claim
from leukoscope.bundle.patients import subject_claim
from leukoscope.bundle.schema import BundleFacts, MeasuredFacts
from leukoscope.datasets.known_sets import SetFacts, known_sets
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


def _published(facts: BundleFacts) -> SetFacts | None:
    """What is known of the data set that the bundle was trained on; None: nothing."""
    return known_sets().get(_home(facts) or "")


#: What the words under `when` of tripod.json mean: what a bundle must hold for an answer to be there.
CONDITIONS: Final[Mapping[str, Callable[[BundleFacts], bool]]] = MappingProxyType(
    {
        "always": lambda facts: True,
        "training": lambda facts: facts.training is not None,
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
    """All items in order, answered by the data set's publication, or by the first answer whose condition is met."""
    published = _published(facts)
    known = {} if published is None else published.tripod
    items: list[Item] = []
    for entry in _tripod()["items"]:
        met = [known[entry["item"]]] if entry["item"] in known else []
        met += [answer["where"] for answer in entry["answers"] if CONDITIONS[answer["when"]](facts)]
        where = met[0] if met else f"not answered because {entry['otherwise']}"
        items.append(Item(entry["item"], entry["section"], entry["asks"], bool(met), where))
    return items


@cache
def _tripod() -> dict[str, Any]:
    text = (resources.files("leukoscope.bundle") / "tripod.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


_ALWAYS = (
    "Research use only. It is decision support for people who read smears, never a diagnosis, and no medical device.",
    "It knows two answers. Cells that are neither lymphoblasts nor normal lymphoid cells may get one of the two.",
    "Cell size is a cue in the training data; a picture at another scale gets another answer.",
    "Age, sex and origin of the people in the training data are not known, nor whether it serves all of them alike.",
)
_ELSEWHERE = "With another laboratory, stain or camera its figures do not hold until they have been measured there."


def limits(facts: BundleFacts) -> list[str]:
    """What the bundle cannot do, with its worst subject and its worst fold, a sentence or two each."""
    published = _published(facts)
    lines = [*_ALWAYS, (published.limits if published else "") or _ELSEWHERE]
    return [*lines, *(_worst_subject(m) for m in facts.measured), *_worst_fold(facts.measured)]


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
    "turned_down": "share of pictures that the gate referred",
    "missed_decided": "share of blasts called normal among those decided",
}


def model_card(facts: BundleFacts) -> str:
    """Write the card of a bundle as Markdown; it says nothing that is not in ``facts`` or true of every bundle."""
    return _template().render(
        facts=facts, limits=limits(facts), items=checklist(facts), source=_tripod()["source"], shown=_SHOWN
    )


@cache
def _template() -> Template:
    # Markdown is no HTML: nothing is escaped.
    environment = Environment(  # noqa: S701
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.globals |= {
        "audit_claim": audit_claim,
        "calibration_claim": calibration_claim,
        "files": _files,
        "gate_claim": gate_claim,
        "groups": _groups,
        "number": _number,
        "patients_of": Patients.of,
        "refer_claim": refer_claim,
        "subject_claim": subject_claim,
    }
    text = (resources.files("leukoscope.bundle") / "card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def _groups(title: str, groups: list[str]) -> str:
    patients = Patients.of(groups)
    return f"- {title} ({patients.count}): {patients.listing()}"


def _files(files: Mapping[str, str]) -> str:
    return ", ".join(f"{name} `{digest[:16]}`" for name, digest in files.items())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
