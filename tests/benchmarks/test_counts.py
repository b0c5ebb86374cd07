"""O5: the gate that cannot flake counts what it says, and sees a planted loop."""

import json

import pytest
import torch

from benchmarks.counts import BOUNDS, SLACK, calls_of, counting, grown, operations_of


def test_operations_of_torch_are_counted():
    x = torch.ones(3)
    assert operations_of(lambda: x + x + x) == 2


def test_a_planted_loop_over_atoms_shows_in_the_calls():
    def one(atom):
        return atom

    def vectorised():
        return one(range(100))

    def looped():
        return [one(atom) for atom in range(100)]

    assert calls_of(looped) > 20 * calls_of(vectorised)


def test_counting_ends_where_the_block_does():
    with counting() as tally:
        pass
    before = tally.calls
    sorted([3, 1, 2], key=lambda x: x)
    assert tally.calls == before


def test_a_count_that_grew_is_called_and_one_that_shrank_is_not():
    bounds = {"lists": 10.0}
    assert grown({"lists": 10.0 * (1 + SLACK)}, bounds) == []
    assert grown({"lists": 1.0}, bounds) == []
    assert "expected at most 10" in grown({"lists": 13.0}, bounds)[0]


def test_a_count_without_bound_and_a_bound_without_count_are_told():
    assert "no bound" in grown({"new": 1.0}, {})[0]
    assert "no longer" in grown({}, {"old": 1.0})[0]


@pytest.mark.parametrize("words", ["over those at 24", "with 9 datasets over"])
def test_what_must_not_grow_with_size_has_one_as_its_bound(words):
    bounds = json.loads(BOUNDS.read_text(encoding="utf-8"))["counts"]
    (bound,) = (value for name, value in bounds.items() if words in name)
    assert bound == pytest.approx(1, abs=0.05)
