"""``dpbench demo``: the commands that a user would type, one after the other."""

import contextlib
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dpbench.cli.context import Context, pass_context

if TYPE_CHECKING:
    from dpbench.demo import Mode

WORKSPACE = Path(".dpbench")

COST = {
    "smoke": "about a minute and 30 MB of disk",
    "standard": "about four minutes on two cores and 30 MB of disk",
}


@click.command("demo")
@click.option(
    "--mode",
    type=click.Choice(["smoke", "standard"]),
    default="standard",
    show_default=True,
    help="smoke tries every link in about a minute; its numbers are no result.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder to work in; an earlier demo there is replaced.",
)
@pass_context
def demo_command(context: Context, mode: "Mode", out: Path) -> None:
    """Go the whole way on real data that ships with dpbench.

    Six molecular-dynamics runs of silicon become a dataset, a model is trained on four
    of them and measured on the two that were held out, and a leaderboard is written.
    Each step shows the command that does the same by hand.

    \b
    Example:
        dpbench demo --out try-dpbench
    """
    from dpbench import demo
    from dpbench.store.workspace import Workspace

    start = time.monotonic()
    click.echo(f"The demo works in {out}/ and takes {COST[mode]}.")
    demo.prepare(out)
    with contextlib.chdir(out):
        click.echo(f"$ cd {shlex.quote(str(out))}")
        for number, step in enumerate(demo.steps(mode), start=1):
            click.echo(f"\n{number}. {step.title}")
            click.echo(f"$ {shlex.join(['dpbench', *step.arguments])}")
            _run(step.arguments, replace(context, workspace_dir=WORKSPACE))
        found = demo.find_outcomes(Workspace.find(WORKSPACE))
    seconds = time.monotonic() - start
    demo.write_report(out, found, mode=mode, seconds=seconds)
    click.echo(f"\nDone in {seconds:.0f} s. On runs that the training never saw:\n")
    click.echo(demo.describe(found, mode=mode))
    click.echo(f"\nThe leaderboard: {out / 'leaderboard' / 'index.html'}")


def _run(arguments: Sequence[str], context: Context) -> None:
    """Run one command here, as if it had been typed."""
    from dpbench.cli.main import cli

    typed = sys.argv
    sys.argv = ["dpbench", *arguments]  # records tell the command that made them
    try:
        code = cli.main(
            list(arguments), prog_name="dpbench", standalone_mode=False, obj=context
        )
    finally:
        sys.argv = typed
    if isinstance(code, int) and code != 0:
        raise click.exceptions.Exit(code)
