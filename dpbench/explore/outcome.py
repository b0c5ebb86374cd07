"""What an exploration came to, and what speaks against its word."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dpbench.explore.stage_results import (
    ExploreResult,
    SelectResult,
    StopReason,
    TrainResult,
)

WEAK: Final = 2.0
"""Models are told of as weak where their force RMSE on the validation frames is more
than this many times the lower trust level: they agree, and are wrong together."""


class Results(Protocol):
    """What is asked of an iteration; None where a stage is not done."""

    @property
    def train(self) -> TrainResult | None:
        """Its models."""

    @property
    def explore(self) -> ExploreResult | None:
        """Its walks."""

    @property
    def select(self) -> SelectResult | None:
        """What was chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """What the walks of an iteration were to give, and did not."""

    walks: int
    """How many were planned."""
    ended: dict[str, int]
    """How many exploded, how many failed."""
    empty: int
    """Walks that gave no frame at all."""
    planned: int
    """Frames that all walks were to give."""
    given: int
    """Frames that they gave and that passed the filters."""
    dropped: dict[str, int]
    """Frames that the filters kept out, by reason."""
    reason: str
    """Why walks exploded or failed, most often."""

    @property
    def words(self) -> str:
        """Everything in a line; empty if nothing is missing."""
        parts = [f"{n} {how}" for how, n in self.ended.items()]
        parts += [f"{self.empty} gave no frame"] if self.empty else []
        told = []
        if parts:
            because = f" ({self.reason.rstrip('.')})" if self.reason else ""
            told.append(f"of {self.walks} walks {', '.join(parts)}{because}")
        kept_out = sum(self.dropped.values())
        missing = self.planned - self.given - kept_out
        if missing:
            told.append(f"{missing} of {self.planned} frames were never reached")
        if kept_out:
            whys = ", ".join(f"{why} {n}" for why, n in self.dropped.items())
            told.append(f"filters dropped {kept_out} of {self.planned} frames ({whys})")
        return "; ".join(told)


def losses_of(explored: ExploreResult) -> Losses:
    """Count what is missing of an iteration's walks.

    All walks of an iteration are planned alike, so that those that came to their end
    tell how many frames each was to give. Where none did, each is taken as empty.
    """
    walks = explored.walks
    made = [walk.nframes + sum(walk.dropped.values()) for walk in walks]
    is_known = any(walk.outcome == "done" for walk in walks)
    bad = [walk for walk in walks if walk.outcome != "done"]
    reasons = Counter(walk.reason for walk in bad if walk.reason)
    dropped: Counter[str] = Counter()
    for walk in walks:
        dropped.update(walk.dropped)
    return Losses(
        walks=len(walks),
        ended=dict(sorted(Counter(walk.outcome for walk in bad).items())),
        empty=sum(not (walk.nframes and is_known) for walk in walks),
        planned=len(walks) * max(made, default=0),
        given=sum(walk.nframes for walk in walks),
        dropped=dict(sorted(dropped.items())),
        reason=reasons.most_common(1)[0][0] if reasons else "",
    )


def has_converged(stop: StopReason, iterations: Iterable[Results]) -> bool:
    """Tell whether all stages have converged, and not the last one alone."""
    if stop.kind == "error":
        return stop.is_converged
    return stop.is_converged and not unfinished(iterations)


def unfinished(iterations: Iterable[Results]) -> tuple[str, ...]:
    """Name the stages before the last that ended without having converged."""
    last = {one.select.stage: one.select.stop for one in iterations if one.select}
    return tuple(
        f"stage {stage} ended without having converged: {stop.reason}"
        for stage, stop in sorted(last.items())[:-1]
        if stop is not None and not stop.is_converged
    )


def doubts(
    stop: StopReason, iterations: Sequence[Results], config: Mapping[str, Any]
) -> tuple[str, ...]:
    """Say what speaks against the word about the end, a line each.

    Args:
        stop: Why it ended.
        iterations: All of them.
        config: The configuration in force, in plain values.
    """
    told = [*unfinished(iterations)]
    explored = [one.explore for one in iterations if one.explore is not None]
    lost = losses_of(explored[-1]).words if explored else ""
    if lost and lost not in stop.reason:
        told.append(f"the last iteration: {lost}")
    weak = _weakness(iterations, config.get("select") or {})
    if weak and has_converged(stop, iterations):
        told.append(weak)
    return tuple(told)


def _weakness(iterations: Sequence[Results], select: Mapping[str, Any]) -> str:
    """Say so where the models are far less accurate than the level they agree to."""
    is_relative = select.get("relative") or select.get("relative_to_walk")
    trained = [one.train for one in iterations if one.train is not None]
    selected = [one.select for one in iterations if one.select is not None]
    if is_relative or select.get("rule", "fixed") != "fixed" or not trained:
        return ""
    errors = [model.errors.get("rmse_f_validation") for model in trained[-1].models]
    known = [error for error in errors if error is not None]
    levels = selected[-1].levels.values() if selected else ()
    lower = max((one.force[0] for one in levels), default=0.0)
    error = sum(known) / len(known) if known else 0.0
    if not error > WEAK * lower > 0:
        return ""
    return (
        f"the models agree, but may be wrong together: their force RMSE on the "
        f"validation frames is {1000 * error:.0f} meV/Å, {error / lower:.1f} times the "
        f"lower trust level of {1000 * lower:g} meV/Å. Train longer, or on more frames"
    )
