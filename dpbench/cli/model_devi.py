"""``dpbench model-devi``: how far an ensemble of models disagrees."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context

if TYPE_CHECKING:
    from dpbench.eval.model_deviation import Material


@click.command("model-devi")
@click.option(
    "--model",
    "models",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Model file; once for each model of the ensemble.",
)
@click.option("--dataset", metavar="NAME[-vN][:PART]", help="Frames of a dataset.")
@click.option(
    "--split", metavar="NAME", help="Split that PART belongs to, by name or digest."
)
@click.option(
    "--frames",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Frames of an extended XYZ file instead, e.g. a trajectory.",
)
@click.option(
    "--backend",
    metavar="NAME",
    help="Who evaluates all models. Default: dpbench's own kernels where they serve, "
    "else the backend that a file is of.",
)
@click.option(
    "--trust",
    multiple=True,
    metavar="SHA256",
    help="Open this foreign program (a pickle, TorchScript ...) in a sandbox.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("model_devi.out"),
    show_default=True,
    help="File to write, in the columns of DeePMD-kit.",
)
@click.option(
    "--frequency",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Steps between two frames of the file: numbers of the first column.",
)
@click.option(
    "--relative",
    type=float,
    metavar="LEVEL",
    help="Divide the force deviation by the mean force plus LEVEL, eV/Å.",
)
@click.option(
    "--relative-virial",
    type=float,
    metavar="LEVEL",
    help="Divide the virial deviation by the mean virial plus LEVEL, eV/atom.",
)
@click.option("--atomic", is_flag=True, help="Write the deviation of each atom, too.")
@click.option(
    "--real-error",
    is_flag=True,
    help="Write the RMS error of the models against the labels instead.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all frames as JSON.")
@pass_context
def model_devi_command(context: Context, /, **options: Any) -> None:
    """Compare the models of an ensemble; write model_devi.out.

    \b
    Example:
        dpbench model-devi --model a.pth --model b.pth --dataset water-v2:test
        dpbench model-devi --model a.pth --model b.pth --frames traj.extxyz --atomic
        dpbench model-devi --model a.pb --model b.pb --backend deepmd-tf --dataset water
    """
    from dpbench.eval.ensemble import open_ensemble
    from dpbench.eval.model_deviation import (
        Request,
        measure_deviation,
        write_model_devi,
    )

    if (options["dataset"] is None) == (options["frames"] is None):
        raise click.UsageError("Give one of --dataset and --frames.")
    request = Request(
        real_error=options["real_error"],
        relative=options["relative"],
        relative_virial=options["relative_virial"],
    )
    for warning in _repeated(options["models"]):
        click.echo(warning, err=True)
    material = _material(context, options)
    with ExitStack() as stack:
        report = measure_deviation(
            open_ensemble(
                stack,
                options["models"],
                workspace=context.workspace,
                backend=options["backend"],
                trust=options["trust"],
                device=options["device"],
            ),
            material,
            names=[str(path) for path in options["models"]],
            request=request,
            progress=None if context.is_quiet else _say,
        )
    write_model_devi(
        options["out"],
        report,
        atomic=options["atomic"],
        frequency=options["frequency"],
    )
    if options["as_json"]:
        click.echo(json.dumps(report.to_json(), indent=1))
    else:
        click.echo(f"{report.summary()}\n{options['out']}")


def _repeated(paths: tuple[Path, ...]) -> list[str]:
    """Word a warning for each model that has the weights of one before it."""
    first: dict[str, Path] = {}
    warnings = []
    for path in paths:
        digest = _digest_of(path)
        if digest is not None and digest in first:
            warnings.append(
                f"Warning: {first[digest]} and {path} have the same weights "
                f"({digest}) and say nothing of each other. Train each model with a "
                "--seed of its own."
            )
        elif digest is not None:
            first[digest] = path
    return warnings


def _digest_of(path: Path) -> str | None:
    """Return the digest of a model's weights, else of the file; None for neither."""
    from dpbench.backends.interchange import load_any
    from dpbench.backends.trust import digest_of
    from dpbench.errors import DpbenchError
    from dpbench.models.checkpoint import model_digest
    from dpbench.models.recognise import recognise

    try:
        if recognise(path).kind in ("dpbench", "deepmd-dp", "deepmd-yaml"):
            return model_digest(load_any(path).model)
    except DpbenchError:
        pass  # of a kind that another backend may read
    try:
        return f"sha256:{digest_of(path)}"
    except (DpbenchError, OSError):
        return None  # said by what opens it


def _material(context: Context, options: dict[str, Any]) -> "Material":
    from dpbench.eval.model_deviation import material_of_dataset, material_of_file

    if options["frames"] is not None:
        return material_of_file(options["frames"])
    return material_of_dataset(
        context.workspace(), options["dataset"], split=options["split"]
    )


def _say(words: str) -> None:
    click.echo(f"{words} ...", err=True)
