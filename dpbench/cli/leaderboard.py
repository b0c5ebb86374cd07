"""``dpbench leaderboard``: write all filed results as one page and its siblings."""

import json
from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context


@click.command("leaderboard")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("leaderboard"),
    show_default=True,
    help="Folder to write into.",
)
@click.option("--suite", help="Only records of this suite, e.g. si-lda-v1.")
@click.option(
    "--model",
    help="Badge and eval_results.yaml are of this model alone: its name or digest.",
)
@click.option("--url", help="Where the records can be had, for eval_results.yaml.")
@click.option(
    "--shipped", is_flag=True, help="Also the results that ship with dpbench."
)
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
@pass_context
def leaderboard_command(
    context: Context,
    *,
    out: Path,
    suite: str | None,
    model: str | None,
    url: str | None,
    shipped: bool,
    as_json: bool,
) -> None:
    """Write the leaderboard of all filed results.

    index.html opens from disk, without a network; leaderboard.md, .csv and .json hold
    the same rows. eval_results.yaml is what the Hugging Face Hub reads, badge.svg a
    badge for a README. The same records give the same bytes.

    \b
    Example:
        dpbench leaderboard --out leaderboard
        dpbench leaderboard --suite si-lda-v1 --model m --out leaderboard
        dpbench leaderboard --shipped
    """
    from dpbench.eval.leaderboard import build

    paths = build(
        context.workspace(), out, suite=suite, model=model, url=url, shipped=shipped
    )
    if as_json:
        click.echo(json.dumps({path.suffix[1:]: str(path) for path in paths}))
        return
    for path in paths:
        click.echo(path)
