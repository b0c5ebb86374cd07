"""Reading the files of LAMMPS, DeePMD-kit and dpbench."""

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.explore.select.model_devi_file import read_model_devi
from dpbench.explore.select.table import concatenate_tables
from dpbench.metrics.model_deviation import COLUMNS, model_devi_lines, model_deviation

LAMMPS = """\
#       step         max_devi_v         min_devi_v         avg_devi_v         \
max_devi_f         min_devi_f         avg_devi_f
           0       1.0e-02 2.0e-03 5.0e-03 1.5e-01 1.0e-02 6.0e-02
          10       2.0e-02 2.0e-03 5.0e-03 2.5e-01 1.0e-02 6.0e-02
"""


def written(folder, text):
    path = folder / "model_devi.out"
    path.write_text(text)
    return path


def test_lammps_has_six_columns_behind_the_step(tmp_path):
    found = read_model_devi(written(tmp_path, LAMMPS), walk=3, structure="fcc")
    assert found.step.tolist() == [0, 10]
    assert found.max_devi_v.tolist() == [0.01, 0.02]
    assert found.max_devi_f.tolist() == [0.15, 0.25]
    assert np.isnan(found.devi_e).all()
    assert found.walk.tolist() == [3, 3]
    assert found.structure.tolist() == ["fcc", "fcc"]
    assert not found.has_atoms


def test_a_file_without_a_header_is_read_as_by_dp_gen(tmp_path):
    rows = "".join(LAMMPS.splitlines(keepends=True)[1:])
    assert read_model_devi(written(tmp_path, rows)).max_devi_f.tolist() == [0.15, 0.25]


def test_columns_stay_in_their_place_whatever_the_first_are_called(tmp_path):
    text = LAMMPS.replace("devi_v", "devi_e")  # as GROMACS writes
    found = read_model_devi(written(tmp_path, text))
    assert found.max_devi_f.tolist() == [0.15, 0.25]
    assert found.max_devi_v.tolist() == [0.01, 0.02]
    text = LAMMPS.replace("max_devi_v", "something")
    found = read_model_devi(written(tmp_path, text))
    assert found.max_devi_f.tolist() == [0.15, 0.25]
    assert np.isnan(found.max_devi_v).all()


def test_columns_behind_are_those_of_the_atoms(tmp_path):
    head, *rows = LAMMPS.splitlines()
    text = "\n".join([head + " atm_devi_f(N)", *(r + " 0.1 0.2 0.15" for r in rows)])
    found = read_model_devi(written(tmp_path, text))
    assert found.has_atoms
    assert found.atoms_of(1).tolist() == [0.1, 0.2, 0.15]


@pytest.mark.parametrize("atomic", [False, True])
def test_what_dpbench_writes_is_read_back(tmp_path, atomic):
    draw = np.random.default_rng(0)
    told = [
        model_deviation(
            draw.normal(size=(3, 5, 3)),
            virial=draw.normal(size=(3, 3, 3)),
            energy=draw.normal(size=3),
        )
        for _ in range(4)
    ]
    lines = model_devi_lines(range(4), told, header="water", atomic=atomic)
    found = read_model_devi(written(tmp_path, "\n".join(lines)))
    for name in COLUMNS:
        expected = [getattr(d, name) for d in told]
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-6)
    assert found.has_atoms == atomic
    if atomic:  # the energy is no atom
        np.testing.assert_allclose(found.atoms_of(2), told[2].atom_devi_f, rtol=1e-6)


def test_several_systems_stand_in_one_file(tmp_path):
    text = LAMMPS + "# other\n" + LAMMPS
    assert read_model_devi(written(tmp_path, text)).nframes == 4


def test_not_a_number_is_read(tmp_path):
    text = LAMMPS.replace("1.5e-01", "-nan").replace("2.5e-01", "inf")
    found = read_model_devi(written(tmp_path, text)).max_devi_f
    assert np.isnan(found[0])
    assert np.isinf(found[1])


def test_an_empty_file_has_no_frame(tmp_path):
    assert read_model_devi(written(tmp_path, LAMMPS.splitlines()[0])).nframes == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAMMPS[:-30], "line 3: has 4 columns; expected at least 7"),
        (LAMMPS.replace("2.5e-01", "2.5x-01"), "line 3: could not convert"),
        (LAMMPS.replace("max_devi_f", "temp"), "line 1: .* expected 'max_devi_f'"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, text, said):
    with pytest.raises(SourceError, match=said):
        read_model_devi(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        read_model_devi(tmp_path / "none.out")


def test_tables_are_put_behind_each_other(tmp_path):
    one = read_model_devi(written(tmp_path, LAMMPS), walk=0)
    both = concatenate_tables([one, one])
    assert both.step.tolist() == [0, 10, 0, 10]
    assert concatenate_tables([]).nframes == 0
