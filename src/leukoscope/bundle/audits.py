"""The part of `bundle.json` that says how the bundle came out of its audits, and on which cells.

What a bundle's card says of its audits: verdict, rules, figures, and the cells that were asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from leukoscope.datasets.patients import Patients
from leukoscope.metrics.bootstrap import Estimate

Kind = Literal["explanations", "shortcuts"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RuleFacts(_Facts):
    """One rule of an audit: what must hold, what was found, in words and figures, and how that came out."""

    key: str
    asked: str
    found: str
    outcome: Literal["passes", "fails", "not measured"]

    @property
    def title(self) -> str:
        """What a page calls the rule: `key` names it in files, where it stays what it was."""
        return RULE_TITLES.get(self.key, self.key)


class AuditFacts(_Facts):
    """One audit of the bundle's graph. It says nothing of another graph, so the graph's hash goes with it."""

    kind: Kind
    graph: str  # SHA-256 of the model.onnx that was audited
    data: str
    data_fingerprint: str
    patients: Literal["unseen", "seen too"]  # of the cells: whether the bundle was trained or calibrated on some
    left_out: list[str]  # patient groups of the data that were not asked about because the bundle has seen them
    left_out_pictures: Annotated[int, Field(ge=0)]
    cells: Annotated[int, Field(ge=1)]
    blasts: Annotated[int, Field(ge=0)]
    groups: list[str]  # patient groups of the cells
    unreadable: Annotated[int, Field(ge=0)] = 0  # pictures that could not be read
    date: str  # ISO 8601
    version: str  # of the leukoscope that audited
    machine: str
    seed: int
    rules: list[RuleFacts]
    figures: dict[str, Estimate]  # see `leukoscope.bundle.audits.TITLES`
    notes: list[str] = []


KINDS: Final[Mapping[Kind, str]] = MappingProxyType({"explanations": "Heat maps", "shortcuts": "Shortcuts"})
RULE_TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {"hangs on weights": "changes with the weights", "hangs on labels": "changes with the labels"}
)
TITLES: Final[Mapping[str, str]] = MappingProxyType({
    "auc": "ROC AUC on the cells asked about",
    "tjur": "mean probability of blasts less that of normal cells",
    "energy_in_cell": "share of the map's energy inside the cell",
    "energy_in_cell_by_chance": "the cell's share of the frame, which is chance",
    "energy_for_decision_in_cell": "of the evidence for the decision, the share inside the cell",
    "energy_in_cell_of_blast": "cells called blast: share of the map's energy inside the cell",
    "energy_for_blast_in_cell": "cells called blast: of the evidence for blast, the share inside the cell",
    "energy_in_cell_of_normal": "cells called normal: share of the map's energy inside the cell",
    "energy_for_normal_in_cell": "cells called normal: of the evidence for normal, the share inside the cell",
    "energy_in_cell_in_nucleus": "of the energy inside the cell, the share in the nucleus",
    "energy_in_cell_in_nucleus_by_chance": "the nucleus's share of the cell, which is chance",
    "road_gap": "ROAD gap: probability of the decided class, what the map ranks last removed less first removed",
    "road_gap_above_random": "ROAD gap above that of a random map",
    "road_gap_above_disc": "ROAD gap above that of a centred disc",
    "turns_along": "correlation with the map of the turned cell, turned back",
    "not_turned_back": "the same, not turned back",
    "gini": "Gini index of the map",
    "top_layer_random": "rank correlation with the map after the uppermost layer was made random",
    "all_layers_random": "rank correlation with the map after all layers were made random",
    "all_layers_random_magnitude": "magnitude of that",
    "shuffled_labels": "rank correlation with the map of a network trained on shuffled labels",
    "auc_plain": "ROC AUC, cells as they are",
    "auc_size_normalised": "ROC AUC, all cells of one area",
    "auc_lost_size_normalised": "lost by that",
    "auc_patches_shuffled": "ROC AUC, squares of the texture shuffled",
    "auc_pixels_shuffled": "ROC AUC, pixels shuffled",
    "auc_silhouette": "ROC AUC, outline and size only",
    "auc_grey": "ROC AUC, no colour",
    "auc_colours_swapped": "ROC AUC, mean colour of another cell",
    "auc_colour_only": "ROC AUC, a disc of the cell's mean colour",
    "auc_background_only": "ROC AUC, the cell blackened",
    "auc_area": "ROC AUC of the area alone, no network",
    "area_correlation": "correlation of logit and area within the classes",
    "area_correlation_size_normalised": "the same with the logit on cells of one area",
})  # fmt: skip


def audit_claim(audits: Sequence[AuditFacts]) -> str:
    """Each audit with its verdict, or that there was none."""
    found = {each.kind: each for each in audits}
    return "\n\n".join(_told(found[kind]) if kind in found else _missing(kind) for kind in KINDS)


def verdict_of(audit: AuditFacts) -> str:
    """How an audit came out, rule by rule: ``fails: area; passes: size, background``."""
    outcomes = ("fails", "passes", "not measured")
    keys = {outcome: [rule.title for rule in audit.rules if rule.outcome == outcome] for outcome in outcomes}
    return "; ".join(f"{outcome}: {', '.join(each)}" for outcome, each in keys.items() if each)


def audited_on(audit: AuditFacts) -> str:
    """Which cells were asked about, and which were left out."""
    patients = Patients.of(audit.groups)
    seen = (
        "that the bundle has not seen"
        if audit.patients == "unseen"
        else "**some of which the bundle was trained or calibrated on**"
    )
    left = (
        f" Left out because the bundle has seen them: {audit.left_out_pictures:,} pictures of {len(audit.left_out)} "
        "groups."
        if audit.left_out
        else ""
    )
    lost = f" {audit.unreadable} pictures could not be read." if audit.unreadable else ""
    return (
        f"{audit.cells:,} cells ({audit.blasts:,} blasts) of {patients.words()} of {audit.data} "
        f"{seen}: {patients.listing()}. Fingerprint of the data `{audit.data_fingerprint[:16]}`, seed "
        f"{audit.seed}, {audit.date}, leukoscope {audit.version}, {audit.machine}.{left}{lost}"
    )


def _told(audit: AuditFacts) -> str:
    rules = [f"| {rule.title} | {rule.asked} | {rule.found} | {rule.outcome} |" for rule in audit.rules]
    figures = [f"| {TITLES.get(key, key)} | {each.in_brackets()} |" for key, each in audit.figures.items()]
    parts = [
        f"**{KINDS[audit.kind]}**: {verdict_of(audit)}.",
        audited_on(audit),
        "\n".join(["| rule | what must hold | found | outcome |", "|---|---|---|---|", *rules]),
        "\n".join(["| figure | value [95 % interval over patient groups] |", "|---|---|", *figures]),
        *(f"Note: {note}" for note in audit.notes),
    ]
    return "\n\n".join(parts)


def _missing(kind: Kind) -> str:
    return f"**{KINDS[kind]}**: not audited. Run `leukoscope audit {kind} BUNDLE --data D --write` with it."
