"""``dpbench dataset export``."""

from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text

FORMATS = (
    "deepmd/npy",
    "deepmd/npy/mixed",
    "deepmd/hdf5",
    "deepmd/lmdb",
    "extxyz",
    "ase/db",
    "parquet",
)
"""Those of ``io.writers``, named here so that ``--help`` needs no arrays."""


@click.command("export")
@click.argument("name", metavar="NAME[-vN][:PART]")
@click.argument("format_name", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--split", metavar="SPLIT", help="Split of the part [default: the only one]."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def export_command(
    context: Context,
    name: str,
    format_name: str,
    *,
    folder: Path,
    split: str | None,
    as_json: bool,
) -> None:
    """Write a dataset, or a part of its split, in another format.

    FORMAT is deepmd/npy, deepmd/npy/mixed, deepmd/hdf5, deepmd/lmdb, extxyz, ase/db or
    parquet. DIR must not exist, or be empty. Beside the data stands dpbench.json: where
    the frames come from, their level of theory, licence and citation, and what the
    format cannot hold.

    \b
    Example:
        dpbench dataset export water-v2 deepmd/npy water-npy
        dpbench dataset export water:test parquet water-test
    """
    from dpbench.io.exchange.export import export_dataset

    report = export_dataset(context.workspace(), name, format_name, folder, split=split)
    facts = report.to_json()
    if as_json:
        click.echo(as_text(facts))
        return
    lines = [
        f"{facts['folder']}: {facts['n_frames']} frames ({facts['n_atoms']} atoms) of "
        f"{name} as {facts['format']}, {facts['bytes'] / 1e6:.1f} MB",
        f"  digest    {facts['digest']}",
        f"  licence   {', '.join(facts['licences']) or 'none declared'}",
        *(f"  not held  {note}" for note in facts["not_held"]),
    ]
    click.echo("\n".join(lines))
