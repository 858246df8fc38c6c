"""The model card: what a bundle is, what it was trained on, what it scored and where it ends, for people."""

from __future__ import annotations

from leukoscope.bundle.audit_claim import audit_claim
from leukoscope.bundle.card_limits import adapted, limits, tripod_table
from leukoscope.bundle.claims import calibration_claim, refer_claim
from leukoscope.bundle.estimate import in_brackets
from leukoscope.bundle.gate_claim import gate_claim
from leukoscope.bundle.precision_claim import precision_claim
from leukoscope.bundle.schema import BundleFacts, MeasuredFacts
from leukoscope.bundle.subject_claim import subject_claim
from leukoscope.data.whose import known_patients, listed, whose

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
    return f"- {title} ({len(known_patients(groups))}): {listed(groups)}"


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
    groups = f"{m.pictures:,} pictures of {whose(m.groups)}"
    rows = [f"| {_SHOWN[k]} | {in_brackets(v)} |" for k, v in m.metrics.items() if k in _SHOWN]
    return "\n".join(
        [
            f"{m.data}, {groups} (protocol `{m.protocol}`, fold {m.fold}): {listed(m.groups)}.",
            "",
            "| figure | value [95 % interval over patient groups] |",
            "|---|---|",
            *rows,
        ]
    )
