"""Remedies: what the next attempt changes after one that failed.

Each driver has a ladder of its own. None of its remedies moves the label: they lead
another way to the same self-consistent solution, which is why a label that needed one
is as good as the others. They add up: an attempt has all that were tried before.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dpbench.errors import ConfigError
from dpbench.explore.labels.driver import AGAIN, Finding, Trouble

MORE_TIME = "more_time"
"""The remedy that doubles the time of an attempt; ``labelling`` applies it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """One rung of a ladder."""

    name: str
    """Key in ``label.json`` and in the configuration."""
    helps: frozenset[Trouble]
    """What it is tried against."""
    words: str
    """What it changes, for people."""


def next_remedy(
    ladder: Sequence[Remedy], trouble: Trouble, *, tried: Collection[str]
) -> str | None:
    """Choose what to change after an attempt that failed.

    A job that died runs again as it was, once: most often its machine is to blame. One
    that ran out of time gets twice as much, once. Then the ladder is climbed.

    Args:
        ladder: Remedies of the driver, the gentlest first.
        trouble: What went wrong.
        tried: Names of the remedies that were tried.

    Returns:
        Name of the first remedy that helps against it and is left; None if none is.
    """
    first = {Trouble.DIED: AGAIN, Trouble.TIMED_OUT: MORE_TIME}.get(trouble)
    if first is not None and first not in tried:
        return first
    for remedy in ladder:
        if trouble in remedy.helps and remedy.name not in tried:
            return remedy.name
    return None


def finding(
    trouble: Trouble, reason: str, *, ladder: Sequence[Remedy], tried: Collection[str]
) -> Finding:
    """Make a finding of a verdict, with the remedy for the next attempt.

    Args:
        trouble: What went wrong; NONE = nothing.
        reason: It, in one line.
        ladder: Remedies of the driver, the gentlest first.
        tried: Names of the remedies that were tried.
    """
    if trouble is Trouble.NONE:
        return Finding(ok=True)
    remedy = next_remedy(ladder, trouble, tried=tried)
    return Finding(ok=False, reason=reason, trouble=trouble, remedy=remedy)


def chosen(
    ladder: Sequence[Remedy],
    names: Sequence[str] | None,
    *,
    where: str,
    known: Sequence[Remedy] = (),
) -> tuple[Remedy, ...]:
    """Return the remedies that a user named, in that order; None = the whole ladder.

    Args:
        ladder: Remedies that are tried unless others are named.
        names: What the user named.
        where: Key of the configuration, for the message.
        known: What may be named; empty = the ladder.

    Raises:
        ConfigError: If there is no such remedy.
    """
    if names is None:
        return tuple(ladder)
    by_name = {remedy.name: remedy for remedy in known or ladder}
    for name in names:
        if name not in by_name:
            raise ConfigError(
                f"{where}: unknown remedy '{name}'; expected some of "
                f"{', '.join(by_name)}. Correct the name, or leave the key out."
            )
    return tuple(by_name[name] for name in names)
