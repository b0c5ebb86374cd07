"""GFN-xTB labels in this process: forces and virials are derivatives of the energy."""

import sys

import numpy as np
import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.labels import tight_binding
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.explore.labels.tblite_options import TbliteOptions
from dpbench.explore.labels.tight_binding import Convergence, single_point
from dpbench.frames import Frames, uniform
from dpbench.io.discover import find_sources
from dpbench.io.readers import reader_of
from dpbench.store.theory.mixture import compatibility
from tests.explore.tight_binding import need_tblite

STEP = 1e-3  # Å
SLOPE = 5e-4  # eV/Å and eV: second order in the step, and the SCF's threshold
AS_TBLITE = Convergence(max_iterations=250, damping=0.4)
MOLECULE = np.array([[0, 0, 0], [0.0, 0.76, 0.59], [0, -0.76, 0.59]])


@pytest.fixture
def tblite(monkeypatch):
    need_tblite(monkeypatch)


@pytest.fixture
def waters() -> Frames:
    """Two molecules in a cell that is not orthogonal."""
    rng = np.random.default_rng(0)
    coord = np.concatenate([MOLECULE, MOLECULE + 3.0]) + rng.normal(0, 0.05, (6, 3))
    cell = np.eye(3) * 6 + np.array([[0, 0.2, 0], [0, 0, 0.1], [0, 0, 0]])
    return uniform(z=[8, 1, 1] * 2, coord=coord[None], box=cell[None])


def settings_of(**options) -> LabelSettings:
    table = {"driver": "tblite", "tblite": options}
    return from_mapping(LabelSettings, table, where="label")


def moved(frame: Frames, turned: np.ndarray, shift: np.ndarray | float = 0.0) -> Frames:
    coord = (frame.coord + shift) @ turned
    return uniform(z=frame.z, coord=coord[None], box=frame.box @ turned)


def energy(frame: Frames) -> float:
    found = single_point(frame, TbliteOptions(), AS_TBLITE)
    assert isinstance(found, Frames), found
    return float(found.energy[0])


@pytest.mark.external
def test_force_and_virial_are_slopes_of_the_energy(tblite, waters):
    found = single_point(waters, TbliteOptions(), AS_TBLITE)
    shift = np.zeros((6, 3))
    shift[4, 1] = STEP
    still = np.eye(3)
    rise = energy(moved(waters, still, shift)) - energy(moved(waters, still, -shift))
    assert found.force[4, 1] == pytest.approx(-rise / (2 * STEP), abs=SLOPE)
    for row, column in ((0, 1), (2, 2)):
        strain = np.zeros((3, 3))
        strain[row, column] += STEP / 2
        strain[column, row] += STEP / 2
        rise = energy(moved(waters, still + strain))
        rise -= energy(moved(waters, still - strain))
        slope = -rise / (2 * STEP)
        assert found.virial[0, row, column] == pytest.approx(slope, abs=SLOPE)


@pytest.mark.external
def test_label_is_read_as_it_was_computed(tblite, waters, tmp_path):
    settings = settings_of()
    (task,) = label_tasks(waters, settings, folder=tmp_path)
    done = label(task)
    assert (done.status, done.attempts) == ("done", 1)
    (source,) = find_sources("extxyz", done.outputs).sources
    found = reader_of(source.format).read(source).frames
    known = single_point(waters, TbliteOptions(), AS_TBLITE)
    assert found.energy[0] == known.energy[0]
    assert np.array_equal(found.force, known.force)
    assert np.allclose(found.virial, known.virial, rtol=1e-14)


@pytest.mark.external
def test_more_iterations_mend_charges_that_do_not_converge(tblite, waters, tmp_path):
    (task,) = label_tasks(waters, settings_of(max_iterations=3), folder=tmp_path)
    done = label(task)
    assert done.remedies[0] == "more_iterations"
    (task,) = label_tasks(
        moved(waters, np.eye(3), 0.1), settings_of(max_iterations=1), folder=tmp_path
    )
    lost = label(task)
    assert (lost.status, lost.trouble) == ("quarantined", "unconverged")
    assert lost.remedies == ("more_iterations", "smaller_damping")
    assert "not converged" in lost.reason


@pytest.mark.external
def test_atoms_on_each_other_cost_one_frame_and_no_remedy(tblite, tmp_path):
    frame = uniform(z=[8, 8], coord=np.zeros((1, 2, 3)))
    (task,) = label_tasks(frame, settings_of(), folder=tmp_path)
    done = label(task)
    assert (done.status, done.attempts) == ("quarantined", 1)
    assert "interatomic distances" in done.reason


@pytest.mark.external
def test_molecule_in_no_cell_has_no_virial(tblite):
    frame = uniform(z=[8, 1, 1], coord=MOLECULE[None])
    found = single_point(frame, TbliteOptions(), AS_TBLITE)
    assert np.isnan(found.virial).all()
    assert np.isnan(found.box).all()


@pytest.mark.external
def test_slab_is_refused_before_the_first_label(tblite, waters, tmp_path):
    waters.pbc[:] = [[True, True, False]]
    with pytest.raises(ConfigError, match=r"periodic along 2 of three.*vacuum"):
        label_tasks(waters, settings_of(), folder=tmp_path)


@pytest.mark.external
def test_methods_are_levels_of_theory_that_do_not_mix(tblite):
    one = driver_of(settings_of()).declared()
    other = driver_of(settings_of(method="GFN2-xTB")).declared()
    hot = driver_of(settings_of(electronic_temperature=5000.0)).declared()
    assert not compatibility(one, driver_of(settings_of(max_iterations=9)).declared())
    assert {d.key for d in compatibility(one, other)} == {"functional", "dispersion"}
    assert {d.key for d in compatibility(one, hot)} == {"smearing"}


def test_missing_tblite_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(ConfigError, match=r"pip install 'dpbench\[xtb\]'"):
        tight_binding.interface()


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"accuracy = 0; expected more than 0"):
        TbliteOptions(accuracy=0)
    with pytest.raises(ConfigError, match=r"unpaired = -1; expected 0 or more"):
        TbliteOptions(unpaired=-1)
