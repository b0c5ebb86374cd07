"""The loop does not call converged what it has not explored."""

import pytest

from dpbench.explore.loop import run
from dpbench.explore.summary import explored_json, explored_lines
from dpbench.store.workspace import Workspace
from tests.explore.loop.small import plain_config, small_config

pytestmark = pytest.mark.slow

AGREE = {"force": [1e8, 1e9]}
"""Levels that no deviation reaches: every frame is accurate."""

ALLOY = {
    "name": "alloy",
    "kind": "prototype",
    "prototype": "fcc",
    "elements": ["Cu"],
    "lattice": 3.6,
    "substitute": {"elements": ["Cu", "Ni"], "fractions": [0.5]},
}


def loop(base, **changes):
    workspace = Workspace.find(base / "workspace", create=True)
    return run(workspace, small_config(base, select=AGREE, **changes), base=base)


def test_an_element_that_no_walk_came_to_see_keeps_it_from_being_converged(tmp_path):
    plain = plain_config(tmp_path)["explore"]
    [stage] = plain["stages"]
    told = loop(
        tmp_path,
        explore={
            "structures": [*plain["structures"], ALLOY],
            "stages": [{**stage, "structures": ["fcc", "alloy"]}],
        },
    )
    assert (told.stop.kind, told.stop.is_converged) == ("stuck", False)
    [head, *_] = lines = list(explored_lines(told))
    assert "ended after 1 iteration" in head
    assert "of 4 walks 2 failed, 2 gave no frame" in head
    assert "state a larger sel in the file of train.config" in head
    assert "  walks    4, 2 of them ended early, 2 failed" in lines


def test_frames_that_filters_dropped_are_not_accurate(tmp_path):
    hot = {"structures": ["fcc"], "temperatures": [300, 3e7], "steps": 20, "every": 5}
    told = loop(tmp_path, explore={"stages": [hot]})
    assert not told.stop.is_converged
    assert not explored_json(told)["is_converged"]
    assert "filters dropped" in told.stop.reason
