"""Both audits of a bundle: which cells to ask about, and what of the results goes into the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leukoscope import _version
from leukoscope.bundle.audits import AuditFacts, Kind
from leukoscope.bundle.read import Bundle
from leukoscope.datasets.dataset import Manifest
from leukoscope.errors import DataError
from leukoscope.inference.classifier import Classifier
from leukoscope.machine import describe_machine
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.progress import SILENT, Progress
from leukoscope.runs.measure import unseen_by
from leukoscope.studies.audits.heatmaps.audit import Explanations
from leukoscope.studies.audits.heatmaps.bundle import explain_bundle, load_cells, overlay_samples
from leukoscope.studies.audits.heatmaps.report import explanations_text, write_explanations
from leukoscope.studies.audits.rules import Audit
from leukoscope.studies.audits.shortcuts.audit import Shortcuts
from leukoscope.studies.audits.shortcuts.bundle import shortcut_bundle
from leukoscope.studies.audits.shortcuts.report import shortcuts_text, write_shortcuts


@dataclass(frozen=True, slots=True)
class Part:
    """Cells to audit on.

    Attributes:
        cells: labelled pictures.
        data: name of the data set that they are of.
        fingerprint: of that data set.
        seen: whether the bundle was trained or calibrated on the patient groups of some of them.
        left_out: patient groups of the data set that are not among them, because the bundle has seen them.
        left_out_pictures: their pictures.
    """

    cells: Manifest
    data: str
    fingerprint: str
    seen: bool
    left_out: tuple[str, ...]
    left_out_pictures: int

    def context(self, bundle: Bundle) -> dict[str, Any]:
        """Facts to show with the figures."""
        kind = "groups that the bundle has seen among them" if self.seen else "groups that the bundle has not seen"
        context: dict[str, Any] = {"data": self.data, "fingerprint": self.fingerprint, "patients": kind}
        training = bundle.facts.training
        if training is not None:
            context |= {"recipe": training.recipe, "shortened": training.shortened or "no"}
        return context


@dataclass(frozen=True, slots=True)
class Audited:
    """One audit: what goes into the bundle, what a terminal shows, the page, and pictures that could not be read."""

    facts: AuditFacts
    text: str
    page: Path
    unreadable: tuple[tuple[str, str], ...]


def part_of(bundle: Bundle, data: Manifest, *, include_trained: bool = False, test: Manifest | None = None) -> Part:
    """The cells of a data set that a bundle may be audited on.

    Args:
        bundle: to audit.
        data: labelled pictures.
        include_trained: also take groups that the bundle was trained, validated or calibrated on.
        test: take these pictures of ``data`` instead, whatever the bundle has seen.

    Raises:
        DataError: no picture has a label, or the bundle has seen every group.
    """
    if len(data) == 0:
        raise DataError("no picture has a label", path=data.root, remedy="add class folders or a label column")
    unseen = unseen_by(bundle, data)
    cells = test if test is not None else data if include_trained else unseen
    if not len(cells):
        raise DataError(
            "the bundle was trained or calibrated on every group of this data set",
            path=data.root,
            remedy="use other patients, or --include-trained for figures that mean nothing for new ones",
        )
    taken, new = set(cells.groups().tolist()), set(unseen.groups().tolist())
    left = [group not in taken and group not in new for group in data.groups().tolist()]
    return Part(
        cells,
        data.name,
        data.fingerprint(),
        seen=not taken <= new,
        left_out=tuple(sorted(set(data.select(left).groups().tolist()))) if any(left) else (),
        left_out_pictures=sum(left),
    )


def audit_heat_maps(
    classifier: Classifier,
    part: Part,
    folder: Path,
    *,
    count: int,
    shuffled: Classifier | None = None,
    masks: Path | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Audited:
    """Test the heat maps of a bundle, and write explanations.html and explanations.json.

    Args:
        classifier: the bundle.
        part: cells to ask about.
        folder: for the page.
        count: how many cells at most.
        shuffled: a bundle of the same network trained on shuffled labels.
        masks: folder of pictures with drawn nuclei.
        seed: of all that is random.
        progress: told each step.

    Raises:
        DataError: no picture can be read, or masks do not fit.
        MissingExtraError: onnx or matplotlib is not installed.
    """
    bundle = classifier.bundle
    cells, unreadable = load_cells(part.cells, bundle.facts.preparation, count=count, seed=seed, progress=progress)
    found = explain_bundle(
        classifier, cells, shuffled=shuffled, masks=masks, seed=seed, context=part.context(bundle),
        progress=progress,
    )  # fmt: skip
    page = write_explanations(found, folder, overlay_samples(classifier, cells))
    groups = cells.group.tolist()
    facts = _facts(
        "explanations", bundle, part, found, groups, len(unreadable), seed,
        headlines_of_explanations(found),
    )  # fmt: skip
    return Audited(facts, explanations_text(found), page, unreadable)


def audit_cues(
    classifier: Classifier,
    part: Part,
    folder: Path,
    *,
    count: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Audited:
    """Look for the shortcuts of a bundle, and write shortcuts.html and shortcuts.json.

    Args:
        classifier: the bundle.
        part: cells to ask about.
        folder: for the page.
        count: how many cells at most.
        seed: of all that is random.
        progress: shows how many pictures are read, twice for each.

    Raises:
        DataError: no picture can be read, or all are of one class.
        MissingExtraError: matplotlib is not installed.
    """
    bundle = classifier.bundle
    run = shortcut_bundle(
        classifier, part.cells, count=count, seed=seed, context=part.context(bundle), progress=progress
    )
    page = write_shortcuts(run.result, folder, run.samples)
    result = run.result
    facts = _facts(
        "shortcuts", bundle, part, result, run.groups, len(run.unreadable), seed,
        headlines_of_shortcuts(result),
    )  # fmt: skip
    return Audited(facts, shortcuts_text(result), page, run.unreadable)


def headlines_of_explanations(found: Explanations) -> dict[str, Estimate]:
    """What of a test of heat maps a bundle keeps, by the keys of `leukoscope.bundle.audits.TITLES`."""
    own, chance = found.figures["map"], found.figures["chance"]
    kept = {
        **found.knows,
        "energy_in_cell": own["cell"],
        "energy_in_cell_by_chance": chance["cell"],
        "energy_for_decision_in_cell": own["cell_decided"],
        "energy_in_cell_in_nucleus": own["nucleus_of_cell"],
        "energy_in_cell_in_nucleus_by_chance": chance["nucleus_of_cell"],
        "road_gap": own["road"],
        "road_gap_above_random": found.beyond["random"]["road"],
        "road_gap_above_disc": found.beyond["disc"]["road"],
        "turns_along": own["turn"],
        "not_turned_back": own["turn_fixed"],
        "gini": own["gini"],
    }
    for name, part in found.decided.items():
        if part.cells:
            kept[f"energy_in_cell_of_{name}"] = part.figures["map"]["cell"]
            kept[f"energy_for_{name}_in_cell"] = part.figures["map"]["cell_decided"]
    if found.randomised:
        kept["top_layer_random"] = found.randomised[0].signed
        kept["all_layers_random"] = found.randomised[-1].signed
        kept["all_layers_random_magnitude"] = found.randomised[-1].size
    if found.shuffled is not None:
        kept["shuffled_labels"] = found.shuffled.signed
    return kept


def headlines_of_shortcuts(found: Shortcuts) -> dict[str, Estimate]:
    """What of a search for shortcuts a bundle keeps, by the keys of `leukoscope.bundle.audits.TITLES`."""
    kept = {f"auc_{name.replace(' ', '_')}": each for name, each in found.auc.items()}
    kept |= {
        "auc_area": found.area_auc,
        "auc_lost_size_normalised": found.lost["size normalised"],
        "area_correlation": found.partial,
    }
    if found.partial_normalised is not None:
        kept["area_correlation_size_normalised"] = found.partial_normalised
    return kept


def _facts(
    kind: Kind,
    bundle: Bundle,
    part: Part,
    audit: Audit,
    groups: Sequence[str],
    unreadable: int,
    seed: int,
    figures: Mapping[str, Estimate],
) -> AuditFacts:
    return AuditFacts(
        kind=kind,
        graph=hashlib.sha256(bundle.graph).hexdigest(),
        data=part.data,
        data_fingerprint=part.fingerprint,
        patients="seen too" if part.seen else "unseen",
        left_out=list(part.left_out),
        left_out_pictures=part.left_out_pictures,
        cells=audit.counts["cells"],
        blasts=audit.counts["blasts"],
        groups=sorted(set(groups)),
        unreadable=unreadable,
        date=datetime.now(UTC).date().isoformat(),
        version=_version.__version__,
        machine=describe_machine(),
        seed=seed,
        rules=list(audit.rules),
        figures=dict(figures),
        notes=list(audit.notes),
    )
