"""Why a library gave no label; imports next to nothing, for foreign environments."""

from dataclasses import dataclass

from dpbench.explore.labels.driver import Trouble


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why there is no label."""

    trouble: Trouble
    """Its class."""
    reason: str
    """In one line."""
