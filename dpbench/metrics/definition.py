"""What one metric name means."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What one metric name means."""

    unit: str
    """As printed, e.g. ``meV/atom``."""
    title: str
    """A few words for a table's head."""
    meaning: str
    """One sentence: reduction, weights, variant."""
    polarity: str = "lower"
    """``lower`` or ``higher``: which way is better."""
