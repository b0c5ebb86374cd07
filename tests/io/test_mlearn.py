"""mlearn JSON files: values by hand, members, and the faults that such files have."""

import json

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.discover import find_sources
from dpbench.io.ingest import ingest
from dpbench.io.leakage.split import make_checked_split
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.mlearn import members_in, read
from dpbench.io.sniff import Kind, sniff
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace

KBAR = 0.0006241509074460763
"""eV/Å^3, from the exact elementary charge."""


def entry(
    number: int = 1, *, group: str = "AIMD-NVT", kelvin: int = 300, **outputs
) -> dict:
    """Two silicon atoms in a box of 4 x 5 x 6 Å, snapshot ``number`` of a run."""
    shift = 0.01 * number
    places = [[shift, 0.0, 0.0], [1.0, 1.25, 1.5]]
    box = [4.0, 5.0, 6.0]
    return {
        "structure": {
            "@module": "pymatgen.core.structure",
            "@class": "Structure",
            "charge": None,
            "lattice": {"matrix": np.diag(box).tolist()},
            "sites": [
                {
                    "species": [{"element": "Si", "occu": 1}],
                    "abc": [x / b for x, b in zip(xyz, box, strict=True)],
                    "xyz": xyz,
                    "label": "Si",
                }
                for xyz in places
            ],
        },
        "group": group,
        "outputs": {
            "energy": -10.0 - number,
            "forces": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]],
            "virial_stress": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            **outputs,
        },
        "description": (
            f"Snapshot {number} of 40 of AIMD NVT simulation at {kelvin} K"
            if group == "AIMD-NVT"
            else f"Si 2x2x2 cell, mode 0, strain 0.0{number}"
        ),
    }


def written(folder, entries, name="training.json"):
    path = folder / name
    path.write_text(json.dumps(entries))
    return path


def parse(path, member=""):
    return read(SourceFiles(format="mlearn", paths=(path,), member=member))


def test_frame_is_read_with_all_its_labels(tmp_path):
    source = parse(written(tmp_path, [entry(3)]))
    frames = source.frames
    assert [str(reason) for reason in source.quarantine] == [""]
    assert frames.z.tolist() == [14, 14]
    assert frames.energy.tolist() == [-13.0]
    np.testing.assert_array_equal(frames.coord[0], [0.03, 0, 0])
    np.testing.assert_array_equal(frames.force[1], [-0.1, -0.2, -0.3])
    np.testing.assert_array_equal(frames.box[0], np.diag([4, 5, 6]))
    assert frames.pbc.all()
    assert source.theory == {}


def test_stress_in_kbar_and_vasp_order_becomes_a_virial_in_ev(tmp_path):
    virial = parse(written(tmp_path, [entry()])).frames.virial[0]
    expected = np.array([[1, 4, 6], [4, 2, 5], [6, 5, 3]]) * 120 * KBAR
    np.testing.assert_allclose(virial, expected, rtol=1e-9)


def test_each_run_is_a_member_and_its_snapshots_are_steps(tmp_path):
    entries = [entry(4), entry(9), entry(2, kelvin=3000), entry(1, group="Elastic")]
    path = written(tmp_path, entries)
    runs = ["AIMD-NVT: AIMD NVT simulation at 300 K", "Elastic"]
    assert members_in(path)[0] == runs[0]
    assert members_in(path)[2] == runs[1]
    assert parse(path, runs[0]).step.tolist() == [4, 9]
    assert parse(path, runs[1]).step.tolist() == [3]
    with pytest.raises(SourceError, match="no such entries"):
        parse(path, "Surface")


def test_file_is_told_by_its_content(tmp_path):
    path = written(tmp_path, [entry(1), entry(2, kelvin=900)], "anything")
    assert sniff(path) is Kind.MLEARN
    other = tmp_path / "other.json"
    other.write_text('{"structure": 1}')
    assert sniff(other) is Kind.UNKNOWN
    for code in ("mlearn", "auto"):
        assert len(find_sources(code, [path]).sources) == 2
        assert len(find_sources(code, [tmp_path]).sources) == 2
    named = find_sources("mlearn", [f"{path}#AIMD-NVT: AIMD NVT simulation at 900 K"])
    assert [source.format for source in named.sources] == ["mlearn"]


def test_broken_file_in_a_folder_is_skipped_with_its_reason(tmp_path):
    written(tmp_path, [entry(1)])
    (tmp_path / "test.json").write_bytes(b"")
    found = find_sources("mlearn", [tmp_path])
    assert len(found.sources) == 1
    assert [path.name for path, _ in found.skipped] == ["test.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"energy": None}, "no_energy"),
        ({"energy": float("nan")}, "nan"),
        ({"forces": None}, "no_force"),
        ({"forces": [[0.1, 0.2, 0.3]]}, "bad_shape"),
        ({"forces": [[0.1, 0.2], [0.1, 0.2, 0.3]]}, "bad_shape"),
        ({"forces": [[0.1, 0.2, 1e9], [0, 0, 0]]}, "nan"),
        ({"virial_stress": [1.0, 2.0]}, "bad_shape"),
        ({"virial_stress": None}, ""),
    ],
)
def test_faulty_labels_are_kept_apart(tmp_path, change, reason):
    source = parse(written(tmp_path, [entry(1), entry(2, **change)]))
    assert [str(found) for found in source.quarantine] == ["", reason]


def test_positions_that_contradict_each_other_are_kept_apart(tmp_path):
    wrong = entry(1)
    wrong["structure"]["sites"][1]["abc"] = [0.5, 0.25, 0.25]
    assert str(parse(written(tmp_path, [wrong])).quarantine[0]) == "mismatch"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        '[{"structure": ',
        "[]",
        "{}",
        '[{"structure": {}}]',
        '[{"structure": {}, "outputs": {}}]',
    ],
)
def test_what_is_no_mlearn_file_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "training.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"training\.json"):
        parse(path)
    assert members_in(path) in ((), ("ungrouped",))


@pytest.mark.parametrize(
    "species",
    [
        [{"element": "Xx", "occu": 1}],
        [{"element": "Si", "occu": 0.5}],
        [{"element": "Si", "occu": 0.5}, {"element": "Ge", "occu": 0.5}],
        [],
        None,
    ],
)
def test_site_that_is_not_one_element_is_refused(tmp_path, species):
    wrong = entry(1)
    wrong["structure"]["sites"][0]["species"] = species
    with pytest.raises(SourceError, match="species"):
        parse(written(tmp_path, [wrong]))


def test_snapshots_of_a_run_in_both_files_are_one_trajectory(tmp_path):
    """L3: a split that shares runs between train and test says so."""
    written(tmp_path, [entry(n) for n in (1, 2, 4)] + [entry(5, group="Elastic")])
    written(tmp_path, [entry(3), entry(6, group="Elastic")], "test.json")
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    ingest(workspace, "mlearn", [tmp_path / "training.json"], dataset="x", workers=0)
    ingest(workspace, "mlearn", [tmp_path / "test.json"], dataset="x", workers=0)
    version = open_dataset(workspace, "x")
    split = make_checked_split(
        version,
        fractions={"train": 1.0},
        hold_out={"test": ["*test.json*"]},
        skip_twins=True,
    )
    assert split.sizes == {"train": 4, "test": 2}
    told = split.leakage["test"]
    assert told["same_trajectory"] == 1
    assert told["nearest_steps"] == 1


def test_shared_data_are_read_whole(shared_data):
    counts = {"Si": (214, 25), "Mo": (194, 23)}
    for element, expected in counts.items():
        folder = shared_data / "thirdparty" / "mlearn" / element
        for name, count in zip(("training", "test"), expected, strict=True):
            source = parse(folder / f"{name}.json")
            assert source.frames.nframes == count
            assert not any(source.quarantine)
            assert source.frames.has_virial.all()


def test_virials_fit_the_energies_of_strained_cells(shared_data):
    """A wrong sign, unit or order of the stress fails: -dE/dstrain is the virial."""
    source = parse(shared_data / "thirdparty/mlearn/Si/training.json", "Elastic")
    frames = source.frames
    volume = np.abs(np.linalg.det(frames.box))
    order = np.argsort(volume)
    trace = np.trace(frames.virial, axis1=1, axis2=2)[order]
    # A smaller cell pushes outwards: its virial is positive.
    assert np.corrcoef(volume[order], trace)[0, 1] < -0.8
