"""From candidates to the frames that are labelled, and why the others are not."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.explore.select.diversity import (
    described,
    descriptors,
    is_describable,
    known_already,
    repeated,
)
from dpbench.explore.select.judging import FAILED, SKIPPED, Judged
from dpbench.explore.select.picking import Picked, budgets, pick
from dpbench.explore.select.pool import Pool, make_pool
from dpbench.explore.select.settings import SelectSettings
from dpbench.frames import Frames, empty
from dpbench.io.quality.fingerprint import Fingerprints

CHOSEN = "chosen"

WHY = {
    CHOSEN: "labelled next",
    "accurate": "the models agree",
    FAILED: "the models disagree above the upper trust level",
    "unknown": "the deviation is not a number",
    SKIPPED: "of a step before 'skip'",
    "broken": "a coordinate is not finite, or the cell is flat",
    "labelled": "the structure is labelled already",
    "tried": "labelling this structure has failed before",
    "twin": "another candidate is the same structure",
    "near": "its descriptor is nearer than 'near' to a labelled or chosen one",
    "thinned": "its structure is accurate in most frames: fewer of them are taken",
    "few": "its structure has fewer candidates than 'least'",
    "budget": "there are others to learn more from",
}
"""Every outcome of a frame, and what it means."""

Reasons = NDArray[np.str_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What is labelled next."""

    indices: NDArray[np.int64]
    """(chosen), frames, the most wanted first; of clusters, the frames they are of."""
    frames: Frames
    """(chosen), what is to be labelled: the frames, or clusters cut from them."""
    reasons: Reasons
    """(frame), ``chosen``, or why not: a key of ``WHY``."""
    counts: dict[str, int]
    """How many frames there are of each reason."""
    distance: NDArray[np.float64]
    """(chosen), distance of the descriptor from all that was labelled or chosen before
    it; infinite for the first, if nothing is labelled."""
    atoms: NDArray[np.int64] | None = None
    """(chosen), the atom in the middle of each cluster; None for whole frames."""
    rescued: int = 0
    """How many of the chosen are failed frames, for want of candidates."""


def choose(
    judged: Judged,
    frames: Frames,
    *,
    settings: SelectSettings,
    known: Frames | Fingerprints | None = None,
    tried: Frames | Fingerprints | None = None,
    seed: int = 0,
) -> Chosen:
    """Choose the candidates that are worth a label.

    Twins of what is labelled go first, then twins among the candidates; of the rest
    ``settings.pick`` takes as many as the budgets allow.

    Args:
        judged: What each frame is.
        frames: The structures, in the same order; labels are not looked at.
        settings: Budgets, and the way to pick.
        known: All that is labelled.
        tried: Structures whose labelling has failed for good.
        seed: Of the order in which ``random`` and ``even`` draw.

    Raises:
        ValueError: If there are not as many frames as verdicts.
    """
    if frames.nframes != judged.table.nframes:
        raise ValueError(
            f"{frames.nframes} frames; expected {judged.table.nframes}, one a verdict"
        )
    labelled, failed_before = _prints(known), _prints(tried)
    pool = make_pool(judged, frames, settings)
    prints = described(pool.frames)
    why = _doubles(prints, labelled, failed_before, settings.twin_tolerance)
    rest = np.flatnonzero(why == "")
    caps, limits = budgets(judged, pool.structure[rest], settings)
    picked = pick(
        pool.select(rest),
        descriptors(prints)[rest],
        known=descriptors(labelled),
        caps=caps,
        settings=settings,
        seed=seed,
    )
    taken = rest[picked.entries].astype(np.int64)
    why[rest] = _left_over(pool.structure[rest], picked, caps, limits, settings)
    why[taken] = CHOSEN
    reasons = _of_frames(judged, pool, why)
    return Chosen(
        indices=pool.frame[taken],
        frames=pool.frames.select(taken),
        reasons=reasons,
        counts=dict(sorted(Counter(reasons.tolist()).items())),
        distance=np.array(picked.distance, np.float64),
        atoms=None if (pool.atom < 0).any() or not pool.size else pool.atom[taken],
        rescued=len(taken) if pool.is_rescued else 0,
    )


def _prints(frames: Frames | Fingerprints | None) -> Fingerprints:
    """Return fingerprints of all that can be described."""
    if isinstance(frames, Fingerprints):
        return frames
    if frames is None:
        return described(empty())
    return described(frames.select(np.flatnonzero(is_describable(frames))))


def _doubles(
    prints: Fingerprints,
    labelled: Fingerprints,
    tried: Fingerprints,
    tolerance: float,
) -> Reasons:
    """(entry), why it is a double; empty if it is none."""
    why = np.full(prints.nframes, "", "U9")
    why[known_already(prints, tried, tolerance=tolerance)] = "tried"
    why[known_already(prints, labelled, tolerance=tolerance)] = "labelled"
    new = np.flatnonzero(why == "")
    why[new[repeated(prints.select(new), tolerance=tolerance)]] = "twin"
    return why


def _left_over(
    structure: Reasons,
    picked: Picked,
    caps: dict[str, int],
    limits: dict[str, str],
    settings: SelectSettings,
) -> Reasons:
    """(entry), why an entry was left, if it was."""
    why = np.full(len(structure), "budget", "U9")
    why[picked.gap < settings.near] = "near"
    taken = Counter(structure[picked.entries].tolist())
    for name, reason in limits.items():
        if taken[name] == caps[name]:
            why[structure == name] = reason
    return why


def _of_frames(judged: Judged, pool: Pool, why: Reasons) -> Reasons:
    """(frame), what became of it; of several clusters, that of the most wanted."""
    reasons = judged.verdict.astype("U9")
    reasons[judged.is_unknown] = "unknown"
    reasons[pool.broken] = "broken"
    # The last that is written stays: the first entry of a frame, then what was chosen.
    reasons[pool.frame[::-1]] = why[::-1]
    reasons[pool.frame[why == CHOSEN]] = CHOSEN
    return reasons
