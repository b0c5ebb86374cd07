"""``dpbench simplify``: a small, informative subset of a dataset."""

import json
from pathlib import Path
from typing import Any

import click

from dpbench.cli.context import Context, pass_context


@click.command("simplify")
@click.argument("dataset", metavar="DATASET[-vN][:PART]")
@click.option(
    "--frames", type=click.IntRange(min=2), required=True, help="Size of the subset."
)
@click.option(
    "--method",
    type=click.Choice(["deviation", "diverse"]),
    default="deviation",
    show_default=True,
    help="Add what an ensemble disagrees about, round by round; or take the frames "
    "that differ most, without a model.",
)
@click.option(
    "--name", help="What the new split is called. Default: simplified-FRAMES."
)
@click.option("--split", metavar="NAME", help="Split that PART belongs to.")
@click.option(
    "--test",
    metavar="PART",
    help="Part that errors are measured on. Default: test, else validation.",
)
@click.option("--start", type=click.IntRange(min=1), help="Frames of the first round.")
@click.option("--batch", type=click.IntRange(min=1), help="Frames that a round adds.")
@click.option(
    "--force",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Trust levels of the force deviation, eV/Å. Default: none; the half of the "
    "larger deviations are candidates.",
)
@click.option(
    "--models",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Members of the ensemble.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Steps of every training.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Training configuration: train.toml or DeePMD-kit's input.json.",
)
@click.option(
    "--controls",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Random subsets of every size to compare with.",
)
@click.option("--no-full", is_flag=True, help="Do not train on all frames, too.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--workers", type=click.IntRange(min=0), help="Trainings at a time.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of each training.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for simplify.json and report.html. Default: the split's name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@pass_context
def simplify_command(context: Context, /, dataset: str, **options: Any) -> None:
    """Choose a small, informative subset; show accuracy against size.

    The subset becomes the part 'train' of a new split. Models are trained on it and on
    random subsets of the same sizes, and their errors are measured on frames that
    neither side trains on. The same command goes on with what was cut off.

    \b
    Example:
        dpbench simplify water --frames 100
        dpbench simplify water-v2:train --frames 100 --force 0.05 0.5 --name small
        dpbench train --dataset water-v2 --split small
    """
    from dpbench.explore.simplify.material import check_name, find_material
    from dpbench.explore.simplify.page import render
    from dpbench.explore.simplify.run import simplify
    from dpbench.explore.simplify.settings import SimplifySettings
    from dpbench.explore.spread import Resources
    from dpbench.store.files import disk_errors, write_atomically

    config = options["config"]
    settings = SimplifySettings(
        frames=options["frames"],
        method=options["method"],
        start=options["start"],
        batch=options["batch"],
        force=options["force"],
        models=options["models"],
        steps=options["steps"],
        config=None if config is None else config.name,
        controls=options["controls"],
        is_full=not options["no_full"],
        seed=options["seed"],
    )
    workspace = context.workspace()
    material = find_material(
        workspace, dataset, split=options["split"], test=options["test"]
    )
    name = options["name"] or f"simplified-{settings.frames}"
    check_name(material, name, settings)
    found = simplify(
        workspace,
        material,
        settings,
        name=name,
        folder=workspace.root / "simplified" / f"{material.version.label}-{name}",
        base=Path() if config is None else config.parent,
        resources=Resources(workers=options["workers"], threads=options["threads"]),
        progress=None if context.is_quiet else _say,
    )
    out = options["out"] or Path(name)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "report.html", render(found).encode())
    found.write(out / "simplify.json")
    if options["as_json"]:
        click.echo(json.dumps(found.to_json(), indent=1))
    else:
        click.echo(f"{found.summary()}\nsplit {name} of {found.dataset}\n{out}")


def _say(words: str) -> None:
    click.echo(f"{words} ...", err=True)
