"""What every strategy promises, on random trees of sources with planted twins."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.errors import DatasetError
from dpbench.io.leakage.compare import leakage
from dpbench.io.leakage.split import make_checked_split
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import STRATEGIES
from tests.io.planted import plant, relabelled, turned, walk
from tests.store.synthetic import new_workspace

ELEMENTS = ([14] * 4, [14] * 3 + [8], [13, 13, 12, 12])
"""Compositions of the made-up runs."""

GAP = 2

REFUSALS = ("groups to deal", "too few for the parts")
"""Trees that cannot be split so; not all of them may be."""

SOURCE = st.tuples(
    st.integers(1, 14),  # frames
    st.integers(0, 2),  # folder
    st.integers(0, 2),  # composition
    st.sampled_from(["new", "new", "new", "relabelled", "turned", "few"]),
)


def tree(sources):
    """Runs by source, some of them copies or twins of the run before."""
    runs, last = {}, None
    for i, (nframes, folder, composition, kind) in enumerate(sources):
        frames = walk(i, nframes, natoms=4, z=ELEMENTS[composition])
        if last is not None and kind == "relabelled":
            frames = relabelled(last)
        elif last is not None and kind == "turned":
            frames = turned(last, seed=i)
        elif last is not None and kind == "few" and nframes > 1:
            start = min(1, last.nframes - 1)
            frames = relabelled(last.select([start, *range(last.nframes)][:2]))
        runs[f"s{i}"] = (frames, {"path": f"folder{folder}/s{i}.out"})
        last = frames
    return runs


def between(version, split):
    """Leakage between any two parts."""
    for one, two in itertools.permutations(split.parts, 2):
        yield leakage(version, split.parts[one], version, split.parts[two])


def check_order_of_time(version, split):
    for source in np.unique(version.source_of):
        steps = [
            version.step[index[version.source_of[index] == source]]
            for index in split.parts.values()
        ]
        for earlier, later in itertools.combinations([s for s in steps if len(s)], 2):
            assert earlier.max() < later.min()


def check(version, strategy, seed):
    gap = GAP if strategy in ("block", "time") else None
    split = make_checked_split(version, strategy=strategy, seed=seed, gap=gap)
    everything = np.concatenate(list(split.parts.values()))
    assert len(np.unique(everything)) == len(everything)
    told = split.parameters
    lost = told["n_in_gaps"] + told["n_set_aside"]
    assert len(everything) + lost == version.nframes
    for found in between(version, split):
        assert found.exact.count == found.invariant.count == 0
        is_apart = ("trajectory", "composition")
        if all(s.n_read > 1 for s in version.sources):
            is_apart += ("source",)  # else it parts the one-frame files of a folder
        if split.strategy in is_apart:
            assert found.same_trajectory.count == 0
        elif gap is not None and found.same_trajectory.count:
            assert found.facts()["nearest_steps"] > gap
    if strategy == "time":
        check_order_of_time(version, split)
    if strategy == "composition":
        formulas = np.array(version.formulas)
        sets = [set(formulas[index]) for index in split.parts.values()]
        assert sum(map(len, sets)) == len(set().union(*sets))
    for part, facts in split.leakage.items():
        assert facts["exact"] == facts["invariant"] == 0
        found = leakage(version, split.parts["train"], version, split.parts[part])
        assert found.facts() == facts


@pytest.mark.parametrize("n_examples", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_no_strategy_breaks_its_promise(n_examples):
    made = dict.fromkeys(STRATEGIES, 0)

    @settings(max_examples=n_examples)
    @given(sources=st.lists(SOURCE, min_size=6, max_size=12), seed=st.integers(0, 99))
    def try_tree(sources, seed):
        with tempfile.TemporaryDirectory() as folder:
            version = plant(new_workspace(Path(folder)), "t", tree(sources))
            for strategy in STRATEGIES:
                try:
                    check(version, strategy, seed)
                except DatasetError as error:
                    if not any(words in str(error) for words in REFUSALS):
                        raise
                else:
                    made[strategy] += 1

    try_tree()
    assert all(count >= n_examples // 3 for count in made.values()), made


@pytest.mark.parametrize("strategy", ["trajectory", "block", "source", "random"])
def test_the_promises_are_broken_where_twins_are_not_looked_for(tmp_path, strategy):
    """Planted fault: the check of the test above can fail."""
    sources = [(8, 0, i % 3, "new" if i < 3 else "few") for i in range(12)]
    version = plant(new_workspace(tmp_path), "t", tree(sources))
    leaks = 0
    for seed in range(4):
        split = make_checked_split(
            version, strategy=strategy, seed=seed, skip_twins=True
        )
        leaks += sum(found.exact.count for found in between(version, split))
    assert leaks > 0


def test_copies_are_kept_on_one_side_where_there_is_no_time_for_twins(tmp_path):
    sources = [(8, 0, 0, "new" if i % 2 else "turned") for i in range(8)]
    runs = tree([*sources, (8, 0, 0, "relabelled"), (8, 0, 0, "relabelled")])
    version = plant(new_workspace(tmp_path), "t", runs)
    split = make_checked_split(version, strategy="random", most=10)
    assert split.parameters["twins"] == "copies kept on one side, twins not looked for"
    assert "likeness" not in split.parameters
    assert all(found["exact"] == 0 for found in split.leakage.values())
    assert all(found["invariant"] is None for found in split.leakage.values())
    assert sum(found.exact.count for found in between(version, split)) == 0
    assert sum(found.invariant.count for found in between(version, split)) > 0


def test_a_split_is_made_and_says_so_where_frames_cannot_be_read(tmp_path):
    workspace = new_workspace(tmp_path)
    runs = tree([(8, 0, 0, "new")] * 6)
    version = plant(workspace, "t", runs)
    for path in version.segments[0].folder.rglob("coord/**/c/**/*"):
        if path.is_file():
            path.unlink()
    split = make_checked_split(open_dataset(workspace, "t"))
    assert split.parameters["twins"] == "not looked for"
    for found in split.leakage.values():
        assert found["exact"] is found["invariant"] is None
        assert found["same_trajectory"] == 0
        assert "coord" in found["why_not"]
