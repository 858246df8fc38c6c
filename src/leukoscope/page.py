"""Pages: one environment and one base template, which gives each page its head, its colours, and what it may load.

A page needs no other file, or only pictures beside it; it sends nothing and runs only the script that it was written
with, whose digest stands in its content-security policy. A room keeps its own template beside its code; it extends
`base.html.j2`, and all values are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from leukoscope import text
from leukoscope._version import __version__


def render(template: str, **values: Any) -> str:
    """The page of a template, such as ``reports/evaluation.html.j2``, with values and functions that it asks for."""
    return _template(template).render(values)


def stream(template: str, **values: Any) -> Iterator[str]:
    """The same in parts: an iterator among the values is taken one by one, and the page is never held whole."""
    return _template(template).generate(values)


def _template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(version=__version__, research_use=text.RESEARCH_USE)
    environment.filters.update(
        counted=text.counted,
        decimal=text.decimal,
        digest=_digest,
        interval=lambda each: text.span(each.low, each.high),
        percentage=text.percentage,
        printable=text.printable,
    )
    return environment


def _source(name: str) -> str:
    return resources.files("leukoscope").joinpath(*name.split("/")).read_text(encoding="utf-8")


def _digest(code: str) -> str:
    """How a content-security policy names an inline script."""
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
