"""What two sets of frames have in common, in words; loads nothing."""

from collections.abc import Mapping
from typing import Any


def leakage_words(found: Mapping[str, Any]) -> str:
    """Word what a part shares with the training part.

    Args:
        found: As ``Leakage.facts`` gives it.
    """
    if found["exact"] is None:
        words = "copies and twins not checked"
    else:
        words = f"{found['exact']} exact copies, {found['invariant']} twins"
    near = ""
    if found["same_trajectory"]:
        near = f" (nearest: {steps_words(found['nearest_steps'])})"
    return f"{words}, {found['same_trajectory']} from its trajectories{near}"


def steps_words(steps: int) -> str:
    """Word a distance along a trajectory."""
    return f"{steps} step{'' if steps == 1 else 's'} away"


def parts_line(by_part: Mapping[str, Mapping[str, Any]]) -> str:
    """Word in one line what all parts share with the training part.

    Args:
        by_part: ``Split.leakage``.
    """
    return "; ".join(
        f"{part} ({found['n_b']} frames): {leakage_words(found)}"
        for part, found in by_part.items()
    )
