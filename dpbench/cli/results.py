"""``dpbench results``: list, show and verify filed result records."""

import json

import click

from dpbench.cli.context import Context, pass_context
from dpbench.errors import DpbenchError, EvaluationError


@click.group("results")
def results_group() -> None:
    """Look at filed result records.

    \b
    Example:
        dpbench results list
    """


@results_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def list_command(context: Context, *, as_json: bool) -> None:
    """List the result records of the workspace, oldest first.

    \b
    Example:
        dpbench results list
    """
    from dpbench.eval.filing import read_records
    from dpbench.eval.summary import records_overview, table_lines

    rows = records_overview(read_records(context.workspace()))
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if not rows:
        click.echo("No result is filed yet. Measure a model: dpbench evaluate")
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
    from dpbench.eval.summary import record_text

    name, payload = find_record(context.workspace(), digest)
    if as_json:
        click.echo(json.dumps(payload, indent=1, ensure_ascii=False))
        return
    record = record_from_payload(payload, where=f"result {name[:12]}")
    click.echo(record_text(record, name))


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
            click.echo(f"{name[:12]}  ok  {', '.join(checks)}")
        for name, reason in failed.items():
            click.echo(f"{name[:12]}  FAILED  {reason}")
    if failed:
        raise EvaluationError(
            f"{len(failed)} of {len(names)} records failed; expected none to. "
            "Evaluate their models again, or restore their files."
        )
