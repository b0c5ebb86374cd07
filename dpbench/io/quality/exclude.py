"""Making the version without the frames that are flagged."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.io.quality.duplicates import are_twins
from dpbench.io.quality.findings import check_flags
from dpbench.io.quality.flags import DECIDED_BY, QUARANTINED, Quality
from dpbench.store.dataset import DatasetVersion
from dpbench.store.versions import derive_version

LOG = logging.getLogger("dpbench")


def exclude(
    version: DatasetVersion, quality: Quality, flags: Sequence[str], *, created_at: str
) -> DatasetVersion:
    """Make the next version of a dataset, without the frames that have a flag.

    Twins that were too many to be confirmed are tested one by one: those that are other
    structures stay. Nothing is deleted: the segments are shared and the frames masked,
    each under the first of its flags. The note of the version tells flags, rules and
    thresholds.

    Args:
        version: The newest version.
        quality: Its judgement.
        flags: Names of flags.
        created_at: Time of making, ISO 8601.

    Raises:
        ConfigError: If there is no such flag.
        DatasetError: If no frame, or every frame, would go, or the version is not the
            newest.
    """
    names = check_flags(flags)
    taken = np.zeros(version.nframes, dtype=np.bool_)
    reasons: dict[str, NDArray[np.int64]] = {}
    for name in names:
        frames = _sure(version, quality, name)
        new = frames[~taken[frames]]
        taken[new] = True
        if len(new):
            reasons[name] = new
    if not reasons:
        absent = [name for name in names if name in QUARANTINED]
        hint = (
            f" Frames that are {' or '.join(absent)} are in no version anyway."
            if absent
            else ""
        )
        raise DatasetError(
            f"{version.label}: no frame has a flag among {', '.join(names)}; expected "
            f"frames to leave out.{hint} See 'dpbench dataset quality {version.label}'."
        )
    if taken.all():
        raise DatasetError(
            f"{version.label}: all {version.nframes} frames have a flag among "
            f"{', '.join(names)}; expected some to remain. Exclude fewer flags, or set "
            "another threshold."
        )
    return derive_version(
        version.workspace,
        version,
        exclude=reasons,
        created_at=created_at,
        note=_note(version, quality, reasons),
    )


def _sure(version: DatasetVersion, quality: Quality, name: str) -> NDArray[np.int64]:
    """Return the frames of a flag; twins that no motion confirmed are tested now."""
    frames = quality.of(name)
    unconfirmed = quality.checks["twins"]["unconfirmed_frames"]
    if name != "duplicate_invariant" or not unconfirmed:
        return frames
    of = quality.values["duplicate_of"]
    refuted = [
        frame
        for frame in unconfirmed
        if not are_twins(version, int(of[frame]), frame, quality.thresholds)
    ]
    if refuted:
        LOG.warning(
            "%s: of %d unconfirmed twins %d are other structures; they stay",
            version.label,
            len(unconfirmed),
            len(refuted),
        )
    return np.setdiff1d(frames, np.array(refuted, dtype=np.int64))


def _note(
    version: DatasetVersion, quality: Quality, reasons: dict[str, NDArray[np.int64]]
) -> str:
    counts = ", ".join(f"{name} ({len(frames)})" for name, frames in reasons.items())
    deciding = [key for name in reasons for key in DECIDED_BY.get(name, ())]
    values = "".join(
        f", {key}={getattr(quality.thresholds, key):g}"
        for key in dict.fromkeys(deciding)
    )
    return f"{version.label} without {counts}; quality rules {quality.rules}{values}"
