"""Command groups that import a command when it is called, and the global options.

``dpbench --help`` and ``dpbench dataset --help`` need click alone. The global options
may stand before or after the command's name.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dpbench.cli.context import Context, set_up_logging

Table = Mapping[str, tuple[str, str]]
"""Name -> (``module:attribute``, the command's line in the group's help)."""


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def __init__(self, *args: Any, table: Table, **kwargs: Any) -> None:
        """Make a group of the commands of ``table``."""
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands whose modules are there, in the order of the table."""
        return [name for name in self.table if self._is_there(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called ``cmd_name``."""
        if cmd_name not in self.table or not self._is_there(cmd_name):
            return None
        module, attribute = self.table[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        add_global_options(command)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without importing them."""
        rows = [(name, self.table[name][1]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _is_there(self, name: str) -> bool:
        module = self.table[name][0].split(":")[0]
        return importlib.util.find_spec(module) is not None


def _set_workspace(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.obj = replace(settings(ctx), workspace_dir=value)


def _set_verbosity(ctx: click.Context, parameter: click.Parameter, value: int) -> None:
    if value:
        verbosity = -1 if parameter.name == "quiet" else value
        ctx.obj = replace(settings(ctx), verbosity=verbosity)
        set_up_logging(verbosity)


def settings(ctx: click.Context) -> Context:
    """Return the global options as far as they are known."""
    return ctx.obj if isinstance(ctx.obj, Context) else Context()


def global_options() -> list[click.Option]:
    """Make the options that every command takes; their callbacks fill ``ctx.obj``."""
    return [
        click.Option(
            ["--workspace"],
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            expose_value=False,
            callback=_set_workspace,
            help="Workspace folder [default: $DPBENCH_WORKSPACE, else the nearest "
            ".dpbench/ upwards].",
        ),
        click.Option(
            ["--threads"],
            type=click.IntRange(min=1),
            metavar="N",
            expose_value=False,  # taken from argv before anything numeric is imported
            help="Threads of the numerical libraries [default: $OMP_NUM_THREADS, "
            "else all cores].",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_set_verbosity,
            help="Say more; twice for everything.",
        ),
        click.Option(
            ["-q", "--quiet"],
            count=True,
            expose_value=False,
            callback=_set_verbosity,
            help="Errors only.",
        ),
    ]


def add_global_options(command: click.Command) -> None:
    """Let ``command`` and its subcommands take the global options too."""
    taken = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    for option in global_options():
        if taken.isdisjoint(option.opts):
            command.params.append(option)
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            add_global_options(subcommand)
