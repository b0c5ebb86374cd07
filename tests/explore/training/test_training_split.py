"""The split of the ensemble, and the section ``[train]``."""

from pathlib import Path

import numpy as np
import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.training_settings import EnsembleSettings
from dpbench.explore.training_split import held_out, training_split
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import list_splits, named_split
from tests.train.small_runs import write_system


def digests(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 32), dtype=np.uint8)


def test_a_frame_stays_on_its_side_as_the_dataset_grows(workspace, tmp_path: Path):
    write_system(tmp_path / "more" / "c", seed=5, nframes=30)
    old = open_dataset(workspace, "pairs")
    ingest(
        workspace,
        "deepmd",
        [tmp_path / "more"],
        dataset="pairs",
        options=IngestOptions(workers=0),
    )
    new = open_dataset(workspace, "pairs")
    sides = [
        {bytes(d) for d in v.frame_digests[named_split(v, name).part("validation")]}
        for v in (old, new)
        for name in [training_split(v, validation=0.2)]
    ]
    shared = {bytes(d) for d in old.frame_digests}
    assert sides[0]
    assert sides[1] & shared == sides[0]


def test_a_split_is_filed_once(workspace):
    version = open_dataset(workspace, "pairs")
    first = training_split(version, validation=0.1)
    assert training_split(version, validation=0.1) == first
    assert len(list_splits(version)) == 1


def test_no_share_trains_on_all(workspace):
    version = open_dataset(workspace, "pairs")
    split = named_split(version, training_split(version, validation=0))
    assert split.sizes == {"train": 24}


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_both_sides_have_a_frame_where_there_are_two(share):
    for seed in range(20):
        is_held = held_out(digests(2, seed), share=share)
        assert is_held.tolist() in ([True, False], [False, True])


def test_about_the_share_is_held_out():
    assert held_out(digests(4000), share=0.1).mean() == pytest.approx(0.1, abs=0.02)
    assert not held_out(digests(4000), share=0.0).any()
    assert not held_out(digests(1), share=0.5).any()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("models", 0),
        ("steps", -1),
        ("reuse_steps", 0),
        ("validation", 1.0),
        ("reuse_start_lr", 0.0),
    ],
)
def test_senseless_numbers_are_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        from_mapping(EnsembleSettings, {key: value}, where="explore.toml: train")
