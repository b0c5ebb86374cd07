"""``dpbench dataset leakage``."""

from collections.abc import Mapping
from typing import Any

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text, table
from dpbench.io.leakage.words import steps_words

TITLES = {
    "exact": "exact copies",
    "invariant": "twins (turned, shifted, reordered ...)",
    "same_trajectory": "other frames of the same trajectory",
}
"""How each level is called."""

MANY = 20_000
"""Frames from which on a comparison takes so long that we say so."""


@click.command("leakage")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--split",
    metavar="NAME",
    help="Name or digest of the split that parts belong to [default: the only one].",
)
@click.option(
    "--pairs",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Pairs of each level to name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def leakage_command(
    context: Context, a: str, b: str, *, split: str | None, pairs: int, as_json: bool
) -> None:
    """Count the frames of B that A has too, or nearly has.

    A and B are datasets, versions or parts: what a model was trained on, and what it
    shall be tested on. Copies are found whatever their labels; twins are the same
    structure written another way.

    \b
    Example:
        dpbench dataset leakage water-v2:train water-v2:test
        dpbench dataset leakage water:train other-v1 --json
    """
    from dpbench.io.leakage.compare import leakage
    from dpbench.store.splits.parts import open_part

    workspace = context.workspace()
    one = open_part(workspace, a, split=split)
    two = open_part(workspace, b, split=split)
    if len(one.frames) + len(two.frames) > MANY and not context.is_quiet:
        click.echo(
            f"comparing {len(two.frames)} frames with {len(one.frames)}: a minute for "
            "about 50000, less if they were looked at before",
            err=True,
        )
    found = leakage(one.version, one.frames, two.version, two.frames)
    facts = {"a": one.label, "b": two.label, **found.to_json(pairs)}
    click.echo(as_text(facts) if as_json else leakage_text(facts))


def leakage_text(facts: Mapping[str, Any]) -> str:
    """Word what was found."""
    levels: Mapping[str, Any] = facts["levels"]
    head = (
        f"{facts['b']} ({facts['n_b']} frames) against {facts['a']} "
        f"({facts['n_a']} frames)"
    )
    rows = [_row(name, levels[name]) for name in TITLES]
    lines = [head, table(("what B shares with A", "frames", "of B", ""), rows)]
    if facts["why_not"]:
        lines.append(f"not checked: {facts['why_not']}")
    for name, title in TITLES.items():
        if levels[name] and levels[name]["pairs"]:
            lines.append(f"\n{title}, first of {levels[name]['frames']}:")
            lines += [_pair(name, pair) for pair in levels[name]["pairs"]]
    return "\n".join(lines)


def _row(name: str, level: Mapping[str, Any] | None) -> tuple[Any, ...]:
    if level is None:
        return TITLES[name], "not checked", "", ""
    note = ""
    if level["frames"] and name == "exact":
        note = f"{level['equal_labels']} with equal labels"
    elif level["frames"] and name == "same_trajectory":
        note = f"nearest: {steps_words(int(level['nearest']))}"
    return TITLES[name], level["frames"], f"{level['fraction']:.1%}", note


def _pair(name: str, pair: Mapping[str, Any]) -> str:
    by = {
        "exact": "",
        "invariant": f"  (fingerprints differ by {pair['distance']:.1g})",
        "same_trajectory": f"  ({pair['distance']:g} steps)",
    }
    return f"  B {_frame(pair['b'])}  =  A {_frame(pair['a'])}{by[name]}"


def _frame(place: Mapping[str, Any]) -> str:
    return f"{place['path']} step {place['step']}"  # the path names the member
