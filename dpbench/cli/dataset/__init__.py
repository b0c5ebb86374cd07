"""``dpbench dataset``: one file a command."""

import click

from dpbench.cli.lazy import LazyGroup

COMMANDS = {
    "list": (
        "dpbench.cli.dataset.list:list_command",
        "List the datasets of the workspace.",
    ),
    "show": (
        "dpbench.cli.dataset.show:show_command",
        "Show what a dataset is made of.",
    ),
    "stats": (
        "dpbench.cli.dataset.stats:stats_command",
        "Measure a dataset: energies, forces, distances, volumes.",
    ),
    "split": (
        "dpbench.cli.dataset.split:split_command",
        "Split a dataset into parts, and file the split.",
    ),
    "log": (
        "dpbench.cli.dataset.log:log_command",
        "Tell the history of a dataset.",
    ),
    "diff": (
        "dpbench.cli.dataset.diff:diff_command",
        "List the frames in which two versions differ.",
    ),
    "verify": (
        "dpbench.cli.dataset.verify:verify_command",
        "Read everything again and name what is damaged.",
    ),
    "rename": (
        "dpbench.cli.dataset.rename:rename_command",
        "Give a dataset another name.",
    ),
    "retract": (
        "dpbench.cli.dataset.retract:retract_command",
        "Take a version back; its record stays.",
    ),
    "quality": (
        "dpbench.cli.dataset.quality:quality_command",
        "Judge every frame; make a version without some.",
    ),
    "leakage": (
        "dpbench.cli.dataset.leakage:leakage_command",
        "Count what two versions or parts share.",
    ),
    "report": (
        "dpbench.cli.dataset.report:report_command",
        "Write one HTML page about a dataset.",
    ),
    "export": (
        "dpbench.cli.dataset.export:export_command",
        "Write a dataset in another format.",
    ),
    "import": (
        "dpbench.cli.dataset.import_:import_command",
        "Read an exported dataset back, labels and theory.",
    ),
    "card": (
        "dpbench.cli.dataset.card:card_command",
        "Show or give licence, citation and title.",
    ),
    "pack": (
        "dpbench.cli.dataset.pack:pack_command",
        "Merge small segments into large ones.",
    ),
    "fetch": (
        "dpbench.cli.dataset.fetch:fetch_command",
        "Bring a remote dataset to the local disk.",
    ),
}
"""Name -> (where it lives, its line in ``dpbench dataset --help``)."""


@click.group("dataset", cls=LazyGroup, table=COMMANDS)
def dataset_group() -> None:
    """Look after datasets: versions, quality, splits, exchange.

    \b
    Example:
        dpbench dataset list
    """
