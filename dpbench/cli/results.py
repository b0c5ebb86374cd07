"""``dpbench results``: list, show, verify, exchange and compare result records."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context
from dpbench.errors import ConfigError, DpbenchError, EvaluationError

if TYPE_CHECKING:
    from dpbench.eval.importing import Imported

REGRESSED = 3
"""Exit code of a comparison that calls a regression."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("results")
def results_group() -> None:
    """Look at result records, and exchange them.

    \b
    Example:
        dpbench results list
    """


@results_group.command("list")
@click.option("--suite", metavar="NAME[-vN]", help="Only records of this suite.")
@click.option("--model", help="Only of this model: its name, or digits of its digest.")
@click.option("--dataset", metavar="NAME[-vN][:PART]", help="Only on these data.")
@click.option(
    "--hardware", metavar="WORDS", help="Only from this hardware: id or name."
)
@click.option("--backend", metavar="NAME", help="Only by this backend.")
@click.option("--task", metavar="NAME", help="Only with a result of this task.")
@click.option("--since", metavar="DATE", help="Only made on this day or later, or 7d.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def list_command(context: Context, /, *, as_json: bool, **wanted: Any) -> None:
    """List the result records of the workspace, oldest first.

    \b
    Example:
        dpbench results list
        dpbench results list --dataset water-v2:test --since 7d
    """
    from dpbench.eval.filing import Wanted, list_records
    from dpbench.eval.summary import records_overview, table_lines

    wanted["since"] = _moment(wanted["since"])
    rows = records_overview(list_records(context.workspace(), Wanted(**wanted)))
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if not rows:
        is_filtered = any(value is not None for value in wanted.values())
        none = "No result is filed yet. Measure a model: dpbench evaluate"
        click.echo("No record is of that kind." if is_filtered else none)
        return
    heads = tuple(rows[0])
    for line in table_lines(heads, [tuple(row.values()) for row in rows]):
        click.echo(line)


@results_group.command("show")
@click.argument("digest")
@click.option("--json", "as_json", is_flag=True, help="Print the whole record.")
@pass_context
def show_command(context: Context, digest: str, *, as_json: bool) -> None:
    """Show one record; DIGEST may be its first digits.

    \b
    Example:
        dpbench results show 3f2a
    """
    from dpbench.eval.filing import find_record
    from dpbench.eval.record import record_from_payload
    from dpbench.eval.standing import as_it_stands, standings
    from dpbench.eval.summary import record_text

    workspace = context.workspace()
    name, payload = find_record(workspace, digest)
    if as_json:
        click.echo(json.dumps(payload, indent=1, ensure_ascii=False))
        return
    standing = standings(workspace).get(name)
    record = record_from_payload(payload, where=f"result {name[:12]}")
    click.echo(record_text(as_it_stands(record, standing), name, standing=standing))


@results_group.command("verify")
@click.argument("digests", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def verify_command(
    context: Context, digests: tuple[str, ...], *, as_json: bool
) -> None:
    """Check records: digest, schema, samples, and scores from kept predictions.

    All records are checked where none is named.

    \b
    Example:
        dpbench results verify
    """
    from dpbench.eval.verify import verify_record
    from dpbench.store import objects

    workspace = context.workspace()
    names = digests or tuple(objects.digests(workspace, "result"))
    outcome: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            outcome[name] = verify_record(workspace, name)
        except DpbenchError as error:
            failed[name] = str(error)
    if as_json:
        click.echo(json.dumps({"verified": outcome, "failed": failed}, indent=1))
    else:
        for name, checks in outcome.items():
            whole = not any("not rescored" in check for check in checks)
            word = "ok" if whole else "ok as far as it could be checked"
            click.echo(f"{name[:12]}  {word}  {', '.join(checks)}")
        for name, reason in failed.items():
            click.echo(f"{name[:12]}  FAILED  {reason}")
    if failed:
        raise EvaluationError(
            f"{len(failed)} of {len(names)} records failed; expected none to. "
            "Evaluate their models again, or restore their files."
        )


@results_group.command("export")
@click.argument("digests", nargs=-1, required=True)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@pass_context
def export_command(context: Context, digests: tuple[str, ...], file: Path) -> None:
    """Write records and their predictions to FILE, to be sent to somebody.

    The file is a plain zip without code. It tells what the records tell: the command,
    paths of model and sources, hardware and software.

    \b
    Example:
        dpbench results export 3f2a 77c0 mine.zip
    """
    from dpbench.eval.submission import write_submission

    for note in write_submission(context.workspace(), digests, file):
        click.echo(note, err=True)
    click.echo(file)


@results_group.command("import")
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def import_command(context: Context, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Take records from elsewhere, computed again from their predictions.

    A record whose numbers do not follow from its predictions is refused. One whose
    predictions or data are not here is kept, marked as unverified, and takes no rank.

    \b
    Example:
        dpbench results import theirs.zip
    """
    from dpbench.eval.importing import import_files

    _tell(import_files(context.workspace(create=True), files), as_json=as_json)


@results_group.command("merge")
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def merge_command(context: Context, folder: Path, *, as_json: bool) -> None:
    """Take all records of another workspace, or of a FOLDER of submissions.

    Each is looked at as 'dpbench results import' does.

    \b
    Example:
        dpbench results merge ../theirs/.dpbench
    """
    from dpbench.eval.merging import merge

    _tell(merge(context.workspace(create=True), folder), as_json=as_json)


@results_group.command("compare")
@click.argument("a")
@click.argument("b")
@click.option(
    "--fail-on-regression",
    is_flag=True,
    help=f"Exit with {REGRESSED} where B is significantly worse than A.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def compare_command(
    context: Context, a: str, b: str, *, fail_on_regression: bool, as_json: bool
) -> None:
    """Compare record B with record A, number by number, with a test of each.

    Errors are paired on the same frames; speeds are compared on the same hardware
    alone.

    \b
    Example:
        dpbench results compare 3f2a 77c0
        dpbench results compare 3f2a 77c0 --fail-on-regression
    """
    from dpbench.eval.comparing import compare_records, comparison_text

    found = compare_records(context.workspace(), a, b)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        click.echo(comparison_text(found))
    if fail_on_regression and found.regressions:
        click.get_current_context().exit(REGRESSED)


def _tell(found: "list[Imported]", *, as_json: bool) -> None:
    """Print what became of records; exit with 1 if one was refused."""
    from dpbench.eval.summary import plain

    if as_json:
        rows = [
            {"record": one.digest, "outcome": one.outcome, "words": one.words}
            for one in found
        ]
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        for one in found:
            name = "-" if one.digest is None else one.digest[:12]
            click.echo(f"{name:<12}  {one.outcome:<10}  {plain(one.words)}")
    refused = [one for one in found if one.outcome == "refused"]
    if refused:
        raise EvaluationError(
            f"{len(refused)} of {len(found)} records were refused; expected none "
            "to be. Nothing of them was filed."
        )


def _moment(text: str | None) -> str | None:
    """Turn a date, a time or ``7d`` into a time of UTC, as records have it."""
    from datetime import UTC, datetime, timedelta

    if text is None:
        return None
    days = re.fullmatch(r"([0-9]{1,5})d", text)
    if days is not None:
        moment = datetime.now(UTC) - timedelta(days=int(days[1]))
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise ConfigError(
                f"--since {text}: is no date; expected e.g. 2026-01-31 or 7d."
            ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="seconds")
