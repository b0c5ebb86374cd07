"""The matrix of consistency holds: each cell agrees, or is refused as it says."""

import copy
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends.consistency import (
    BACKENDS,
    WRONG_THERE,
    Answers,
    Survey,
    judge,
    matrix_file,
    native_answers,
    outcome,
    read_matrix,
    refusal,
    survey,
    worker_of,
    write_matrix,
    wrong_there,
)
from dpbench.backends.consistency_cases import FEW, cases, structures
from dpbench.backends.consistency_page import consistency_page

CASES = {case.name: case for case in cases()}
STRUCTURES = structures()

SURVEYED = (
    "se_e2_a, float64",
    "se_e2_a two-sided, float64",
    "se_e2_r, float64",
    "DPA-1 strip smooth, float64",
    "DPA-1 strip, float64",
    "se_e2_a, float32",
)
"""Models that CI compares again; ``tools/consistency.py`` compares all."""

MATRIX = read_matrix(matrix_file())


def answers(energy=-7.0, force=0.5, virial=2.0) -> Answers:
    return Answers(
        energy=np.array([energy]),
        force=np.full((1, 2, 3), force),
        virial=np.full((1, 3, 3), virial),
    )


@pytest.mark.parametrize(
    ("change", "precision", "word"),
    [
        ({}, "float64", "agrees"),
        ({"energy": -7.0 + 1.06e-10}, "float64", "agrees"),
        ({"energy": -7.0 + 1.09e-10}, "float64", "differs"),
        ({"force": 0.5 + 1.1e-10}, "float64", "differs"),
        ({"virial": 2.0 + 2.9e-10}, "float64", "agrees"),
        ({"virial": 2.0 + 3.1e-10}, "float64", "differs"),
        ({"force": np.nan}, "float64", "differs"),
        ({"energy": -7.0 + 6e-5}, "float32", "agrees"),
        ({"energy": -7.0 + 8e-5}, "float32", "differs"),
        ({"force": 0.5 + 2e-5}, "float32", "differs"),
    ],
)
def test_answers_agree_within_the_tolerances_alone(change, precision, word):
    cell = judge(answers(), answers(**change), precision=precision)
    assert outcome(cell) == word


def test_answers_of_another_shape_differ():
    cell = judge(
        answers(),
        native_answers(CASES[SURVEYED[0]].model, STRUCTURES[FEW[0]]),
        precision="float64",
    )
    assert outcome(cell) == "differs"


def test_a_refusal_is_the_same_in_every_run():
    first = refusal("ValueError: /tmp/deepmd-x1/model.pb: no <object at 0x7f12>\n")
    second = refusal("ValueError: /var/deepmd-y2/model.pb: no <object at 0x99ab>")
    assert (
        first == second == ("refused by 3.2.0: ValueError: model.pb: no <object at 0x>")
    )


@pytest.mark.parametrize("suffix", MATRIX["cells"])
def test_every_kept_cell_agrees_or_is_refused_or_is_known_to_be_wrong_there(suffix):
    for model, cells in MATRIX["cells"][suffix].items():
        for name, cell in cells.items():
            assert model in CASES, model
            assert name in STRUCTURES, name
            word = outcome(cell).split()[0]
            is_known = wrong_there(model, suffix) is not None
            assert word in ("agrees", "refused") or is_known, (model, name, cell)


def test_what_is_called_wrong_does_differ():
    for model, suffix in WRONG_THERE:
        cells = MATRIX["cells"][suffix][model]
        assert "differs" in {outcome(cell) for cell in cells.values()}, (model, suffix)


@pytest.mark.parametrize("suffix", [".pb", ".pth", ".hlo", "lammps.pb"])
def test_the_matrix_has_the_models_and_structures_that_are_promised(suffix):
    for model in SURVEYED:
        assert set(FEW) <= set(MATRIX["cells"][suffix][model])


def test_a_survey_replaces_its_own_cells_alone(tmp_path):
    path = tmp_path / "matrix.json"
    first = Survey(
        cells={"m": {"a": "agrees: 1", "b": "agrees: 2"}}, versions={}, seconds={}
    )
    write_matrix(path, {".pb": first, ".pth": copy.deepcopy(first)})
    again = Survey(cells={"m": {"b": "refused by"}}, versions={}, seconds={})
    write_matrix(path, {".pth": again})
    cells = read_matrix(path)["cells"]
    assert cells[".pb"]["m"] == {"a": "agrees: 1", "b": "agrees: 2"}
    assert cells[".pth"]["m"] == {"a": "agrees: 1", "b": "refused by"}


def test_the_page_tells_of_agreement_refusal_and_fault():
    figures = "1.0e-16 eV, 2.0e-16 eV/Å, 3.0e-16 eV"
    cells = {
        ".pb": {
            "m": {"a": f"agrees: {figures}", "b": f"agrees: {figures}"},
            "n": {"a": "refused by 3.2.0: no", "b": "refused by 3.2.0: no"},
            "o": {"a": f"agrees: {figures}", "b": f"differs: {figures}"},
        },
        ".pth": {"m": {"a": f"agrees: {figures}"}},
    }
    page = consistency_page(
        {"cells": cells, "versions": {".pb": {"tf": "2"}, ".pth": {}}}
    )
    assert "| m | agrees<br>1e-16, 2e-16, 3e-16 | agrees<br>" in page
    assert "| n | refused [1] | not tried |" in page
    assert "| o | agrees on 1 of 2, differs [2] | not tried |" in page
    assert "1. refused by 3.2.0: no\n" in page


@pytest.mark.deepmd
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pb", ".pth", ".hlo", "lammps.pb"])
def test_backends_say_what_the_matrix_says(deepmd_python, suffix, figures):
    """TensorFlow, PyTorch, LAMMPS; and JAX, which compiles every structure anew."""
    assert suffix in BACKENDS
    chosen = dict.fromkeys(FEW[:3] if suffix == ".hlo" else STRUCTURES)
    asked = {name: STRUCTURES[name] for name in chosen}
    ask = worker_of(Path(deepmd_python), timeout_s=600.0)
    found = survey(suffix, [CASES[name] for name in SURVEYED], asked, ask)
    kept = MATRIX["cells"][suffix]
    for model in SURVEYED:
        for name in asked:
            expected, cell = kept[model][name], found.cells[model][name]
            assert outcome(cell) == outcome(expected), (model, name, cell)
    cells = sum(len(column) for column in found.cells.values())
    figures(f"{suffix}: {cells} cells as in the matrix")
