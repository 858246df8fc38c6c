"""Predictions as lines of text: an aligned table for people, CSV and JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from typing import Literal

from leukoscope.inference.prediction import Prediction
from leukoscope.printing import printable

RowFormat = Literal["table", "csv", "jsonl"]
SUFFIX: dict[RowFormat, str] = {"table": "txt", "csv": "csv", "jsonl": "jsonl"}
COLUMNS = ("path", "sha256", "probability", "logit", "decision", "model", "ms", "error", "reason", "gate", "cell")


def header(kind: RowFormat) -> str | None:
    """First line of the output, if it has one.

    >>> header("csv")
    'path,sha256,probability,logit,decision,model,ms,error,reason,gate,cell'
    """
    if kind == "table":
        return f"{'probability':>11}  {'logit':>7}  {'decision':<10}  picture"
    return ",".join(COLUMNS) if kind == "csv" else None


def row(kind: RowFormat, prediction: Prediction) -> str:
    """One line for one prediction; only CSV may hold line breaks, quoted, where a file's name does.

    >>> answer = Prediction("a.png", None, 0.98, 3.9, "blast", "m", 1.0)
    >>> row("table", answer)
    '      0.980    +3.90  blast       a.png'
    """
    if kind == "table":
        return _table_row(prediction)
    values = prediction.to_json()
    if kind == "jsonl":
        return json.dumps(values, ensure_ascii=False, allow_nan=False)
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(["" if values[name] is None else values[name] for name in COLUMNS])
    return line.getvalue().removesuffix("\r\n")  # a terminator of both makes csv quote both within names


def _table_row(prediction: Prediction) -> str:
    name = printable(prediction.name)
    if prediction.probability is None or prediction.logit is None:
        told = printable(prediction.error or prediction.reason or "no reason")
        return f"{'-':>11}  {'-':>7}  {prediction.decision:<10}  {name}  ({told})"
    why = f"  ({printable(prediction.reason)})" if prediction.reason else ""
    stated = f"{prediction.probability:.3f}"
    if prediction.gate == "turned down":  # in brackets: what the network says of a picture that it should not judge
        stated = f"({stated})"
    return f"{stated:>11}  {prediction.logit:+7.2f}  {prediction.decision:<10}  {name}{why}"
