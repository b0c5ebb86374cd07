import hashlib
import struct
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dpbench.frames import concatenate, uniform
from dpbench.store.digests import (
    frame_digests,
    repeated,
    structure_digests,
    version_digest,
)
from tests.store.synthetic import random_frames

COUNTS = st.lists(st.integers(1, 6), min_size=1, max_size=12)


def digests_of(frames, theory="t", reason=""):
    return frame_digests(frames, theory=theory, quarantine=[reason] * frames.nframes)


def test_frame_digest_is_the_sha256_of_the_documented_bytes():
    frames = uniform(z=[1, 8], coord=np.array([[[0.0, 1, 2], [3, 4, -0.0]]]))
    nan = float("nan")
    numbers = [2, 1, 8, 0, 1, 2, 3, 4, 0, *[nan] * 9, 0, 0, 0, nan, *[nan] * 15]
    content = b"dpb1:theory:unconverged\0" + struct.pack(f"<{len(numbers)}d", *numbers)
    found = digests_of(frames, theory="theory", reason="unconverged")
    assert found[0].tobytes() == hashlib.sha256(content).digest()


@given(counts=COUNTS, seed=st.integers(0, 100), data=st.data())
def test_frame_digests_do_not_depend_on_the_company_of_a_frame(counts, seed, data):
    frames = random_frames(seed, counts)
    index = data.draw(st.permutations(range(len(counts))))
    np.testing.assert_array_equal(
        digests_of(frames)[index], digests_of(frames.select(index))
    )


@given(counts=COUNTS, seed=st.integers(0, 100), data=st.data())
def test_version_digest_does_not_depend_on_order_or_chunks(counts, seed, data):
    digests = digests_of(random_frames(seed, counts))
    index = data.draw(st.permutations(range(len(counts))))
    assert version_digest(digests) == version_digest(digests[list(index)])


def test_version_digest_counts_equal_frames():
    digests = digests_of(random_frames(0, [2]))
    assert version_digest(digests) != version_digest(np.repeat(digests, 2, axis=0))


def test_negative_zero_and_any_nan_are_one_value():
    frames = random_frames(1, [2])
    frames.coord[0], frames.force[0] = 0.0, np.nan
    expected = digests_of(frames)
    frames.coord[0] = -0.0
    other = np.array([0x7FF8DEADBEEF0001], dtype=np.uint64).view(np.float64)
    frames.force[0] = other
    np.testing.assert_array_equal(digests_of(frames), expected)


def test_float32_counts_as_the_float64_of_equal_value():
    single = random_frames(2, [3, 1], dtype=np.float32)
    double = concatenate([single])
    object.__setattr__(double, "coord", single.coord.astype(np.float64))
    np.testing.assert_array_equal(digests_of(single), digests_of(double))


def test_every_field_theory_and_state_change_the_digest():
    frames = random_frames(3, [2])
    seen = {digests_of(frames).tobytes()}
    for name in ("z", "coord", "force", "box", "energy", "virial"):
        changed = random_frames(3, [2])
        array = getattr(changed, name)
        array.flat[0] = array.flat[0] + 1
        seen.add(digests_of(changed).tobytes())
    open_cell = random_frames(3, [2])
    open_cell.pbc[:] = False
    seen.add(digests_of(open_cell).tobytes())
    seen.add(digests_of(frames, theory="u").tobytes())
    seen.add(digests_of(frames, reason="truncated").tobytes())
    assert len(seen) == 10


@given(known=st.lists(st.integers(0, 5), max_size=6), new=st.lists(st.integers(0, 5)))
def test_repeated_marks_all_but_the_first_of_equal_frames(known, new):
    values = np.arange(6, dtype=np.uint8)[:, None].repeat(32, axis=1)
    found = repeated(values[np.array(known, int)], values[np.array(new, int)])
    seen, expected = set(known), []
    for value in new:
        expected.append(value in seen)
        seen.add(value)
    assert found.tolist() == expected


def test_structure_digest_knows_no_labels_and_every_atom():
    frames = random_frames(3, [4, 5, 4])
    same = replace(frames, energy=frames.energy + 1, force=frames.force * 2)
    moved = replace(frames, coord=frames.coord + np.eye(1, 3))
    digests = structure_digests(frames)
    assert (structure_digests(same) == digests).all()
    assert (structure_digests(moved) != digests).any(axis=1).all()
    assert len(np.unique(digests, axis=0)) == 3
