"""`leukoscope demo`: the default model at work, on cells rendered for the purpose or on a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leukoscope.cli._options import BUNDLE
from leukoscope.cli._results import REPLACE
from leukoscope.cli._show import research_use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leukoscope.datasets.synthetic import Kind

PICTURES = "pictures"
SEEDS = range(6)  # of each kind
IN_FIELD: tuple[Kind, ...] = ("blast", "normal", "blast", "normal", "normal")
OF_PATIENT = 20  # cells: as many as the shipped rules for patients ask for
PATIENT = "rendered-patient"


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("leukoscope-demo"), show_default=True,
    help="Folder to write the gallery into.",
)  # fmt: skip
@BUNDLE
@click.option("--open/--no-open", "show", default=False, show_default=True, help="Open the gallery in the browser.")
@REPLACE
@research_use
def demo(folder: Path | None, out: Path, bundle: Path | None, show: bool, replace: bool) -> int:
    """Show a model at work.

    Without FOLDER, twelve cells, a field with five more, and twenty blasts of one person, who is stated, are rendered
    by a program: they are not from a patient, and the answers show how the tool works, not how well. With FOLDER, its
    pictures are answered.

    Exit code: 0 all read, 1 some unreadable, 2 wrong usage or unusable bundle.
    """
    from leukoscope.cli._answers import answer_all, check_batch
    from leukoscope.inference.batch import find_pictures
    from leukoscope.inference.classifier import load
    from leukoscope.inference.gallery import PAGE
    from leukoscope.inference.owners import Owners

    classifier, owners = load(bundle), None
    if folder is None:
        click.echo("SYNTHETIC: these cells are rendered by a program, they are not from a patient.", err=True)
        pictures = find_pictures(write_rendered(out / PICTURES))
        theirs = {str(path): PATIENT for path in pictures if Path(str(path)).name.startswith(PATIENT)}
        owners = Owners("what the demo drew", theirs)
    else:
        pictures = find_pictures([folder])
    told = "" if replace else check_batch(classifier, pictures, out, "html")
    if told and folder is not None:  # what is rendered is always new
        click.echo(told, err=True)
    tally = answer_all(
        classifier, pictures, kind="html", out=out, emit=click.echo, synthetic=folder is None, owners=owners
    )
    if show:
        click.launch((out / PAGE).resolve().as_uri())
    return 1 if tally["unreadable"] else 0


def write_rendered(folder: Path, seeds: Iterable[int] = SEEDS) -> list[Path]:
    """Render blast-like and normal-like cells, a field, and the blasts of one person into ``folder``.

    The folder is replaced if a demo wrote it.

    Returns:
        The pictures' paths.

    Raises:
        LeukoscopeError: the folder exists and is not ours, or cannot be written.
    """
    from PIL import Image, PngImagePlugin

    from leukoscope.datasets.drawing import draw_cell, draw_person
    from leukoscope.datasets.record import SYNTHETIC_NOTE
    from leukoscope.datasets.rendered_field import render_field
    from leukoscope.datasets.synthetic import LABEL
    from leukoscope.errors import LeukoscopeError
    from leukoscope.files import atomic_folder

    if folder.exists() and not (folder / SYNTHETIC_NOTE).is_file():
        raise LeukoscopeError(
            "exists already and was not written by leukoscope", path=folder, remedy="choose another --out folder"
        )
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", LABEL)
    names = []
    with atomic_folder(folder) as temporary:
        note = "These cells were rendered by `leukoscope demo`. They are not from a patient.\n"
        (temporary / SYNTHETIC_NOTE).write_text(note)
        for seed in seeds:
            for kind in ("blast", "normal"):
                names.append(f"rendered-{kind}-like-{seed}.png")
                Image.fromarray(draw_cell(seed, kind)).save(temporary / names[-1], pnginfo=text)
        names.append("rendered-field.png")
        Image.fromarray(render_field(0, IN_FIELD)[0]).save(temporary / names[-1], pnginfo=text)
        for number, cell in enumerate(draw_person(0, "blast", OF_PATIENT), 1):
            names.append(f"{PATIENT}-{number:02}.png")
            Image.fromarray(cell).save(temporary / names[-1], pnginfo=text)
    return [folder / name for name in names]
