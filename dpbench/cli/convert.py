"""``dpbench convert``: a model file for another program."""

import json
from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path), metavar="A")
@click.argument("target", type=click.Path(path_type=Path), metavar="B")
@click.option(
    "--backend",
    metavar="NAME",
    help="Who shall read B. By its suffix alone .pth is dpbench's; deepmd-pt makes it "
    "DeePMD-kit's.",
)
@click.option(
    "--trust",
    multiple=True,
    metavar="SHA256",
    help="Open A though it is a foreign program; may be repeated.",
)
@click.option("--force", is_flag=True, help="Replace B.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@pass_context
def convert_command(
    context: Context,
    /,
    *,
    source: Path,
    target: Path,
    backend: str | None,
    trust: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Write model A as B, in the format that the suffix of B names.

    dpbench's .pth and DeePMD-kit's .dp and .yaml are converted here; .pb, .pt2, .pte,
    .hlo, .jax, .savedmodel, .savedmodeltf, .json (Paddle) and DeePMD-kit's .pth need
    the backend deepmd. A is known by its content. What was written is read again and
    compared.

    \b
    Example:
        dpbench convert m.pth m.dp
        dpbench convert m.dp m.pth
        dpbench convert m.pth frozen.pth --backend deepmd-pt
    """
    from dpbench.backends.interchange import convert
    from dpbench.errors import WorkspaceError

    try:
        workspace = context.workspace(create=False).root
    except WorkspaceError:
        if context.workspace_dir is not None:
            raise
        workspace = None  # none is needed
    report = convert(
        source,
        target,
        backend=backend,
        trust=trust,
        workspace=workspace,
        force=force,
    )
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else report.summary())
