"""Which of the candidates: budgets, and four ways to order them."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.explore.select.diversity import nearest_distance
from dpbench.explore.select.judging import ACCURATE, Judged
from dpbench.explore.select.pool import Pool
from dpbench.explore.select.settings import SelectSettings

BINS = 10
"""``even``: parts between the lowest and the highest deviation of the candidates."""

Points = NDArray[np.float64]
Index = NDArray[np.int64]


def thinned(most: int, accurate: float, settings: SelectSettings) -> int:
    """Return how many frames a structure may give, by its accurate share.

    All below ``thin_from``, linearly less up to ``thin_to``, then none.

    Source: DP-GEN, ``fp_accurate_soft_threshold`` and ``fp_accurate_threshold``.
    """
    end = settings.thin_to
    start = end if settings.thin_from is None else settings.thin_from
    if accurate < start:
        return most
    if accurate < end:
        return int(most * (accurate - end) / (start - end))
    return 0


def budgets(
    judged: Judged, structure: NDArray[np.str_], settings: SelectSettings
) -> tuple[dict[str, int], dict[str, str]]:
    """Work out how many candidates of each structure may be taken.

    Args:
        judged: Verdicts on all frames.
        structure: (candidate), name of each.
        settings: The limits.

    Returns:
        The number for each structure; and for those that may not give all that they
        have, the reason why, if it is not the budget.
    """
    own = settings.most_of_structure
    most = settings.most if own is None else own
    caps, reasons = {}, {}
    for name, there in sorted(Counter(structure.tolist()).items()):
        counts = judged.of_structure(name)
        share = counts[ACCURATE] / max(sum(counts.values()), 1)
        cap = thinned(most, share, settings)
        if cap < min(most, there):
            reasons[name] = "thinned"
        if min(cap, there) < settings.least:
            cap, reasons[name] = 0, "few"
        caps[name] = cap
    return caps, reasons


@dataclass(frozen=True, kw_only=True, slots=True)
class Picked:
    """Entries of a pool that are taken."""

    entries: list[int]
    """(taken), the most wanted first."""
    distance: list[float]
    """(taken), distance of each to the nearest that was labelled or taken before it;
    infinite for the first, if nothing is labelled."""
    gap: Points
    """(entry), distance to the nearest that is labelled or taken, in the end."""


def pick(
    pool: Pool,
    points: Points,
    *,
    known: Points,
    caps: dict[str, int],
    settings: SelectSettings,
    seed: int,
) -> Picked:
    """Pick entries, the most wanted first.

    ``diverse`` takes the entry that is farthest from all that is labelled or taken,
    again and again; the one of the largest deviation where nothing is yet.

    Args:
        pool: The candidates, those of the largest deviation first.
        points: (entry, value), their descriptors.
        known: (frame, value), descriptors of all that is labelled.
        caps: How many of each structure may be taken.
        settings: The way to pick.
        seed: Of what is drawn.

    Source: farthest-point sampling, Y. Eldar et al., IEEE Trans. Image Process. 6,
        1305 (1997); inverse population, dpgen2.
    """
    gap = nearest_distance(points, known)
    rank = _ranks(pool, settings.pick, np.random.default_rng(seed))
    left = dict(caps)
    is_free = np.array([left[name] > 0 for name in pool.structure.tolist()], np.bool_)
    entries: list[int] = []
    distance: list[float] = []
    while len(entries) < settings.most:
        allowed = is_free & (gap >= settings.near)
        if not allowed.any():
            break
        if settings.pick == "diverse":
            best = int(np.where(allowed, gap, -1.0).argmax())
        else:
            best = int(np.where(allowed, rank, pool.size).argmin())
        entries.append(best)
        distance.append(float(gap[best]))
        is_free[best] = False
        name = str(pool.structure[best])
        left[name] -= 1
        if not left[name]:
            is_free &= pool.structure != name
        gap = np.minimum(gap, np.sqrt(((points - points[best]) ** 2).sum(axis=1)))
    return Picked(entries=entries, distance=distance, gap=gap)


def _ranks(pool: Pool, way: str, draw: np.random.Generator) -> Index:
    """(entry), its place in the order of the pick; ``diverse`` has none."""
    order = np.arange(pool.size)
    if way == "random":
        order = draw.permutation(pool.size)
    elif way == "even" and pool.size:
        low, high = pool.deviation.min(), pool.deviation.max()
        width = (high - low) / BINS or 1.0
        part = np.minimum(((pool.deviation - low) / width).astype(np.int64), BINS - 1)
        weight = 1.0 / np.bincount(part, minlength=BINS)[part]
        order = draw.choice(
            pool.size, size=pool.size, replace=False, p=weight / weight.sum()
        )
    rank = np.empty(pool.size, np.int64)
    rank[order] = np.arange(pool.size)
    return rank
