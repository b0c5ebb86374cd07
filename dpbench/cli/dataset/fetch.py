"""``dpbench dataset fetch``."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dpbench.cli.context import Context, pass_context

if TYPE_CHECKING:
    from dpbench.store.remote.segments import Progress


@click.command("fetch")
@click.argument("name", metavar="NAME[-vN]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def fetch_command(context: Context, name: str, as_json: bool) -> None:
    """Bring a remote dataset to the local disk.

    Every file is checked against the hash in its segment's manifest, and a fetch that
    was stopped goes on where it was. The frames are then read at the disk's speed.

    \b
    Example:
        dpbench dataset fetch water
    """
    from dpbench.store.dataset import open_dataset
    from dpbench.store.remote.fetch import bytes_to_fetch, fetch_version

    version = open_dataset(context.workspace(), name)
    with _progress_bar(bytes_to_fetch(version), is_quiet=context.is_quiet) as advance:
        fetched = fetch_version(version, advance)
    if as_json:
        click.echo(json.dumps({"label": version.label, **asdict(fetched)}))
        return
    click.echo(
        f"{version.label}: {fetched.n_segments} segments are on the local disk, "
        f"{fetched.n_new} of them new ({fetched.bytes_new / 1e6:.1f} MB)"
    )


@contextmanager
def _progress_bar(total: int, *, is_quiet: bool) -> "Iterator[Progress]":
    """Show the bytes that have arrived on stderr, if anybody is looking."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    bar = Progress(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=is_quiet,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.update(task, advance=size)
