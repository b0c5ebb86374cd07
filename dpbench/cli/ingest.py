"""``dpbench ingest``: DFT outputs into a dataset."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dpbench.cli.context import Context, pass_context
from dpbench.errors import SourceError

if TYPE_CHECKING:
    from dpbench.io.dpgen.summary import DpgenReport
    from dpbench.io.ingest import Progress
    from dpbench.io.ingest_report import IngestReport


@click.command("ingest")
@click.argument("code")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--dataset", help="Dataset to make or extend [default: the folder's name]."
)
@click.option(
    "--strict",
    is_flag=True,
    help="Commit nothing, and exit 1, if any frame is quarantined or source fails.",
)
@click.option(
    "--allow-mixed-theory",
    is_flag=True,
    help="Let levels of theory that contradict each other into one version.",
)
@click.option(
    "--theory",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Level of theory, as TOML, of sources that do not tell theirs (npy, extxyz).",
)
@click.option("--note", default="", help="Kept with the version.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that readers run in; 0 = none but this one, where a reader that "
    "crashes ends all [default: one, and up to all cores where there is much to read].",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS|FILE",
    help="Run readers on this Dask cluster, e.g. tcp://host:8786 or a scheduler file "
    "[default: on this machine].",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="KEY=VALUE",
    help="What a source may cost before it is given up: memory=8GB of a reader "
    "process, seconds=120 for 10 MB, ratio=200 of unpacked to packed size. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@pass_context
def ingest_command(
    context: Context,
    *,
    code: str,
    paths: tuple[str, ...],
    dataset: str | None,
    strict: bool,
    allow_mixed_theory: bool,
    theory: Path | None,
    note: str,
    workers: int | None,
    scheduler: str | None,
    limits: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read DFT outputs of CODE into a new version of a dataset.

    CODE is vasp, qe, cp2k, deepmd, extxyz, ase, parquet, mlearn, dpgen (work folders
    of DP-GEN), auto, or dpdata:FORMAT. PATH is a file, a folder (walked recursively)
    or a glob pattern.
    Frames that are not converged, cut off or without labels are kept apart, with the
    reason; ingesting the same files again adds nothing.

    \b
    Example:
        dpbench ingest vasp OUTCAR/ --dataset water
    """
    from dpbench.io.ingest import IngestOptions
    from dpbench.io.limits import parse_limits
    from dpbench.io.theory_file import read_theory_file

    dataset = _checked_name(dataset, paths)
    options = IngestOptions(
        strict=strict,
        allow_mixed_theory=allow_mixed_theory,
        theory=None if theory is None else read_theory_file(theory),
        note=note,
        workers=workers,
        scheduler=scheduler,
        limits=parse_limits(limits),
    )
    read = _reader_of(code)
    workspace = context.workspace(create=True)
    try:
        with _progress_bar(is_quiet=context.is_quiet) as progress:
            given = {"dataset": dataset, "progress": progress, "options": options}
            report = read(workspace, paths, **given)
    except BaseException:  # Ctrl-C too; nothing is swallowed
        workspace.remove_if_empty()
        raise
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        click.echo(report.summary())
    if report.refusal is not None:
        raise SourceError(f"{dataset}: nothing was committed: {report.refusal}.")


def _reader_of(code: str) -> Callable[..., "IngestReport | DpgenReport"]:
    """Return what ingests a code; for DP-GEN it also tells of iterations."""
    if code == "dpgen":
        from dpbench.io.dpgen.summary import ingest_dpgen

        return ingest_dpgen
    from dpbench.io.ingest import ingest

    return lambda workspace, paths, **given: ingest(workspace, code, paths, **given)


def _checked_name(dataset: str | None, paths: tuple[str, ...]) -> str:
    """Check the dataset's name; where none is given, take the folder's and say so."""
    from dpbench.io.ingest_plan import name_of_paths
    from dpbench.store.references import check_name

    if dataset is None:
        dataset = name_of_paths(paths)
        click.echo(
            f"Dataset: {dataset} (the folder's name; --dataset sets it)", err=True
        )
    return check_name(dataset)


@contextmanager
def _progress_bar(*, is_quiet: bool) -> "Iterator[Progress]":
    """Draw a bar on stderr: sources done, frames, MB/s, failures."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from dpbench.io.ingest_report import IngestProgress

    bar = Progress(
        TextColumn("Reading"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=is_quiet,
    )
    with bar:
        task = bar.add_task("", total=None, text="looking for sources")

        def update(state: IngestProgress) -> None:
            rate = state.done_bytes / 1e6 / max(state.seconds, 1e-9)
            failed = f", {state.n_failed} failed" if state.n_failed else ""
            text = (
                f"{state.n_done}/{state.n_sources} sources, {state.n_frames} frames, "
                f"{rate:.0f} MB/s{failed}"
            )
            total, done = state.total_bytes, state.done_bytes
            bar.update(task, total=total, completed=done, text=text)

        yield update
