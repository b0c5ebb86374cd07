"""What stands on a terminal, and in a log, while an exploration runs."""

import io

import pytest
from rich.console import Console

from dpbench.explore.announce import Announcement, silent
from dpbench.explore.progress import (
    OVER,
    Bar,
    Lines,
    Pace,
    display_for,
    duration,
    everyone,
)


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


def labelling(done, *, total=24, **more):
    return Announcement(iteration=2, stage="label", done=done, total=total, **more)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (7500, "2 h 05 min")],
)
def test_durations_are_written_in_two_units_at_most(seconds, words):
    assert duration(seconds) == words


def test_time_left_is_not_told_by_tasks_that_were_done_before():
    clock = Clock()
    pace = Pace(clock)
    assert pace.follow(labelling(0, total=110))
    for done in range(1, 101):  # read from disk, a hundred in half a second
        clock.now += 0.005
        assert not pace.follow(labelling(done, total=110))
    assert pace.seconds_left(labelling(100, total=110)) is None
    for done in (101, 102):
        clock.now += 60
        pace.follow(labelling(done, total=110))
    left = pace.seconds_left(labelling(102, total=110))
    assert left == pytest.approx(8 * 60, rel=0.01)


def test_time_left_of_plain_tasks_is_their_mean_times_the_rest():
    clock = Clock()
    pace = Pace(clock)
    pace.follow(labelling(0))
    assert pace.seconds_left(labelling(0)) is None
    for done in range(1, 13):
        clock.now += 2
        pace.follow(labelling(done))
    assert pace.seconds_left(labelling(12)) == pytest.approx(24)


def test_lines_tell_begin_and_end_and_now_and_then():
    clock, stream = Clock(), io.StringIO()
    lines = Lines(stream, every=15, clock=clock)
    lines(labelling(0))
    for done in range(1, 24):
        clock.now += 2
        lines(labelling(done))
    clock.now += 2
    lines(labelling(24, text="1 quarantined", is_over=True))
    told = stream.getvalue().splitlines()
    assert told[0] == "iteration 2 labelling  0/24"
    assert told[-1] == "iteration 2 labelling  24/24  1 quarantined  done in 48 s"
    assert told[1] == "iteration 2 labelling  8/24  32 s left"
    assert len(told) == 4


def test_the_start_has_no_number_and_the_end_no_count():
    stream = io.StringIO()
    lines = Lines(stream)
    lines(Announcement(iteration=None, stage="label", total=20))
    lines(Announcement(iteration=3, stage=OVER, text="all is well", is_over=True))
    assert stream.getvalue().splitlines() == [
        "start labelling  0/20",
        "exploration over  all is well",
    ]


def test_a_bar_leaves_a_line_of_every_stage_that_ended():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    bar = Bar(console)
    bar(labelling(0))
    bar(labelling(12, text="[red] is no markup"))
    bar(labelling(24, text="[red] is no markup", is_over=True))
    bar(Announcement(iteration=2, stage="ingest"))
    bar.close()
    text = stream.getvalue()
    assert "iteration 2 labelling  24/24  [red] is no markup" in text


def test_quiet_draws_nothing_and_a_pipe_gets_lines(capsys):
    with display_for(quiet=True) as announce:
        announce(labelling(0))
    assert announce is silent
    with display_for(quiet=False) as announce:
        announce(labelling(0))
    assert capsys.readouterr() == ("", "iteration 2 labelling  0/24\n")


def test_everyone_is_told_in_order():
    told = []
    announce = everyone(
        lambda one: told.append(("a", one.done)), lambda one: told.append(("b", 0))
    )
    announce(labelling(3))
    assert told == [("a", 3), ("b", 0)]
