"""Time steps and temperatures of molecular dynamics, as outputs print them."""

from pathlib import Path

import numpy as np

from dpbench.io.discover import find_sources
from dpbench.io.ingest import ingest
from dpbench.io.readers import reader_of
from dpbench.store.dataset import open_dataset
from tests.store.synthetic import new_workspace

DEMO = Path(__file__).resolve().parents[2] / "dpbench" / "_demo"


def parse(code, path):
    (files,) = find_sources(code, [path]).sources
    return reader_of(files.format).read(files)


def test_pw_gives_each_frame_the_temperature_printed_before_the_next_scf():
    source = parse("qe", DEMO / "si8_a540_900K.out.gz")
    assert source.time_step == 1.9351
    np.testing.assert_array_equal(
        source.temperature[:3], [900.0, 622.99067047, 377.17480529]
    )
    assert np.isfinite(source.temperature).all()
    assert 500 < source.temperature.mean() < 1100


def test_kinetic_energy_and_temperature_belong_to_the_same_frame():
    """Ekin + Etot is printed; with T it gives back the energy of the frame."""
    source = parse("qe", DEMO / "si8_a540_900K.out.gz")
    kelvin, rydberg = 8.617333262e-5, 13.605693122994
    kinetic = 1.5 * 7 * kelvin * source.temperature  # 8 atoms, centre of mass at rest
    total = source.frames.energy + kinetic
    printed = np.array([-63.24905094, -63.26936425, -63.28655540]) * rydberg
    np.testing.assert_allclose(total[:3], printed, atol=2e-5)


def test_a_single_point_has_neither(shared_data):
    source = parse("qe", shared_data / "generated/qe_fixtures/si8_scf.out")
    assert source.temperature is None
    assert source.time_step is None


def test_a_killed_run_does_not_know_the_temperature_of_its_last_frame(shared_data):
    source = parse("qe", shared_data / "generated/qe_fixtures/si8_md_killed.out")
    assert np.isfinite(source.temperature[:-1]).all()
    assert np.isnan(source.temperature[-1])


def test_cp2k_prints_none_for_the_start(shared_data):
    source = parse("cp2k", shared_data / "generated/water8_cp2k_pbe")
    assert source.time_step == 0.5
    assert np.isnan(source.temperature[0])
    np.testing.assert_array_equal(source.temperature[1:3], [327.883948, 312.124312])
    assert len(source.temperature) == 61


def test_a_version_knows_both(tmp_path):
    path = DEMO / "si8_a525_900K.out.gz"
    workspace = new_workspace(tmp_path)
    ingest(workspace, "qe", [path], dataset="d")
    version = open_dataset(workspace, "d")
    source = parse("qe", path)
    np.testing.assert_array_equal(version.temperature, source.temperature)
    assert version.sources[0].time_step == source.time_step
