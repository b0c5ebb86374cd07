"""``dpbench dataset report``."""

from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("report")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File to write [default: NAME-vN.html].",
)
@click.option("--json", "as_json", is_flag=True, help="Print the path as JSON.")
@pass_context
def report_command(
    context: Context, name: str, *, out: Path | None, as_json: bool
) -> None:
    """Write one HTML page about a dataset: content, origin, quality, theory.

    The page opens from disk, without a network.

    \b
    Example:
        dpbench dataset report water --out water.html
    """
    from dpbench.eval.dataset_report import write_report
    from dpbench.store.dataset import open_dataset

    version = open_dataset(context.workspace(), name)
    path = write_report(version, out or Path(f"{version.label}.html"))
    click.echo(as_text({"html": str(path)}) if as_json else path)
