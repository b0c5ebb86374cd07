"""Whether a total time fits the ladder of the same machine, and who may be joined.

A ladder is a set of measured points: between two of them the time per atom is
interpolated, beyond them nothing is said.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dpbench.errors import EvaluationError
from dpbench.eval.record import Record
from dpbench.eval.speed.settings import LEVELS
from dpbench.metrics.statistics import Spread, spread

FACTOR = 2.0
"""A total time that is so many times off the ladder is flagged."""

SLACK = 1.05
"""Timed windows may take so much of the whole time: clocks are rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A total time that somebody states."""

    what: str
    """In words, for messages."""
    natoms: int
    steps: int
    """Of all runs together."""
    seconds: float
    """For all of it."""

    @property
    def us_per_atom_step(self) -> float:
        """What it implies, µs."""
        return 1e6 * self.seconds / (self.natoms * self.steps)


def ladder_points(record: Record, family: str | None = None) -> list[tuple[int, float]]:
    """Return (atoms, µs/atom/step of dynamics) of a record's ladder, small to large.

    Args:
        record: With a result of ``md_throughput``, or of ``throughput``.
        family: Of the ladder; None: all families.
    """
    points: list[tuple[int, float]] = []
    result = record.tasks.get("md_throughput")
    if result is not None:
        told: dict[str, Any] = result.samples.get("families", {})
        for name, one in told.items():
            if one is None or family not in (None, name):
                continue
            for size in one["sizes"]:
                level = size["levels"].get(LEVELS[2])
                if size["status"] == "ok" and level is not None:
                    points.append((int(size["natoms"]), float(level["median"])))
    elif record.throughput is not None:
        points = [
            (size.natoms, size.quantities[LEVELS[2]].median)
            for size in record.throughput.sizes
            if LEVELS[2] in size.quantities
        ]
    return sorted(points)


def implausible(claim: Claim, points: Sequence[tuple[int, float]]) -> str | None:
    """Say why a claim does not fit a ladder; None where it does, or nothing tells.

    Args:
        claim: A total time, start-up and all.
        points: Of the same model on the same machine, as ``ladder_points`` gives them.

    Source:
        matbench-discovery, pull request 381: a speed found wrong by its total time.
    """
    expected = interpolated(points, claim.natoms)
    if expected is None or claim.steps < 1:
        return None
    ratio = claim.us_per_atom_step / expected
    if 1 / FACTOR <= ratio <= FACTOR:
        return None
    rate = 1e6 / claim.us_per_atom_step
    word = "slower" if ratio > 1 else "faster"
    off = ratio if ratio > 1 else 1 / ratio
    return (
        f"{claim.what}: {claim.seconds:.3g} s for {claim.steps} steps of "
        f"{claim.natoms} atoms are {rate:.3g} atom-steps/s, {off:.1f} times {word} "
        f"than the ladder's {1e6 / expected:.3g}"
    )


def interpolated(points: Sequence[tuple[int, float]], natoms: int) -> float | None:
    """Return the time per atom at a size, µs; None beyond the measured sizes."""
    ordered = sorted(points)
    for (n0, t0), (n1, t1) in itertools.pairwise(ordered):
        if n0 <= natoms <= n1 and n1 > n0:
            share = math.log(natoms / n0) / math.log(n1 / n0)
            return math.exp((1 - share) * math.log(t0) + share * math.log(t1))
    exact = [time for n, time in ordered if n == natoms]
    return exact[0] if exact else None


def flags(record: Record) -> tuple[str, ...]:
    """Check a record's times against each other.

    The timed windows of a ladder cannot take longer than the whole task did, and the
    constant-energy runs of the same record must fit its ladder.
    """
    found = []
    result = record.tasks.get("md_throughput")
    if result is not None:
        timed = sum(
            _timed_seconds(size)
            for family in result.samples.get("families", {}).values()
            if family is not None
            for size in family["sizes"]
        )
        if timed > SLACK * result.wall_time_s:
            found.append(
                f"md_throughput: its timed windows take {timed:.3g} s, more than the "
                f"{result.wall_time_s:.3g} s of the whole task"
            )
    if record.stability is not None:
        steps = sum(run.steps_done for run in record.stability.runs)
        claim = Claim(
            what="stability",
            natoms=record.stability.protocol.natoms,
            steps=steps,
            seconds=record.stability.wall_time_s,
        )
        words = implausible(claim, ladder_points(record))
        found += [] if words is None else [words]
    return tuple(found)


def _timed_seconds(size: dict[str, Any]) -> float:
    total = 0.0
    for level in size["levels"].values():
        for windows in [] if level is None else level["samples"]:
            steps = size["natoms"] * level["steps_per_window"]
            total += 1e-6 * steps * sum(windows)
    return total


def joined(records: Sequence[Record], *, family: str, natoms: int) -> Spread:
    """Join the processes of several records of one configuration at one size.

    Raises:
        EvaluationError: If they are of different hardware, of different versions of
            the task, or of different configurations: such times have no mean.
    """
    if not records:
        raise EvaluationError("no record to join; expected at least one.")
    _check_alike(records)
    medians = [
        spread(windows).median
        for record in records
        for size in (record.tasks["md_throughput"].samples["families"][family] or {})[
            "sizes"
        ]
        if size["natoms"] == natoms and size["status"] == "ok"
        for windows in size["levels"][LEVELS[2]]["samples"]
    ]
    if not medians:
        raise EvaluationError(
            f"{family}, {natoms} atoms: none of the records has this size; expected "
            "one that ran."
        )
    return spread(medians)


def _check_alike(records: Sequence[Record]) -> None:
    keys = {
        "hardware": [record.hardware.id for record in records],
        "code of the task": [
            record.tasks["md_throughput"].code
            for record in records
            if "md_throughput" in record.tasks
        ],
        "model": [record.model.digest for record in records],
        "backend": [record.backend for record in records],
        "precision": [record.precision for record in records],
    }
    for what, values in keys.items():
        if len(set(values)) != 1 or len(values) != len(records):
            raise EvaluationError(
                f"{len(records)} records: {what} differs "
                f"({', '.join(sorted(set(values)))}); times of different {what} are "
                "never averaged. Choose records of one."
            )
