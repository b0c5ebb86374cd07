"""Means over crystals."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def mean_over(errors: Sequence[float], *, is_whole: bool) -> tuple[float | None, int]:
    """Average errors of crystals; null where there is none, or a crystal is missing."""
    if not errors or not is_whole:
        return None, len(errors)
    return float(np.mean(errors)), len(errors)


def rounded(values: NDArray[np.float64], decimals: int = 6) -> list[float]:
    """Turn a row of numbers into a short list."""
    return [round(float(value), decimals) for value in values]


def rounded_values(values: Mapping[str, float], decimals: int = 4) -> dict[str, float]:
    """Shorten named numbers."""
    return {name: round(value, decimals) for name, value in values.items()}
