"""``dpbench dataset log``."""

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("log")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def log_command(context: Context, name: str, as_json: bool) -> None:
    """Tell the history of a dataset, the newest version first.

    Of every version: its date and parent, the frames added, removed and relabelled
    since the parent, its note, a mixture of levels of theory, and why it was retracted
    if it was. NAME may be a former name.

    \b
    Example:
        dpbench dataset log water
    """
    from dpbench.cli.dataset.history_text import log_text
    from dpbench.store.history import history
    from dpbench.store.references import parse_reference, refuse_part

    reference = parse_reference(name)
    refuse_part(reference)
    facts = history(context.workspace(), reference.name)
    click.echo(as_text(facts) if as_json else log_text(facts))
