"""``dpbench doctor``: what is found on this machine."""

import json

import click

from dpbench.cli.context import Context, pass_context


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def doctor_command(context: Context, as_json: bool) -> None:
    """Say what dpbench finds on this machine.

    \b
    Example:
        dpbench doctor
    """
    from dpbench.cli.findings import find_all

    findings = find_all(context.workspace_dir)
    if as_json:
        click.echo(json.dumps(findings, indent=2))
        return
    width = max(map(len, findings))
    for name, value in findings.items():
        click.echo(f"{name:<{width}}  {value if value is not None else 'not found'}")
