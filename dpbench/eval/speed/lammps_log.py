"""Timings in a log of LAMMPS: what a step of each run took.

LAMMPS prints ``Loop time of 6.3 on 1 procs for 100 steps with 2004 atoms`` behind each
run, then a line of rates. The first is what counts; the second must agree with it.
"""

import math
import re
from dataclasses import dataclass

from dpbench.errors import EvaluationError

LOOP = re.compile(
    r"^Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", re.MULTILINE
)
RATES = re.compile(
    r"^Performance: (?P<perday>\S+) (?:ns|tau)/day, (?:(?P<hours>\S+) hours/ns, )?"
    r"(?P<steps>\S+) timesteps/s(?:, (?P<rate>\S+) (?P<prefix>[kMG]?)atom-step/s)?",
    re.MULTILINE,
)
PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}

PRINTED = 1.5
"""Units of the last printed digit by which both lines may differ: each is rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LammpsTiming:
    """One run of LAMMPS, as its log tells it."""

    loop_s: float
    """Wall time of the run's steps, s."""
    procs: int
    steps: int
    natoms: int
    katom_step_per_s: float | None
    """As printed; None in logs of LAMMPS before 2022, and of other units of time."""

    @property
    def us_per_atom_step(self) -> float:
        """1e6 * loop / (steps * atoms), µs."""
        return 1e6 * self.loop_s / (self.steps * self.natoms)


def lammps_timings(log: str, *, where: str = "log") -> list[LammpsTiming]:
    """Read the timings of all runs of a log.

    Args:
        log: Text of the log.
        where: Its name, for messages.

    Returns:
        One timing for each run of at least one step, in order.

    Raises:
        EvaluationError: If there is none, or the printed rate contradicts the loop
            time: then the log is damaged, or of another program.

    Source:
        LAMMPS manual, "Screen and logfile output": 2004 atoms at 318.201 timesteps/s
        are 637.675 katom-step/s.
    """
    loops = list(LOOP.finditer(log))
    found = []
    for index, loop in enumerate(loops):
        end = loops[index + 1].start() if index + 1 < len(loops) else len(log)
        rates = RATES.search(log, loop.end(), end)
        timing = _timing(loop, rates, where)
        if timing is not None:
            found.append(timing)
    if not found:
        raise EvaluationError(
            f"{where}: has no line 'Loop time of ...' with steps and atoms; expected "
            "the log of a finished run of LAMMPS. Look at its end for an error."
        )
    return found


def _timing(
    loop: re.Match[str], rates: re.Match[str] | None, where: str
) -> LammpsTiming | None:
    seconds, procs, steps, natoms = loop.groups()
    if not int(steps) or not int(natoms):
        return None
    try:
        loop_s = float(seconds)
    except ValueError:
        loop_s = math.nan
    if not loop_s > 0 or not math.isfinite(loop_s):
        raise EvaluationError(
            f"{where}: says 'Loop time of {seconds}'; expected a positive number of "
            "seconds. Run it longer."
        )
    printed = None
    if rates is not None and rates["rate"] is not None:
        printed = float(rates["rate"]) * PREFIX[rates["prefix"]]
    timing = LammpsTiming(
        loop_s=loop_s,
        procs=int(procs),
        steps=int(steps),
        natoms=int(natoms),
        katom_step_per_s=None if printed is None else printed / 1e3,
    )
    if rates is not None and printed is not None:
        _check(timing, seconds, rates, where)
    return timing


def _check(
    timing: LammpsTiming, seconds: str, rates: re.Match[str], where: str
) -> None:
    """Compare the loop time with the printed rate, to what was printed of both."""
    rate = timing.katom_step_per_s or 0.0
    expected = 1e3 / timing.us_per_atom_step
    unit = PREFIX[rates["prefix"]] / 1e3
    allowed = PRINTED * (
        last_digit(rates["rate"]) * unit
        + expected * last_digit(seconds) / timing.loop_s
    )
    if abs(rate - expected) > allowed:
        raise EvaluationError(
            f"{where}: prints {rate:g} katom-step/s, but its loop time of {seconds} s "
            f"for {timing.steps} steps of {timing.natoms} atoms gives {expected:g}; "
            "expected the same. The log is damaged, or was put together."
        )


def last_digit(text: str) -> float:
    """Return the value of the last digit of a printed number."""
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(10.0 ** (int(exponent or 0) - decimals))
