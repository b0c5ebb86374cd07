"""``dpbench dataset show``."""

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("show")
@click.argument("name")
@click.option("--quarantined", is_flag=True, help="List the frames that were kept out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def show_command(
    context: Context, name: str, *, quarantined: bool, as_json: bool
) -> None:
    """Show what a dataset is made of; NAME is e.g. water or water-v2.

    \b
    Example:
        dpbench dataset show water-v2
    """
    from dpbench.cli.dataset.text import quarantine_text, version_text
    from dpbench.config import to_mapping
    from dpbench.io.dataset_cards import cards_of
    from dpbench.store.dataset import open_dataset
    from dpbench.store.summary import describe, describe_quarantine

    version = open_dataset(context.workspace(), name)
    if quarantined:
        rows = describe_quarantine(version)
        click.echo(as_text(rows) if as_json else quarantine_text(version.label, rows))
        return
    cards = cards_of(version)
    facts = describe(version) | {"cards": [to_mapping(card) for card in cards]}
    if as_json:
        click.echo(as_text(facts))
        return
    lines = [f"{card.title}: {card.licence}. {card.citation}" for card in cards]
    click.echo("\n\n".join([version_text(facts), *lines]))
