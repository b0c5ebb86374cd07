"""Rows that are one training with different seeds, as one entry.

An entry is what a ranking is about: a configuration trained on some data. Its numbers
are means over the seeds, with intervals that know of frames and of seeds.
"""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpbench.config import canonical_json
from dpbench.eval.error_series import metric_series
from dpbench.eval.record import Record
from dpbench.eval.task_results import Accuracy
from dpbench.metrics.blocks import LEVEL, Series, estimate, half_interval, seed_variance
from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.metrics.student import two_sided_quantile
from dpbench.metrics.verdicts import FEWEST_SEEDS, RankRange

TIMED_DOF = 10
"""Degrees of freedom of an interval that tells none, as those of timings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One row as an entry sees it."""

    id: str
    """The row's."""
    record: Record
    """Names model, backend, precision, hardware and training."""
    marks: tuple[str, ...]
    metrics: Mapping[str, MetricValue]
    accuracy: Accuracy | None
    natoms: int | None = None
    """Atoms that the speed was measured at."""

    @property
    def seed(self) -> int | None:
        """Seed of the training, where it is told."""
        seed = (self.record.provenance.run or {}).get("seed")
        return seed if isinstance(seed, int) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One training, whatever its seed, by one backend on one machine."""

    id: str
    """Twelve hex digits: of the row, where it is one; else of the training and what
    measured it, whatever the seeds."""
    name: str
    """What the members' names have in common."""
    model: str
    """Digest of the training: entries on several backends share it."""
    rows: tuple[str, ...]
    """Ids of the rows, by seed."""
    seeds: tuple[int | None, ...]
    """Seed of each row; None where it is not told."""
    marks: tuple[str, ...]
    """Why it takes no rank."""
    metrics: dict[str, MetricValue]
    """Means over the seeds."""
    members: tuple[Member, ...]
    """In the order of ``rows``."""
    rank: int | None = None
    """First of the range of ranks: 1 + the models that are significantly better."""
    rank_last: int | None = None
    """Last of it: the models that are not significantly worse, itself among them."""
    speed_rank: RankRange | None = None
    """Among entries of the same hardware and number of atoms; None if not timed."""

    @property
    def hardware(self) -> str:
        """Id of the hardware: speeds of two never meet."""
        return self.members[0].record.hardware.id

    def series(self, metric: str) -> list[Series]:
        """Errors of each seed that make up a metric; empty unless all have them."""
        found = [
            None if m.accuracy is None else metric_series(m.accuracy.errors, metric)
            for m in self.members
        ]
        known = [series for series in found if series is not None]
        return known if len(known) == len(found) else []


def make_entries(members: Iterable[Member]) -> list[Entry]:
    """Join the seeds of each training.

    Two trainings with the same seed (by two versions of a program, say) never stand in
    one entry: the newest of each seed make the first, those before them the next. Rows
    with marks are joined among themselves.

    Args:
        members: Rows on the same frames.

    Returns:
        Entries without ranks; every member is in exactly one.
    """
    groups: dict[tuple[str, ...], list[Member]] = {}
    for member in members:
        groups.setdefault(_key(member), []).append(member)
    return [
        _entry(key, generation, together)
        for key, group in sorted(groups.items())
        for generation, together in enumerate(_generations(group))
    ]


def training_digest(record: Record) -> str:
    """Name a training whatever its seed; a model of unknown making is its own.

    Digest of configuration without seeds, engine, precision, dataset, split, and what
    became of the model afterwards (kind, description).
    """
    run, provenance = record.provenance.run or {}, record.provenance
    config = run.get("config")
    dataset, split = provenance.training_dataset, provenance.training_split
    if not config or dataset is None or split is None or run.get("seed") is None:
        return record.model.digest
    told = {
        "config": _without_seeds(config.get("used", config)),
        "engine": run.get("engine"),
        "precision": run.get("precision"),
        "dataset": dataset.digest,
        "split": split.digest,
        "kind": record.model.kind,
        "description": record.model.description,
    }
    return hashlib.sha256(canonical_json(told)).hexdigest()


def _without_seeds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seeds(v) for k, v in value.items() if k != "seed"}
    if isinstance(value, list):
        return [_without_seeds(item) for item in value]
    return value


def _key(member: Member) -> tuple[str, ...]:
    record = member.record
    return (
        training_digest(record),
        record.backend,
        record.precision,
        record.hardware.id,
        "marked" if member.marks else "",
    )


def _generations(group: Sequence[Member]) -> list[list[Member]]:
    """Split members so that no seed is twice in one list."""
    by_seed: dict[int | None, list[Member]] = {}
    newest_first = sorted(
        group, key=lambda m: (m.record.created_at, m.id), reverse=True
    )
    for member in newest_first:
        by_seed.setdefault(member.seed, []).append(member)
    out: list[list[Member]] = [[] for _ in range(max(map(len, by_seed.values())))]
    for _, members in sorted(by_seed.items(), key=lambda item: item[0] or 0):
        for generation, member in enumerate(members):
            out[generation].append(member)
    return out


def _entry(key: tuple[str, ...], generation: int, members: Sequence[Member]) -> Entry:
    name = hashlib.sha256("\0".join((*key, str(generation))).encode()).hexdigest()[:12]
    return Entry(
        id=members[0].id if len(members) == 1 else name,
        name=common_name([member.record.model.name for member in members]),
        model=key[0],
        rows=tuple(member.id for member in members),
        seeds=tuple(member.seed for member in members),
        marks=tuple(dict.fromkeys(mark for m in members for mark in m.marks)),
        metrics=_means(members),
        members=tuple(members),
    )


def common_name(names: Sequence[str]) -> str:
    """Return what names share, less the start of a seed's number."""
    if len(set(names)) == 1:
        return names[0]
    columns = itertools.takewhile(lambda c: len(set(c)) == 1, zip(*names, strict=False))
    shared = "".join(column[0] for column in columns).rstrip("0123456789")
    for ending in ("seed", "s"):
        cut = shared.removesuffix(ending)
        if cut != shared and cut.endswith(("-", "_", ".", " ")):
            shared = cut
    return shared.rstrip("-_. ") or names[0]


def _means(members: Sequence[Member]) -> dict[str, MetricValue]:
    """Average every metric over the members that measured it."""
    if len(members) == 1:
        return dict(members[0].metrics)
    names = dict.fromkeys(name for member in members for name in member.metrics)
    return {name: _mean(name, members) for name in names}


def _mean(name: str, members: Sequence[Member]) -> MetricValue:
    measured = [member for member in members if name in member.metrics]
    values = [member.metrics[name] for member in measured]
    known = [value.value for value in values if value.value is not None]
    n = sum(value.n for value in values)
    if len(known) < len(values):
        # A training that gave no answer is not averaged away.
        return metric_value(name, None, n=n)
    series = [
        metric_series(None if m.accuracy is None else m.accuracy.errors, name)
        for m in measured
    ]
    kept = [one for one in series if one is not None]
    if len(kept) == len(measured) and len({one.frames for one in kept}) == 1:
        found = estimate(kept)
        return metric_value(
            name,
            sum(known) / len(known),
            n=n,
            interval=found.interval,
            nblocks=found.nblocks,
        )
    return metric_value(
        name,
        sum(known) / len(known),
        n=n,
        interval=_crossed(values, known),
        nblocks=min((v.nblocks for v in values if v.nblocks is not None), default=None),
    )


def _crossed(
    values: Sequence[MetricValue], known: Sequence[float]
) -> tuple[float, float] | None:
    """Add the variance over seeds to that of each number, as its interval tells it."""
    if len(values) < FEWEST_SEEDS:
        return None
    variance, dof = 0.0, []
    for value in values:
        if value.ci_low is None or value.ci_high is None:
            return None
        dof.append(TIMED_DOF if value.nblocks is None else max(1, value.nblocks - 1))
        half = (value.ci_high - value.ci_low) / 2
        # All seeds see the same frames: averaging them does not narrow this part.
        variance += (half / two_sided_quantile(LEVEL, dof[-1])) ** 2 / len(values)
    mean = sum(known) / len(known)
    half = half_interval([(variance, float(min(dof))), seed_variance(known)], LEVEL)
    return max(mean - half, 0.0) if min(known) >= 0 else mean - half, mean + half
