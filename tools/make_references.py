"""Write the generated pages of docs/: commands, options, metrics, consistency.

``python tools/make_references.py`` renews them, ``--check`` exits 1 if one is stale.
"""

import ast
import inspect
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

os.environ["COLUMNS"] = "88"  # help texts wrap alike on every terminal

import click

from dpbench.backends.consistency_page import consistency_page
from dpbench.cli.main import cli
from dpbench.metrics.definitions import METRICS
from dpbench.train.config import TrainConfig

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Made by tools/make_references.py from the code; edit that instead. -->"


def cli_reference() -> str:
    """Describe every command as its ``--help`` does."""
    lines = [
        "# Command line reference",
        NOTE,
        "Results go to stdout, progress to stderr. Exit codes: 0 done, 1 an error told "
        "in one line, 2 wrong usage, 130 interrupted. The global options "
        "(`--workspace`, `--threads`, `-v`, `-q`) may stand before or after the "
        "command.",
    ]
    for path, context in walk_commands():
        lines += [f"## {path}", f"```text\n{context.get_help().rstrip()}\n```"]
    return "\n\n".join(lines) + "\n"


def walk_commands() -> Iterator[tuple[str, click.Context]]:
    """Yield (``dpbench dataset show``, its click context) for every command."""
    settings: Any = {"terminal_width": 88, "max_content_width": 88}
    settings |= cli.context_settings
    root = click.Context(cli, info_name="dpbench", **settings)
    yield "dpbench", root
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is None:
            continue
        context = click.Context(command, info_name=name, parent=root, **settings)
        yield f"dpbench {name}", context
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                subcommand = command.get_command(context, sub)
                if subcommand is None:
                    continue
                child = click.Context(
                    subcommand, info_name=sub, parent=context, **settings
                )
                yield f"dpbench {name} {sub}", child


def config_reference() -> str:
    """Describe every option of a training TOML file from its dataclass."""
    lines = [
        "# Training options",
        NOTE,
        "Every key of the TOML file that `dpbench train --config FILE` takes. What is "
        "left out has the default shown here. DeePMD-kit's own `input.json` is taken "
        "as well, with DeePMD-kit's defaults: [training](training.md).",
    ]
    for section, cls in walk_config("", TrainConfig):
        documented = field_docs(cls)
        rows = [
            f"| `{f.name}` | `{type_name(f)}` | {default(f)} | {documented[f.name]} |"
            for f in fields(cls)
            if not is_section(f)
        ]
        if rows:
            closed = section if "]" in section else f"{section}]"
            head = f"## `[{closed}`" if section else "## Top level"
            table = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
            purpose = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("``", "`")
            lines += [head, purpose, table + "\n".join(rows)]
    return "\n\n".join(lines) + "\n"


def metrics_reference() -> str:
    """Describe every metric that a record may hold."""
    rows = [
        f"| `{name}` | {m.title} | {m.unit} | {m.polarity} | {m.meaning} |"
        for name, m in METRICS.items()
    ]
    lines = [
        "# Metrics reference",
        NOTE,
        "Every number of a record and of the leaderboard, by the name that it has in "
        "JSON and CSV. How they are measured: [evaluation](evaluation.md).",
        "| name | title | unit | better | meaning |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows),
    ]
    return "\n\n".join(lines) + "\n"


def walk_config(section: str, cls: type) -> Iterator[tuple[str, type]]:
    """Yield (dotted table name, dataclass), outermost first."""
    yield section, cls
    for f in fields(cls):
        kinds = section_classes(f)
        name = f"{section}.{f.name}" if section else f.name
        for kind in kinds:
            where = name if len(kinds) == 1 else f"{name}] type = {kind_name(kind)}"
            yield from walk_config(where, kind)


def section_classes(f: "Field[Any]") -> list[type]:
    """Return the dataclasses that the field is built from: several for a union."""
    kinds = get_args(f.type) if get_origin(f.type) is UnionType else (f.type,)
    return [kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)]


def kind_name(cls: type) -> str:
    """Return the ``type`` that tells a dataclass of a union apart."""
    (kind,) = (f.default for f in fields(cls) if f.name == "type")
    return f'"{kind}"'


def is_section(f: "Field[Any]") -> bool:
    """Say whether the field is a table of its own."""
    return bool(section_classes(f))


def type_name(f: "Field[Any]") -> str:
    """Name the field's type as the code does, fit for a table cell."""
    if get_origin(f.type) is Literal:
        return "` or `".join(map(repr, get_args(f.type)))
    is_plain = isinstance(f.type, type) and not get_args(f.type)
    name = f.type.__name__ if is_plain else str(f.type)  # type: ignore[union-attr]
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", name).replace("|", "or")


def default(f: "Field[Any]") -> str:
    """Show the default as TOML would have it."""
    value = f.default_factory() if f.default_factory is not MISSING else f.default
    if value is MISSING:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def field_docs(cls: type) -> dict[str, str]:
    """Read the docstring under each field from the source."""
    body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
    docs = {}
    for statement, following in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            text = ast.literal_eval(following.value)
            docs[statement.target.id] = " ".join(text.replace("``", "`").split())  # type: ignore[union-attr]
    return docs


def consistency() -> str:
    """Show the matrix of backends that registry/consistency keeps."""
    return f"# Consistency with DeePMD-kit\n\n{NOTE}\n\n{consistency_page()}"


PAGES = {
    "cli-reference.md": cli_reference,
    "consistency.md": consistency,
    "metrics-reference.md": metrics_reference,
    "training-options.md": config_reference,
}


def main(arguments: list[str]) -> int:
    """Write or check the pages."""
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    if stale and "--check" in arguments:
        print(f"stale: {', '.join(stale)}. Run 'make docs'.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
