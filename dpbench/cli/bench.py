"""``dpbench bench``: how fast this machine runs models, and dpbench's own parts."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context

if TYPE_CHECKING:
    from dpbench.eval.speed.run import SpeedRun
    from dpbench.eval.speed.settings import SpeedSettings


@click.group("bench")
def bench_group() -> None:
    """Measure models on all backends, and dpbench's kernels.

    \b
    Example:
        dpbench bench kernels
    """


@bench_group.command("kernels")
@click.option(
    "--precision",
    type=click.Choice(["float64", "float32"]),
    multiple=True,
    help="Precision of the nets; may be repeated  [default: both].",
)
@click.option(
    "--size",
    type=click.IntRange(min=3, max=32),
    default=4,
    show_default=True,
    help="Molecules of water along each side; 4 are 192 atoms, 8 are 1536.",
)
@click.option(
    "--kernel",
    "only",
    multiple=True,
    metavar="NAME",
    help="Time only kernels whose name holds NAME; may be repeated.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.001),
    default=0.05,
    show_default=True,
    help="Length of one window of calls; five windows of each kernel count.",
)
@click.option(
    "--cpu-time",
    "is_cpu_time",
    is_flag=True,
    help="Count CPU time instead of wall time: on a busy machine, with --threads 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def bench_kernels_command(
    context: Context,
    *,
    precision: tuple[str, ...],
    size: int,
    only: tuple[str, ...],
    seconds: float,
    is_cpu_time: bool,
    as_json: bool,
) -> None:
    """Time each kernel beside its reference and this machine's peak.

    The work of a kernel is counted, not measured: FLOPs and the bytes that must be
    moved at least. The peak is that of matrix products with the shapes of the net and
    of memory, measured first, with as many threads.

    \b
    Example:
        dpbench bench kernels
        dpbench bench kernels --threads 1 --precision float32 --json
        dpbench bench kernels --size 8 --kernel inference
    """
    from dpbench.eval.kernel_bench.run import bench_kernels

    reports = []
    for name in precision or ("float64", "float32"):
        if not context.is_quiet:
            click.echo(f"timing kernels in {name} ...", err=True)
        report = bench_kernels(
            name,
            molecules_per_side=size,
            seconds=seconds,
            only=only,
            is_cpu_time=is_cpu_time,
        )
        reports.append(report)
        if not as_json:
            click.echo(report.summary())
    if as_json:
        click.echo(json.dumps([report.to_json() for report in reports], indent=1))


@bench_group.command("throughput")
@click.option(
    "--model",
    "models",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Model file; give it again for each. A compressed one has DeePMD-kit's "
    "backends compress the plain one of it, which must be given too.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME",
    help="Who evaluates; give it again for each. 'dpbench-exact' evaluates the "
    "embedding nets, 'dpbench' reads tables.  [default: dpbench, or the file's own]",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["float64", "float32"]),
    multiple=True,
    help="Of dpbench's kernels; may be repeated  [default: the model's].",
)
@click.option(
    "--family",
    "families",
    type=click.Choice(["water", "dense", "slab"]),
    multiple=True,
    help="Structures; may be repeated  [default: all that a model knows].",
)
@click.option(
    "--sizes", metavar="N,N,...", help="Atoms, at least, separated by commas."
)
@click.option(
    "--level",
    "levels",
    type=click.Choice(["forward", "with-list", "md"]),
    multiple=True,
    help="What is timed; may be repeated  [default: all].",
)
@click.option(
    "--engine",
    type=click.Choice(["dpbench", "ase", "lammps"]),
    help="Of the dynamics  [default: each backend's best].",
)
@click.option(
    "--mode",
    type=click.Choice(["smoke", "standard", "full"]),
    default="standard",
    show_default=True,
    help="One process of seconds, three, or eight up to the end of memory.",
)
@click.option("--processes", type=click.IntRange(min=1), help="Of each case.")
@click.option("--seconds", type=click.FloatRange(min=0.001), help="Of each window.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Of each process, s.")
@click.option(
    "--memory", type=click.FloatRange(min=0.01), help="Of each process at most, GiB."
)
@click.option("--temperature", type=click.FloatRange(min=1), help="K.")
@click.option("--timestep", type=click.FloatRange(min=0.001), help="fs.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option(
    "--trust",
    multiple=True,
    metavar="SHA256",
    help="Open this foreign program (a pickle, TorchScript ...) in a sandbox.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the records to this file too; of several, FILE-N.json each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
@pass_context
def bench_throughput_command(context: Context, /, **options: Any) -> None:
    """Time models of all backends side by side, from small systems to large ones.

    Each size of each configuration runs in processes of its own, the configurations
    taking turns; one that runs out of memory or time is a row and ends its ladder.
    Every configuration has a record in the workspace.

    \b
    Example:
        dpbench bench throughput --model m.pth --mode smoke
        dpbench bench throughput --model m.pth --model mc.pth --backend dpbench \\
            --backend deepmd-tf --backend emt --sizes 128,512,2048
    """
    from dpbench.eval.speed.competitors import Wish
    from dpbench.eval.speed.run import bench_throughput
    from dpbench.eval.speed.table import speed_table

    settings = _speed_settings(options)
    found = bench_throughput(
        context.workspace(create=True),
        Wish(
            models=options["models"],
            backends=options["backends"],
            precisions=options["precisions"] or (None,),
            engine=options["engine"],
            device=options["device"],
            trust=options["trust"],
        ),
        settings,
        mode=options["mode"],
        command=("dpbench", *sys.argv[1:]),
        say=(lambda _: None) if context.is_quiet else _say,
    )
    _write(options["out"], found)
    if options["as_json"]:
        click.echo(_speed_json(found))
        return
    click.echo(speed_table(found.ladders, settings.levels, fidelity=found.fidelity))
    for digest, record in found.records:
        click.echo(f"{digest[:12]}  {record.model.name}, {record.backend}")


def _say(words: str) -> None:
    click.echo(f"{words} ...", err=True)


def _speed_settings(options: dict[str, Any]) -> "SpeedSettings":
    """Return the mode's settings with what was given instead."""
    import os
    from dataclasses import replace

    from dpbench.eval.speed.settings import LEVEL_NAMES, MODES

    given = {
        "sizes": _sizes(options["sizes"]),
        "families": options["families"],
        "levels": tuple(LEVEL_NAMES[name] for name in options["levels"]),
        "processes": options["processes"],
        "window_s": options["seconds"],
        "timeout_s": options["timeout"],
        "memory_gib": options["memory"],
        "temperature": options["temperature"],
        "timestep": options["timestep"],
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
    }
    return replace(MODES[options["mode"]], **{k: v for k, v in given.items() if v})


def _sizes(text: str | None) -> tuple[int, ...]:
    try:
        found = {int(part) for part in (text or "").split(",") if part.strip()}
    except ValueError as error:
        raise click.BadParameter(
            f"'{text}' is no list of counts; expected such as 128,512,2048",
            param_hint="--sizes",
        ) from error
    return tuple(sorted(found))


def _write(out: Path | None, found: "SpeedRun") -> None:
    if out is None:
        return
    from dpbench.eval.filing import write_record
    from dpbench.eval.record import record_to_payload

    for index, (_, record) in enumerate(found.records, 1):
        one = out if len(found.records) == 1 else out.with_stem(f"{out.stem}-{index}")
        write_record(one, record_to_payload(record))


def _speed_json(found: "SpeedRun") -> str:
    from dpbench.eval.record import record_to_payload

    rows = [
        {"digest": digest, "record": record_to_payload(record)}
        for digest, record in found.records
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False)
