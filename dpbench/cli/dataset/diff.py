"""``dpbench dataset diff``."""

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text


@click.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every frame.")
@pass_context
def diff_command(context: Context, a: str, b: str, as_json: bool) -> None:
    """List the frames in which version B differs from version A.

    A frame is added, removed, or relabelled: the same structure with another energy,
    force, virial, charge, level of theory or quarantine state. A and B may be versions
    of different datasets; retracted ones too.

    \b
    Example:
        dpbench dataset diff water-v1 water-v2
    """
    from dataclasses import asdict

    from dpbench.cli.dataset.history_text import diff_text
    from dpbench.store.dataset import open_dataset
    from dpbench.store.diff import diff

    workspace = context.workspace()
    old, new = (open_dataset(workspace, name, allow_retracted=True) for name in (a, b))
    found = diff(old, new)
    facts = {
        "a": old.label,
        "b": new.label,
        "counts": found.counts,
        "largest": found.largest,
    }
    if as_json:
        click.echo(as_text({**facts, **asdict(found)}))
    else:
        click.echo(diff_text(facts, found))
