"""``dpbench dataset import``."""

from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--dataset", help="Dataset to make or extend [default: the exported one's name]."
)
@click.option(
    "--allow-mixed-theory",
    is_flag=True,
    help="Let levels of theory that contradict each other into one version.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def import_command(
    context: Context,
    folder: Path,
    *,
    dataset: str | None,
    allow_mixed_theory: bool,
    as_json: bool,
) -> None:
    """Read back what 'dpbench dataset export' wrote to DIR.

    Labels, sources, steps, levels of theory and licences come back. Every file must be
    as it was exported. Files of others are read by 'dpbench ingest'.

    \b
    Example:
        dpbench dataset import water-npy --dataset water
    """
    from dpbench.io.exchange.importing import import_dataset

    workspace = context.workspace(create=True)
    try:
        report = import_dataset(
            workspace, folder, dataset=dataset, allow_mixed_theory=allow_mixed_theory
        )
    except BaseException:  # Ctrl-C too; nothing is swallowed
        workspace.remove_if_empty()
        raise
    facts = report.to_json()
    if as_json:
        click.echo(as_text(facts))
        return
    what = (
        "the frames that were exported"
        if facts["is_same"]
        else "less than was exported"
    )
    news = "" if facts["is_new"] else "  nothing new"
    lines = [
        f"{facts['label']}  {facts['digest']}{news}",
        f"  frames    {facts['n_added']} added, {facts['n_repeated']} repeated",
        f"  read      {what}, digest {facts['read_digest']}",
    ]
    if not facts["is_same"]:
        lines.append(f"  exported  {facts['exported_digest']}")
    for reason, count in facts["quarantined"].items():
        lines.append(f"  quarantined  {count} {reason}")
    lines += [f"  not held  {note}" for note in facts["not_held"]]
    click.echo("\n".join(lines))
