"""The card as a hub shows it: the bundle's own, under the header that the hub's search reads."""

from __future__ import annotations

import re
from typing import Any, Final

from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.schema import MeasuredFacts
from leukoscope.errors import optional
from leukoscope.metrics.glossary import BY_KEY

LIBRARY: Final = "leukoscope"
#: Ours, and the hub's name for it where it has one; the hub takes any name.
_TYPES: Final = {
    "auc": "roc_auc",
    "accuracy": "accuracy",
    "f1_macro": "f1",
    "brier": "brier_score",
    "matthews": "matthews_correlation",
}
_LEVEL: Final = 0.95
_TAGS: Final = (
    "image-classification",
    "onnx",
    "haematology",
    "blood-smear",
    "leukemia",
    "explainability",
    "not-for-diagnosis",
)


def hub_card(bundle: Bundle, card: str) -> str:
    """The bundle's card under the hub's header: licence, library, tags, and figures with their intervals.

    The header's schema has no field for an interval: it stands in the name of a metric, for people, and in its
    ``args``, for programs.

    Args:
        bundle: what it is about.
        card: its own card.

    Raises:
        MissingExtraError: the extra `hub` is not installed.
    """
    library = optional("huggingface_hub", "giving bundles to a hub", "hub")
    facts = bundle.facts
    results = [
        library.EvalResult(
            task_type="image-classification",
            task_name="blast or normal, one white blood cell",
            dataset_type=re.sub(r"[^\w.-]+", "-", measured.data),
            dataset_name=f"{measured.data}, protocol {measured.protocol}",
            dataset_split=f"{measured.protocol}, fold {measured.fold}",
            **metric,
        )
        for measured in facts.measured
        for metric in _metrics(measured)
    ]
    header = library.ModelCardData(
        license=facts.licence.lower(),
        library_name=LIBRARY,
        pipeline_tag="image-classification",
        tags=[*_TAGS, facts.precision],
        model_name=facts.name,
        eval_results=results or None,
        bundle_digest=bundle.digest,
        leukoscope_version=facts.version,
    )
    how = f"Fetch and check it: `leukoscope pull REPO --out DIR`. SHA-256 of its facts: `{bundle.digest}`."
    return f"---\n{header.to_yaml()}\n---\n\n{card.rstrip()}\n\n## Where the bundle lies\n\nIn `bundle/`. {how}\n"


def _metrics(measured: MeasuredFacts) -> list[dict[str, Any]]:
    found = []
    for key, each in measured.metrics.items():
        if each.value != each.value:  # undefined there
            continue
        title = BY_KEY[key].title if key in BY_KEY else key
        args: dict[str, Any] = {"patient_groups": len(measured.groups), "pictures": measured.pictures}
        if each.has_interval:
            title += f" (95 % interval over patient groups: {each.low:.3f} to {each.high:.3f})"
            args |= {"low": each.low, "high": each.high, "level": _LEVEL}
        found.append(
            {"metric_type": _TYPES.get(key, key), "metric_name": title, "metric_value": each.value, "metric_args": args}
        )
    return found
