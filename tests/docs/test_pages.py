"""The pages of docs/ and README.md are fresh, whole and true to the commands."""

import importlib.util
import re
from pathlib import Path

import click
import pytest

from dpbench.cli.main import COMMANDS, cli

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*.md")])


def load_tool(name):
    path = REPOSITORY / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page_id(page):
    return str(page.relative_to(REPOSITORY))


def anchors(text):
    """The names that a page's headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {name.replace(" ", "-") for name in plain}


def test_generated_pages_are_fresh(monkeypatch):
    monkeypatch.setenv("COLUMNS", "88")
    tool = load_tool("make_references")
    stale = [
        name
        for name, make in tool.PAGES.items()
        if (REPOSITORY / "docs" / name).read_text(encoding="utf-8") != make()
    ]
    assert not stale, "run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (
            anchor and anchor not in anchors(there.read_text(encoding="utf-8"))
        ):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_in_code_blocks_exist(page):
    """Every ``dpbench ...`` line names a command, and options that it has."""
    wrong = []
    for line in command_lines(page.read_text(encoding="utf-8")):
        words = re.sub(r"#.*", "", line).split()[1:]
        command, rest = find_command(words)
        if command is None:
            wrong.append(line)
            continue
        known = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)}
        known |= {"--help", "-h", "--version"}
        used = [w.partition("=")[0] for w in rest if w.startswith("--")]
        wrong += [f"{line}  <- {option}" for option in used if option not in known]
    assert not wrong


def command_lines(text):
    """Lines of shell blocks that call dpbench, continuation lines joined."""
    blocks = re.findall(
        r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    stripped = [re.sub(r"^\$ ", "", line) for line in lines]
    return [line for line in stripped if line.startswith("dpbench ")]


def find_command(words):
    if not words or words[0].startswith("-"):
        return cli, words
    command = cli.get_command(click.Context(cli), words[0])
    rest = words[1:]
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        return command.get_command(click.Context(command), rest[0]), rest[1:]
    return command, rest


def test_every_command_is_in_the_reference():
    text = (REPOSITORY / "docs" / "cli-reference.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"## dpbench {name}\n" not in text]


def test_every_page_is_reached_from_the_index():
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {p.name for p in REPOSITORY.glob("docs/*.md")} - {"index.md"}
    assert not [name for name in sorted(pages) if f"({name})" not in index]


def test_changelog_has_an_unreleased_section():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
