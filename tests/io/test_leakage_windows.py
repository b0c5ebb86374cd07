"""Windows find the twins that one look at everything finds."""

import numpy as np
import pytest

from dpbench.frames import concatenate
from dpbench.io.leakage import windows as leakage_windows
from dpbench.io.leakage.windows import twins_between, twins_within
from dpbench.io.quality.fingerprint import Fingerprints, invariant_fingerprints
from dpbench.io.quality.twins import TOLERANCE, find_twins
from dpbench.store.splits.units import units
from tests.io.planted import turned, walk


def made_up(seed, n, *, twins):
    """Fingerprints that fill one value evenly; ``twins`` pairs of them are close."""
    rng = np.random.default_rng(seed)
    vectors = rng.uniform(
        0, 1, size=(n, invariant_fingerprints(walk(0, 1)).vectors.shape[1])
    )
    source = rng.integers(0, n, size=twins)
    copies = vectors[source] + rng.uniform(-0.9, 0.9, size=(twins, 1)) * TOLERANCE
    everything = np.concatenate([vectors, copies]).astype(np.float32)
    order = rng.permutation(len(everything))
    keys = np.where(np.arange(len(everything)) % 3 > 0, "Si4 3d", "SiO3 3d")
    keys[n:] = keys[source]
    return Fingerprints(vectors=everything[order], keys=keys[order])


def unit_sets(pairs, n):
    return units(n, np.stack([pairs.i, pairs.j], axis=1)).tolist()


@pytest.mark.parametrize("window", [1, 7, 50, 199, 10_000])
def test_windows_within_chain_the_same_frames(window):
    prints = made_up(1, 200, twins=60)
    whole, parts = find_twins(prints), twins_within(prints, window=window)
    assert len(whole.i) >= 50
    assert unit_sets(parts, 260) == unit_sets(whole, 260)
    assert (parts.i < parts.j).all()


@pytest.mark.parametrize("window", [1, 7, 50, 199, 10_000])
def test_windows_between_find_the_same_frames(window):
    a, b = made_up(1, 200, twins=60), made_up(1, 200, twins=60)
    b = b.select(np.arange(30, 150))
    whole, parts = find_twins(a, b), twins_between(a, b, window=window)
    assert len(set(whole.j.tolist())) > 100
    assert set(parts.j.tolist()) == set(whole.j.tolist())


def test_no_window_between_is_larger_on_either_side(monkeypatch):
    sizes = []

    def spied(a, b=None):
        sizes.extend([a.nframes, 0 if b is None else b.nframes])
        return find_twins(a, b)

    monkeypatch.setattr(leakage_windows, "find_twins", spied)
    a, b = made_up(1, 20, twins=0), made_up(1, 200, twins=0)
    twins_between(a, b, window=50)
    assert max(sizes) == 50


def test_windows_find_turned_frames():
    run = walk(1, 40)
    prints = invariant_fingerprints(concatenate([run, turned(run.select([3, 17, 30]))]))
    pairs = twins_within(prints, window=5)
    found = set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    assert found == {(3, 40), (17, 41), (30, 42)}
