"""``dpbench suites``: look at suites, and make their data."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from dpbench.cli.context import Context, pass_context


@click.group("suites")
def suites_group() -> None:
    """Look at suites of tasks, and make their data.

    \b
    Example:
        dpbench suites list
    """


@suites_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(*, as_json: bool) -> None:
    """List the suites that ship with dpbench, the newest version of each.

    \b
    Example:
        dpbench suites list
    """
    from dpbench.eval.suites.loading import list_suites
    from dpbench.eval.suites.words import suite_facts
    from dpbench.eval.summary import table_lines

    found = [suite_facts(suite) for suite in list_suites()]
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    rows = [
        (
            facts["suite"],
            facts["title"],
            str(len(facts["tasks"])),
            "yes" if all(data["ships"] for data in facts["data"]) else "no",
            "yes" if facts["frozen"] else "no",
        )
        for facts in found
    ]
    heads = ("Suite", "title", "tasks", "data ship", "frozen")
    click.echo("\n".join(table_lines(heads, rows)))


@suites_group.command("show")
@click.argument("name", metavar="NAME[-vN]|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(*, name: str, as_json: bool) -> None:
    """Show what a suite measures, on which data, between which bounds.

    \b
    Example:
        dpbench suites show si-lda
    """
    from dpbench.eval.suites.loading import load_suite
    from dpbench.eval.suites.words import suite_facts, suite_text

    facts = suite_facts(load_suite(name))
    click.echo(
        json.dumps(facts, indent=1, ensure_ascii=False)
        if as_json
        else suite_text(facts)
    )


@suites_group.command("prepare")
@click.argument("name", metavar="NAME[-vN]|FILE")
@click.option(
    "--data",
    "folders",
    multiple=True,
    metavar="[KEY=]DIR",
    help="Where raw data lie that do not ship with dpbench; KEY= where there are "
    "several datasets.",
)
@click.option("--only", multiple=True, metavar="KEY", help="Only this dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def prepare_command(
    context: Context,
    *,
    name: str,
    folders: tuple[str, ...],
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read and split the data of a suite into the workspace, and check the digests.

    \b
    Example:
        dpbench suites prepare si-lda
        dpbench suites prepare water --data deepmd_water
    """
    from dpbench.eval.suites.data import prepare_suite
    from dpbench.eval.suites.loading import load_suite

    prepared = prepare_suite(
        context.workspace(create=True),
        load_suite(name),
        folders=data_folders(folders),
        keys=only or None,
        say=(lambda _: None) if context.is_quiet else _say,
    )
    facts = [
        {
            "key": item.data.key,
            "dataset": item.version.label,
            "digest": item.version.digest,
            "split": item.split.digest,
            "parts": item.split.sizes,
        }
        for item in prepared
    ]
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for item in prepared:
        sizes = ", ".join(f"{n} {part}" for part, n in item.split.sizes.items())
        click.echo(f"{item.version.label}: {sizes}; digests as in the suite")


@suites_group.command("tasks")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tasks_command(*, as_json: bool) -> None:
    """List all tasks that suites and 'dpbench evaluate --tasks' may name.

    \b
    Example:
        dpbench suites tasks
    """
    from dpbench.eval.summary import table_lines
    from dpbench.eval.tasks.table import TASKS

    titles = {
        "accuracy": "Errors of energies, forces and virials",
        "stability": "Constant-energy dynamics",
        "throughput": "Speed, quickly",
    } | {name: task.title for name, task in TASKS.items()}
    if as_json:
        click.echo(json.dumps(titles, indent=1, ensure_ascii=False))
        return
    click.echo("\n".join(table_lines(("Task", "title"), list(titles.items()))))


def data_folders(given: Sequence[str]) -> dict[str, Path]:
    """Read ``KEY=DIR`` or ``DIR``, which stands for all that have no key.

    Raises:
        click.UsageError: If one is given twice, or there is no such folder.
    """
    found: dict[str, Path] = {}
    for text in given:
        key, equals, folder = text.partition("=")
        if not equals:
            key, folder = "", text
        if key in found:
            raise click.UsageError(f"--data {text}: given twice; expected it once.")
        if not Path(folder).is_dir():
            raise click.UsageError(f"--data {text}: there is no folder {folder}.")
        found[key] = Path(folder).resolve()
    return found


def _say(words: str) -> None:
    click.echo(f"{words} ...", err=True)
