"""Where a table of answers comes from, and what is said beside its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_EVEN_WITHOUT = frozenset({"shortened", "refer"})  # null says something: nothing was cut short, no band is set
_SHOWN_ELSEWHERE = frozenset({"audits"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What of data, split and bundle stands beside an evaluation; None: not known.

    Attributes:
        protocol: how test and training part were separated: group, subject, official, picture, or free words.
        data: name of the data set.
        fingerprint: of the data set.
        fold: of the split, and its ``seed``.
        seed: of the split.
        model: name of what answered, ``graph`` the SHA-256 of its graph, ``software`` the version that measured.
        graph: a bundle's facts hold its figures, so that its digest is not known before they are.
        software: version of leukoscope.
        trained_on: the patient groups that it was trained on.
        machine: what measured.
        shortened: what was cut short in training; stamped on every figure.
        caveats: of the data set, and what was found out while it was read.
        warning: shown at the top of the page.
        probabilities: how they were calibrated, in words.
        refer: what the band promises, in words.
        gate: what the gate did, in words.
        subjects: what the rule for patients promises and did, in words.
        unreadable: number of pictures that gave no answer.
        audits: of the bundle, each as the JSON values of an `AuditFacts`; () says that it was not audited.
        audit_pages: by kind of audit, the address of its page, relative to the folder of the report.
    """

    protocol: str
    data: str | None = None
    fingerprint: str | None = None
    fold: int | None = None
    seed: int | None = None
    model: str | None = None
    graph: str | None = None
    software: str | None = None
    trained_on: tuple[str, ...] | None = None
    machine: str | None = None
    shortened: str | None = None
    caveats: str | None = None
    warning: str | None = None
    probabilities: str | None = None
    refer: str | None = None
    gate: str | None = None
    subjects: str | None = None
    unreadable: int | None = None
    audits: tuple[Mapping[str, Any], ...] | None = None
    audit_pages: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """The ``context`` of metrics.json: what is known; the audits stand apart there."""
        names = [each.name for each in fields(self) if each.name not in _SHOWN_ELSEWHERE]
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None or name in _EVEN_WITHOUT}
