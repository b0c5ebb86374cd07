"""``dpbench compress``: a model in, a model for molecular dynamics out."""

import json
from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context


@click.command("compress")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write  [default: MODEL with -compressed.pth for its suffix].",
)
@click.option(
    "--intervals",
    type=click.IntRange(min=1),
    help="Intervals of each table  [default: as few as keep its slope within 1e-7].",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="E",
    help="Largest error of a force that tables may cause, eV/Å; measured on the "
    "dataset, it decides the number of intervals.",
)
@click.option(
    "--shortest",
    type=float,
    metavar="R",
    help="Distance to which the tables reach, Å; shorter pairs are served by their "
    "straight continuation and counted  [default: 0.5].",
)
@click.option(
    "--dataset",
    metavar="NAME[-vN]",
    help="Dataset to measure the error on. Default: what the model was trained on, "
    "where the workspace has it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@pass_context
def compress_command(
    context: Context,
    /,
    *,
    model: Path,
    out: Path | None,
    intervals: int | None,
    tolerance: float | None,
    shortest: float | None,
    dataset: str | None,
    as_json: bool,
) -> None:
    """Tabulate the embedding of MODEL for fast molecular dynamics.

    The compressed file works wherever the model does, except in training. Its error
    against MODEL is measured, printed and kept in the file.

    \b
    Example:
        dpbench compress m.pth
        dpbench compress m.pth --tolerance 1e-6 --dataset water
    """
    from dpbench.errors import WorkspaceError
    from dpbench.eval.compression import compress_file
    from dpbench.models.compressed import TableSettings

    if intervals is not None and tolerance is not None:
        raise click.UsageError("give either --intervals or --tolerance, not both.")
    chosen = {"intervals": intervals, "shortest": shortest}
    settings = TableSettings(**{k: v for k, v in chosen.items() if v is not None})  # type: ignore[arg-type]
    try:
        workspace = context.workspace(create=False)
    except WorkspaceError:
        # None is needed; one that was named must be there.
        if context.workspace_dir is not None or dataset is not None:
            raise
        workspace = None
    report = compress_file(
        model,
        out or model.with_name(f"{model.stem}-compressed.pth"),
        settings=settings,
        tolerance=tolerance,
        workspace=workspace,
        dataset=dataset,
    )
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else report.summary())
