"""The word about the end, and what speaks against it."""

import re
from dataclasses import replace

from dpbench.explore.outcome import doubts, has_converged, losses_of, unfinished
from dpbench.explore.report import write_report
from dpbench.explore.report.collect import collect
from dpbench.explore.stage_results import StopReason, iteration_folder, write_result
from dpbench.explore.status import status
from tests.explore.report.books import (
    CONVERGED,
    config,
    explored,
    selected,
    trained,
    write_exploration,
)

STUCK = StopReason(
    kind="stuck", reason="nothing is left", ends="stage", is_converged=False
)
NICKEL = "atom 3 (Cu): has 10 Ni within 5 Å; the model's sel expects at most 4"


def without(walk, outcome="failed", reason=NICKEL):
    return replace(walk, nframes=0, dropped={}, outcome=outcome, reason=reason)


def whole():
    """Walks of which each gave what was planned."""
    result = explored()
    walks = [
        replace(one, nframes=100, dropped={}, outcome="done", reason="")
        for one in result.walks
    ]
    return replace(result, walks=tuple(walks))


def losing(*changes):
    """The same, but for the first walks."""
    result = whole()
    rest = result.walks[len(changes) :]
    return replace(result, walks=(*changes, *rest))


def test_nothing_is_missing_where_every_walk_gave_all():
    losses = losses_of(whole())
    assert (losses.planned, losses.given, losses.empty) == (1200, 1200, 0)
    assert losses.words == ""


def test_frames_that_failed_walks_and_filters_kept_back_are_counted():
    one, two, three, *_ = whole().walks
    losses = losses_of(
        losing(
            without(one),
            replace(two, nframes=40, outcome="exploded", reason="too hot"),
            replace(three, nframes=70, dropped={"min_distance": 30}),
        )
    )
    assert (losses.planned, losses.given, losses.empty) == (1200, 1010, 1)
    assert losses.ended == {"exploded": 1, "failed": 1}
    assert losses.words == (
        f"of 12 walks 1 exploded, 1 failed, 1 gave no frame ({NICKEL}); 160 of 1200 "
        "frames were never reached; filters dropped 30 of 1200 frames "
        "(min_distance 30)"
    )


def test_where_no_walk_came_to_its_end_none_counts_as_explored():
    walks = [
        replace(walk, nframes=9, outcome="exploded", reason="too hot")
        for walk in whole().walks
    ]
    assert losses_of(replace(whole(), walks=tuple(walks))).empty == 12


def write_last(root, number, **results):
    for stage, result in results.items():
        write_result(iteration_folder(root, number), stage, result)


def test_the_page_and_the_status_tell_what_was_not_explored(tmp_path):
    root = write_exploration(tmp_path, iterations=2)
    write_last(root, 1, explore=losing(without(whole().walks[0])))
    told = "\n".join(status(root).lines())
    assert "not explored: of 12 walks 1 failed, 1 gave no frame (atom 3 (Cu)" in told
    text = write_report(root).read_text(encoding="utf-8")
    box = re.search(r'<div id="state".*?</div>', text, re.DOTALL)[0]
    assert "Converged, with doubts" in box
    assert "has 10 Ni within" in box
    assert "doubted" in box


def test_a_stage_that_ended_otherwise_keeps_all_from_being_converged(tmp_path):
    root = write_exploration(tmp_path, iterations=2)
    stages = [
        replace(selected(0, scale=0.1, stop=STUCK), stage=0),
        replace(selected(1, scale=0.01, stop=CONVERGED), stage=1),
    ]
    for number, one in enumerate(stages):
        write_last(root, number, select=one)
    content = collect(root)
    assert content.state == "limit"
    assert unfinished(content.iterations) == (
        "stage 0 ended without having converged: nothing is left",
    )
    assert content.doubts[0].startswith("stage 0 ended")


def test_models_that_agree_and_are_wrong_are_told_of(tmp_path):
    root = write_exploration(tmp_path, iterations=2)
    write_last(root, 1, explore=whole())
    assert collect(root).doubts == ()
    write_last(root, 1, train=trained(1, error=0.887))
    iterations = collect(root).iterations
    assert has_converged(CONVERGED, iterations)
    [told] = doubts(CONVERGED, iterations, config())
    assert "wrong together" in told
    assert "17.8 times the lower trust level of 50 meV/Å" in told
    adaptive = config(select={"rule": "adaptive", "force": [0.05, 0.25]})
    assert doubts(CONVERGED, iterations, adaptive) == ()
