"""``dpbench dataset stats``."""

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("stats")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def stats_command(context: Context, name: str, as_json: bool) -> None:
    """Measure a dataset: energies, forces, distances, volumes.

    \b
    Example:
        dpbench dataset stats water
    """
    from dpbench.cli.dataset.text import statistics_text
    from dpbench.io.dataset_stats import statistics
    from dpbench.store.dataset import open_dataset

    facts = statistics(open_dataset(context.workspace(), name))
    click.echo(as_text(facts) if as_json else statistics_text(facts))
