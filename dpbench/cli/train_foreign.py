"""``dpbench train --trainer``: another program trains on a split of ours."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from dpbench.cli.context import Context

NAMES = ("deepmd", "deepmd-tf", "mace", "nequip")
"""``trainers.table.TRAINERS``, known here without importing anything."""

TAKEN = ("steps", "seed", "split", "trust")
"""Options of ``dpbench train`` that a foreign trainer is given."""


def train_by(
    context: Context,
    trainer: str,
    *,
    dataset: str | None,
    config_path: Path | None,
    out: Path,
    device: str,
    settings: dict[str, Any],
    as_json: bool,
) -> bool:
    """Run a foreign trainer and print what came out; return whether it was stopped."""
    from dpbench.train.progress import reporter_for
    from dpbench.trainers.run import Request, train_foreign
    from dpbench.trainers.table import trainer_of

    for name, value in settings.items():
        if name not in TAKEN and value is not None:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is an option of dpbench's own training; "
                f"with --trainer {trainer} it stands in --config."
            )
    if dataset is None:
        raise click.UsageError(f"Missing option '--dataset' for --trainer {trainer}.")
    if config_path is None:
        raise click.UsageError(
            f"Missing option '--config': the configuration that {trainer} reads."
        )
    report = train_foreign(
        context.workspace(),
        trainer_of(trainer),
        Request(
            config=config_path,
            dataset=dataset,
            out=out,
            **{name: settings[name] for name in TAKEN if settings[name] is not None},
            device="cpu" if device == "auto" else device,
            command=("dpbench", *sys.argv[1:]),
        ),
        progress=reporter_for(quiet=context.is_quiet),
    )
    text = json.dumps(report.to_json(), indent=1) if as_json else report.summary()
    click.echo(text)
    return report.interrupted
