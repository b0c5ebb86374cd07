"""``dpbench dataset card``."""

from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("card")
@click.argument("name", metavar="NAME[-vN]")
@click.argument(
    "file", metavar="[FILE]", type=click.Path(path_type=Path), required=False
)
@click.option(
    "--add",
    "added",
    is_flag=True,
    help="Keep the cards that it has: its data come from several origins.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def card_command(
    context: Context, name: str, *, file: Path | None, added: bool, as_json: bool
) -> None:
    """Show the card of a dataset, or give it the one in FILE.

    A card is a TOML file with title, licence (SPDX) and citation, and perhaps
    description, authors, url and doi. It holds for all versions, the next ones too, and
    goes along with every export.

    \b
    Example:
        dpbench dataset card water water.toml
        dpbench dataset card water
    """
    from dpbench.config import to_mapping
    from dpbench.io.cards import read_card
    from dpbench.io.dataset_cards import cards_of, give_card
    from dpbench.store.dataset import open_dataset

    workspace = context.workspace()
    version = open_dataset(workspace, name)
    if file is not None:
        give_card(workspace, version.name, read_card(file), added=added)
    cards = cards_of(version)
    if as_json:
        click.echo(as_text([to_mapping(card) for card in cards]))
        return
    if not cards:
        click.echo(f"{version.label}: has no card.")
    for card in cards:
        rows = {
            "title": card.title,
            "licence": card.licence,
            "citation": card.citation,
            "authors": ", ".join(card.authors),
            "url": card.url,
            "doi": card.doi,
            "about": card.description,
        }
        lines = [f"  {key:<9} {value}" for key, value in rows.items() if value]
        click.echo("\n".join([version.label, *lines]))
