"""Timed windows: warm-up apart, windows by duration, cases taking turns."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WARM_CHUNKS = 3
"""Chunks of warm-up behind the first call, at least: TorchScript's executor compiles at
the second and third call again."""

STILL_WARMING = 0.8
"""A chunk whose steps take so much less than those before says: not warm yet."""

MOST_CHUNKS = 12
"""Of steps that go on to become faster."""

FAR_LONGER = 10
"""A step that takes so many windows is warm after the second call."""

Clock = Callable[[], float]
"""Seconds since some fixed moment; ``time.perf_counter`` unless a test says else."""


def _no_wait() -> None:
    """Stand for the synchronisation of a device that has nothing to wait for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Something that can be done step by step and timed."""

    name: str
    step: Callable[[], object]
    """One step; its result is not looked at."""
    synchronise: Callable[[], None] = field(default=_no_wait)
    """Waits until the device has done what was asked of it."""
    many: Callable[[int], float | None] | None = None
    """Does so many steps in a loop of its own, where the engine has one; may return the
    seconds of that loop, without what starts and ends it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """Raw times of one case."""

    name: str
    samples: tuple[float, ...]
    """Seconds per step, one per window."""
    steps_per_window: int
    warmup_steps: int
    warmup_s: float
    first_call_s: float


def measure(
    cases: Sequence[Case],
    *,
    window_s: float,
    repeats: int,
    clock: Clock = time.perf_counter,
) -> list[Measurement]:
    """Time cases, turn by turn, after each has warmed up.

    Every case is first called once (compilation, allocation), then in three or more
    chunks that grow until one lasts at least half a window and is no longer much faster
    than the one before; that fixes the steps of a window. Nothing of this counts. Then
    in each round every case runs one window, another one first each time, so that a
    drift of the machine's clock falls on all cases alike: with the same one always
    first, 16 of 40 comparisons of a thing with itself were called. The device is
    synchronised before the start and before the end of a window, not inside.

    Args:
        cases: What to time.
        window_s: Target length of a window, s.
        repeats: Number of rounds.
        clock: Source of time, s.

    Returns:
        One measurement per case.

    Source:
        OpenMM's benchmark script (windows grown until half the target time);
        asv's interleaved rounds.
    """
    warm = [_warm_up(case, window_s, clock) for case in cases]
    samples: list[list[float]] = [[] for _ in cases]
    for number in range(repeats):
        turn = [(number + place) % len(cases) for place in range(len(cases))]
        for index in turn:
            steps = warm[index][0]
            samples[index].append(_window(cases[index], steps, clock) / steps)
    return [
        Measurement(
            name=case.name,
            samples=tuple(times),
            steps_per_window=steps,
            warmup_steps=warmup_steps,
            warmup_s=warmup_s,
            first_call_s=first_call_s,
        )
        for case, times, (steps, warmup_steps, warmup_s, first_call_s) in zip(
            cases, samples, warm, strict=True
        )
    ]


def _warm_up(
    case: Case, window_s: float, clock: Clock
) -> tuple[int, int, float, float]:
    """Return steps per window, warm-up steps and seconds, and the first call's."""
    first = total = _window(case, 1, clock)
    done, steps, chunks, before = 1, 1, 0, math.inf
    while True:
        elapsed = _window(case, steps, clock)
        done, total, chunks = done + steps, total + elapsed, chunks + 1
        is_long = elapsed >= window_s / 2
        is_warm = chunks >= WARM_CHUNKS and elapsed / steps > STILL_WARMING * before
        is_warm |= chunks >= MOST_CHUNKS or elapsed >= FAR_LONGER * window_s * steps
        if is_long and is_warm:
            break
        before = elapsed / steps
        if is_long:
            # The same again, or fewer: what it took may have been compilation.
            steps = max(1, min(steps, round(steps * window_s / elapsed)))
            continue
        # A clock that did not move yet asks for more steps, at most ten times more.
        wanted = steps * window_s / elapsed if elapsed > 0 else math.inf
        steps = max(steps + 1, int(min(wanted, steps * 10)))
    return max(1, round(steps * window_s / elapsed)), done, total, first


def _window(case: Case, steps: int, clock: Clock) -> float:
    """Run ``steps`` steps and return the seconds they took."""
    case.synchronise()
    start, told = clock(), None
    if case.many is not None:
        told = case.many(steps)
    else:
        for _ in range(steps):
            case.step()
    case.synchronise()
    return clock() - start if told is None else told
