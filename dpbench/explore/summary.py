"""What an exploration came to, for people and for machines."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from dpbench.config import to_mapping
from dpbench.explore.journal import Iteration, iterations_of, read_record
from dpbench.explore.loop import Explored
from dpbench.explore.outcome import doubts, has_converged, losses_of
from dpbench.explore.report import PAGE


def explored_json(explored: Explored) -> dict[str, Any]:
    """Return plain dicts, lists and scalars."""
    iterations, config = _books(explored)
    return {
        **to_mapping(explored),
        "is_converged": has_converged(explored.stop, iterations),
        "doubts": list(doubts(explored.stop, iterations, config)),
    }


def explored_lines(explored: Explored) -> Iterator[str]:
    """Word the end of an exploration."""
    iterations, config = _books(explored)
    done = "converged" if has_converged(explored.stop, iterations) else "ended"
    count = f"{explored.iterations} iteration{'s' * (explored.iterations != 1)}"
    yield f"{explored.version}: {done} after {count}: {explored.stop.reason}"
    for doubt in doubts(explored.stop, iterations, config):
        yield f"  but      {doubt}"
    begun = explored.start
    yield (
        f"  frames   {begun.nframes} at the start ({begun.version}), "
        f"{explored.nframes} now, digest {explored.digest[:17]}"
    )
    yield from _kept_out(explored)
    yield from (f"  model    {path}" for path in explored.models)
    yield f"  report   {explored.folder / PAGE}"


def _books(
    explored: Explored,
) -> tuple[tuple[Iteration, ...], dict[str, Any]]:
    """Read the iterations, and the configuration in force."""
    entries = read_record(explored.folder)
    config = entries[-1].config if entries else {}
    return iterations_of(explored.folder), config


def _kept_out(explored: Explored) -> Iterator[str]:
    """Say how many frames got no label, and how many walks ended early."""
    lost = walks = 0
    ended: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for one in iterations_of(explored.folder):
        lost += len(one.label.quarantined) if one.label else 0
        if one.explore is not None:
            found = losses_of(one.explore)
            walks += found.walks
            ended.update(found.ended)
            dropped.update(found.dropped)
    early = "".join(f", {n} {how}" for how, n in sorted(ended.items()))
    yield f"  walks    {walks}, {ended.total()} of them ended early{early}"
    if dropped:
        whys = ", ".join(f"{why} {n}" for why, n in sorted(dropped.items()))
        yield f"  filters  {dropped.total()} frames of walks were dropped ({whys})"
    if lost:
        yield f"  labels   {lost} frames could not be labelled; see the report"
