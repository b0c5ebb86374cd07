"""pw.x itself: labels, failures, remedies, and a pseudopotential that does not fit."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbench.errors import DatasetError
from dpbench.explore.labels.driver import AGAIN, Trouble
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.labels.qe import version_of
from dpbench.explore.labels.table import driver_of
from dpbench.explore.labels.theory_check import refuse_foretold, refuse_labelled
from dpbench.io.ingest import ingest
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import READERS
from dpbench.store.versions import newest_version
from dpbench.store.workspace import Workspace

pytestmark = pytest.mark.external


def run_all(frames, settings, folder):
    return [label(task) for task in label_tasks(frames, settings, folder=folder)]


def read(found):
    return READERS["qe"].read(SourceFiles(format="qe", paths=found.outputs))


def committed(found, folder, *, name="almg"):
    workspace = Workspace.find(folder, create=True)
    outputs = [path for one in found for path in one.outputs]
    report = ingest(workspace, "qe", outputs, dataset=name, workers=0)
    return report, newest_version(workspace, name)


@pytest.fixture(scope="module")
def labelled(qe, alloys, tmp_path_factory):
    return run_all(alloys, qe(), tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="module")
def version(labelled, tmp_path_factory):
    """A dataset of these labels."""
    return committed(labelled, tmp_path_factory.mktemp("w"))[1]


def test_labels_are_what_pw_x_says_and_ingest_takes_them(labelled, alloys, tmp_path):
    found = labelled
    assert [one.status for one in found] == ["done"] * 3
    assert all(one.cpu_seconds > 0 for one in found)
    frames = read(found[0]).frames
    np.testing.assert_allclose(frames.coord, alloys.select([0]).coord, atol=1e-9)
    assert frames.has_virial.all()
    report, version = committed(found, tmp_path / "w")
    assert (report.n_kept, sum(report.quarantined.values())) == (3, 0)
    assert version is not None


def test_what_was_foretold_is_what_the_output_tells(qe, labelled):
    found = labelled[0]
    told = driver_of(qe()).foretold()
    assert told["pseudopotentials"] == found.theory["pseudopotentials"]
    for key in ("functional", "dispersion", "spin", "smearing", "energy_kind", "code"):
        assert told[key] == found.theory[key]
    for key in ("cutoff", "cutoff_density", "smearing_width"):
        assert told[key] == pytest.approx(found.theory[key], rel=1e-4)


def test_version_is_asked_of_pw_x(pw_x):
    assert version_of(str(pw_x))[0].isdigit()


def test_same_frame_and_input_give_the_same_bits(qe, alloys, labelled, tmp_path):
    again = run_all(alloys.select([0]), qe(), tmp_path)
    one, other = (read(found).frames for found in (labelled[0], again[0]))
    assert one.energy.tobytes() == other.energy.tobytes()
    assert one.force.tobytes() == other.force.tobytes()


def test_job_that_does_not_converge_is_mended_by_a_remedy(
    qe, alloys, labelled, tmp_path
):
    """Three iterations do not do; the first remedy gives two hundred."""
    few = {"electron_maxstep": 3}
    found = run_all(alloys.select([0]), qe(electrons=few), tmp_path / "a")[0]
    assert (found.status, found.attempts) == ("done", 2)
    assert found.remedies == ("smaller_mixing",)
    one, other = read(found).frames, read(labelled[0]).frames
    np.testing.assert_allclose(one.energy, other.energy, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.force, other.force, rtol=0, atol=1e-3)


def test_job_that_never_converges_is_quarantined_and_never_ingested(
    qe, alloys, tmp_path
):
    settings = qe(electrons={"electron_maxstep": 2}, remedies=("conjugate_gradient",))
    found = run_all(alloys.select([0]), settings, tmp_path / "labels")[0]
    assert (found.status, found.trouble) == ("quarantined", Trouble.UNCONVERGED)
    assert found.reason == "pw.x: self-consistency not reached in 2 iterations"
    assert (found.attempts, found.outputs) == (2, ())


def test_job_that_dies_is_run_again(qe, program, alloys, tmp_path):
    flag = tmp_path / "flag"
    script = program(
        "pw", f'if [ ! -e {flag} ]; then touch {flag}; kill -9 $$; fi\nexec pw.x "$@"'
    )
    settings = qe(command=str(script))
    found = run_all(alloys.select([0]), settings, tmp_path / "labels")[0]
    assert (found.status, found.remedies) == ("done", (AGAIN,))


def test_input_that_pw_x_refuses_is_not_tried_again(qe, alloys, tmp_path):
    settings = qe(system={"smearing": "no-such-smearing"})
    found = run_all(alloys.select([0]), settings, tmp_path / "labels")[0]
    assert (found.trouble, found.attempts) == (Trouble.REFUSED, 1)
    assert "error in routine" in found.reason


def test_cell_that_pw_x_cannot_take_is_not_tried_again(qe, alloys, tmp_path):
    """It aborts without a word."""
    flat = np.array([[[3.2, 0, 0], [0, 3.2, 0], [0, 3.197, 0.05]]])
    frame = replace(alloys.select([0]), box=flat)
    found = run_all(frame, qe(), tmp_path / "labels")[0]
    assert (found.status, found.attempts) == ("quarantined", 1)
    assert "see the cell" in found.reason


def test_atoms_at_one_place_give_no_label(qe, alloys, tmp_path):
    """An exploded frame: pw.x ends well, and prints NaN."""
    coord = np.array([[0, 0, 0], [1e-4, 0, 0]])
    frame = replace(alloys.select([0]), coord=coord)
    found = run_all(frame, qe(), tmp_path / "labels")[0]
    assert (found.status, found.trouble) == ("quarantined", Trouble.UNREADABLE)


@pytest.fixture
def other_aluminium(pw_x, tmp_path):
    """UPF files whose Al is another one under the same name: a planted mix-up."""
    del pw_x
    folder = tmp_path / "wrong"
    folder.mkdir()
    source = "/usr/share/espresso/pseudo"
    shutil.copy(f"{source}/Mg.pz-n-vbc.UPF", folder)
    text = Path(source, "Al.pz-vbc.UPF").read_text()
    (folder / "Al.pz-vbc.UPF").write_text(text.replace("Author:", "Author: nobody", 1))
    return folder


def test_wrong_pseudopotential_is_found_before_the_first_job(
    qe, version, other_aluminium
):
    wrong = driver_of(qe(pseudo_dir=other_aluminium))
    with pytest.raises(DatasetError, match=r"pseudopotentials\.Al: Al\.pz-vbc"):
        refuse_foretold(wrong, version, name="almg")
    refuse_foretold(driver_of(qe()), version, name="almg")


def test_wrong_pseudopotential_is_found_in_the_outputs_too(
    qe, alloys, labelled, version, tmp_path, other_aluminium
):
    """Where the input could not tell: a node with another pseudo folder."""
    settings = qe(pseudo_dir=other_aluminium)
    wrong = run_all(alloys.select([1]), settings, tmp_path / "l")[0]
    with pytest.raises(DatasetError, match="another level of theory than the dataset"):
        refuse_labelled([wrong], version, name="almg")
    refuse_labelled(labelled, version, name="almg")


def test_other_cutoff_is_found_before_the_first_job(qe, version):
    with pytest.raises(DatasetError, match="cutoff"):
        refuse_foretold(driver_of(qe(system={"ecutwfc": 12})), version, name="almg")


def test_other_kpoints_are_found_after_the_first_job(qe, alloys, version, tmp_path):
    settings = qe(kmesh=(4, 4, 4), kshift=(1, 1, 1))
    refuse_foretold(driver_of(settings), version, name="almg")
    denser = run_all(alloys.select([1]), settings, tmp_path / "l")[0]
    with pytest.raises(DatasetError, match="kpoints"):
        refuse_labelled([denser], version, name="almg")
