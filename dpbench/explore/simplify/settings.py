"""What ``dpbench simplify`` may be told."""

import math
import sys
from dataclasses import dataclass
from typing import Literal

from dpbench.errors import ConfigError
from dpbench.explore.select.settings import Level, SelectSettings, check_level

Method = Literal["deviation", "diverse"]

SHARE_OF_START = 0.2
"""Of the frames wanted, where ``start`` is not told."""

ROUNDS = 4
"""Rounds in which the subset grows, where ``batch`` is not told."""

CANDIDATES = 3
"""Where no levels are told, so many times as many frames as a round takes are
candidates at least, those of the largest deviation."""

CANDIDATES_PERCENT = 50.0
"""And at least this share of the frames: the extreme ones alone teach less [Al-Mg, 30
frames: force RMSE 0.018 eV/Å, of the larger half 0.013]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimplifySettings:
    """How to choose, and what to compare with.

    Raises:
        ConfigError: If a value makes no sense.
    """

    frames: int
    """Size of the subset."""
    method: Method = "deviation"
    """``deviation``: train an ensemble on the subset, add frames on which it disagrees,
    again and again (DP-GEN's ``simplify``). ``diverse``: the frames that differ most,
    without any model."""
    start: int | None = None
    """Frames of the first subset, those that differ most; None = a fifth."""
    batch: int | None = None
    """Frames that a round adds; None = four rounds."""
    force: Level | None = None
    """eV/Å, trust levels: a round chooses among the frames whose largest force
    deviation lies between them, and the subset is complete when there are none. None =
    the half of the larger deviations, whatever they are."""
    models: int = 4
    """Members of the ensemble."""
    steps: int = 2000
    """Optimiser steps of every model, whatever the size of its subset."""
    config: str | None = None
    """Training configuration, a dpbench or DeePMD-kit file; None = the defaults."""
    controls: int = 3
    """Subsets chosen at random, each of every size, to compare with."""
    is_full: bool = True
    """Whether one model is trained on all frames, to compare with."""
    seed: int = 1
    """Decides everything that is drawn."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, least in (
            ("frames", 2),
            ("start", 1),
            ("batch", 1),
            ("models", 1),
            ("steps", 1),
            ("controls", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} = {value}; expected {least} or more.")
        check_level("force", self.force)
        if self.method == "deviation" and self.models < 2:
            raise ConfigError(
                f"models = {self.models}; expected at least 2, for a deviation is that "
                "of several models. Give more, or choose method = 'diverse'."
            )
        if self.method == "diverse" and self.force is not None:
            raise ConfigError(
                "force: no model is asked by method = 'diverse'; leave the levels out."
            )

    def sizes(self, available: int) -> list[int]:
        """Return the sizes that the subset grows through.

        Raises:
            ConfigError: If there are no more frames than wanted.
        """
        if self.frames >= available:
            raise ConfigError(
                f"frames = {self.frames}: there are {available} to choose from; "
                "expected fewer."
            )
        start = self.start
        if start is None:
            start = max(2, math.ceil(SHARE_OF_START * self.frames))
        start = min(start, self.frames)
        batch = self.batch or max(1, math.ceil((self.frames - start) / ROUNDS))
        return [*range(start, self.frames, batch), self.frames]

    def selection(self, count: int) -> SelectSettings:
        """Return how a round chooses ``count`` frames."""
        if self.force is not None:
            return SelectSettings(force=self.force, most=count)
        return SelectSettings(
            rule="adaptive",
            force=(0.0, sys.float_info.max),  # no upper level
            adaptive_force=CANDIDATES * count,
            adaptive_force_percent=CANDIDATES_PERCENT,
            most=count,
        )
