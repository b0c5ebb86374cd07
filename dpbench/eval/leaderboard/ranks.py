"""Ranges of ranks: by pairwise verdicts, each of which looks at two entries alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.leaderboard.entries import Entry
from dpbench.metrics.blocks import Series
from dpbench.metrics.definitions import MetricValue
from dpbench.metrics.verdicts import (
    RankRange,
    Verdict,
    compare,
    compare_values,
    interval_of,
)

RANKED_BY = "force_rmse_component_mev_per_ang"
"""Metric that gives the ranks of a table."""

TIMED_BY = "md_us_per_atom_step"
"""Metric that gives the ranks of speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """An entry with what its ranking by one metric takes."""

    model: str
    """Entries of one model count once against others."""
    value: MetricValue
    series: Sequence[Series] = ()
    """Errors of each seed; empty where nothing can be paired."""


def verdict(a: Entry, b: Entry, metric: str = RANKED_BY) -> Verdict:
    """Compare two entries by one metric: the verdict that the ranks rest on.

    Paired on the same blocks where both kept their errors frame by frame; else by
    intervals that do not overlap. Speeds of two machines, and of two numbers of atoms,
    are not compared.
    """
    if metric == TIMED_BY and _bench(a) != _bench(b):
        return Verdict(
            outcome="unknown",
            note="measured on other hardware, or with another number of atoms",
        )
    return _judge(_contender(a, metric), _contender(b, metric))


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """Give entries without marks their ranks, and timed ones their rank by speed."""
    taking_part = [
        entry
        for entry in entries
        if not entry.marks and _value(entry, RANKED_BY) is not None
    ]
    found = _ranges([_contender(entry, RANKED_BY) for entry in taking_part])
    by_error = {entry.id: r for entry, r in zip(taking_part, found, strict=True)}
    by_speed = _speed_ranks(entries)
    return [
        replace(
            entry,
            rank=by_error[entry.id].first if entry.id in by_error else None,
            rank_last=by_error[entry.id].last if entry.id in by_error else None,
            speed_rank=by_speed.get(entry.id),
        )
        for entry in entries
    ]


def _speed_ranks(entries: Sequence[Entry]) -> dict[str, RankRange]:
    """Rank by speed, each machine and each number of atoms for itself."""
    benches: dict[tuple[str, int | None], list[Entry]] = {}
    for entry in entries:
        if _value(entry, TIMED_BY) is not None:
            benches.setdefault(_bench(entry), []).append(entry)
    out: dict[str, RankRange] = {}
    for members in benches.values():
        # By speed a backend is a contender of its own, whatever weights it runs.
        found = _ranges([_contender(e, TIMED_BY, model=e.id) for e in members])
        out |= {entry.id: r for entry, r in zip(members, found, strict=True)}
    return out


def _bench(entry: Entry) -> tuple[str, int | None]:
    return entry.hardware, entry.members[0].natoms


def _value(entry: Entry, metric: str) -> float | None:
    found = entry.metrics.get(metric)
    return None if found is None else found.value


def _contender(entry: Entry, metric: str, *, model: str | None = None) -> Contender:
    return Contender(
        model=model or entry.model,
        value=entry.metrics[metric],
        series=entry.series(metric),
    )


def _judge(a: Contender, b: Contender) -> Verdict:
    by_interval = compare_values(a.value, b.value)
    if not (a.series and b.series):
        return by_interval
    paired = compare(a.series, b.series, higher_is_better=a.value.polarity == "higher")
    if by_interval.outcome in ("better", "worse"):
        # Pairing can only narrow the difference: what intervals tell apart, stays so.
        return replace(paired, outcome=by_interval.outcome)
    return paired


def _ranges(contenders: Sequence[Contender]) -> list[RankRange]:
    """Find the range of each, smaller values first, as ``rank_ranges`` does.

    Only pairs whose intervals overlap, and that can be paired, need a test; the others
    are counted by their places in a sorted list.
    """
    field = _Field.of(contenders)
    return [field.range_of(index) for index in range(len(contenders))]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """All contenders, with what is looked up for each of them."""

    contenders: Sequence[Contender]
    low: NDArray[np.float64]
    """(contender), lower end of each interval."""
    high: NDArray[np.float64]
    paired: NDArray[np.bool_]
    """(contender), whether its errors are kept."""
    rows_of: dict[str, list[int]]
    """Model -> its contenders."""
    least_high: NDArray[np.float64]
    """(model), sorted."""
    least_low: NDArray[np.float64]
    """(model), sorted."""
    known: dict[tuple[int, int], Verdict]
    """Verdicts made so far."""

    @classmethod
    def of(cls, contenders: Sequence[Contender]) -> "_Field":
        ends = [interval_of(one.value) for one in contenders]
        low, high = (np.array([end[i] for end in ends], np.float64) for i in (0, 1))
        rows_of: dict[str, list[int]] = {}
        for index, one in enumerate(contenders):
            rows_of.setdefault(one.model, []).append(index)
        return cls(
            contenders=contenders,
            low=low,
            high=high,
            paired=np.array([bool(one.series) for one in contenders], np.bool_),
            rows_of=rows_of,
            least_high=np.sort([high[rows].min() for rows in rows_of.values()]),
            least_low=np.sort([low[rows].min() for rows in rows_of.values()]),
            known={},
        )

    def range_of(self, index: int) -> RankRange:
        """Count the models that are better, and those all of whose rows are worse."""
        own, low, high = self.contenders[index].model, self.low[index], self.high[index]
        better = int(np.searchsorted(self.least_high, low, side="left"))
        better -= int(self.high[self.rows_of[own]].min() < low)
        worse = len(self.least_low) - int(
            np.searchsorted(self.least_low, high, side="right")
        )
        for model in self._close_to(index) - {own}:
            rows = self.rows_of[model]
            found = [self._outcome(index, row) for row in rows]
            if self.high[rows].min() >= low:
                better += "worse" in found
            if self.low[rows].min() <= high:
                worse += set(found) == {"better"}
        return RankRange(first=1 + better, last=len(self.rows_of) - worse)

    def _close_to(self, index: int) -> set[str]:
        """Find the models with a row that only pairing may tell from this one."""
        if not self.paired[index]:
            return set()
        overlap = (self.low <= self.high[index]) & (self.high >= self.low[index])
        rows = np.flatnonzero(overlap & self.paired)
        return {self.contenders[int(row)].model for row in rows}

    def _outcome(self, a: int, b: int) -> str:
        first, second = min(a, b), max(a, b)
        if (first, second) not in self.known:
            pair = self.contenders[first], self.contenders[second]
            self.known[first, second] = _judge(*pair)
        found = self.known[first, second]
        return (found if a == first else found.reversed()).outcome
