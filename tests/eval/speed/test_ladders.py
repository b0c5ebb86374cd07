"""The order of processes, what ends a ladder, and what the samples become."""

import os
import time
from dataclasses import replace

import pytest

from dpbench.errors import EvaluationError
from dpbench.eval.speed import machine
from dpbench.eval.speed.configurations import Configuration
from dpbench.eval.speed.kept_probes import LONGEST_S, open_kept
from dpbench.eval.speed.measuring import expected_seconds, measure_ladders
from dpbench.eval.speed.processes import Probed
from dpbench.eval.speed.reporting import headline, samples_of
from dpbench.eval.speed.settings import LEVELS, SpeedSettings, reference_size
from dpbench.eval.speed.table import speed_table
from dpbench.store.workspace import Workspace

MD = LEVELS[2]


def configuration(label, *known):
    return Configuration(
        label=label, backend="dpbench", path="m.pth", type_map=known or ("Al",)
    )


class Machine:
    """Stands for processes: tells times, and gives out where it is told to."""

    def __init__(self, ends=None, *, costs=None):
        self.ends = ends or {}
        self.costs = costs or {}
        self.jobs = []

    def __call__(self, job):
        label = job.configuration.label
        self.jobs.append((job.natoms, label))
        status = self.ends.get((label, job.natoms), "ok")
        if status != "ok":
            return Probed(status=status, reason="as planted", peak_bytes=10**9)
        seconds = self.costs.get(label, 1e-5) * job.natoms
        level = {
            "seconds": [seconds * (1 + 0.01 * k) for k in range(job.windows)],
            "steps_per_window": 10,
            "warmup_steps": 12,
            "warmup_s": 0.1,
            "first_call_s": 3.0,
        }
        answer = {
            "status": "ok",
            "natoms": job.natoms,
            "replicas": [1, 1, 1],
            "opening_s": 2.0,
            "levels": dict.fromkeys(job.levels, level),
        }
        return Probed(status="ok", reason=None, peak_bytes=2**20, answer=answer)


SETTINGS = SpeedSettings(
    sizes=(64, 128, 256), families=("dense",), processes=3, windows=3
)


def test_configurations_take_turns_and_another_begins_each_round():
    """Interleaved in rounds across processes."""
    counter = Machine()
    pair = [configuration("a"), configuration("b")]
    measure_ladders(pair, SETTINGS, run=counter)
    assert [label for size, label in counter.jobs if size == 64] == list("abbaab")


@pytest.mark.parametrize("status", ["out_of_memory", "timeout", "crashed", "failed"])
def test_what_gives_out_is_a_row_and_ends_its_ladder_alone(status):
    """T5: the size that did not fit is a row; larger ones are not tried."""
    counter = Machine({("a", 128): status})
    found = measure_ladders(
        [configuration("a"), configuration("b")], SETTINGS, run=counter
    )
    (a,), (b,) = (one.ladders for one in found)
    assert [(r.natoms, r.status) for r in a.rungs] == [(64, "ok"), (128, status)]
    assert a.rungs[1].reason == "as planted"
    assert a.rungs[1].levels == {}
    assert a.max_natoms == 64
    assert [r.status for r in b.rungs] == ["ok"] * 3
    assert counter.jobs.count((128, "a")) == 1  # no second process of it


def test_a_family_that_a_model_does_not_know_is_null():
    settings = SpeedSettings(sizes=(64,), families=("water", "dense"))
    (found,) = measure_ladders([configuration("a")], settings, run=Machine())
    told = samples_of(found)["families"]
    assert told["water"] is None
    assert told["dense"]["max_natoms"] == 64


def test_raw_samples_are_kept_process_by_process():
    (found,) = measure_ladders([configuration("a")], SETTINGS, run=Machine())
    level = found.ladders[0].rungs[0].levels[MD]
    assert [len(windows) for windows in level.samples] == [3, 3, 3]
    assert level.median == pytest.approx(1e6 * 1e-5 * 1.01)
    assert level.interval_over == "processes"
    assert level.katom_step_per_s == pytest.approx(1e3 / level.median)


def test_nanoseconds_a_day_name_their_time_step():
    """T7: ns/day without its time step means nothing."""
    (found,) = measure_ladders([configuration("a")], SETTINGS, run=Machine())
    rung = samples_of(found)["families"]["dense"]["sizes"][0]
    told = rung["levels"][MD]
    assert told["ns_per_day_dt_1fs"] == pytest.approx(0.0864 * told["steps_per_s"])
    assert not [key for key in told if key == "ns_per_day"]
    assert rung["levels"][LEVELS[1]].keys().isdisjoint({"ns_per_day_dt_1fs"})


def test_the_headline_is_that_of_the_reference_size_or_null():
    """Never extrapolated: a model that gave out below it has no number there."""
    found = measure_ladders(
        [configuration("a"), configuration("b")],
        SETTINGS,
        run=Machine({("b", 256): "out_of_memory"}),
    )
    (a,), (b,) = (headline(one.ladders, SETTINGS.sizes) for one in found)
    assert a.name == "md_dense_us_per_atom_step"
    assert a.value == pytest.approx(10.1)
    assert b.value is None


def test_the_reference_size_follows_from_what_was_asked_alone():
    assert reference_size((64, 1024, 8192)) == 1024
    assert reference_size((8192, 16384)) == 8192


def test_the_table_has_ratios_to_the_first_and_says_why_a_row_is_empty():
    counter = Machine({("b", 256): "out_of_memory"}, costs={"b": 2e-5})
    found = measure_ladders(
        [configuration("a"), configuration("b")], SETTINGS, run=counter
    )
    text = speed_table(found, LEVELS)
    assert "2.00 (not tested)" in text  # three processes are too few for a test
    assert "out_of_memory: as planted" in text


def test_eight_processes_let_the_difference_be_tested():
    settings = SpeedSettings(sizes=(64,), families=("dense",), processes=8)
    counter = Machine(costs={"b": 2e-5})
    pair = [configuration("a"), configuration("b")]
    text = speed_table(measure_ladders(pair, settings, run=counter), LEVELS)
    assert "2.00 (slower)" in text


def test_the_cost_is_known_beforehand():
    one = expected_seconds([configuration("a")], SETTINGS)
    assert expected_seconds([configuration("a")] * 2, SETTINGS) == pytest.approx(
        2 * one
    )
    assert expected_seconds([configuration("a", "Ar")], SETTINGS) == 0


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"sizes": (128, 64)}, "from small to large"),
        ({"families": ("gas",)}, "family 'gas'"),
        ({"processes": 0}, "processes = 0"),
        ({"window_s": 0.0}, "window_s = 0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(choice, words):
    with pytest.raises(EvaluationError, match=words):
        SpeedSettings(**choice)


class Interrupted(Machine):
    """Ends with Ctrl-C after so many processes."""

    def __init__(self, most, *, ends=None):
        super().__init__(ends)
        self.most = most

    def __call__(self, job):
        if len(self.jobs) == self.most:
            raise KeyboardInterrupt
        return super().__call__(job)


@pytest.fixture
def kept(tmp_path):
    def open_again(settings=SETTINGS):
        workspace = Workspace.find(tmp_path / "w", create=True)
        pair = [configuration("a"), configuration("b")]
        return open_kept(workspace, pair, settings, machine={"hardware": "this"})

    return open_again


def test_an_interrupted_measurement_goes_on_where_it_was(kept, monkeypatch):
    # what else this machine does meanwhile is no fact of the two measurements
    monkeypatch.setattr(machine, "cores_of_others", lambda before, after: 0.0)
    pair = [configuration("a"), configuration("b")]
    ends = {("b", 256): "out_of_memory"}
    whole = measure_ladders(pair, SETTINGS, run=Machine(ends))
    with pytest.raises(KeyboardInterrupt):
        measure_ladders(pair, SETTINGS, run=Interrupted(8, ends=ends), kept=kept())
    assert kept().count() == 8
    rest = Machine(ends)
    found = measure_ladders(pair, SETTINGS, run=rest, kept=kept())
    assert len(rest.jobs) == 16 - 8
    assert [one.ladders[0].rungs[-1].status for one in found] == ["ok", "out_of_memory"]
    assert [samples_of(one)["families"] for one in found] == [
        samples_of(one)["families"] for one in whole
    ]
    kept().drop()
    assert kept().count() == 0


def test_other_settings_old_or_damaged_probes_and_crashes_are_measured_again(kept):
    pair = [configuration("a"), configuration("b")]
    counter = Machine({("a", 64): "crashed"})
    measure_ladders(pair, SETTINGS, run=counter, kept=kept())
    assert kept().count() == 9  # of b alone
    assert kept(replace(SETTINGS, seed=1)).count() == 0
    old, damaged, *_ = sorted(kept().folder.iterdir())
    os.utime(old, (time.time() - 2 * LONGEST_S,) * 2)
    damaged.write_text('{"probed": 1}', encoding="utf-8")
    again = Machine()
    measure_ladders(pair, SETTINGS, run=again, kept=kept())
    assert len(again.jobs) == 9 + 2
