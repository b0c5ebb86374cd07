"""When a stage has converged, and when to stop."""

import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.config import config_from
from dpbench.explore.select.settings import TrustLevels
from dpbench.explore.select.stopping import Iterated, StopSettings, converged


def iterated(accurate=0, candidate=10, failed=0, *, low=0.1, chosen=5, **more):
    return Iterated(
        stage=more.pop("stage", 0),
        counts={"accurate": accurate, "candidate": candidate, "failed": failed},
        levels={"fcc": TrustLevels(force=(low, 1.0))},
        chosen=chosen,
        **more,
    )


def stop(history, **settings):
    return converged(history, StopSettings(**settings))


def test_nothing_done_is_no_end():
    assert stop([]) is None


def test_an_accurate_share_ends_the_stage():
    assert stop([iterated(94, 6)], accurate=0.95) is None
    found = stop([iterated(95, 5)], accurate=0.95)
    assert (found.kind, found.ends, found.is_converged) == ("accurate", "stage", True)
    assert "95.0%" in found.reason


def test_the_share_may_be_no_criterion():
    assert stop([iterated(99, 1)], accurate=False) is None
    assert stop([iterated(99, 1)], accurate=0.0).kind == "accurate"


def test_the_adaptive_rule_does_not_converge_by_the_share_that_it_decides():
    assert exploration(select={"rule": "adaptive"}).stop.accurate is False
    told = exploration(select={"rule": "adaptive"}, stop={"iterations": 3}).stop
    assert (told.iterations, told.accurate) == (3, False)
    both = exploration(select={"rule": "adaptive"}, stop={"accurate": 0.99})
    assert both.stop.accurate == 0.99
    assert exploration(stop={"accurate": False}).stop.accurate is False
    assert exploration().stop.accurate == 0.95


def test_frames_that_were_planned_and_not_given_are_not_accurate():
    whole = {"planned": 100, "given": 100}
    assert stop([iterated(95, 5, **whole)]).kind == "accurate"
    assert stop([iterated(95, 5, planned=101, given=100)]) is None
    assert stop([iterated(1, 0, planned=40, given=1, chosen=1)]) is None
    # Where all that came is accurate, the stage ends all the same: nothing is to do.
    told = stop([iterated(1, 0, planned=40, given=1, chosen=0, lost="39 are missing")])
    assert (told.kind, told.is_converged) == ("stuck", False)
    assert "39 are missing" in told.reason
    assert "raise the upper" not in told.reason


def test_a_walk_without_a_frame_keeps_a_stage_from_being_converged():
    lost = {"planned": 100, "given": 99, "empty": 1}
    assert stop([iterated(99, 0, **lost)]) is None
    history = [iterated(low=0.5, **lost), iterated(low=0.5)]
    assert stop(history, accurate=None, level_change=0.05) is None
    assert stop(history[1:] * 2, accurate=None, level_change=0.05).kind == "levels"


def test_a_job_of_dp_gen_that_leaves_no_candidate_has_converged():
    found = stop([iterated(100, 0, chosen=0)], accurate=False, stage_iterations=1)
    assert (found.kind, found.ends) == ("accurate", "stage")


def test_it_may_have_to_be_accurate_several_times_in_one_stage():
    good, bad = iterated(99, 1), iterated(50, 50)
    assert stop([good], times=2) is None
    assert stop([good, bad, good], times=2) is None
    assert stop([good, iterated(99, 1, stage=1)], times=2) is None
    assert stop([bad, good, good], times=2).kind == "accurate"


def test_levels_that_no_longer_change_end_the_stage():
    lows = [0.5, 0.3, 0.28]
    history = [iterated(low=low) for low in lows]
    assert stop(history[:2], accurate=None, level_change=0.05) is None
    assert stop(history, accurate=None, level_change=0.05).kind == "levels"
    assert stop(history, accurate=None, level_change=0.05, levels_checked=3) is None
    # dpgen2 compares with <: a change of just as much goes on.
    same = [iterated(low=0.5), iterated(low=0.25)]
    assert stop(same, accurate=None, level_change=0.25) is None


def test_a_small_validation_error_ends_all():
    now = iterated(force_error=0.04, energy_error=0.01)
    assert stop([now], force_error=0.03) is None
    assert stop([now], force_error=0.04).ends == "all"
    assert stop([now], force_error=0.04, energy_error=0.005) is None
    assert stop([iterated()], force_error=0.04) is None


def test_an_error_that_no_longer_falls_ends_all():
    history = [iterated(force_error=e) for e in (0.2, 0.1, 0.099, 0.098)]
    assert stop(history[:3], least_gain=0.05) is None
    found = stop(history, least_gain=0.05)
    assert (found.kind, found.ends, found.is_converged) == ("flat", "all", False)


def test_no_candidate_ends_a_stage_that_is_not_accurate_and_says_what_to_do():
    found = stop([iterated(2, 0, 8, chosen=0)])
    assert (found.kind, found.ends, found.is_converged) == ("stuck", "stage", False)
    assert "raise the upper trust level" in found.reason
    assert "8 failed" in found.reason


def test_candidates_that_are_all_known_end_the_stage():
    assert "none is new" in stop([iterated(2, 8, 0, chosen=0)]).reason


def test_the_number_of_iterations_is_limited():
    history = [iterated(stage=0), iterated(stage=0), iterated(stage=1)]
    assert stop(history, iterations=3).ends == "all"
    assert stop(history, iterations=4) is None
    assert stop(history[:2], stage_iterations=2).ends == "stage"
    assert stop(history, stage_iterations=2) is None


def test_convergence_is_told_before_the_last_iteration():
    assert stop([iterated(100, 0, chosen=0)], iterations=1).kind == "accurate"


@pytest.mark.parametrize(
    "keys",
    [
        {"iterations": 0},
        {"accurate": 1.5},
        {"accurate": True},
        {"levels_checked": 1},
        {"force_error": 0.0},
        {"level_change": -1.0},
        {"least_gain": 2.0},
    ],
)
def test_criteria_that_cannot_be_meant_are_refused(keys):
    with pytest.raises(ConfigError, match="expected"):
        from_mapping(StopSettings, keys, where="explore.toml: stop")


def exploration(**more):
    """The least configuration of an exploration."""
    fcc = {"name": "fcc", "kind": "prototype", "elements": ["Al"]}
    plain = {
        "dataset": "al",
        "start": {"structures": ["fcc"]},
        "explore": {
            "structures": [fcc],
            "stages": [{"structures": ["fcc"], "temperatures": [300]}],
        },
        "label": {"driver": "tblite"},
    }
    return config_from(plain | more, where="explore.toml")


@pytest.mark.parametrize("name", ["force_error", "energy_error", "least_gain"])
def test_errors_on_validation_frames_need_some(name):
    with pytest.raises(ConfigError, match=f"{name}: is measured on validation frames"):
        exploration(stop={name: 0.01}, train={"validation": 0.0})
    assert exploration(stop={name: 0.01}).stop.watches_errors == (name,)


def test_levels_of_a_structure_that_nothing_explores_are_refused():
    levels = {"structures": {"slab": {"force": [0.1, 0.5]}}}
    with pytest.raises(ConfigError, match="slab"):
        exploration(select=levels)
