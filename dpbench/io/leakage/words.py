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
    words = copies_and_twins(found["exact"], found["invariant"])
    count = found["same_trajectory"]
    frames = counted(count, "frame", "frames")
    near = f" (nearest: {steps_words(found['nearest_steps'])})" if count else ""
    return f"{words}, {frames} from trajectories that train has frames of{near}"


def copies_and_twins(exact: int | None, invariant: int | None) -> str:
    """Word how many copies and twins there are; None = not checked."""
    if exact is None:
        return "copies and twins not checked"
    copies = counted(exact, "copy", "copies")
    if invariant is None:
        return f"{copies}, twins not checked"
    return f"{copies}, {counted(invariant, 'twin', 'twins')}"


def counted(count: int, one: str, many: str) -> str:
    """Write a number with its noun."""
    return f"{count} {one if count == 1 else many}"


def steps_words(steps: int) -> str:
    """Word a distance along a trajectory."""
    return f"{counted(steps, 'step', 'steps')} away"


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
