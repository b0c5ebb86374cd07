"""``dpbench dataset split``."""

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text
from dpbench.errors import ConfigError


@click.command("split")
@click.argument("name")
@click.option(
    "--strategy",
    type=click.Choice(["trajectory", "block"]),
    default="trajectory",
    show_default=True,
    help="Deal whole trajectories, or one contiguous block of each to every part.",
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def split_command(
    context: Context,
    name: str,
    *,
    strategy: str,
    seed: int,
    fractions: str | None,
    hold_out: tuple[str, ...],
    as_json: bool,
) -> None:
    """Split a dataset into parts that share no trajectory, and file the split.

    \b
    Example:
        dpbench dataset split water --hold-out test='*_900K*' --seed 1
    """
    from dpbench.cli.dataset.text import split_text
    from dpbench.store.dataset import open_dataset
    from dpbench.store.splits import make_split, save_split

    patterns: dict[str, list[str]] = {}
    for text in hold_out:
        part, pattern = _pair(text, "--hold-out", "PART=PATTERN")
        patterns.setdefault(part, []).append(pattern)
    version = open_dataset(context.workspace(), name)
    split = make_split(
        version,
        strategy="block" if strategy == "block" else "trajectory",
        seed=seed,
        fractions=_fractions(fractions),
        hold_out=patterns,
    )
    save_split(version, split)
    facts = {
        "dataset": version.label,
        "digest": split.digest,
        "strategy": split.strategy,
        "seed": split.seed,
        "sizes": split.sizes,
        "parameters": split.parameters,
    }
    click.echo(as_text(facts) if as_json else split_text(facts))


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


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    from dpbench.store.references import check_part

    part, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigError(f"{option} {text}: expected {form}.")
    return check_part(part), value
