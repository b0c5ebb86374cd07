"""The ``dpbench`` command group, and the table of its commands.

An error that is the user's to mend becomes one line here.
"""

import logging
import os
from typing import Any

import click

import dpbench
from dpbench.cli.context import set_up_logging
from dpbench.cli.lazy import LazyGroup, global_options, settings
from dpbench.errors import USER_ERRNOS, DpbenchError

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
        "Look after datasets: versions, quality, splits, exchange.",
    ),
    "train": (
        "dpbench.cli.train:train_command",
        "Train a Deep Potential model on a dataset; write m.pth.",
    ),
    "convert": (
        "dpbench.cli.convert:convert_command",
        "Write model A as B, in the format that the suffix of B names.",
    ),
    "compress": (
        "dpbench.cli.compress:compress_command",
        "Tabulate the embedding of MODEL for fast molecular dynamics.",
    ),
    "md": (
        "dpbench.cli.md:md_command",
        "Run molecular dynamics with a model.",
    ),
    "lammps": (
        "dpbench.cli.lammps:lammps_group",
        "Run LAMMPS with a model.",
    ),
    "ipi": (
        "dpbench.cli.ipi:ipi_command",
        "Give forces of a model to i-PI.",
    ),
    "evaluate": (
        "dpbench.cli.evaluate:evaluate_command",
        "Measure a model: accuracy, stability and speed, or a suite of tasks.",
    ),
    "suites": (
        "dpbench.cli.suites:suites_group",
        "Look at suites of tasks, and make their data.",
    ),
    "model-devi": (
        "dpbench.cli.model_devi:model_devi_command",
        "Compare the models of an ensemble; write model_devi.out.",
    ),
    "explore": (
        "dpbench.cli.explore:explore_command",
        "Train an ensemble, explore, select, label, and train again until converged.",
    ),
    "simplify": (
        "dpbench.cli.simplify:simplify_command",
        "Choose a small, informative subset; show accuracy against size.",
    ),
    "backends": (
        "dpbench.cli.backends:backends_group",
        "Install, adopt and check the programs that evaluate beside dpbench.",
    ),
    "bench": (
        "dpbench.cli.bench:bench_group",
        "Measure models on all backends, and dpbench's kernels.",
    ),
    "leaderboard": (
        "dpbench.cli.leaderboard:leaderboard_command",
        "Write the leaderboard of all filed results.",
    ),
    "results": (
        "dpbench.cli.results:results_group",
        "Look at result records, and exchange them.",
    ),
    "reproduce": (
        "dpbench.cli.reproduce:reproduce_command",
        "Measure what RECORD tells again, and say whether each number agrees.",
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

COMPUTING = {
    "demo",
    "train",
    "compress",
    "md",
    "lammps",
    "ipi",
    "evaluate",
    "reproduce",
    "explore",
    "simplify",
    "bench",
}
"""Commands that run kernels."""

log = logging.getLogger(__name__)


class RootGroup(LazyGroup):
    """The group of all commands; words their errors."""

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


@click.group(
    cls=RootGroup,
    table=COMMANDS,
    params=list(global_options()),
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
    from dpbench.kernels.families import VARIABLE, wishes

    ctx.obj = settings(ctx)
    set_up_logging(ctx.obj.verbosity)
    if ctx.invoked_subcommand in COMPUTING:
        wishes(os.environ.get(VARIABLE, ""))  # before anything is made or read
