"""``dpbench backends``: foreign programs in environments of their own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context
from dpbench.errors import BackendError

if TYPE_CHECKING:
    from dpbench.backends.check import Finding

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group("backends")
def backends_group() -> None:
    """Install, adopt and check the programs that evaluate beside dpbench.

    \b
    Example:
        dpbench backends install deepmd
        dpbench backends check
    """


@backends_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def list_command(context: Context, *, as_json: bool) -> None:
    """List all backends: licence, environment, and whether it is here.

    \b
    Example:
        dpbench backends list
    """
    from dpbench.backends.listing import overview

    rows = overview(context.own_cards())
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    _table(("backend", "title", "licence", "environment", "state"), rows)


@backends_group.command("install")
@click.argument("name")
@click.option(
    "--wheelhouse",
    type=FOLDER,
    help="Folder of wheels: nothing comes from the network.",
)
@click.option("--python", type=FILE, help="Interpreter to make it with.")
@click.option(
    "--installer",
    type=click.Choice(["uv", "pip"]),
    help="Default: uv where it is present.",
)
@click.option("--again", is_flag=True, help="Make it anew although it is there.")
@pass_context
def install_command(context: Context, /, name: str, **options: Any) -> None:
    """Make the virtual environment of backend NAME.

    \b
    Example:
        dpbench backends install deepmd
        dpbench backends install deepmd --wheelhouse wheels/
    """
    from dpbench.backends.install import Wishes, install

    done = install(
        name,
        Wishes(
            wheelhouse=options["wheelhouse"],
            python=options["python"],
            installer=options["installer"],
            is_anew=options["again"],
        ),
        own_cards=context.own_cards(),
        say=_quiet if context.is_quiet else _say,
    )
    count = len(done.environment.fingerprint.packages)
    if done.is_new:
        click.echo(f"{name}: installed, {count} packages in {done.seconds:.0f} s")
    else:
        click.echo(f"{name}: is installed already ({count} packages)")


@backends_group.command("add")
@click.argument("name")
@click.option(
    "--python", type=FILE, required=True, help="Interpreter that has the program."
)
@click.option(
    "--env",
    "env_file",
    type=FILE,
    help="Lines NAME=VALUE: variables that it needs, e.g. LD_LIBRARY_PATH.",
)
@pass_context
def add_command(
    context: Context, name: str, *, python: Path, env_file: Path | None
) -> None:
    """Adopt an installation of yours as backend NAME: a module, conda, a build.

    Nothing in it changes.

    \b
    Example:
        dpbench backends add deepmd --python /opt/deepmd/bin/python
    """
    from dpbench.backends.adopt import adopt
    from dpbench.backends.cards import load_card
    from dpbench.backends.check import version_of

    cards = context.own_cards()
    found = adopt(name, python, env_file=env_file, own_cards=cards)
    version = version_of(load_card(name, own_cards=cards), found.fingerprint)
    click.echo(
        f"{name}: adopted {found.python} (version {version or 'unknown'}, Python "
        f"{found.fingerprint.python})"
    )


@backends_group.command("check")
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def check_command(context: Context, *, names: tuple[str, ...], as_json: bool) -> None:
    """Have each backend calculate: works, or what is missing and what mends it.

    Exits 1 if a backend that is installed, or named, does not work.

    \b
    Example:
        dpbench backends check
        dpbench backends check deepmd-pt
    """
    from dpbench.backends.cards import card_files
    from dpbench.backends.check import check_backend

    cards = context.own_cards()
    asked = names or tuple(sorted(card_files(cards)))
    width = max(map(len, asked), default=0)
    findings = []
    for name in asked:
        finding = check_backend(name, own_cards=cards)
        findings.append(finding)
        if not as_json:
            click.echo(_check_line(finding, width))
    if as_json:
        click.echo(json.dumps([_as_row(f) for f in findings], indent=1))
    ill = [f for f in findings if not f.is_well and (f.is_installed or f.name in names)]
    if ill:
        raise SystemExit(1)


@backends_group.command("remove")
@click.argument("name")
@pass_context
def remove_command(context: Context, name: str) -> None:
    """Remove the environment of backend NAME; an adopted installation stays.

    \b
    Example:
        dpbench backends remove mace
    """
    from dpbench.backends.environments import remove_environment
    from dpbench.backends.listing import environment_of

    environment = environment_of(name, context.own_cards())
    if not remove_environment(environment, say=_say):
        raise BackendError(f"{name}: is not installed; there is nothing to remove.")
    click.echo(f"{name}: removed the environment '{environment}'")


@backends_group.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def show_command(context: Context, name: str, *, as_json: bool) -> None:
    """Show the card of backend NAME, and what its environment holds.

    \b
    Example:
        dpbench backends show deepmd-pt
    """
    from dpbench.backends.listing import details, details_text

    found = details(name, context.own_cards())
    text = json.dumps(found, indent=1, ensure_ascii=False)
    click.echo(text if as_json else details_text(found))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _quiet(_: str) -> None:
    """Say nothing."""


def _check_line(finding: "Finding", width: int) -> str:
    version = finding.version or "-"
    return (
        f"{finding.name:<{width}}  {version:<12}  {finding.state:<10}  {finding.words}"
    )


def _as_row(finding: "Finding") -> dict[str, Any]:
    from dpbench.config import to_mapping

    return {
        **to_mapping(finding),
        "installed": finding.is_installed,
        "works": finding.is_well,
    }


def _table(heads: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    widths = [max([len(h), *(len(row[h]) for row in rows)]) for h in heads]
    lines = [dict(zip(heads, heads, strict=True)), *rows]
    for row in lines:
        cells = (row[h].ljust(w) for h, w in zip(heads, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
