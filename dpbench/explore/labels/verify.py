"""Whether outputs hold the label of the very frame that was asked for.

They are read as ingest will read them. A driver has said that its program converged;
this looks at what is there: one frame, its atoms, finite labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.errors import SourceError
from dpbench.explore.labels.driver import Driver, Finding, Trouble
from dpbench.frames import Frames
from dpbench.io.discover import find_sources
from dpbench.io.ingest_task import theory_aside
from dpbench.io.parsed import ParsedSource, Quarantine
from dpbench.io.readers import reader_of
from dpbench.io.theory_file import declared
from dpbench.store.theory.levels import joined

SAME_PLACE = 1e-3
"""Å; outputs print positions with few decimals."""

SAME_CELL = 1e-3
"""Å, of each component of a cell vector."""


def verify(
    frame: Frames, driver: Driver, outputs: Sequence[Path], *, max_force: float | None
) -> tuple[Finding, dict[str, Any]]:
    """Read outputs that a driver called good.

    Args:
        frame: The frame that was asked for.
        driver: Who made the outputs.
        outputs: Its files.
        max_force: eV/Å; a larger force is a fault. None = none is.

    Returns:
        What was found, and the level of theory that the outputs tell, in the form in
        which levels are compared.
    """
    try:
        parsed = _read(driver.code, outputs)
        parsed = declared(parsed, driver.declared(), where=str(outputs[0]))
    except SourceError as error:
        return _bad(str(error)), {}
    frames = parsed.frames
    if frames.nframes != 1:
        return _bad(f"{outputs[0]}: {frames.nframes} frames; expected one"), {}
    if parsed.quarantine[0] is not Quarantine.NONE:
        return _bad(f"{outputs[0].name}: the frame is {parsed.quarantine[0]}"), {}
    where = outputs[0].name
    if not (frames.has_energy.all() and frames.has_force.all()):
        return _bad(f"{where}: energy or forces are missing"), {}
    difference = unlike(frame, frames)
    if difference:
        return _bad(f"{where}: holds another frame: {difference}"), {}
    largest = float(np.linalg.norm(frames.force, axis=1).max())
    if max_force is not None and largest > max_force:
        return _bad(
            f"{where}: a force of {largest:.4g} eV/Å; at most {max_force:g} is taken"
        ), {}
    return Finding(ok=True), dict(joined(parsed.theory, theory_aside(parsed)))


def unlike(one: Frames, other: Frames) -> str:
    """Say how two frames differ as structures; empty if they do not.

    The order of the atoms, and the cell that each was put into, do not matter:
    programs list atoms element by element, and wrap them.

    Args:
        one: One frame.
        other: One frame.
    """
    if sorted(one.z.tolist()) != sorted(other.z.tolist()):
        return "other elements"
    is_cell = not np.isnan(one.box).any()
    if is_cell != (not np.isnan(other.box).any()):
        return "a cell in one of them alone"
    if is_cell and np.abs(one.box - other.box).max() > SAME_CELL:
        return f"cells {np.abs(one.box - other.box).max():.2g} Å apart"
    shift = other.coord[None].astype(np.float64) - one.coord[:, None]
    if is_cell:
        inverse = np.linalg.inv(one.box[0])
        fractional = shift @ inverse
        fractional -= np.round(fractional) * one.pbc[0]
        shift = fractional @ one.box[0]
    distance = np.linalg.norm(shift, axis=2)
    distance[one.z[:, None] != other.z[None]] = np.inf
    nearest = distance.argmin(axis=1)
    farthest = float(distance[np.arange(len(nearest)), nearest].max())
    if farthest > SAME_PLACE:
        return f"an atom {farthest:.2g} Å from its place"
    return "" if len(set(nearest.tolist())) == len(nearest) else "an atom twice"


def _read(code: str, outputs: Sequence[Path]) -> ParsedSource:
    found = find_sources(code, outputs)
    if len(found.sources) != 1:
        raise SourceError(
            f"{outputs[0]}: {len(found.sources)} calculations; expected one"
        )
    source = found.sources[0]
    return reader_of(source.format).read(source)


def _bad(reason: str) -> Finding:
    return Finding(ok=False, reason=reason, trouble=Trouble.UNREADABLE)
