"""Charge and multiplicity are facts of a frame; segments without them stay readable."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from dpbench.cli.dataset.text import version_text
from dpbench.store.dataset import open_dataset
from dpbench.store.digests import frame_digests
from dpbench.store.segment import layout
from dpbench.store.segment.manifest import segment_folder
from dpbench.store.summary import describe
from dpbench.store.workspace import Workspace
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

FORMAT_1 = Path(__file__).parents[1] / "data" / "workspace-format-1.zip"


def digests(**electrons):
    frames = random_frames(0, [2, 3, 3])
    return frame_digests(frames, theory="t", quarantine=["", "", ""], **electrons)


def test_what_is_not_told_or_neutral_singlet_leaves_digests_as_they_were():
    plain = digests()
    neutral = digests(
        charge=np.array([0.0, np.nan, -0.0]), multiplicity=np.array([1, -1, 1])
    )
    assert (plain == neutral).all()


def test_charge_and_multiplicity_tell_frames_apart():
    plain = digests()
    charged = digests(charge=np.array([0.0, 1.0, -1.0]))
    triplet = digests(multiplicity=np.array([1, 3, -1]))
    both = digests(charge=np.array([0.0, 1.0, 0]), multiplicity=np.array([1, 3, 1]))
    same = (plain == charged).all(axis=1)
    assert same.tolist() == [True, False, False]
    assert (plain == triplet).all(axis=1).tolist() == [True, False, True]
    assert len({d[1].tobytes() for d in (plain, charged, triplet, both)}) == 4


def test_charge_and_multiplicity_of_a_version_are_those_that_were_written(tmp_path):
    workspace = new_workspace(tmp_path)
    told = replace(
        segment_data(random_frames(0, [2, 3]), [source_entry("a")]),
        charge=np.array([np.nan, -1.0]),
        multiplicity=np.array([2, -1], dtype=np.int16),
    )
    untold = segment_data(random_frames(1, [2]), [source_entry("b")])
    version = commit(workspace, "w", told, untold).version
    assert version.charge.tolist() == pytest.approx([np.nan, -1.0, np.nan], nan_ok=True)
    assert version.multiplicity.tolist() == [2, -1, -1]
    facts = describe(version)
    assert facts["charges"] == {"-1": 1}
    assert facts["multiplicities"] == {"2": 1}
    assert "charge        -1 in 1 frames" in version_text(facts)
    names = []
    for entry in version.payload["data"]:
        folder = segment_folder(workspace, entry["id"]) / layout.GROUP
        names.append(set(zarr.open_group(folder / "frames", mode="r").array_keys()))
    assert names[0] - names[1] == {"charge", "multiplicity"}
    stored = zarr.open_array(
        segment_folder(workspace, version.payload["data"][0]["id"])
        / layout.GROUP
        / "frames/charge",
        mode="r",
    )
    assert stored.attrs["units"] == "e"


@pytest.fixture
def old(tmp_path):
    """A workspace that the first release made: two good frames, one quarantined."""
    with zipfile.ZipFile(FORMAT_1) as archive:
        archive.extractall(tmp_path / "ws")
    return Workspace.find(tmp_path / "ws")


def test_segments_of_format_1_are_read_and_go_on(old):
    version = open_dataset(old, "old")
    assert version.digest == (
        "dpb1:6d505fe7792fe5d89facfceb14b228cdc49d529650c99443c31a41793919beed"
    )
    assert (
        json.loads(
            next(
                segment_folder(old, version.payload["data"][0]["id"]).glob("*.json")
            ).read_text()
        )["format"]
        == 1
    )
    expected = random_frames(0, [2, 3])
    np.testing.assert_array_equal(version.read([0, 1]).coord, expected.coord)
    assert np.isnan(version.charge).all()
    assert version.multiplicity.tolist() == [-1, -1]
    assert version.quarantine().reasons == ("unconverged",)
    charged = replace(
        segment_data(random_frames(5, [4]), [source_entry("b")]),
        charge=np.array([2.0]),
    )
    newer = commit(old, "old", charged).version
    assert newer.charge.tolist() == pytest.approx([np.nan, np.nan, 2.0], nan_ok=True)
    assert newer.payload["parent"] == version.object_id
