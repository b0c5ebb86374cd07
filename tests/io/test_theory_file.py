from pathlib import Path

import numpy as np
import pytest

from dpbench.errors import ConfigError, SourceError
from dpbench.io.parsed import ParsedSource, Quarantine
from dpbench.io.theory_file import declared, read_theory_file
from tests.store.synthetic import random_frames

EXAMPLE = Path(__file__).parents[2] / "registry/theory/si8-lda.toml"

MINIMAL = 'code = "vasp"\nfunctional = "PBE"\n'


def write(tmp_path, text):
    path = tmp_path / "theory.toml"
    path.write_text(text)
    return path


def source(theory, code="unknown"):
    return ParsedSource(
        code=code,
        code_version=None,
        format="extxyz",
        frames=random_frames(0, [2]),
        step=np.zeros(1, dtype=np.int32),
        n_scf=np.full(1, -1, dtype=np.int16),
        quarantine=(Quarantine.NONE,),
        theory=theory,
        complete=True,
    )


def test_the_example_of_the_registry_is_read():
    theory = read_theory_file(EXAMPLE)
    assert theory["kpoints"] == {"mesh": [2, 2, 2], "shift": [1, 1, 1]}
    assert theory["pseudopotentials"]["Si"]["title"] == "Si.pz-vbc.UPF"
    assert theory["hubbard_u"] == {}


def test_short_forms_are_brought_to_those_of_readers(tmp_path):
    text = MINIMAL + "cutoff = 400\n[pseudopotentials]\nFe = 'PAW_PBE Fe'\n"
    text += "[kpoints]\nspacing = 0.2\n[hubbard_u]\nFe = {l = 2, u = 4.0, j = 0.0}\n"
    theory = read_theory_file(write(tmp_path, text))
    assert theory["cutoff"] == 400.0
    assert theory["pseudopotentials"] == {"Fe": {"title": "PAW_PBE Fe", "hash": None}}
    assert theory["kpoints"] == {"spacing": 0.2}
    assert theory["hubbard_u"] == {"Fe": {"l": 2, "u": 4.0, "j": 0.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "cut_off = 400", "did you mean 'cutoff'"),
        ('code = "vasp"', "missing key 'functional'"),
        (MINIMAL + "cutoff = '400 eV'", "cutoff: expected a number of eV"),
        (MINIMAL + "cutoff = nan", "cutoff: expected a number of eV"),
        (MINIMAL + "cutoff = true", "cutoff: expected a number of eV"),
        (MINIMAL + "smearing_width = -0.1", "smearing_width: expected a number"),
        (MINIMAL + "spin = 'up'", "spin: expected one of none, collinear"),
        (MINIMAL + "dispersion = 3", "dispersion: expected text"),
        (MINIMAL + "kpoints = [2, 2, 2]", "kpoints: expected a table"),
        (MINIMAL + "[kpoints]\nmesh = [2, 2]", "mesh: expected three whole numbers"),
        (MINIMAL + "[kpoints]\nmesh = [0, 2, 2]", "mesh: expected three whole numbers"),
        (MINIMAL + "[kpoints]\nmash = [2, 2, 2]", "did you mean 'mesh'"),
        (MINIMAL + "[kpoints]\nshift = [0, 0, 0]", "expected one of 'mesh'"),
        (MINIMAL + "[kpoints]\nspacing = 0", "spacing: expected a positive number"),
        (MINIMAL + "[pseudopotentials]\nXy = 'a'", "Xy: is no element"),
        (MINIMAL + "[pseudopotentials]\nFe = {file = 'a'}", "Fe: expected a title"),
        (MINIMAL + "[hubbard_u]\nFe = 'four'", "Fe: expected a number of eV"),
        (MINIMAL + "[hubbard_u]\nFe = {u = nan}", "Fe.u: expected text, a number"),
        (MINIMAL + "[details]\nday = 2026-01-01", "day: expected text, a number"),
        ("code = ", "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_theory_file(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_an_undeclared_source_takes_the_whole_file():
    theory = read_theory_file(EXAMPLE)
    found = declared(source({}), theory)
    assert found.theory == theory
    assert (found.code, found.code_version) == ("qe", "6.7MaX")
    assert declared(source({}), None).theory == {}


def test_what_a_source_tells_stands_and_the_rest_is_filled_in(tmp_path):
    theory = read_theory_file(write(tmp_path, MINIMAL + 'dispersion = "none"\n'))
    own = {"code": "vasp", "code_version": "6.3", "functional": None, "cutoff": 400.0}
    found = declared(source(own, code="vasp"), theory).theory
    assert found == {**own, "functional": "PBE", "dispersion": "none"}


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"code": "qe"}, "code = qe where --theory says vasp"),
        ({"functional": "PBEsol"}, "functional = PBEsol where --theory says PBE"),
        ({"cutoff": 520.0}, "cutoff = 520 where --theory says 400"),
        (
            {"pseudopotentials": {"Fe": {"title": "other", "hash": None}}},
            "pseudopotentials.Fe = other where --theory says PAW",
        ),
    ],
)
def test_a_contradiction_is_refused_with_both_values(tmp_path, own, words):
    text = MINIMAL + "cutoff = 400\n[pseudopotentials]\nFe = 'PAW'\n"
    theory = read_theory_file(write(tmp_path, text))
    with pytest.raises(SourceError, match=words):
        declared(source(own), theory, where="a.xyz")


def test_a_reader_that_invents_a_key_is_told_so():
    with pytest.raises(ValueError, match="unknown keys"):
        source({"cut_off": 400.0})
