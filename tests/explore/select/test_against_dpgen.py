"""The same rows, the same answers as DP-GEN and dpgen2.

``dpgen_selection.json`` holds what their own functions said; ``record_dpgen.py`` asks
them again. The rows lie on all levels, and a millionth beside them.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from dpbench.explore.select.judging import judge
from dpbench.explore.select.model_devi_file import read_model_devi
from dpbench.explore.select.picking import budgets
from dpbench.explore.select.settings import SelectSettings
from dpbench.explore.select.stopping import Iterated, StopSettings, converged
from dpbench.explore.select.table import concatenate_tables

ANSWERS = json.loads((Path(__file__).parent / "dpgen_selection.json").read_text())
NEVER = 1e10  # DP-GEN's level of what is not looked at


def tables(tasks, folder):
    """Write the rows as files, and read them as the tables of one structure."""
    found = []
    for number, rows in enumerate(tasks):
        path = folder / f"model_devi.{number}.out"
        lines = [
            f"{row[0]:12d}" + "".join(f"{x:19.6e}" for x in row[1:]) for row in rows
        ]
        path.write_text("\n".join(["#", *lines]))
        found.append(read_model_devi(path, walk=number))
    return concatenate_tables(found)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tables(ANSWERS["tasks"], tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def atoms(tmp_path_factory):
    return tables(ANSWERS["atoms"], tmp_path_factory.mktemp("atoms"))


def letters(judged):
    """One letter a frame, or an atom, as the record has them."""
    verdicts = judged.verdict if judged.atoms is None else judged.atoms
    return "".join("-" if v == "skipped" else v[0] for v in verdicts.tolist())


def assert_same(judged, case):
    assert letters(judged) == case["verdicts"]
    assert judged.counts == case["counts"]


def named(cases):
    return [
        pytest.param(case, id=str(number)) for number, case in enumerate(ANSWERS[cases])
    ]


@pytest.mark.parametrize("case", named("standard"))
def test_fixed_levels_are_those_of_dp_gen(plain, case):
    settings = SelectSettings(
        force=tuple(case["force"]),
        virial=case["virial"] and tuple(case["virial"]),
        skip=case["skip"],
    )
    assert_same(judge(plain, settings), case)


@pytest.mark.parametrize("case", named("cluster"))
def test_atoms_are_judged_as_by_dp_gen(atoms, case):
    settings = SelectSettings(
        force=tuple(case["force"]),
        # With a cluster cutoff DP-GEN does not look at virials.
        virial=None if case["cluster"] else case["virial"] and tuple(case["virial"]),
        skip=case["skip"],
        cluster=case["cluster"],
    )
    assert_same(judge(atoms, settings), case)


@pytest.mark.parametrize("case", named("adaptive"))
def test_the_adaptive_rule_is_that_of_dp_gen(plain, case):
    virial = case["upper_virial"]
    settings = SelectSettings(
        rule="adaptive",
        force=(0.0, case["upper"]),
        virial=None if virial is None else (0.0, virial),
        adaptive_force=case["number"],
        adaptive_force_percent=case["percent"],
        adaptive_virial=case["number_virial"],
        adaptive_virial_percent=case["percent_virial"],
        skip=case["skip"],
    )
    judged = judge(plain, settings)
    assert_same(judged, case)
    levels = judged.levels[""]
    assert levels.force[0] == case["low"]
    if virial is not None:
        assert levels.virial[0] == case["low_virial"]


def test_relative_deviations_are_those_of_dp_gen(tmp_path):
    answers = ANSWERS["relative"]
    tasks = [task[: len(answers[0]["max_devi_f"])] for task in ANSWERS["tasks"]]
    # Three atoms a frame; their own deviations play no part.
    table = tables([[[*r, 0, 0, 0] for r in rows] for rows in tasks], tmp_path)
    force = np.concatenate([np.reshape(a["force"], (-1, 3)) for a in answers])
    found = table.relative_to_walks(force).max_devi_f
    expected = np.concatenate([a["max_devi_f"] for a in answers])
    # DP-GEN adds the forces in the order of a directory listing.
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("case", named("budgets"))
def test_as_many_tasks_are_made_as_by_dp_gen(tmp_path, case):
    table = tables([task[:10] for task in ANSWERS["tasks"]], tmp_path)
    more = {
        name: case[name] for name in ("thin_from", "thin_to") if case[name] is not None
    }
    settings = SelectSettings(
        force=tuple(case["force"]),
        most=10_000,
        most_of_structure=case["most"],
        least=case["least"],
        **more,
    )
    judged = judge(table, settings)
    candidates = table.structure[judged.verdict == "candidate"]
    caps, _ = budgets(judged, candidates, settings)
    assert min(caps.get("", 0), len(candidates)) == case["made"]


def stop_of(judged, history=(), **settings):
    now = Iterated(stage=0, counts=judged.counts, levels=judged.levels, chosen=1)
    return converged([*history, now], StopSettings(iterations=99, **settings))


@pytest.mark.parametrize("case", ANSWERS["dpgen2"]["fixed"])
def test_fixed_levels_and_their_convergence_are_those_of_dpgen2(plain, case):
    settings = SelectSettings(
        force=tuple(case["force"]),
        virial=case["virial"] and tuple(case["virial"]),
        first="failed",
    )
    judged = judge(plain, settings)
    assert letters(judged) == case["verdicts"]
    stop = stop_of(judged, accurate=case["conv_accuracy"])
    assert (stop is not None) == case["converged"]


@pytest.mark.parametrize("case", ANSWERS["dpgen2"]["adaptive"])
def test_adaptive_levels_converge_as_in_dpgen2(tmp_path, case):
    history = []
    for report in case["reports"]:
        tasks = [rows[: report["rows"]] for rows in ANSWERS["tasks"]]
        settings = SelectSettings(rule="adaptive", force=(0.0, 0.5), adaptive_force=6)
        judged = judge(tables(tasks, tmp_path), settings)
        assert letters(judged) == report["verdicts"]
        assert judged.levels[""].force[0] == report["level"]
        stop = stop_of(
            judged,
            history,
            accurate=None,
            level_change=case["conv_tolerance"],
            levels_checked=case["n_checked_steps"],
        )
        assert (stop is not None) == report["converged"]
        history.append(
            Iterated(stage=0, counts=judged.counts, levels=judged.levels, chosen=1)
        )
