"""``dpbench reproduce``: measure what a record tells again."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from dpbench.cli.context import Context, pass_context


@click.command("reproduce")
@click.argument("record")
@click.option(
    "--mode",
    type=click.Choice(["smoke", "standard", "full"]),
    help="Length of dynamics and timings. Default: as the record has them.",
)
@click.option(
    "--retrain",
    is_flag=True,
    help="Train the model again, from the configuration and seed of its run.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Where the model lies now. Default: it is looked for by its digest.",
)
@click.option(
    "--trust",
    multiple=True,
    metavar="SHA256",
    help="Open this foreign program (a pickle, TorchScript ...) in a sandbox.",
)
@click.option("--device", help="cpu, cuda or cuda:N. Default: cuda if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@pass_context
def reproduce_command(
    context: Context, /, record: str, *, as_json: bool, **wishes: Any
) -> None:
    """Measure what RECORD tells again, and say whether each number agrees.

    RECORD is a digest of the workspace, or a JSON file. Model, data, split and backend
    are found by what the record says of them; what is missing is named. Numbers that
    follow from weights and frames must be level within their rounding, those that
    scatter within the intervals that were stated. The new record is filed. Exit code 0
    means that it agrees, 1 that it does not.

    \b
    Example:
        dpbench reproduce 3f2a
        dpbench reproduce 3f2a --retrain
    """
    from dpbench.eval.reproduce import reproduce, reproduction_text, verdict_line
    from dpbench.eval.reproduction import Wishes, plan_reproduction
    from dpbench.train.progress import reporter_for

    wishes["device"] = wishes["device"] or _default_device()
    workspace = context.workspace()
    command = ("dpbench", *sys.argv[1:])
    planned = plan_reproduction(workspace, record, Wishes(command=command, **wishes))
    if not context.is_quiet:
        cost = () if planned.missing else (planned.cost(),)
        for line in (*planned.notes, *cost):
            click.echo(line, err=True)
    found = reproduce(
        workspace,
        planned,
        say=(lambda _: None) if context.is_quiet else _say,
        reporter=reporter_for(quiet=context.is_quiet),
    )
    if as_json:
        rows = found.to_json() | {"verdict": verdict_line(found)}
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        click.echo(reproduction_text(found))
    if not found.agrees:
        click.get_current_context().exit(1)


def _say(words: str) -> None:
    click.echo(f"{words} ...", err=True)


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
