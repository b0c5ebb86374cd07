"""Trust levels: DP-GEN's rules at and around their edges."""

import numpy as np
import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError, EvaluationError
from dpbench.explore.select.judging import judge
from dpbench.explore.select.settings import SelectSettings
from tests.explore.select.tables import table

LOW, HIGH = 0.1, 0.3
BELOW = np.nextafter(LOW, 0)
UNDER = np.nextafter(HIGH, 0)


def settings(**more) -> SelectSettings:
    return SelectSettings(**({"force": (LOW, HIGH)} | more))


def verdicts(*columns, **more):
    names = ("force", "virial", "energy")
    return judge(
        table(columns[0], **dict(zip(names[1:], columns[1:], strict=False))),
        settings(**more),
    ).verdict.tolist()


def test_a_frame_is_a_candidate_from_the_lower_level_up_to_below_the_upper():
    assert verdicts([BELOW, LOW, UNDER, HIGH, 0.0, np.inf]) == [
        "accurate",
        "candidate",
        "candidate",
        "failed",
        "accurate",
        "failed",
    ]


def test_a_candidate_by_virial_is_one_though_its_force_failed():
    assert verdicts([HIGH], [0.2], virial=(0.1, 0.3)) == ["candidate"]
    assert verdicts([0.2], [0.3], virial=(0.1, 0.3)) == ["candidate"]


def test_failures_may_be_looked_for_first():
    got = verdicts([HIGH, 0.2, 0.2], [0.2, 0.3, 0.0], virial=(0.1, 0.3), first="failed")
    assert got == ["failed", "failed", "candidate"]


def test_a_frame_is_accurate_only_where_every_quantity_is():
    got = verdicts([0.0, 0.0, 0.0], [0.0, 0.1, 0.3], virial=(0.1, 0.3))
    assert got == ["accurate", "candidate", "failed"]


def test_energies_count_where_they_have_levels():
    got = judge(table([0.0, 0.0], energy=[0.001, 0.02]), settings(energy=(0.01, 0.1)))
    assert got.verdict.tolist() == ["accurate", "candidate"]


def test_equal_levels_leave_no_candidate():
    assert verdicts([0.0, 0.1, 0.2], force=(0.1, 0.1)) == [
        "accurate",
        "failed",
        "failed",
    ]


def test_what_is_no_number_has_failed_and_is_told_apart():
    judged = judge(table([np.nan, 0.2]), settings())
    assert judged.verdict.tolist() == ["failed", "candidate"]
    assert judged.is_unknown.tolist() == [True, False]


def test_a_virial_that_nobody_gives_is_not_looked_at_unless_it_has_levels():
    assert verdicts([0.2], [np.nan]) == ["candidate"]
    with pytest.raises(EvaluationError, match="no frame has a deviation of the virial"):
        verdicts([0.2], [np.nan], virial=(0.1, 0.3))


def test_early_steps_are_no_part_of_any_count():
    judged = judge(table([0.0, 0.2, 0.2], step=[0, 5, 10]), settings(skip=6))
    assert judged.verdict.tolist() == ["skipped", "skipped", "candidate"]
    assert judged.counts == {"accurate": 0, "candidate": 1, "failed": 0}


def test_a_structure_may_have_levels_of_its_own():
    chosen = from_mapping(
        SelectSettings,
        {"force": [0.1, 0.3], "structures": {"slab": {"force": [0.2, 0.5]}}},
        where="explore.toml: select",
    )
    judged = judge(
        table([0.15, 0.4, 0.15, 0.4], structure=["fcc", "fcc", "slab", "slab"]), chosen
    )
    assert judged.verdict.tolist() == ["candidate", "failed", "accurate", "candidate"]
    assert judged.levels["slab"].force == (0.2, 0.5)
    assert judged.of_structure("fcc") == {"accurate": 0, "candidate": 1, "failed": 1}


def test_the_adaptive_rule_takes_the_largest_that_are_not_above_the_upper_level():
    judged = judge(
        table([0.05, 0.30, 0.31, 0.01, 0.2]),
        settings(rule="adaptive", adaptive_force=2),
    )
    # On the upper level it is not above it: DP-GEN compares with > here.
    assert judged.verdict.tolist() == [
        "accurate",
        "candidate",
        "failed",
        "accurate",
        "candidate",
    ]
    assert judged.levels[""].force == (0.2, HIGH)


def test_the_adaptive_share_is_rounded_down_as_by_dp_gen():
    force = np.arange(100) / 1000
    judged = judge(
        table(force),
        settings(rule="adaptive", adaptive_force=3, adaptive_force_percent=29.0),
    )
    assert int(29.0 * 0.01 * 100) == 28
    assert judged.counts["candidate"] == 28


def test_without_any_adaptive_candidate_the_level_is_the_upper_one():
    judged = judge(table([0.1, 0.2]), settings(rule="adaptive", adaptive_force=0))
    assert judged.counts == {"accurate": 2, "candidate": 0, "failed": 0}
    assert judged.levels[""].force == (HIGH, HIGH)


def test_adaptive_ties_are_broken_by_walk_then_step():
    got = judge(
        table([0.2] * 4, step=[7, 9, 8, 3], walk=np.array([0, 0, 1, 1])),
        settings(rule="adaptive", adaptive_force=1),
    )
    assert got.verdict.tolist().index("candidate") == 2


def test_the_adaptive_rule_adds_the_largest_virials():
    judged = judge(
        table([0.2, 0.1, 0.0], virial=[0.0, 0.1, 0.9]),
        settings(
            rule="adaptive", virial=(0.0, 1.0), adaptive_force=1, adaptive_virial=1
        ),
    )
    assert judged.verdict.tolist() == ["candidate", "accurate", "candidate"]
    assert judged.levels[""].virial == (0.9, 1.0)


def test_atoms_are_judged_one_by_one():
    judged = judge(
        table([0.2, 0.4], atoms=[[0.05, 0.2], [0.4, 0.1]]), settings(cluster=3.0)
    )
    assert judged.atoms is not None
    assert judged.atoms.tolist() == ["accurate", "candidate", "failed", "candidate"]
    assert judged.verdict.tolist() == ["candidate", "candidate"]
    assert judged.counts == {"accurate": 1, "candidate": 2, "failed": 1}


def test_atoms_cannot_be_judged_where_the_file_tells_none():
    with pytest.raises(EvaluationError, match="nothing of single atoms"):
        judge(table([0.2]), settings(cluster=3.0))


def test_forces_are_divided_by_those_of_their_walk():
    told = table([2.0, 2.0, 3.0], walk=np.array([0, 0, 1]), atoms=[[2.0], [2.0], [3.0]])
    force = np.array([[3.0, 0, 0], [0, 4.0, 0], [0, 0, 2.0]])
    relative = told.relative_to_walks(force)
    np.testing.assert_allclose(
        relative.max_devi_f, [2 / np.sqrt(12.5), 2 / np.sqrt(12.5), 1.5], rtol=1e-15
    )
    assert relative.atom_devi_f.tolist() == [2.0, 2.0, 3.0]


def test_a_refused_frame_is_no_part_of_the_mean_force_of_its_walk():
    told = table([2.0, np.nan, 3.0], walk=np.array([0, 0, 1]), atoms=[[2.0]] * 3)
    force = np.array([[3.0, 0, 4.0], [np.nan] * 3, [np.nan] * 3])
    assert told.relative_to_walks(force).max_devi_f[0] == 2 / 5


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"force": [0.3, 0.1]}, "0 <= lower <= upper"),
        ({"virial": [float("nan"), 1.0]}, "0 <= lower <= upper"),
        ({"force": [0.05, float("inf")]}, "0 <= lower <= upper"),
        ({"rule": "adaptive", "adaptive_virial": 4}, "the virial is not looked at"),
        ({"most": -1}, "expected 0 or more"),
        ({"thin_from": 0.9, "thin_to": 0.8}, "thin_from <= thin_to"),
        ({"twin_tolerance": 1.0}, "frames of molecular dynamics are alike"),
        ({"adaptive_force_percent": 101.0}, "expected 0 to 100"),
        ({"relative": 0.0}, "expected a positive number"),
        ({"relative": 1.0, "relative_to_walk": True}, "expected one of them"),
        ({"rule": "adaptive", "energy": [0.0, 1.0]}, "forces and virials alone"),
        ({"cluster": 3.0, "virial": [0.0, 1.0]}, "'virial' does not go with it"),
        ({"cluster_hard": 3.0}, "needs 'cluster', too"),
        ({"cluster": 5.0, "cluster_hard": 3.0}, "at least cluster = 5.0"),
        ({"pick": "best"}, "expected one of"),
        ({"mots": 3}, "did you mean 'most'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(keys, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(SelectSettings, keys, where="explore.toml: select")
