"""``dpbench dataset list``."""

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def list_command(context: Context, as_json: bool) -> None:
    """List the datasets of the workspace.

    \b
    Example:
        dpbench dataset list
    """
    from dpbench.cli.dataset.text import datasets_text
    from dpbench.store.summary import list_datasets

    rows = list_datasets(context.workspace())
    click.echo(as_text(rows) if as_json else datasets_text(rows))
