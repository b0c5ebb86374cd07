"""``dpbench train``: a dataset in, a model out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.init_option import init_options, read_init
from dpbench.cli.train_foreign import NAMES, train_by

if TYPE_CHECKING:
    from dpbench.store.workspace import Workspace
    from dpbench.train.config import TrainConfig
    from dpbench.train.input_json import InputJson
    from dpbench.train.ranks import Ranks
    from dpbench.train.run import TrainReport

ENGINES = ("auto", "table", "exact", "autograd", "autograd-table")
"""``train.engine.EngineName``, known here without importing torch."""

OPTIMISERS = ("adam", "soap", "muon", "schedule-free", "kalman")
"""``train.optimisers.config.OptimiserName``, likewise."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@init_options
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
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Seed of the run  [default: 1, or the configuration's].",
)
@click.option("--split", metavar="NAME", help="Split to train with: name or digest.")
@click.option("--batch-size", metavar="N|auto:ATOMS", help="Size of a batch.")
@click.option("--precision", type=click.Choice(["float32", "float64"]))
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="What computes gradients. Default: the fastest that serves the model.",
)
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMISERS),
    help="Default: that of the configuration, soap where it names none.",
)
@click.option(
    "--sel-overflow",
    type=click.Choice(["error", "deepmd", "deepmd-tf"]),
    help="More neighbours than a stated sel: stop, or drop the farthest as DeePMD-kit "
    "does (deepmd-tf: as its TensorFlow backend does).  [default: error]",
)
@click.option(
    "--memory-budget",
    metavar="SIZE",
    help="Memory for frames that stay ready, e.g. 4GB, of each process. Default: half "
    "of what is free, on CUDA of the device.",
)
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
@click.option(
    "--trainer",
    type=click.Choice(NAMES),
    help="Let another program train, in its own environment; --config is what it "
    "reads. See docs/foreign-trainers.md.",
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
    trainer: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a Deep Potential model on a dataset; write m.pth.

    Needs a dataset only: neighbour slots, batch size, energy bias and the number of
    steps come from the data and a time budget of ten minutes. Checkpoints, learning
    curve and log go to runs/ID in the workspace. Ctrl-C saves and stops. Processes that
    torchrun or srun starts train one model together.

    \b
    Example:
        dpbench train --dataset water-v2
        dpbench train --dataset water --config train.toml --time-budget 30m
        dpbench train --config input.json
        dpbench train --dataset water --init m.dp
        dpbench train --resume 20260101-120000-water-v2-1a2b
        dpbench train --dataset water --trainer deepmd --config input.json
    """
    if resume is not None:
        _check_resume(dataset, config_path, settings | {"trainer": trainer})
    if trainer is not None:
        was_stopped = train_by(
            context,
            trainer,
            dataset=dataset,
            config_path=config_path,
            out=out,
            device=device,
            settings=settings,
            as_json=as_json,
        )
        click.get_current_context().exit(INTERRUPTED if was_stopped else 0)
    if settings["steps"] is not None and settings["time_budget"] is not None:
        raise click.UsageError("Give one of --steps and --time-budget, not both.")
    if settings["trust"] is not None and settings["init"] is None:
        raise click.UsageError("--trust names a model of --init; give that too.")
    data = (dataset, config_path, resume)
    report, is_first = _train(context, data, settings, out=out, device=device)
    if is_first:
        text = json.dumps(report.to_json(), indent=1) if as_json else report.summary()
        click.echo(text)
    if report.interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _train(
    context: Context,
    data: tuple[str | None, Path | None, str | None],
    settings: dict[str, Any],
    *,
    out: Path,
    device: str,
) -> tuple["TrainReport", bool]:
    """Train here, or go on; say whether this process is the first of all ranks."""
    import os

    from dpbench.train.progress import reporter_for
    from dpbench.train.ranks import joined
    from dpbench.train.run import train

    dataset, config_path, resume = data
    start: dict[str, Any] = {"config": None, "dataset": None, "resume": resume}
    with joined(os.environ, on_cuda=_is_on_cuda(device)) as ranks:
        if resume is not None:
            workspace = context.workspace()
        else:
            workspace, start = _prepare(
                context, dataset, config_path, settings, ranks=ranks
            )
        report = train(
            workspace,
            out=out,
            device=device,
            progress=reporter_for(quiet=context.is_quiet),
            command=["dpbench", *sys.argv[1:]],
            ranks=ranks,
            **start,
        )
    return report, ranks.is_first


def _is_on_cuda(device: str) -> bool:
    """Say whether ``--device`` means CUDA here."""
    import torch

    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


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
    *,
    ranks: "Ranks",
) -> tuple["Workspace", dict[str, Any]]:
    """Read configuration and model, let the options win, and find the dataset.

    Returns:
        The workspace, and how the run starts: ``config``, ``dataset`` and ``init``.
    """
    from dpbench.train.config import resolved

    is_input_json = config_path is not None and config_path.suffix == ".json"
    if dataset is None and not is_input_json:
        raise click.UsageError("Missing option '--dataset' (or an input.json).")
    settings = dict(settings)
    given = settings.pop("init"), settings.pop("trust")
    config, found = _configuration(config_path)
    for note in found.notes if found is not None and ranks.is_first else ():
        _say(context, f"{config_path and config_path.name}: {note}")
    if dataset is None and found is not None and config_path is not None:
        workspace = ranks.from_first(lambda: context.workspace(create=True))
        dataset, split = _ingested(workspace, found, config_path, ranks)
        settings["split"] = settings["split"] or split
    else:
        workspace = context.workspace()
        if found is not None and found.systems and config_path is not None:
            _say(context, f"{config_path.name}: systems are not read: --dataset wins")
    precision = settings["precision"]
    # Rank 0 alone has DeePMD-kit convert a foreign file.
    init = ranks.from_first(
        lambda: read_init(*given, config_path, workspace=workspace, precision=precision)
    )
    config = resolved(config, **settings)
    return workspace, {"config": config, "dataset": dataset, "init": init}


def _configuration(
    path: Path | None,
) -> tuple["TrainConfig", "InputJson | None"]:
    """Read a TOML file or an input.json; the defaults without either."""
    from dpbench.config import from_mapping, read_toml
    from dpbench.train.config import TrainConfig
    from dpbench.train.input_json import read_input_json

    if path is None:
        return TrainConfig(), None
    if path.suffix != ".json":
        return from_mapping(TrainConfig, read_toml(path), where=str(path)), None
    found = read_input_json(path)
    return found.config, found


def _ingested(
    workspace: "Workspace", found: "InputJson", path: Path, ranks: "Ranks"
) -> tuple[str, str]:
    """Ingest the systems of an input.json; one process alone does."""
    from dpbench.train.systems import ingest_systems

    return ranks.from_first(lambda: ingest_systems(workspace, found, path))


def _say(context: Context, text: str) -> None:
    if not context.is_quiet:
        click.echo(text, err=True)
