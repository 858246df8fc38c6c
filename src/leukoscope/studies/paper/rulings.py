"""A claim of the paper held against the runs: a row for every network that it is about."""

from __future__ import annotations

from typing import Any

from leukoscope.errors import LeukoscopeError
from leukoscope.metrics.bootstrap import Estimate
from leukoscope.metrics.glossary import BY_KEY as GLOSSARY
from leukoscope.reports.wording import with_interval
from leukoscope.studies.compare.pool import Entry
from leukoscope.studies.paper.claims import (
    OPEN,
    Claim,
    Ruling,
    rule_arithmetic,
    rule_better,
    rule_figure,
    rule_general,
    rule_lighter,
)
from leukoscope.studies.paper.study import Study, paired_differences, part_figures

_WHERE = (("stated", "stated"), ("new_patients", "group"))


def rule(study: Study, claim: Claim) -> list[dict[str, Any]]:
    """Rows of one claim: for every network it is about, on the paper's split and on new patients."""
    base = {"id": claim.id, "claim": claim.text, "place": claim.place, "claimed": claim.stated, "kind": claim.kind}
    if claim.kind == "none":
        return [base | {"model": "", "stated": _said(Ruling(OPEN, f"{claim.because}")), "new_patients": None}]
    if claim.kind == "arithmetic":
        assert claim.accuracy is not None
        return [base | {"model": "", "stated": _said(rule_arithmetic(claim.accuracy)), "new_patients": None}]
    rows: list[dict[str, Any]] = []
    for model in claim.models:
        row: dict[str, Any] = {**base, "model": model}
        if claim.kind == "figure":
            rows.append(row | {where: _figure(study, claim, arm, model) for where, arm in _WHERE})
        elif claim.kind == "better":
            rows.append(row | {where: _better(study, claim, arm, model) for where, arm in _WHERE})
        elif claim.kind == "lighter":
            rows.append(row | {"stated": _lighter(study, claim, model), "new_patients": None})
        elif claim.kind == "part":
            rows.append(row | {"stated": _part(study, claim, model), "new_patients": None})
        else:
            rows.append(row | {"stated": None, "new_patients": _general(study, model)})
    return rows


def _figure(study: Study, claim: Claim, arm: str, model: str) -> dict[str, Any]:
    found = study.figures.get((arm, model))
    if found is None:
        return _said(Ruling(OPEN, study.why_missing(arm, model)))
    assert claim.figure is not None
    return _said(rule_figure(claim, found[claim.figure]), found[claim.figure], study.entries[arm, model])


def _better(study: Study, claim: Claim, arm: str, model: str) -> dict[str, Any]:
    assert claim.rival is not None
    mine, other = study.entries.get((arm, model)), study.entries.get((arm, claim.rival))
    if mine is None or other is None:
        return _said(Ruling(OPEN, study.why_missing(arm, claim.rival if mine is not None else model)))
    found = paired_differences(other, mine, replicates=study.replicates)
    if found is None:
        return _said(Ruling(OPEN, "the two were tested on no common cells of both classes"))
    return _said(rule_better(found[0]["accuracy"]), found[0]["accuracy"], mine)


def _lighter(study: Study, claim: Claim, model: str) -> dict[str, Any]:
    assert claim.rival is not None
    try:
        for name in {model, claim.rival} - study.sizes.keys():
            study.sizes[name] = parameters(name)
    except LeukoscopeError as error:
        return _said(Ruling(OPEN, f"not measured here because {error}"))
    own, rival = study.sizes[model], study.sizes[claim.rival]
    return _said(rule_lighter(own, rival)) | {"reproduced": f"{own:,} against {rival:,} parameters"}


def _part(study: Study, claim: Claim, model: str) -> dict[str, Any]:
    assert claim.part is not None
    assert claim.claimed is not None
    done = [each for each in study.outcomes.get(("stated", model), ()) if each.ok]
    if not done:
        return _said(Ruling(OPEN, study.why_missing("stated", model)))
    try:
        found, cells = part_figures(done[0], study.manifest, claim.part)
    except LeukoscopeError as error:
        return _said(Ruling(OPEN, str(error)))
    said = _said(rule_figure(claim, found["accuracy"]), found["accuracy"], study.entries["stated", model])
    return said | {"cells": cells}


def _general(study: Study, model: str) -> dict[str, Any]:
    found = study.fall(model)
    if found is None:
        lacking = "stated" if ("stated", model) not in study.entries else "group"
        return _said(Ruling(OPEN, study.why_missing(lacking, model)))
    falls, _, _ = found
    told = ", ".join(f"{GLOSSARY[key].title} {with_interval(each)}" for key, each in falls.items())
    return _said(rule_general(falls), None, study.entries["group", model]) | {"reproduced": f"falls by: {told}"}


def parameters(model: str) -> int:
    """Parameters of a network, all layers unfrozen, at its default arguments.

    Raises:
        ModelError: there is no such network.
        MissingExtraError: its library is not installed.
    """
    import torch  # noqa: PLC0415 - an optional extra

    from leukoscope.models import create_model  # noqa: PLC0415 - needs torch

    with torch.device("meta"):  # no memory is taken and nothing is drawn
        return sum(each.numel() for each in create_model(model).parameters())


def _said(ruling: Ruling, found: Estimate | None = None, entry: Entry | None = None) -> dict[str, Any]:
    return {
        "verdict": ruling.verdict,
        "reason": ruling.reason,
        "figure": None if found is None else found.to_json(),
        "reproduced": "" if found is None else with_interval(found),
        "shortened": None if entry is None else entry.told("shortened"),
    }
