"""What an exploration came to, for people and for machines."""

from collections.abc import Iterator
from typing import Any

from dpbench.config import to_mapping
from dpbench.explore.journal import iterations_of
from dpbench.explore.loop import Explored
from dpbench.explore.report import PAGE


def explored_json(explored: Explored) -> dict[str, Any]:
    """Return plain dicts, lists and scalars."""
    return to_mapping(explored)


def explored_lines(explored: Explored) -> Iterator[str]:
    """Word the end of an exploration."""
    done = "converged" if explored.stop.is_converged else "ended"
    count = f"{explored.iterations} iteration{'s' * (explored.iterations != 1)}"
    yield f"{explored.version}: {done} after {count}: {explored.stop.reason}"
    begun = explored.start
    yield (
        f"  frames   {begun.nframes} at the start ({begun.version}), "
        f"{explored.nframes} now, digest {explored.digest[:17]}"
    )
    yield from _kept_out(explored)
    yield from (f"  model    {path}" for path in explored.models)
    yield f"  report   {explored.folder / PAGE}"


def _kept_out(explored: Explored) -> Iterator[str]:
    """Say how many frames got no label, and how many walks ended early."""
    lost = walks = early = 0
    for one in iterations_of(explored.folder):
        lost += len(one.label.quarantined) if one.label else 0
        if one.explore is not None:
            walks += len(one.explore.walks)
            early += sum(walk.outcome != "done" for walk in one.explore.walks)
    yield f"  walks    {walks}, {early} of them ended early"
    if lost:
        yield f"  labels   {lost} frames could not be labelled; see the report"
