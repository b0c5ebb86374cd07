"""``dpbench lammps``: models inside LAMMPS."""

from pathlib import Path
from typing import Any

import click

from dpbench.cli.context import Context, pass_context


@click.group("lammps")
def lammps_group() -> None:
    """Run LAMMPS with a model.

    \b
    Example:
        dpbench lammps input --model m.pth --structure water-v2:0 --out run
        dpbench lammps run run/in.lmp --model m.pth
    """


@lammps_group.command("run")
@click.argument("script", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="FILE",
    default="m.pth",
    show_default=True,
    help="Model file of 'dpbench train' or 'dpbench compress', or DeePMD-kit's .dp.",
)
@click.option(
    "--types",
    metavar="NAMES",
    help="Elements of LAMMPS' types, such as O,H  [default: its type labels].",
)
@click.option(
    "--lammps-python",
    "python",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Python that has the lammps module  [default: that of the backend lammps].",
)
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="MPI processes of LAMMPS, on this machine.",
)
@click.option(
    "--mpiexec", metavar="PATH", help="Starts them  [default: that beside the Python]."
)
@click.option(
    "--var",
    "variables",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="Variable of the input; may be repeated.",
)
@click.option(
    "--log",
    metavar="FILE",
    default="log.lammps",
    show_default=True,
    help="LAMMPS' log.",
)
@click.option("--skin", type=float, metavar="ANG", default=1.0, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    help="Of the model  [default: the file's].",
)
@click.option(
    "--exact",
    "is_exact",
    is_flag=True,
    help="Evaluate the embedding nets, not tables of them.",
)
@click.option(
    "--sel-overflow",
    type=click.Choice(["error", "deepmd", "deepmd-tf"]),
    help="More neighbours than sel: stop, or drop the farthest as DeePMD-kit does  "
    "[default: what the model's training did].",
)
@click.option(
    "--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N."
)
@pass_context
def lammps_run_command(
    context: Context,
    /,
    *,
    script: Path,
    model: str,
    types: str | None,
    python: Path | None,
    ranks: int,
    mpiexec: str | None,
    variables: tuple[tuple[str, str], ...],
    log: str,
    device: str,
    **options: Any,
) -> None:
    """Run INPUT in LAMMPS with the forces of a model from dpbench's kernels.

    INPUT is any input in 'units metal' with the line 'fix dpbench all external
    pf/callback 1 1' where pair_style would stand. LAMMPS runs in its own environment;
    --threads are those of the model.

    \b
    Example:
        dpbench lammps run in.lmp --model m.pth --types O,H
        dpbench lammps run in.lmp --ranks 4 --var t 330 --lammps-python lmp/bin/python
    """
    from dpbench.cli.md import device_of
    from dpbench.md.lammps import LammpsRun, moving_structure, run_lammps

    words = ["-log", log]
    for name, value in variables:
        words += ["-var", name, value]
    environment: dict[str, str] = {}
    if python is None:
        python, environment = _own_lammps(context)
    run = LammpsRun(
        input=script,
        python=python,
        types=tuple(types.split(",")) if types else (),
        ranks=ranks,
        mpiexec=mpiexec or "",
        arguments=tuple(words),
        environment=environment,
    )
    structure = moving_structure(model, device=device_of(device), **options)
    report = run_lammps(run, structure)
    if not context.is_quiet:
        click.echo(report.summary(), err=True)


@lammps_group.command("input")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="Of dpbench or DeePMD-kit: decides what the input says of the potential.",
)
@click.option(
    "--structure",
    metavar="FILE[@N]|NAME[:N]",
    required=True,
    help="Any structure file that ASE reads, or a frame of a dataset (water-v2:17).",
)
@click.option(
    "--repeat",
    type=(int, int, int),
    default=(1, 1, 1),
    metavar="A B C",
    help="Repeat the structure along its cell vectors.",
)
@click.option("--steps", type=click.IntRange(min=0), default=1000, show_default=True)
@click.option(
    "--timestep", type=float, metavar="FS", help="[default: 0.5 with hydrogen, else 1]"
)
@click.option(
    "--temperature", type=float, metavar="K", default=300.0, show_default=True
)
@click.option(
    "--lammps-python",
    "python",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Written into run.sh: Python of LAMMPS' environment  [default: that of the "
    "backend lammps for dpbench's kernels, of deepmd for the plugin].",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("lammps"),
    show_default=True,
    help="Folder; gets in.lmp, start.data and run.sh.",
)
@click.option("--force", is_flag=True, help="Replace these files.")
@pass_context
def lammps_input_command(
    context: Context, /, *, structure: str, repeat: tuple[int, int, int], **options: Any
) -> None:
    """Write an input that LAMMPS runs as it is: structure, model, constant energy.

    An m.pth or .dp runs on dpbench's kernels, a .pb, .pth, .pt2 or .savedmodel of
    DeePMD-kit by its plugin.

    \b
    Example:
        dpbench lammps input --model m.pb --structure POSCAR --out run && sh run/run.sh
    """
    from dpbench.md.lammps_input import FirstRun, write_inputs
    from dpbench.md.structures import default_timestep, read_structure, repeated

    start = repeated(read_structure(structure, workspace=context.workspace), repeat)
    run = FirstRun(
        steps=options["steps"],
        timestep=options["timestep"] or default_timestep(start),
        temperature=options["temperature"],
    )
    out: Path = options["out"]
    python, missing = options["python"], ""
    if python is None:
        python, missing = _python_for(context, options["model"])
    write_inputs(
        out, start, options["model"], run, python=python, force=options["force"]
    )
    if missing:
        click.echo(missing, err=True)
    click.echo(str(out / "run.sh"))


def _own_lammps(context: Context) -> tuple[Path, dict[str, str]]:
    """Return the Python of the backend ``lammps`` and its variables.

    Raises:
        BackendError: If it is missing; names an environment that would do.
    """
    from dpbench.backends.environments import launch_of
    from dpbench.errors import BackendError

    try:
        launch = launch_of("lammps", own_cards=context.own_cards())
    except BackendError as error:
        path = _plugin_python(context) or "PATH"
        raise BackendError(
            f"{error} An environment that has LAMMPS already, such as DeePMD-kit's, "
            f"serves too: 'dpbench backends add lammps --python {path}', or give "
            f"--lammps-python {path}."
        ) from error
    return launch.python, dict(launch.env)


def _plugin_python(context: Context) -> Path | None:
    """Return the Python of DeePMD-kit's environment if it has LAMMPS."""
    from dpbench.backends.environments import launch_of
    from dpbench.errors import BackendError

    try:
        python = launch_of("deepmd", own_cards=context.own_cards()).python
    except BackendError:
        return None
    return python if (python.parent / "lmp").exists() else None


def _python_for(context: Context, model: Path) -> tuple[Path | None, str]:
    """Return the Python for run.sh, and what to say where none was found."""
    from dpbench.errors import BackendError
    from dpbench.models.recognise import OWN_KINDS, recognise

    if recognise(model).kind in OWN_KINDS:
        try:
            _own_lammps(context)
        except BackendError as error:
            return None, f"LAMMPS was not found; run.sh will need it. {error}"
        return None, ""  # 'dpbench lammps run' finds it by itself
    python = _plugin_python(context)
    if python is not None:
        return python, ""
    return None, (
        "LAMMPS with DeePMD-kit's plugin was not found; run.sh takes the one beside "
        "the 'python' of where it runs. Run 'dpbench backends install deepmd' first, "
        "or give --lammps-python PATH."
    )
