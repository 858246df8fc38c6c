"""The options by which `predict` and `field` state patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from leukoscope.errors import PictureError
    from leukoscope.inference.owners import Owners, OwnerSource


def by_patient(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--by` and `--patients` to a verb."""
    whose = click.option(
        "--patients", "--subjects-from", "patients", metavar="auto|name|folder|CSV",
        help="Whose a picture is: in its name (C-NMC 2019), its folder, or a CSV of path,patient[,field]. "
        "Implies --by patient.  [default: auto]",
    )  # fmt: skip
    stated = click.option(
        "--by", type=click.Choice(["patient", "subject"]), help="State each patient; subject is another word for it."
    )
    return stated(whose(command))


def owners_of(pictures: Sequence[Path | PictureError], by: str | None, patients: str | None) -> Owners | None:
    """Whose the pictures are; None where no patients were asked for."""
    from leukoscope.inference.owners import find_owners

    if by is None and patients is None:
        return None
    given = patients or "auto"
    return find_owners(pictures, cast("OwnerSource", given) if given in {"auto", "name", "folder"} else Path(given))
