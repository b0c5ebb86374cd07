"""What two sets of frames have in common, in words; loads nothing."""

from collections.abc import Mapping
from typing import Any

FIRST = {"validation": 0, "test": 1}
"""Parts that are named first; the others follow by name."""


def leakage_words(found: Mapping[str, Any]) -> str:
    """Word what a part shares with the training part.

    Args:
        found: As ``Leakage.facts`` gives it.
    """
    if found["exact"] is None:
        words = "copies and twins not checked"
    elif found["invariant"] is None:
        words = f"{found['exact']} exact copies, twins not checked"
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
    order = sorted(by_part, key=lambda part: (FIRST.get(part, len(FIRST)), part))
    return "; ".join(
        f"{part} ({by_part[part]['n_b']} frames): {leakage_words(by_part[part])}"
        for part in order
    )
