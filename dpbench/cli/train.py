"""``dpbench train``: a dataset in, a model out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context

if TYPE_CHECKING:
    from dpbench.store.workspace import Workspace
    from dpbench.train.config import TrainConfig

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@click.command("train")
@click.option("--dataset", metavar="NAME[-vN]", help="Dataset to train on.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file, or DeePMD-kit's input.json. Without --dataset the systems that "
    "input.json names are ingested.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder for m.pth, or a file name ending with .pth  [default: here].",
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.")
@click.option("--time-budget", metavar="T", help="Time to train for: 90s, 5m, 2h.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the run.")
@click.option("--split", metavar="NAME", help="Split to train with: name or digest.")
@click.option("--batch-size", metavar="N|auto:ATOMS", help="Size of a batch.")
@click.option("--precision", type=click.Choice(["float32", "float64"]))
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N; auto takes CUDA where there is one.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run: its name, its folder, or one of its checkpoints.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@pass_context
def train_command(
    context: Context,
    /,
    *,
    dataset: str | None,
    config_path: Path | None,
    out: Path,
    device: str,
    resume: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a Deep Potential model on a dataset; write m.pth.

    Needs a dataset only: neighbour slots, batch size, energy bias and the number of
    steps come from the data and a time budget of ten minutes. Checkpoints, learning
    curve and log go to runs/ID in the workspace. Ctrl-C saves and stops.

    \b
    Example:
        dpbench train --dataset water-v2
        dpbench train --dataset water --config train.toml --time-budget 30m
        dpbench train --config input.json
        dpbench train --resume 20260101-120000-water-v2-1a2b
    """
    from dpbench.train.progress import reporter_for
    from dpbench.train.run import train

    config = None
    if resume is not None:
        _check_resume(dataset, config_path, settings)
        workspace = context.workspace()
    else:
        config, dataset, workspace = _prepare(context, dataset, config_path, settings)
    report = train(
        workspace,
        config,
        dataset=dataset,
        out=out,
        resume=resume,
        device=device,
        progress=reporter_for(quiet=context.is_quiet),
        command=["dpbench", *sys.argv[1:]],
    )
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
    else:
        click.echo(report.summary())
    if report.interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _check_resume(
    dataset: str | None, config_path: Path | None, settings: dict[str, Any]
) -> None:
    """Refuse options that the run has decided already."""
    given = {"dataset": dataset, "config": config_path} | settings
    names = [
        f"--{name.replace('_', '-')}"
        for name, value in given.items()
        if value is not None
    ]
    if names:
        raise click.UsageError(
            f"{names[0]} cannot be changed by --resume: the run goes on as it began."
        )


def _prepare(
    context: Context,
    dataset: str | None,
    config_path: Path | None,
    settings: dict[str, Any],
) -> tuple["TrainConfig", str, "Workspace"]:
    """Read the configuration, let the options win, and find the dataset."""
    from dpbench.config import from_mapping, read_toml
    from dpbench.train.config import TrainConfig, resolved
    from dpbench.train.input_json import read_input_json
    from dpbench.train.systems import ingest_systems

    is_input_json = config_path is not None and config_path.suffix == ".json"
    if dataset is None and not is_input_json:
        raise click.UsageError("Missing option '--dataset' (or an input.json).")
    if config_path is None:
        config = TrainConfig()
    elif not is_input_json:
        config = from_mapping(
            TrainConfig, read_toml(config_path), where=str(config_path)
        )
    else:
        found = read_input_json(config_path)
        config = found.config
        for note in found.notes:
            _say(context, f"{config_path.name}: {note}")
        if dataset is not None and found.systems:
            _say(context, f"{config_path.name}: systems are not read: --dataset wins")
        if dataset is None:
            workspace = context.workspace(create=True)
            dataset, split = ingest_systems(workspace, found, config_path)
            settings = {**settings, "split": settings["split"] or split}
            return resolved(config, **settings), dataset, workspace
    if dataset is None:
        raise click.UsageError("Missing option '--dataset'.")
    return resolved(config, **settings), dataset, context.workspace()


def _say(context: Context, text: str) -> None:
    if not context.is_quiet:
        click.echo(text, err=True)
