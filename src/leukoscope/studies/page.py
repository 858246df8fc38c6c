"""A comparison as files: comparison.html, comparison.json, comparison.csv, and its drawings as SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from leukoscope.evaluation import wording
from leukoscope.evaluation.glossary import BY_KEY
from leukoscope.evaluation.intervals import Estimate
from leukoscope.evaluation.report import STATEMENT, inline
from leukoscope.files import write_bytes, write_json, write_text
from leukoscope.studies import plots
from leukoscope.studies.comparison import Comparison, Cost
from leukoscope.studies.gauge import KEYS, Measure

Drawing = tuple[str, bytes, str]  # name, SVG, caption
HEADLINES = ("auc", "balanced_accuracy", "sensitivity", "specificity", "f1_weighted", "ece")
_NAMES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write page, drawings, CSV and JSON; the JSON is removed first and written last: where it stands, all belong.

    Returns:
        The path of comparison.html.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LeukoscopeError: the folder cannot be written.
    """
    drawings = drawn(comparison)
    page = render(comparison, drawings)
    with suppress(OSError):  # what cannot be removed cannot be written either, and writing says why
        (folder / "comparison.json").unlink()
    write_text(folder / "comparison.csv", comparison.to_csv())
    write_text(folder / "comparison.html", page)
    for name, svg, _ in drawings:
        # Alone, a drawing brings its ground along: readers with a dark one show its dark letters too.
        write_bytes(
            folder / f"{name}.svg", re.sub(rb"(<svg[^>]*>)", rb'\1<rect width="100%" height="100%" fill="#fff"/>', svg)
        )
    write_json(folder / "comparison.json", comparison.as_dict())
    return folder / "comparison.html"


def render(comparison: Comparison, drawings: Sequence[Drawing]) -> str:
    """The page as HTML that needs no other file."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        decimal=wording.decimal,
        counted=wording.counted,
        of_whom=wording.of_whom,
        number=_number,
        interval=_interval,
        signed=_signed,
    )
    source = resources.files("leukoscope.studies").joinpath("comparison.html.j2").read_text(encoding="utf-8")
    protocols = {each.protocol for each in comparison.entries.values()}
    return environment.from_string(source).render(
        c=comparison,
        drawings=[(name, inline(name, svg), caption) for name, svg, caption in drawings],
        stamps=plots.stamps(comparison),
        meanings=[wording.protocol_meaning(each) for each in sorted(protocols - wording.NEW_PATIENTS)],
        headlines=[BY_KEY[key] for key in HEADLINES],
        others=[BY_KEY[key] for key in KEYS if key not in HEADLINES],
        verdict=_verdict,
        settings=_settings(comparison),
        engines=_NAMES,
        facts=_facts(comparison),
        statement=STATEMENT,
    )


def drawn(comparison: Comparison) -> list[Drawing]:
    """The drawings of a comparison: name, SVG, caption; without measured entries none."""
    if not comparison.measures:
        return []
    caption = (
        "Filled: on the Pareto front, nothing measured here is both better and cheaper. Intervals of entries overlap "
    )
    caption += "where the cells do not tell them apart; the table of differences is the test."
    found: list[tuple[str, bytes | None, str]] = [
        (
            "time",
            plots.pareto(
                comparison,
                "Accuracy against time",
                "Processor milliseconds per cell, ONNX Runtime, one thread, batch 1 (logarithmic)",
                _one_thread,
            ),
            caption,
        ),
        (
            "size",
            plots.pareto(
                comparison,
                "Accuracy against size",
                "Size of the graph in MB (logarithmic)",
                lambda cost: cost.counts.file_bytes / 1e6,
            ),
            caption,
        ),
        ("roc", plots.roc(comparison), "Mean over seeds. The dashed grey line is a coin."),
    ]
    return [(name, svg, text) for name, svg, text in found if svg is not None]


def _one_thread(cost: Cost) -> float | None:
    """Processor time: on an idle machine the wall clock's, on a busy one what it would be."""
    found = cost.time("onnxruntime", 1, 1)
    return None if found is None else found.cpu or found.median  # a coarse clock may give 0


def _settings(comparison: Comparison) -> list[tuple[str, int, int]]:
    taken = (each for cost in comparison.costs.values() for each in cost.timings)
    return sorted({(each.engine, each.threads, each.batch) for each in taken}, key=lambda each: (each[1:], each[0]))


def _verdict(measure: Measure, key: str) -> str:
    better = measure.better(key)
    return "not told apart" if better is None else ("better" if better else "worse")


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    interval = comparison.context["interval"]
    told: dict[str, Any] = {
        "Command": comparison.context.get("command"),
        "Machine": comparison.context["machine"],
        "Busy": comparison.context.get("load"),
        "Data": ", ".join(
            dict.fromkeys(f"{e.data[0]}, fingerprint {e.data[1][:16]}" for e in comparison.entries.values())
        ),
        "Intervals": f"{interval['replicates']:,} replicates over patient groups, seed {interval['seed']}, paired",
        "Trained on": "; ".join(
            dict.fromkeys(str(e.facts["machine"]) for e in comparison.entries.values() if e.facts.get("machine"))
        ),
    }
    return [(name, str(value)) for name, value in told.items() if value]


def _number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent: 1,234,567, 22.1, 0.0514.

    >>> _number(22.123), _number(1234567), _number(None), _number(0.05141)
    ('22.1', '1,234,567', '', '0.0514')
    """
    if value is None:
        return ""
    if value == int(value) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    places = digits - 1 if value == 0 else max(digits - 1 - _exponent(abs(value)), 0)
    return f"{value:,.{places}f}"


def _exponent(value: float) -> int:
    """The exponent of the first significant digit."""
    return int(f"{value:e}".partition("e")[2])


def _interval(each: Estimate) -> str:
    return wording.interval(each.low, each.high)


def _signed(each: Estimate) -> str:
    if each.value != each.value:
        return wording.UNDEFINED
    ends = wording.UNKNOWN if each.low != each.low else f"{each.low:+.3f} to {each.high:+.3f}"
    return f"{each.value:+.3f} ({ends})"
