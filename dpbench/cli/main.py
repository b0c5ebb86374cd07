"""The ``dpbench`` command group, and the table of its commands.

A command's module is imported when the command is called, not before: ``dpbench
--help`` needs click alone. The global options may stand before or after the
command's name.
"""

import errno
import importlib
import importlib.util
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import dpbench
from dpbench.cli.context import Context, set_up_logging
from dpbench.errors import DpbenchError

COMMANDS = {
    "demo": (
        "dpbench.cli.demo:demo_command",
        "Go the whole way on real data that ships with dpbench.",
    ),
    "ingest": (
        "dpbench.cli.ingest:ingest_command",
        "Read DFT outputs of CODE into a new version of a dataset.",
    ),
    "dataset": (
        "dpbench.cli.dataset:dataset_group",
        "Look at datasets and split them.",
    ),
    "train": (
        "dpbench.cli.train:train_command",
        "Train a Deep Potential model on a dataset; write m.pth.",
    ),
    "evaluate": (
        "dpbench.cli.evaluate:evaluate_command",
        "Measure a model: accuracy, stability and speed.",
    ),
    "leaderboard": (
        "dpbench.cli.leaderboard:leaderboard_command",
        "Write the leaderboard of all filed results.",
    ),
    "results": (
        "dpbench.cli.results:results_group",
        "Look at filed result records.",
    ),
    "registry": (
        "dpbench.cli.registry:registry_group",
        "Look after the SQL index of the workspace.",
    ),
    "doctor": (
        "dpbench.cli.doctor:doctor_command",
        "Say what dpbench finds on this machine.",
    ),
}
"""Name -> (where it lives, its line in ``dpbench --help``)."""

# Trouble with the disk or its rights is the user's to mend, not a bug of ours.
USER_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

log = logging.getLogger(__name__)


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and words its errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands whose modules are there, in the order of the table."""
        return [name for name in COMMANDS if _is_there(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called ``cmd_name``."""
        if cmd_name not in COMMANDS or not _is_there(cmd_name):
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        add_global_options(command)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without importing them."""
        rows = [(name, COMMANDS[name][1]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a DpbenchError becomes one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except DpbenchError as error:
            log.debug("The error rose here:", exc_info=True)
            raise click.ClickException(" ".join(str(error).split())) from error
        except OSError as error:
            if error.errno not in USER_ERRNOS:
                raise
            log.debug("The error rose here:", exc_info=True)
            where = error.filename or "the disk"
            raise click.ClickException(f"{where}: {error.strerror}.") from error


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(COMMANDS[name][0].split(":")[0]) is not None


def _set_workspace(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.obj = replace(_settings(ctx), workspace_dir=value)


def _set_verbosity(ctx: click.Context, parameter: click.Parameter, value: int) -> None:
    if value:
        verbosity = -1 if parameter.name == "quiet" else value
        ctx.obj = replace(_settings(ctx), verbosity=verbosity)
        set_up_logging(verbosity)


def _settings(ctx: click.Context) -> Context:
    return ctx.obj if isinstance(ctx.obj, Context) else Context()


def _global_options() -> list[click.Option]:
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
    for option in _global_options():
        if taken.isdisjoint(option.opts):
            command.params.append(option)
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            add_global_options(subcommand)


@click.group(
    cls=LazyGroup,
    params=list(_global_options()),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(dpbench.__version__, prog_name="dpbench")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """From DFT output to a leaderboard row, in one chain of evidence.

    \b
    Example:
        dpbench ingest vasp OUTCAR/ --dataset water
        dpbench train --dataset water
        dpbench evaluate --model m.pth
        dpbench leaderboard
    """
    ctx.obj = _settings(ctx)
    set_up_logging(ctx.obj.verbosity)
