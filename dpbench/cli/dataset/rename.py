"""``dpbench dataset rename``."""

import json

import click

from dpbench.cli.context import Context, pass_context


@click.command("rename")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def rename_command(context: Context, old: str, new: str, as_json: bool) -> None:
    """Give a dataset another name.

    Its versions and their digests stay as they are, and the old name goes on finding
    them: records and scripts may name it. No other dataset can be given the old name.

    \b
    Example:
        dpbench dataset rename water h2o
    """
    from dpbench.store.history import rename

    before = rename(context.workspace(), old, new)
    if as_json:
        click.echo(json.dumps({"name": new, "before": before}))
    else:
        click.echo(f"{before} is called {new} now; '{before}' still finds it")
