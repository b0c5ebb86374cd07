"""``dpbench ipi``: forces for i-PI."""

import click

from dpbench.cli.context import Context, pass_context


@click.command("ipi")
@click.option("--model", metavar="FILE", default="m.pth", show_default=True)
@click.option(
    "--structure",
    metavar="FILE[@N]|NAME[:N]",
    required=True,
    help="Elements, in i-PI's order of atoms, and periodicity: a structure file that "
    "ASE reads, or a frame of a dataset.",
)
@click.option(
    "--unix",
    metavar="NAME",
    help="UNIX socket /tmp/ipi_NAME; a path if it holds a slash.",
)
@click.option(
    "--address", metavar="HOST", help="Of an INET socket  [default: localhost]."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Of an INET socket  [default: 31415].",
)
@click.option(
    "--wait",
    type=float,
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds to try to reach the server.",
)
@click.option(
    "--reconnect",
    is_flag=True,
    help="Wait for a server that went away without EXIT to come back.",
)
@click.option("--skin", type=float, metavar="ANG", default=1.0, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    help="Of the model  [default: the file's].",
)
@click.option(
    "--exact", is_flag=True, help="Evaluate the embedding nets, not tables of them."
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N.",
)
@pass_context
def ipi_command(
    context: Context,
    /,
    *,
    model: str,
    structure: str,
    unix: str | None,
    address: str | None,
    port: int | None,
    device: str,
    **options: object,
) -> None:
    """Give forces of a model to i-PI.

    i-PI sends positions and cell; elements come from --structure. Run the command
    several times for several clients: the server spreads its beads over them.

    \b
    Example:
        dpbench ipi --model m.pth --structure water.xyz --unix water
        dpbench ipi --structure water-v2:0 --address node7 --port 31415 --reconnect
    """
    from dpbench.cli.md import device_of
    from dpbench.md.ipi import ClientOptions, run_client
    from dpbench.md.ipi_wire import DEFAULT_PORT, Address
    from dpbench.md.structures import read_structure

    if unix is not None and (address is not None or port is not None):
        raise click.UsageError("give --unix, or --address and --port, not both.")
    where = Address(unix=unix, host=address or "localhost", port=port or DEFAULT_PORT)
    tally = run_client(
        model,
        read_structure(structure, workspace=context.workspace),
        where,
        ClientOptions(device=device_of(device), **options),  # type: ignore[arg-type]
    )
    click.echo(tally.summary())
