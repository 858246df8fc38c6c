"""Options that several verbs take, each said in one place; those of data sets are in `_data`."""

from __future__ import annotations

from pathlib import Path

import click

BUNDLE = click.option(
    "--bundle", type=click.Path(path_type=Path), help="Folder of the bundle, or `light`.  [default: the package's own]"
)
THRESHOLD = click.option(
    "--threshold", type=click.FloatRange(0, 1),
    help="Probability from which blast is called, instead of the bundle's; the band of refer, set for that, is gone.",
)  # fmt: skip
PROVIDER = click.option(
    "--provider", help="What of ONNX Runtime runs the graph, such as cuda; the processor where it is not offered."
)
QUIET = click.option("--quiet", "-q", is_flag=True, help="Say nothing on standard error but errors.")
PROGRESS = click.option(
    "--progress", type=click.Choice(["auto", "json"]), default="auto", show_default=True,
    help="How progress is shown on standard error; json: lines of JSON.",
)  # fmt: skip
TRUST = click.option(
    "--trust", multiple=True, metavar="KEY",
    help="Refuse a bundle that is not signed with this public key (or one of a file of keys); may be given again.  "
    "[default: LEUKOSCOPE_TRUST]",
)  # fmt: skip
THREADS = click.option("--threads", type=click.IntRange(min=1), help="Threads to use.")
CACHE = click.option("--cache", type=click.Path(path_type=Path), help="Folder for prepared frames.")
JOBS = click.option("--jobs", type=click.IntRange(min=1), help="Threads for decoding.")
PROTOCOL = click.option(
    "--protocol",
    type=click.Choice(["group", "subject", "official", "laboratory", "picture"]),
    help="How to split; laboratory leaves out one --data of several.",
)
EPOCHS = click.option("--epochs", type=click.IntRange(min=1), help="At most so many epochs; every figure will say so.")
LIMIT = click.option(
    "--limit", type=click.IntRange(min=20), help="Use only so many pictures; every figure will say so."
)
OVERRIDES = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe.")
