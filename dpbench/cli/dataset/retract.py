"""``dpbench dataset retract``."""

import json

import click

from dpbench.cli.context import Context, pass_context


@click.command("retract")
@click.argument("version", metavar="NAME-vN")
@click.option("--reason", required=True, help="What is wrong with it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def retract_command(
    context: Context, version: str, *, reason: str, as_json: bool
) -> None:
    """Take a version back; its record stays.

    Whoever asks for this version gets the reason instead, and NAME alone means the
    newest version that is not retracted. Nothing is deleted: the version still
    verifies, and records that name it can be followed.

    \b
    Example:
        dpbench dataset retract water-v2 --reason "two cutoffs were mixed"
    """
    from dpbench.store.history import retract
    from dpbench.store.references import parse_reference

    label = retract(context.workspace(), parse_reference(version), reason)
    if as_json:
        click.echo(json.dumps({"label": label, "reason": reason}))
    else:
        click.echo(f"{label} is retracted: {reason}")
