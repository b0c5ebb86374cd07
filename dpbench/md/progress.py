"""What a user sees of a run: one line that is renewed, or a line now and then."""

import sys
import time
from collections.abc import Callable
from typing import TextIO, final

import numpy as np

from dpbench.md.observables import Sample

SECONDS_ON_TERMINAL, SECONDS_ELSEWHERE = 0.5, 15.0
"""Least time between two lines."""

FS_PER_NS, SECONDS_PER_DAY = 1e6, 86400.0


def ns_per_day(seconds_per_step: float, timestep: float) -> float:
    """Turn the wall time of a step and its length (fs) into ns/day."""
    if not seconds_per_step > 0:
        return 0.0
    return timestep / FS_PER_NS * SECONDS_PER_DAY / seconds_per_step


@final
class ProgressLine:
    """Prints how far a run is."""

    def __init__(
        self,
        *,
        steps: int,
        atoms: int,
        timestep: float,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Print to ``stream`` (stderr).

        Args:
            steps: Of the whole run.
            atoms: Of all replicas.
            timestep: fs.
            stream: Where to.
            clock: Seconds, for tests.
        """
        self._steps, self._atoms, self._timestep = steps, atoms, timestep
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._every = SECONDS_ON_TERMINAL if self._is_terminal else SECONDS_ELSEWHERE
        self._clock = clock
        self._said = clock()
        self._width = 0

    def sample(self, sample: Sample, seconds_per_step: float) -> None:
        """Say where the run is, if the last line is long enough ago."""
        now = self._clock()
        if now - self._said < self._every and sample.step < self._steps:
            return
        self._said = now
        text = self._words(sample, seconds_per_step)
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._is_terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()

    def _words(self, sample: Sample, seconds: float) -> str:
        words = [f"step {sample.step}/{self._steps}"]
        if seconds > 0:
            words += [
                f"{1e6 * seconds / self._atoms:.3g} us/atom/step",
                f"{ns_per_day(seconds, self._timestep):.3g} ns/day",
            ]
        words.append(f"T {np.mean(sample.values['temperature']):.0f} K")
        pressure = float(np.mean(sample.values["pressure"]))
        if np.isfinite(pressure):
            words.append(f"P {pressure:.0f} bar")
        if seconds > 0:
            words.append(f"{seconds * (self._steps - sample.step):.0f} s left")
        return "  ".join(words)
