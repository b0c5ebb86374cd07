"""Batches merged from frames, against batches made of all frames at once."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.frames import Frames, concatenate, uniform
from dpbench.kernels.assembly import merge, select_frames
from dpbench.kernels.assembly.plan import plan_merge
from dpbench.kernels.assembly.reference import merged_edges
from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.batching import make_batch, make_frame

TYPES = ("H", "C", "O", "Si")
Z = (1, 6, 8, 14)


def frame(draws: list[int], seed: int, side: float, has: tuple[bool, ...]) -> Frames:
    """One frame of the drawn elements, atoms anywhere in a skewed cell."""
    generator = np.random.default_rng(seed)
    box = np.eye(3) * side + np.tril(generator.uniform(-0.3, 0.3, (3, 3)), -1) * side
    natoms = len(draws)
    none = np.nan
    return uniform(
        z=[Z[d] for d in draws],
        coord=generator.uniform(0, side, (1, natoms, 3)),
        box=box[np.newaxis],
        energy=np.array([-3.0 * natoms if has[0] else none]),
        force=generator.normal(size=(1, natoms, 3)) if has[1] else None,
        virial=generator.normal(size=(1, 3, 3)) if has[2] else None,
    )


frames_drawn = st.lists(
    st.builds(
        frame,
        st.lists(st.integers(0, 3), min_size=1, max_size=7),
        st.integers(0, 99),
        # Beyond the cutoff of 3 Å a lone atom has no neighbour.
        st.sampled_from([2.0, 4.0, 40.0]),
        st.tuples(st.booleans(), st.booleans(), st.booleans()),
    ),
    min_size=1,
    max_size=5,
)


def neighbours_of(frames: Frames) -> list:
    return [
        find_neighbours(
            frames.coord[frames.atoms_of(i)], frames.box[i], frames.pbc[i], 3.0
        )
        for i in range(frames.nframes)
    ]


def parts_of(frames: Frames, dtype: torch.dtype = torch.float64) -> list[Batch]:
    found = neighbours_of(frames)
    return [
        make_frame(frames, i, found[i], TYPES, dtype=dtype)
        for i in range(frames.nframes)
    ]


def same(one: Batch, two: Batch, *, atol: float = 0.0) -> None:
    for field in fields(Batch):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if not torch.is_tensor(a):
            assert a == b, field.name
        elif field.name == "edge_vec":
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=atol)
        else:
            assert a.dtype == b.dtype, field.name
            assert torch.equal(a, b), field.name


@settings(max_examples=40, deadline=None)
@given(drawn=frames_drawn)
def test_merged_frames_are_the_batch_made_at_once(drawn):
    frames = concatenate(drawn)
    whole = make_batch(frames, neighbours_of(frames), TYPES)
    # numpy's matrix product may round the image of a neighbour differently.
    same(merge(parts_of(frames)), whole, atol=1e-14 * 40)


@settings(max_examples=20, deadline=None)
@given(drawn=frames_drawn, cut=st.integers(1, 4))
def test_merging_in_two_goes_gives_the_same_bits(drawn, cut):
    parts = parts_of(concatenate(drawn))
    cut = min(cut, len(parts))
    again = merge([merge(parts[:cut]), *parts[cut:]])
    same(again, merge(parts))


@settings(max_examples=20, deadline=None)
@given(drawn=frames_drawn)
def test_torch_and_numba_merge_alike(drawn):
    parts = parts_of(concatenate(drawn), torch.float32)
    merged = merge(parts)
    for name, array in merged_edges(parts, plan_merge(parts)).items():
        expected = getattr(merged, name)
        assert array.dtype == expected.dtype
        assert torch.equal(array, expected), name


@settings(max_examples=20, deadline=None)
@given(drawn=frames_drawn, data=st.data())
def test_frames_taken_out_are_the_batch_of_those_frames(drawn, data):
    parts = parts_of(concatenate(drawn))
    first = data.draw(st.integers(0, len(parts) - 1))
    stop = data.draw(st.integers(first + 1, len(parts)))
    taken = select_frames(merge(parts), first, stop)
    same(
        Batch(**_values(taken) | {"most_neighbours": ()}),
        Batch(**_values(merge(parts[first:stop])) | {"most_neighbours": ()}),
    )


def _values(batch: Batch) -> dict:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


def test_a_single_part_is_the_merged_batch_itself():
    (part,) = parts_of(frame([0, 2], 1, 4.0, (True,) * 3))
    assert merge([part]) is part


def test_nothing_to_merge_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        merge([])


def test_parts_of_different_models_are_refused():
    one = frame([0, 0], 1, 4.0, (True,) * 3)
    other = make_frame(one, 0, neighbours_of(one)[0], TYPES[:2])
    with pytest.raises(ValueError, match="numbers of types"):
        merge([*parts_of(one), other])


def test_an_edge_takes_at_most_40_bytes():
    (part,) = parts_of(frame([0, 1, 2, 3, 3, 3], 2, 4.0, (True,) * 3))
    per_edge = [v for v in _values(part).values() if torch.is_tensor(v)]
    nedges = len(part.edge_vec)
    taken = sum(v.element_size() * v[0].numel() for v in per_edge if len(v) == nedges)
    assert taken <= 40


def test_parameters_of_frames_and_atoms_go_along():
    parts = [
        replace(
            part,
            fparam=torch.full((1, 2), float(index), dtype=torch.float64),
            aparam=torch.full((len(part.atype), 1), -float(index)).double(),
        )
        for index, part in enumerate(
            parts_of(concatenate([frame([0] * n, n, 4.0, (True,) * 3) for n in (2, 3)]))
        )
    ]
    merged = merge(parts)
    assert merged.fparam.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert merged.aparam.ravel().tolist() == [0, 0, -1, -1, -1]
    taken = select_frames(merged, 1, 2)
    assert taken.fparam.tolist() == [[1.0, 1.0]]
    assert taken.aparam.ravel().tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match="fparam: given in 1 of 2"):
        merge([parts[0], replace(parts[1], fparam=None)])
