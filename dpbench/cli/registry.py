"""``dpbench registry``: the SQL index of the workspace."""

import json

import click

from dpbench.cli.context import Context, pass_context


@click.group("registry")
def registry_group() -> None:
    """Look after the SQL index of the workspace.

    \b
    Example:
        dpbench registry rebuild
    """


@registry_group.command("rebuild")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def rebuild_command(context: Context, as_json: bool) -> None:
    """Make the registry again from the files of the workspace.

    Versions, splits, models, runs and results are immutable JSON files; the registry
    only indexes them. A damaged registry.db is moved aside first.

    \b
    Example:
        dpbench registry rebuild
    """
    from dpbench.store import catalog

    workspace = context.workspace()
    count = catalog.rebuild(workspace)
    if as_json:
        click.echo(json.dumps({"workspace": str(workspace.root), "objects": count}))
    else:
        click.echo(f"{count} objects indexed in {workspace.root}")


@registry_group.command("upgrade")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def upgrade_command(context: Context, as_json: bool) -> None:
    """Bring the registry to the tables that this dpbench needs.

    A registry.db is upgraded by itself, after a copy. One on a server may serve others
    who still run an older dpbench: it is upgraded by this command alone. Make a backup
    first (pg_dump).

    \b
    Example:
        dpbench registry upgrade
    """
    from dpbench.store import catalog

    workspace = context.workspace()
    schema = catalog.upgrade(workspace)
    if as_json:
        click.echo(json.dumps({"workspace": str(workspace.root), "schema": schema}))
    else:
        click.echo(f"the registry of {workspace.root} has schema {schema}")
