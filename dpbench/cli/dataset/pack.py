"""``dpbench dataset pack``."""

from typing import Literal

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("pack")
@click.argument("name")
@click.option(
    "--compress",
    type=click.Choice(["zstd", "lz4"]),
    help="Compress the new segments: for archives, slow to read at random.",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="Atoms of a chunk.  [default: 16384 with --compress, else 65536]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def pack_command(
    context: Context,
    name: str,
    compress: Literal["zstd", "lz4"] | None,
    chunk: int | None,
    as_json: bool,
) -> None:
    """Put a dataset's frames into fewer, larger files, as its next version.

    The frames, their order and the content digest stay. Older versions keep the old
    files.

    \b
    Example:
        dpbench dataset pack water
    """
    from datetime import UTC, datetime

    from dpbench.store.pack import pack

    report = pack(
        context.workspace(),
        name,
        compress=compress,
        chunk_rows=chunk,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    click.echo(as_text(report.to_json()) if as_json else report.summary())
