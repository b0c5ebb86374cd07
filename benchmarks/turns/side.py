"""One side of a benchmark takes turns: some steps when told to, then it waits.

A side calls ``tick`` at the start of every step. After warm-up it prints one line that
describes it; then each line on stdin lets it take some steps, and their wall and CPU
milliseconds are printed. The end of stdin ends the process. Needs the standard library
alone, because it runs in either environment.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


class Turns:
    """Counts and times steps, and waits between turns."""

    def __init__(
        self,
        steps: int,
        *,
        warm_up: int,
        told: dict[str, Any],
        is_mean: bool = False,
        weight: int = 1,
    ) -> None:
        """Take stdout away from whatever else may print.

        Args:
            steps: Steps of a turn.
            warm_up: Steps before the first turn.
            told: What the side says of itself.
            is_mean: Whether a turn is one figure, the mean of its steps.
            weight: Steps of the program that one tick stands for.
        """
        self._steps, self._warm_up, self._told = steps, warm_up, told
        self._is_mean, self._weight, self._seen = is_mean, weight, 0
        self._times: list[tuple[float, float]] = []
        self._started = (0.0, 0.0)
        # What a trainer prints must not get among the figures.
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tick(self) -> None:
        """Say that a step begins here, and that the one before is over."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._seen += 1
        if self._seen <= self._warm_up:
            return
        if self._seen == self._warm_up + 1:
            self._say(self._told)
            self._wait()
        else:
            began = self._started
            self._times.append((1e3 * (wall - began[0]), 1e3 * (cpu - began[1])))
            if len(self._times) == self._steps:
                self._say([self._mean()] if self._is_mean else self._times)
                self._times = []
                self._wait()
        self._started = (time.perf_counter(), time.process_time())

    def repeat(self, step: Callable[[], object]) -> None:
        """Take steps for ever."""
        while True:
            self.tick()
            step()

    def _mean(self) -> tuple[float, float]:
        wall, cpu = (sum(clock) for clock in zip(*self._times, strict=True))
        count = self._steps * self._weight
        return wall / count, cpu / count

    def _say(self, value: Any) -> None:
        self._out.write(json.dumps(value) + "\n")
        self._out.flush()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            os._exit(0)  # threads of a trainer would keep the process


def argument(name: str) -> Any:
    """Return an entry of the JSON object that the side was started with."""
    return json.loads(sys.argv[1])[name]
