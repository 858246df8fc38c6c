"""The folder of an evaluation: figures as JSON, answers as CSV, drawings, and one page that explains them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukoscope.bundle.audits import KINDS, AuditFacts, audited_on, verdict_of
from leukoscope.datasets.patients import Patients, picture_of
from leukoscope.errors import DataError
from leukoscope.files import together, write_bytes, write_json
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.metrics.evaluation import Evaluation
from leukoscope.metrics.glossary import BY_KEY, TERMS
from leukoscope.metrics.panel import ENOUGH_CELLS
from leukoscope.metrics.provenance import Provenance
from leukoscope.metrics.scores import Scores
from leukoscope.page import render
from leukoscope.reports import plots, wording
from leukoscope.reports.embedding import MOST_DRAWN, MOST_NAMED, draw_embedding
from leukoscope.reports.wrong import WrongCell
from leukoscope.text import natural

HEADLINES = ("auc", "sensitivity", "specificity", "balanced_accuracy", "f1_weighted")
CAPTIONS = {
    "roc": "Sensitivity against false positive rate at every threshold. The dot is the threshold in use, "
    "the dashed line a coin.",
    "pr": "Precision against recall of blast at every threshold. The dashed line is the share of blasts, which a coin "
    "gets.",
    "reliability": "Where the stated probability is right, the points lie on the dashed line. Below: how many pictures "
    "each point stands for.",
    "coverage": "What is gained by leaving cells undecided, from none decided (left) to all (right). The dashed grey "
    "line is 1 %. Bands that are chosen on a curve look better than they are on other patients.",
    "confusion": "Pictures by truth and decision, with the share of each true class. Blue is right, orange is wrong.",
    "embedding": "Each mark is a cell; near to each other lie those that look alike to the network (the first two "
    f"principal components of its embedding). At most {MOST_DRAWN:,} cells are drawn, and the {MOST_NAMED} patient "
    "groups with most cells are named at their middle: groups that lie apart within a class are told apart by the "
    "network, which may be their stain or their camera.",
}
_FACTS = {
    "data": "Data set",
    "fingerprint": "Fingerprint of the data",
    "model": "Model",
    "machine": "Machine",
    "seed": "Seed of the split",
    "probabilities": "Probabilities",
    "refer": "Refer",
    "subjects": "Statements about subjects",
    "gate": "Gate",
    "caveats": "Caveats",
}
_ROLES = {
    plots.INK: "ink",
    plots.MUTED: "muted",
    plots.RULE: "rule",
    plots.BLUE: "blue",
    plots.ORANGE: "orange",
}


def write_evaluation(
    evaluation: Evaluation,
    scores: Scores,
    folder: str | os.PathLike[str],
    *,
    gallery: str | None = None,
    embeddings: NDArray[np.floating[Any]] | None = None,
    wrong: Sequence[WrongCell] = (),
) -> Path:
    """Write metrics.json, predictions.csv, the SVG figures and report.html into ``folder``.

    They are one generation (`leukoscope.files.together`): those of an earlier evaluation, or all of this one.

    Args:
        evaluation: what ``evaluate`` gave for ``scores``.
        scores: the answers themselves.
        folder: made if absent; other files in it are left alone.
        gallery: address, relative to ``folder``, of a page with the pictures, to link to.
        embeddings: float [N, E] of the pictures of ``scores``, to be drawn; None where they are not at hand.
        wrong: cells decided wrongly, in the order in which they are shown.

    Returns:
        The path of report.html.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: ``scores`` are not those of ``evaluation``, or ``gallery`` leads out of ``folder``.
        LeukoscopeError: the folder cannot be written.
    """
    if len(scores) != evaluation.counts["pictures"]:
        raise DataError(f"{len(scores)} answers beside an evaluation of {evaluation.counts['pictures']}")
    target = Path(folder)
    drawings = {name: draw(evaluation) for name, draw in plots.DRAWINGS.items()}
    if embeddings is not None and len(scores) > 1:
        drawings["embedding"] = draw_embedding(scores, embeddings, evaluation.counts)
    page = render_report(evaluation, drawings, gallery=gallery, wrong=wrong)
    with together(target) as place:
        scores.write_csv(place / "predictions.csv")
        for name, drawing in drawings.items():
            write_bytes(place / f"{name}.svg", drawing)
        write_bytes(place / "report.html", page.encode("utf-8", "replace"))
        write_json(place / "metrics.json", evaluation.to_json())
    return target / "report.html"


def render_report(
    evaluation: Evaluation,
    drawings: dict[str, bytes],
    *,
    gallery: str | None = None,
    wrong: Sequence[WrongCell] = (),
) -> str:
    """The page as HTML that needs no other file; ``drawings`` are SVG by the names of `CAPTIONS`.

    Raises:
        DataError: ``gallery`` is no relative address inside the folder of the page.
    """
    if gallery is not None and not _inside(gallery):
        raise DataError(f"the gallery {gallery!r} is not inside the folder of the report")
    provenance = evaluation.provenance
    tested_on = Patients.of(sorted({row.group for row in evaluation.subjects}, key=natural))
    known = tested_on.all_known
    listed = [row for row in evaluation.subjects if picture_of(row.group) is None]
    return render(
        "reports/report.html.j2",
        e=evaluation,
        made=provenance,
        title=wording.protocol_title(provenance.protocol, provenance.fold),
        meaning=wording.protocol_meaning(provenance.protocol, patients_known=known),
        honest=wording.is_of_new_patients(provenance.protocol, patients_known=known),
        trained_on=Patients.of(sorted(provenance.trained_on, key=natural)) if provenance.trained_on else None,
        tested_on=tested_on,
        patients_known=known,
        audits=_audits(provenance),
        audit_kinds=KINDS,
        made_with=_facts(evaluation),
        headlines=[(BY_KEY[key], evaluation.metrics[key]) for key in HEADLINES],
        terms=[(term, evaluation.metrics[term.key], evaluation.naive.get(term.key)) for term in TERMS],
        figures=[(name, inline(name, svg), CAPTIONS[name]) for name, svg in drawings.items()],
        glossary=BY_KEY,
        enough_cells=ENOUGH_CELLS,
        listed=listed,
        unlisted=len(evaluation.subjects) - len(listed),
        wrong=wrong,
        wrong_in_all=evaluation.confusion["fp"] + evaluation.confusion["fn"],
        gallery=gallery,
        track=_track,
    )


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    known = [(name, getattr(evaluation.provenance, key)) for key, name in _FACTS.items()]
    bootstrap = f"{evaluation.replicates:,} replicates over patient groups, seed {evaluation.seed}"
    return [*((name, str(value)) for name, value in known if value is not None), ("Intervals", bootstrap)]


def _audits(provenance: Provenance) -> list[dict[str, Any]] | None:
    """Each audit of the bundle in words; None where no bundle answered."""
    if provenance.audits is None:
        return None
    found = [AuditFacts.model_validate(each) for each in provenance.audits]
    pages = provenance.audit_pages or {}
    return [
        {"kind": each.kind, "verdict": verdict_of(each), "cells": audited_on(each).replace("**", ""),
         "rules": each.rules, "page": pages.get(each.kind)}
        for each in found
    ]  # fmt: skip


def _inside(address: str) -> bool:
    path = PurePosixPath(address)
    return not path.is_absolute() and ".." not in path.parts and re.match(r"[\w.-]+(/|$)", address) is not None


def _track(each: Estimate) -> dict[str, float] | None:
    """Places in percent of a figure and its interval on a scale from 0 to 1; None where there is nothing to place."""
    if math.isnan(each.value):
        return None
    low, high = (each.value, each.value) if math.isnan(each.low) else (each.low, each.high)
    ends = [100 * min(max(end, 0.0), 1.0) for end in (low, high, each.value)]
    return {"left": round(ends[0], 2), "width": round(ends[1] - ends[0], 2), "at": round(ends[2], 2)}


def inline(name: str, svg: bytes) -> str:
    """An SVG file as a part of the page: own identifiers, and the page's colours, which follow light and dark."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, role in _ROLES.items():
        text = text.replace(colour, f"var(--{role})")
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-labelledby="caption-{name}">{rest}'
