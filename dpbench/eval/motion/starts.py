"""Where runs start: frames of a part, as unlike each other as its sources."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpbench.errors import EvaluationError
from dpbench.eval.parts import Part
from dpbench.eval.structures import replicas_to_reach, supercell
from dpbench.frames import Frames


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """One start structure."""

    frame: int
    """Its index in the dataset version."""
    source: str
    """Path of its source; a hint."""
    formula: str
    """Of the frame."""
    replicas: tuple[int, int, int]
    """Supercell of the frame."""
    structure: Frames
    """The supercell; one frame."""


def starts_of(
    part: Part | None, *, task: str, most: int, min_natoms: int
) -> list[Start]:
    """Choose start structures: the first frame of each source, formulas in turn.

    Args:
        part: Frames to choose from.
        task: Name of the task, for messages.
        most: How many at most.
        min_natoms: Smaller frames are repeated to this many atoms.

    Raises:
        EvaluationError: If there is no part.
    """
    if part is None:
        raise EvaluationError(
            f"task '{task}': has no frames to start from; expected a part of a "
            "dataset. Name one with --dataset NAME[-vN][:PART]."
        )
    version = part.version
    chosen = [
        int(part.indices[version.source_of[part.indices] == source][0])
        for source in sources_in_turn(part)[:most]
    ]
    found = []
    for index in chosen:
        frame = version.read([index])
        replicas = replicas_to_reach(frame, min_natoms)
        found.append(
            Start(
                frame=index,
                source=version.sources[int(version.source_of[index])].path,
                formula=version.formulas[index],
                replicas=replicas,
                structure=supercell(frame, replicas),
            )
        )
    return found


def sources_in_turn(part: Part) -> list[int]:
    """Return the sources that a part has frames of; their formulas take turns."""
    version = part.version
    source = version.source_of[part.indices]
    _, first = np.unique(source, return_index=True)
    by_formula: dict[str, list[int]] = defaultdict(list)
    for index in np.sort(first).tolist():
        formula = version.formulas[int(part.indices[index])]
        by_formula[formula].append(int(source[index]))
    turns = max(map(len, by_formula.values()))
    return [
        group[turn]
        for turn in range(turns)
        for group in by_formula.values()
        if turn < len(group)
    ]


def described(start: Start) -> dict[str, Any]:
    """Say where runs started, for records."""
    return {
        "frame": start.frame,
        "source": start.source,
        "formula": start.formula,
        "replicas": list(start.replicas),
        "natoms": len(start.structure.z),
    }
