"""The page of a run over fields: patients, fields with their contours, cells; needs nothing outside its folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from leukoscope._version import __version__
from leukoscope.files import atomic_path
from leukoscope.inference.field import HONEST
from leukoscope.inference.field_pictures import COLOURS
from leukoscope.printing import printable

PAGE = "report.html"


def write_page(
    path: Path,
    records: Iterable[dict[str, Any] | None],
    stems: Sequence[str],
    patients: Sequence[dict[str, Any]] | None,
) -> None:
    """Write the page, one field after another: it is never held whole. All values are escaped."""
    template = (resources.files("leukoscope.inference") / "fields.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pairs = ((_shown(record), stem) for record, stem in zip(records, stems, strict=True) if record is not None)
    parts = environment.from_string(template).generate(
        fields=pairs,
        patients=patients,
        honest=HONEST,
        version=__version__,
        colours={name: "rgb({} {} {})".format(*rgb) for name, rgb in COLOURS.items()},
    )
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(parts)


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"path": printable(str(record["path"]))}
