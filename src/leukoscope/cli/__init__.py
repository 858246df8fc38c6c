"""The command `leukoscope`: one file per verb, imported only when that verb is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from leukoscope._version import __version__
from leukoscope.cli._errors import Settings, guarded
from leukoscope.text import nearest_first

# verb -> (module, help): the help lives here so that `leukoscope --help` imports no verb.
VERBS = {
    "demo": ("leukoscope.cli.demo", "Show the default model at work on rendered cells, or on a folder of yours."),
    "predict": ("leukoscope.cli.predict", "Say for each cell: blast, normal or refer, and where it shows."),
    "field": ("leukoscope.cli.field", "Find the white cells of smear fields, answer for each, and for patients."),
    "serve": ("leukoscope.cli.serve", "Serve the workbench: review, correct, sign, and teach the model."),
    "app": ("leukoscope.cli.app", "Build the app that answers in the browser, offline."),
    "archive": ("leukoscope.cli.archive", "Answer for very many pictures, in parts, on all cores or on an engine."),
    "slide": ("leukoscope.cli.slide", "Find where a whole slide can be judged, and answer for its white cells."),
    "dicom": ("leukoscope.cli.dicom", "Take pictures from DICOM files and servers, and give the answers back."),
    "data": ("leukoscope.cli.data", "Index, verify and audit data sets: what is there, and what leaks."),
    "train": ("leukoscope.cli.train", "Train a network by a recipe."),
    "pretrain": ("leukoscope.cli.pretrain", "Teach a network kinds of white cells, for training to start from."),
    "evaluate": ("leukoscope.cli.evaluate", "Measure a bundle on patients that it never saw."),
    "compare": ("leukoscope.cli.compare", "Compare networks on the same cells, with what each one costs."),
    "crossval": ("leukoscope.cli.crossval", "Cross-validate a recipe: all folds, several seeds, one report."),
    "reproduce": ("leukoscope.cli.reproduce", "Run a published protocol again, and decide about its claims."),
    "calibrate": ("leukoscope.cli.calibrate", "Fit a bundle's probabilities, and when it refers, on other patients."),
    "audit": ("leukoscope.cli.audit", "Test a bundle: are its heat maps true, does it take shortcuts?"),
    "federate": ("leukoscope.cli.federate", "Measure one bundle at several laboratories; no picture leaves its home."),
    "adapt": ("leukoscope.cli.adapt", "Fit the end of a bundle to the cells of one laboratory."),
    "subjects": ("leukoscope.cli.subjects", "Fit how the cells of one subject become one statement."),
    "export": ("leukoscope.cli.export", "Turn a training run into a bundle."),
    "sign": ("leukoscope.cli.sign", "Vouch for a bundle with a laboratory's key."),
    "push": ("leukoscope.cli.push", "Give a bundle to a model hub."),
    "pull": ("leukoscope.cli.pull", "Take a bundle from a model hub, checked."),
    "models": ("leukoscope.cli.models", "List the networks, and look at one."),
    "recipes": ("leukoscope.cli.recipes", "List the recipes for training, and print one."),
    "doctor": ("leukoscope.cli.doctor", "Check this installation."),
}


class LazyGroup(click.Group):
    """A group whose verbs are imported on use, and whose errors are one line without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of a user's way."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb."""
        if cmd_name not in VERBS:
            return None
        command = getattr(import_module(VERBS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is asked for; where there is none of that name, all are named, the nearest first."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}; use one of {', '.join(nearest_first(args[0], VERBS))}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; see `leukoscope.cli._errors.guarded` for the exit codes."""
        settings = extra.setdefault("obj", Settings())

        def run() -> Any:
            return super(LazyGroup, self).main(
                args,
                prog_name or "leukoscope",
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )

        return guarded(run, settings) if standalone_mode else run()


@click.group("leukoscope", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="leukoscope")
@click.option("--debug", is_flag=True, envvar="LEUKOSCOPE_DEBUG", help="Show the traceback of an error.")
@click.option(
    "--decode-seconds", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
    help="Processor time that decoding one picture may take.  [default: 20]",
)  # fmt: skip
@click.pass_obj
def main(settings: Settings, debug: bool, decode_seconds: float | None) -> None:
    """Find leukemic blasts in pictures of white blood cells.

    Research use only: decision support, never a diagnosis.
    """
    settings.debug = debug
    if decode_seconds is not None:
        os.environ["LEUKOSCOPE_DECODE_SECONDS"] = str(decode_seconds)  # hearing it, too, are the processes of a verb
