"""The TRIPOD+AI checklist as data, and where a bundle answers each item (G. Collins et al., BMJ 385, e078378, 2024)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final

from leukoscope.bundle.schema import BundleFacts


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
