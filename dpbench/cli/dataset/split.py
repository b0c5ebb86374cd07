"""``dpbench dataset split``."""

from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text
from dpbench.errors import ConfigError

if TYPE_CHECKING:
    from dpbench.store.splits.dealing import Duration

STRATEGIES = ("trajectory", "block", "source", "composition", "time", "random")
"""Those of ``store.splits``, named here so that ``--help`` needs no arrays."""

FEW = 0.05
"""Share of a part's frames beside a training frame that is not worth a warning."""

MANY = 20_000
"""Frames from which on looking for twins takes so long that we say so."""

UNLIKE = 0.7
"""Likeness of neighbours above which the order of frames means nothing."""


@click.command("split")
@click.argument("name", metavar="NAME[-vN]")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="trajectory",
    show_default=True,
    help="Deal whole trajectories; contiguous blocks of each; whole source files; "
    "whole compositions; the first frames of each to train and the last to test; or "
    "single frames.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Order of dealing."
)
@click.option(
    "--fractions",
    metavar="PART=X,...",
    help="Shares of the parts [default: train=0.8,validation=0.1,test=0.1].",
)
@click.option(
    "--hold-out",
    "hold_out",
    multiple=True,
    metavar="PART=PATTERN",
    help="Put all sources whose path fits PATTERN into PART; may be repeated.",
)
@click.option(
    "--gap",
    metavar="N|Tfs",
    help="Frames, or time such as 50fs, left out between two blocks (block, time) "
    "[default: 1 % of the trajectory].",
)
@click.option(
    "--name", "split_name", help="What to call the split; its digest serves as well."
)
@click.option(
    "--skip-twins",
    is_flag=True,
    help="Do not look for frames that are one structure. They may then lie on two "
    "sides; leakage is not measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def split_command(context: Context, /, name: str, **options: Any) -> None:
    """Split a dataset into parts that share no trajectory, and file the split.

    Frames that are one structure, however it is turned or written, are kept on one
    side. What the parts have in common is measured and filed with the split.

    \b
    Example:
        dpbench dataset split water --hold-out test='*_900K*' --seed 1
        dpbench dataset split water --strategy time --gap 50 --name forecast
    """
    from dpbench.cli.dataset.text import split_text
    from dpbench.io.leakage.split import make_checked_split
    from dpbench.store.dataset import open_dataset
    from dpbench.store.splits.making import save_split

    patterns: dict[str, list[str]] = {}
    for text in options["hold_out"]:
        part, pattern = _pair(text, "--hold-out", "PART=PATTERN")
        patterns.setdefault(part, []).append(pattern)
    version = open_dataset(context.workspace(), name)
    if version.nframes > MANY and not (options["skip_twins"] or context.is_quiet):
        click.echo(
            f"looking for twins among {version.nframes} frames: a minute for about "
            "50000, less if they were looked at before; --skip-twins leaves it out",
            err=True,
        )
    split = make_checked_split(
        version,
        skip_twins=options["skip_twins"],
        strategy=options["strategy"],
        seed=options["seed"],
        fractions=_fractions(options["fractions"]),
        hold_out=patterns,
        gap=_gap(options["gap"]),
        name=options["split_name"],
    )
    save_split(version, split)
    facts = {
        "dataset": version.label,
        "digest": split.digest,
        "name": options["split_name"],
        "strategy": split.strategy,
        "seed": split.seed,
        "sizes": split.sizes,
        "parameters": split.parameters,
        "leakage": split.leakage,
    }
    click.echo(as_text(facts) if options["as_json"] else split_text(facts))
    _warn(split.parameters)


def _warn(parameters: dict[str, Any]) -> None:
    """Say what a random split of correlated data is worth."""
    beside = parameters.get("neighbours_in_train", {})
    told = [f"{share:.0%} of {part}" for part, share in beside.items() if share > FEW]
    likeness = parameters.get("likeness")
    if not told:
        return
    if likeness is not None and likeness > UNLIKE:
        click.echo(
            f"note: {' and '.join(told)} stand beside a training frame of the same "
            f"trajectory, but neighbours differ by {likeness:.0%} of what any two of "
            "its frames do. Such errors speak for the conditions of these "
            "trajectories, not for new ones.",
            err=True,
        )
        return
    measured = (
        "If neighbours are alike,"
        if likeness is None
        else f"Neighbours differ by {likeness:.0%} of what any two frames of one do:"
    )
    click.echo(
        f"warning: {' and '.join(told)} stand beside a training frame of the same "
        f"trajectory. {measured} errors on such frames say little about new "
        "structures. Split by trajectory, or by block.",
        err=True,
    )


def _fractions(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    fractions = {}
    for item in text.split(","):
        part, number = _pair(item.strip(), "--fractions", "PART=X,PART=X,...")
        try:
            fractions[part] = float(number)
        except ValueError as error:
            raise ConfigError(
                f"--fractions {item}: '{number}' is no number; expected e.g. "
                "train=0.9,validation=0.1."
            ) from error
    return fractions


def _gap(text: str | None) -> "int | Duration | None":
    from dpbench.store.splits.dealing import Duration

    if text is None:
        return None
    number = text.strip().removesuffix("fs")
    try:
        if number == text.strip():
            return int(number)
        return Duration(fs=float(number))
    except ValueError as error:
        raise ConfigError(
            f"--gap {text}: is neither a number of frames nor a time in fs; expected "
            "e.g. 20 or 50fs."
        ) from error


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    from dpbench.store.references import check_part

    part, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigError(f"{option} {text}: expected {form}.")
    return check_part(part), value
