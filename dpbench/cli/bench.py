"""``dpbench bench``: how fast this machine runs dpbench's own parts."""

import json

import click

from dpbench.cli.context import Context, pass_context


@click.group("bench")
def bench_group() -> None:
    """Measure dpbench itself on this machine.

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
