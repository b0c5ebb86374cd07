"""``dpbench explore``: active learning from a configuration."""

import json
from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("explore")
@click.argument("config", metavar="CONFIG", required=False)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, say what would be done and what it may cost, and stop.",
)
@click.option(
    "--status", is_flag=True, help="Say how far the exploration is, and stop."
)
@click.option(
    "--retry",
    is_flag=True,
    help="Let frames that could not be labelled be tried again where they are chosen.",
)
@click.option(
    "--from-dpgen",
    nargs=2,
    type=FILE,
    metavar="PARAM MACHINE",
    help="Translate an input of DP-GEN into a configuration, and stop.",
)
@click.option(
    "--from-dpgen2",
    type=FILE,
    metavar="INPUT",
    help="Translate an input of dpgen2 into a configuration, and stop.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --from-dpgen: folder of the new files [default: here].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def explore_command(
    context: Context,
    *,
    config: str | None,
    dry_run: bool,
    status: bool,
    retry: bool,
    from_dpgen: tuple[Path, Path] | None,
    from_dpgen2: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Train an ensemble, explore, select, label, and train again until converged.

    CONFIG is a TOML file, or the name of a configuration that ships with dpbench, such
    as almg-lda. The same command goes on wherever the one before ended, however it
    ended; finished trainings, walks and labels are not done twice.

    \b
    Example:
        dpbench explore explore.toml
        dpbench explore explore.toml --status
        dpbench explore --from-dpgen param.json machine.json --out run
    """
    given = from_dpgen or (from_dpgen2,)
    if given[0] is not None:
        _refuse(config, "CONFIG", because="--from-dpgen writes one")
        _translate(*given, out=out or Path(), as_json=as_json)
        return
    _refuse(out, "--out", because="it goes with --from-dpgen alone")
    if config is None:
        raise click.UsageError("Missing argument 'CONFIG'.")
    if status:
        _status(context, config, as_json=as_json)
    elif dry_run:
        _plan(context, config, as_json=as_json)
    else:
        _run(context, config, retry=retry, as_json=as_json)


def _refuse(value: object, name: str, *, because: str) -> None:
    if value is not None:
        raise click.UsageError(f"{name}: is given, but {because}.")


def _run(context: Context, config: str, *, retry: bool, as_json: bool) -> None:
    from dpbench.explore.journal import RECORD, exploration_folder, only_one
    from dpbench.explore.labels.labelling import forget_quarantined
    from dpbench.explore.loop import run
    from dpbench.explore.opening import open_config
    from dpbench.explore.progress import display_for, everyone
    from dpbench.explore.report.live import LiveReport
    from dpbench.explore.summary import explored_json, explored_lines

    settings, base = open_config(config)
    workspace = context.workspace(create=True)
    root = exploration_folder(workspace, settings.dataset)
    if retry and root.is_dir():
        with only_one(root):
            count = forget_quarantined(root / "labels")
        click.echo(f"{count} frames without a label may be tried again", err=True)
    page = LiveReport(root)
    try:
        with display_for(quiet=context.is_quiet) as display:
            explored = run(
                workspace,
                settings,
                base=base,
                announce=everyone(display, page),
                tell_changes=_tell_changes,
            )
    except KeyboardInterrupt:
        click.echo("The same command goes on from here.", err=True)
        raise
    finally:
        if (root / RECORD).is_file():
            page.close()
        workspace.remove_if_empty()
    for section in explored.unused:
        click.echo(
            f"[{section}] has changed and counts from the next iteration, of which "
            f"there is none: {explored.stop.reason}. To go on, raise stop.iterations, "
            "ask for more in [stop], or add a stage to [[explore.stages]].",
            err=True,
        )
    if as_json:
        click.echo(json.dumps(explored_json(explored), indent=1))
    else:
        click.echo("\n".join(explored_lines(explored)))


def _tell_changes(changed: tuple[str, ...]) -> None:
    for line in changed:
        click.echo(f"changed: {line}", err=True)


def _plan(context: Context, config: str, *, as_json: bool) -> None:
    from dpbench.explore.opening import open_config
    from dpbench.explore.plan import plan

    settings, base = open_config(config)
    workspace = context.workspace(create=True)
    try:
        found = plan(workspace, settings, base=base)
    finally:
        workspace.remove_if_empty()
    click.echo(
        json.dumps(found.to_json(), indent=1) if as_json else "\n".join(found.lines())
    )


def _status(context: Context, config: str, *, as_json: bool) -> None:
    from dpbench.explore.journal import exploration_folder
    from dpbench.explore.opening import open_config
    from dpbench.explore.report.live import refresh
    from dpbench.explore.status import status

    settings, _ = open_config(config)
    found = status(exploration_folder(context.workspace(), settings.dataset))
    if not found.is_running:  # a page of a loop that was killed still says it runs
        refresh(found.root)
    click.echo(
        json.dumps(found.to_json(), indent=1) if as_json else "\n".join(found.lines())
    )


def _translate(
    param: Path, machine: Path | None = None, *, out: Path, as_json: bool
) -> None:
    from dpbench.explore.dpgen.dpgen2_input import translate_dpgen2
    from dpbench.explore.dpgen.translate import translate, write_translation

    if machine is None:
        found = translate_dpgen2(param, out=out)
    else:
        found = translate(param, machine, out=out)
    path = write_translation(found, out)
    if as_json:
        click.echo(json.dumps({"config": str(path), **found.to_json()}, indent=1))
    else:
        click.echo(found.summary())
        click.echo(f"Look at {path}, then: dpbench explore {path} --dry-run")
