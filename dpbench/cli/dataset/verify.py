"""``dpbench dataset verify``."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text

if TYPE_CHECKING:
    from dpbench.store.verify.run import Verified

UNREAD = "derived/ and runs/, which can be made again, were not read"

logger = logging.getLogger(__name__)


@click.command("verify")
@click.argument("name", metavar="NAME[-vN]", required=False)
@click.option("--all", "is_all", is_flag=True, help="Everything in the workspace.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@pass_context
def verify_command(
    context: Context,
    click_context: click.Context,
    *,
    name: str | None,
    is_all: bool,
    as_json: bool,
) -> None:
    """Read everything again and name what is damaged.

    Every file is hashed, every frame's digest is made again from its numbers, and every
    version's from its frames. A changed file of an array is named with the chunk that
    changed and the frames in it. Exits 1 if anything is found.

    The folders derived and runs are not read: what they hold can be made again.

    \b
    Example:
        dpbench dataset verify water
        dpbench dataset verify --all
    """
    from dpbench.store.references import parse_reference, refuse_part
    from dpbench.store.verify.run import verify

    if is_all == (name is not None):
        raise click.UsageError("Name a dataset, or say --all.")
    workspace = context.workspace()
    reference = parse_reference(name) if name is not None else None
    if reference is not None:
        refuse_part(reference)
    verified = verify(
        workspace, reference, lambda name: logger.info("reading segment %s", name)
    )
    click.echo(as_text(_facts(verified)) if as_json else _text(verified))
    if verified.findings:
        click_context.exit(1)


def _facts(verified: "Verified") -> dict[str, Any]:
    return {"ok": not verified.findings, **asdict(verified)}


def _text(verified: "Verified") -> str:
    read = (
        f"{verified.n_versions} versions, {verified.n_segments} segments, "
        f"{verified.n_frames} frames, {verified.n_files} files "
        f"({verified.n_bytes / 1e6:.1f} MB)"
    )
    if not verified.findings:
        return f"read {read}: everything is as it was written; {UNREAD}"
    lines = [str(finding) for finding in verified.findings]
    return "\n".join([*lines, f"read {read}: {len(lines)} findings"])
