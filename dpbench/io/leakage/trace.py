"""What a model file remembers of its training frames: files, compositions, steps.

A few bytes a file, so that frames of the same trajectories are known again where the
training data is not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dpbench.io.leakage.steps import (
    Index,
    frame_codes,
    nearest_codes,
    trajectories_of,
    version_codes,
)
from dpbench.store.dataset import DatasetVersion
from dpbench.store.masks import from_ranges, to_ranges
from dpbench.store.splits.trajectories import find_trajectories

MOST_TRAJECTORIES = 20_000
"""Trajectories above which nothing is remembered: model files shall stay small."""

MOST_RANGES = 50_000
"""Runs of steps above which nothing is remembered: about 1 MB."""


def trace_of(version: DatasetVersion, frames: Index) -> dict[str, Any] | None:
    """Write down where frames are from, as plain JSON; None if that were too much.

    Args:
        version: The version.
        frames: Frame indices in version order.

    Returns:
        Number of frames, and the ranges of steps of each file and composition.
    """
    keys, of_frame = trajectories_of(version, frames)
    if len(keys) > MOST_TRAJECTORIES:
        return None
    order = np.argsort(of_frame, kind="stable")
    edges = np.searchsorted(of_frame[order], np.arange(1, len(keys)))
    trajectories: list[dict[str, Any]] = []
    n_ranges = 0
    for (sha256, member, formula), rows in zip(
        keys, np.split(order, edges) if keys else [], strict=True
    ):
        steps = np.unique(version.step[frames[rows]])
        ranges = to_ranges(steps)
        n_ranges += len(ranges)
        if n_ranges > MOST_RANGES:
            return None
        trajectories.append(
            {"sha256": sha256, "member": member, "formula": formula, "steps": ranges}
        )
    return {"n_frames": len(frames), "trajectories": trajectories}


def compare_with_trace(
    trace: Mapping[str, Any], version: DatasetVersion, frames: Index
) -> tuple[int, int | None]:
    """Count the frames that are from trajectories of a trace.

    Args:
        trace: As ``trace_of`` gives it.
        version: Of the frames.
        frames: Frame indices in version order.

    Returns:
        How many frames, and the fewest steps between one of them and the trace.
    """
    here = find_trajectories(version)
    number: dict[tuple[int, str], int] = {}
    codes = version_codes(version, frames, here, number)
    known = [np.zeros(0, dtype=np.int64)]
    for entry in trace["trajectories"]:
        file = entry["sha256"], entry["member"]
        trajectory = (here.of_file.get(file, -1), entry["formula"])
        if trajectory in number:
            position = here.start[file] + from_ranges(entry["steps"])
            known.append(frame_codes(number[trajectory], position))
    found, _, distance = nearest_codes(np.concatenate(known), codes)
    return len(found), int(distance.min()) if len(found) else None
