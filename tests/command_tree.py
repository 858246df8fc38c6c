"""All commands of the command line, by the words that reach them."""

from __future__ import annotations

from collections.abc import Iterator

import click

from leukoscope.cli import main


def _commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for each in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), each)
            assert found is not None
            yield from _commands(found, f"{name} {each}".strip())


COMMANDS = dict(_commands(main))
VERBS = {name: each for name, each in COMMANDS.items() if name and not isinstance(each, click.Group)}
