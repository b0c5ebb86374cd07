"""``dpbench md``: molecular dynamics with a model."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context

if TYPE_CHECKING:
    from dpbench.md.progress import ProgressLine
    from dpbench.md.settings import MDConfig
    from dpbench.md.state import State

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

RESTARTABLE = {"steps", "time", "model"}
"""What may be said anew with --restart."""


@click.command("md")
@click.option(
    "--model", metavar="FILE", help="Model file of 'dpbench train'  [default: m.pth]."
)
@click.option(
    "--structure",
    metavar="FILE[@N]|NAME[:N]",
    help="Any structure file that ASE reads, or a frame of a dataset (water-v2:17).",
)
@click.option(
    "--ensemble",
    type=click.Choice(["nve", "langevin", "nvt", "npt"]),
    help="[default: nvt]",
)
@click.option(
    "--thermostat",
    type=click.Choice(["nhc", "bussi", "langevin"]),
    help="nvt: nhc (default), bussi, langevin. npt: bussi (default), langevin.",
)
@click.option("--temperature", type=float, metavar="K", help="[default: 300]")
@click.option("--pressure", type=float, metavar="BAR", help="[default: 1]")
@click.option(
    "--timestep", type=float, metavar="FS", help="[default: 0.5 with hydrogen, else 1]"
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of the whole run.")
@click.option("--time", type=float, metavar="PS", help="Instead of --steps.")
@click.option("--tdamp", type=float, metavar="FS", help="[default: 100]")
@click.option("--tchain", type=click.IntRange(min=1), help="[default: 3]")
@click.option("--tloop", type=click.IntRange(min=1), help="[default: 1]")
@click.option("--pdamp", type=float, metavar="FS", help="[default: 1000]")
@click.option(
    "--compressibility", type=float, metavar="1/BAR", help="[default: 4.57e-5]"
)
@click.option("--couple", type=click.Choice(["iso", "aniso"]), help="[default: iso]")
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    help="Copies side by side, each with its own velocities  [default: 1].",
)
@click.option(
    "--repeat",
    type=(int, int, int),
    metavar="A B C",
    help="Repeat the structure along its cell vectors.",
)
@click.option(
    "--velocities",
    type=click.Choice(["draw", "file"]),
    help="Draw them, or take the structure file's  [default: draw].",
)
@click.option("--seed", type=click.IntRange(min=0), help="[default: 0]")
@click.option("--skin", type=float, metavar="ANG", help="[default: 1]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    help="Of the model  [default: the file's].",
)
@click.option(
    "--exact", is_flag=True, help="Evaluate the embedding nets, not tables of them."
)
@click.option(
    "--sel-overflow",
    type=click.Choice(["error", "deepmd", "deepmd-tf"]),
    help="More neighbours than sel: stop, or drop the farthest as DeePMD-kit does "
    "(its TensorFlow backend has a rule of its own). Default: what the model's "
    "training did; it stops unless told otherwise.",
)
@click.option("--device", help="auto, cpu, cuda or cuda:N  [default: auto].")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: md]"
)
@click.option("--log-every", type=click.IntRange(min=1), help="[default: 20]")
@click.option(
    "--traj-every", type=click.IntRange(min=0), help="0 for none  [default: 200]."
)
@click.option("--restart-every", type=click.IntRange(min=1), help="[default: 10000]")
@click.option("--log-format", type=click.Choice(["csv", "zarr"]), help="[default: csv]")
@click.option(
    "--traj-format", type=click.Choice(["extxyz", "zarr"]), help="[default: extxyz]"
)
@click.option(
    "--traj-fields",
    metavar="NAMES",
    help="Some of coord,velocity,force  [default: coord].",
)
@click.option("--max-temperature", type=float, metavar="K", help="Hotter has exploded.")
@click.option(
    "--restart",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Go on with the run in DIR; --steps, --time and --model may be given anew.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@pass_context
def md_command(
    context: Context, /, *, restart: Path | None, as_json: bool, **options: Any
) -> None:
    """Run molecular dynamics with a model.

    The folder of the run gets observables, trajectory, restart file and md.json.
    Ctrl-C writes a restart file and stops.

    \b
    Example:
        dpbench md --model m.pth --structure water-v2:0 --time 10
        dpbench md --structure POSCAR --repeat 2 2 2 --ensemble npt --steps 20000
        dpbench md --restart md --steps 40000
    """
    from dpbench.md.record import summary_text
    from dpbench.md.run import go_on, start_run
    from dpbench.train.interrupt import stop_on_interrupt

    command = ("dpbench", *sys.argv[1:])
    progress = None if context.is_quiet else _progress
    # 0 is a value, and equal to False.
    given = {n: v for n, v in options.items() if v is not None and v is not False}
    with stop_on_interrupt() as should_stop:
        if restart is not None:
            report = go_on(
                restart,
                steps=_steps_anew(restart, given),
                model=given.get("model"),
                should_stop=should_stop,
                progress=progress,
                command=command,
            )
        else:
            out = given.pop("out", Path("md"))
            report = start_run(
                _config(context, given),
                out,
                workspace=context.workspace,
                should_stop=should_stop,
                progress=progress,
                command=command,
            )
    if as_json:
        click.echo(json.dumps(report.record, indent=1, ensure_ascii=False))
    else:
        click.echo(summary_text(report.record))
        click.echo(str(report.out))
    if report.outcome.status == "interrupted":
        again = shlex.join(["dpbench", "md", "--restart", str(report.out)])
        click.echo(f"go on with: {again}", err=as_json)
        click.get_current_context().exit(INTERRUPTED)


def _steps_anew(restart: Path, given: dict[str, Any]) -> int | None:
    """Check what may go with --restart; return the new number of steps, if any."""
    from dpbench.md.run import restart_of

    names = [f"--{name.replace('_', '-')}" for name in given if name not in RESTARTABLE]
    if names:
        raise click.UsageError(
            f"{names[0]} cannot be changed by --restart: the run goes on as it began."
        )
    if "time" not in given:
        steps: int | None = given.get("steps")
        return steps
    baths = restart_of(restart).header["config"]["baths"]
    return _steps(given, float(baths["timestep"]))


def _config(context: Context, given: dict[str, Any]) -> "MDConfig":
    """Turn options into a run; the structure decides the default time step."""
    from dpbench.md.settings import Baths, MDConfig, refuse_idle
    from dpbench.md.structures import default_timestep, read_structure

    if "structure" not in given:
        raise click.UsageError("Missing option '--structure'.")
    if "timestep" not in given:
        structure = read_structure(given["structure"], workspace=context.workspace)
        given["timestep"] = default_timestep(structure)
    steps = _steps(given, given["timestep"])
    if steps is None:
        raise click.UsageError("Missing option '--steps' (or '--time').")
    known = set(Baths.__dataclass_fields__)
    baths = {name: given.pop(name) for name in list(given) if name in known}
    bath = Baths(**({"ensemble": "nvt"} | baths))
    refuse_idle(bath, baths)
    given.pop("time", None)
    if "traj_fields" in given:
        given["traj_fields"] = tuple(
            name.strip() for name in given["traj_fields"].split(",") if name.strip()
        )
    given |= {"steps": steps, "device": device_of(given.get("device", "auto"))}
    given.setdefault("model", "m.pth")
    return MDConfig(baths=bath, **given)


def _steps(given: dict[str, Any], timestep: float) -> int | None:
    """Take --steps, or --time in steps."""
    steps: int | None = given.get("steps")
    if "time" not in given:
        return steps
    if steps is not None:
        raise click.UsageError("give --steps or --time, not both.")
    if not given["time"] > 0 or not timestep > 0:
        raise click.UsageError("--time and --timestep must be positive.")
    wanted: float = given["time"] * 1000 / timestep
    return max(1, round(wanted))


def device_of(name: str) -> str:
    """Check a device; ``auto`` is the GPU where there is one."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise click.UsageError(f"--device {name}: is no device of torch.") from error
    if kind not in ("cpu", "cuda"):
        raise click.UsageError(f"--device {name}: expected auto, cpu or cuda.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise click.UsageError(f"--device {name}: torch finds no CUDA device here.")
    return name


def _progress(config: "MDConfig", state: "State") -> "ProgressLine":
    from dpbench.md.progress import ProgressLine

    return ProgressLine(
        steps=config.steps,
        atoms=state.natoms * state.nreplicas,
        timestep=config.baths.timestep,
    )
