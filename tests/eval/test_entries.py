"""Seeds of one training as one entry, and ranges of ranks."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.eval.error_series import in_order_of_time
from dpbench.eval.leaderboard.board import make_board
from dpbench.eval.leaderboard.entries import training_digest
from dpbench.eval.leaderboard.ranks import TIMED_BY, verdict
from dpbench.metrics.definitions import metric_value
from dpbench.metrics.frame_errors import FrameErrors
from dpbench.metrics.verdicts import rank_ranges
from tests.eval import synthetic_records

synthetic_record = cache(synthetic_records.synthetic_record)

FORCE = "force_rmse_component_mev_per_ang"
NFRAMES = 120


def with_errors(record, force, *, seed=0):
    """A record whose errors are there frame by frame, RMSE about ``force`` meV/Å."""
    shared = np.random.default_rng(99).gamma(8.0, 1 / 8, NFRAMES)
    own = np.random.default_rng(seed).gamma(200.0, 1 / 200, NFRAMES)
    square = (24 * (force / 1000) ** 2 * shared * own)[:, None]
    flat = np.full(NFRAMES, 1e-3)
    errors = FrameErrors(
        elements=("Si",),
        group=np.zeros(NFRAMES, np.int64),
        counts=np.full((NFRAMES, 1), 8),
        energy_error=flat,
        force_square=square,
        force_absolute=np.sqrt(square),
        force_norm=np.sqrt(square),
        reference_square=np.ones((NFRAMES, 1)),
        virial_square=flat,
        virial_absolute=flat,
        stress_square=flat,
        stress_absolute=flat,
    )
    index = np.arange(NFRAMES)
    in_time = in_order_of_time(errors, index // 40, index)
    series = in_time.series(np.tile(index.astype(np.uint8)[:, None], 32))
    accuracy = replace(record.accuracy, metrics=in_time.metrics(), errors=series)
    return replace(record, accuracy=accuracy)


def trained(name, seed, *, steps=5000, split="5" * 64, **others):
    """A record of a training that is known with its configuration."""
    record = synthetic_record(model=f"{name}-s{seed}", **others)
    config = {"model": {"seed": None}, "training": {"seed": seed, "steps": steps}}
    run = {"seed": seed, "config": config, "engine": "table", "precision": "float64"}
    described = replace(record.model, description="se_e2_a", digest=f"{name}{seed}")
    provenance = replace(
        record.provenance,
        run=run,
        training_split=replace(record.provenance.training_split, digest=split),
    )
    return replace(record, model=described, provenance=provenance)


def only_table(records):
    # Any name of its own does for a digest here, and costs less.
    named = {f"{i}-{record.model.name}": record for i, record in enumerate(records)}
    (table,) = make_board(named).tables
    return table


def three_seeds(name, force, spread, **others):
    return [
        with_errors(
            trained(name, seed, **others), force + spread * (seed - 1), seed=seed
        )
        for seed in range(3)
    ]


def test_seeds_of_one_training_are_one_entry():
    table = only_table(three_seeds("si", 50, 2))
    (entry,) = table.entries
    assert entry.seeds == (0, 1, 2)
    assert entry.name == "si"
    assert {row.entry for row in table.rows} == {entry.id}
    values = [row.metrics[FORCE].value for row in table.rows]
    assert entry.metrics[FORCE].value == pytest.approx(np.mean(values))
    single = table.rows[1].metrics[FORCE]
    crossed = entry.metrics[FORCE]
    assert crossed.ci_high - crossed.ci_low > single.ci_high - single.ci_low
    assert crossed.nblocks == single.nblocks


def test_what_is_trained_otherwise_is_another_entry():
    plain = trained("si", 0)
    others = [
        trained("si", 1, steps=9999),
        trained("si", 2, split="6" * 64),
        replace(
            trained("si", 3),
            model=replace(plain.model, kind="compressed", digest="c"),
        ),
        replace(trained("si", 4), precision="float32"),
        trained("si", 5, hardware="Another CPU"),
        trained("si", 6, marks=("validation frames",)),
    ]
    table = only_table([plain, *others])
    assert len(table.entries) == 7


def test_a_model_of_unknown_making_stands_for_itself():
    record = synthetic_record()
    assert training_digest(record) == record.model.digest
    nowhere = replace(
        trained("si", 0),
        provenance=replace(trained("si", 0).provenance, training_split=None),
    )
    assert training_digest(nowhere) == nowhere.model.digest


def test_the_same_seed_twice_is_never_two_seeds():
    again = replace(
        trained("si", 0, created_at="2026-05-01T00:00:00+00:00"),
        model=replace(trained("si", 0).model, digest="newer"),
    )
    table = only_table([trained("si", 0), trained("si", 1), again])
    assert sorted(entry.seeds for entry in table.entries) == [(0,), (0, 1)]
    assert len(table.rows) == 3


def test_a_seed_without_an_answer_is_not_averaged_away():
    """E4: a failed training costs the entry its number, it does not vanish."""
    good, other, lost = three_seeds("si", 50, 2)
    accuracy = replace(
        lost.accuracy,
        errors=None,
        metrics=tuple(
            metric_value(metric.name, None, n=metric.n)
            for metric in lost.accuracy.metrics
        ),
    )
    table = only_table([good, other, replace(lost, accuracy=accuracy)])
    (entry,) = table.entries
    assert entry.metrics[FORCE].value is None
    assert entry.rank is None
    assert len(table.rows) == 3


def test_trainings_that_scatter_share_ranks_and_steady_ones_do_not():
    """One seed of each would have told them apart."""
    steady = three_seeds("good", 50, 0.1, steps=1) + three_seeds("bad", 60, 0.1)
    ranges = {e.name: (e.rank, e.rank_last) for e in only_table(steady).entries}
    assert ranges == {"good": (1, 1), "bad": (2, 2)}
    wild = three_seeds("good", 50, 15, steps=1) + three_seeds("bad", 60, 15, steps=2)
    ranges = {e.name: (e.rank, e.rank_last) for e in only_table(wild).entries}
    assert ranges == {"good": (1, 2), "bad": (1, 2)}


def test_rows_of_one_model_count_once():
    """Three precisions of the best model push nobody to the fourth rank."""
    best = [
        replace(synthetic_record(model="best", force=10), precision=precision)
        for precision in ("float64", "float32", "bfloat16")
    ]
    table = only_table([*best, synthetic_record(model="next", force=90)])
    assert [(row.rank, row.rank_last) for row in table.rows] == [(1, 1)] * 3 + [(2, 2)]


def test_speeds_are_ranked_within_one_machine_only():
    """T6: the slow row of a slow machine is the first there is."""
    table = only_table(
        [
            synthetic_record(model="a", speed=10),
            synthetic_record(model="b", speed=30),
            synthetic_record(model="c", speed=900, hardware="Slow CPU"),
        ]
    )
    ranks = {entry.name: entry.speed_rank.first for entry in table.entries}
    assert ranks == {"a": 1, "b": 2, "c": 1}
    by_name = {entry.name: entry for entry in table.entries}
    found = verdict(by_name["a"], by_name["c"], TIMED_BY)
    assert found.outcome == "unknown"
    assert "hardware" in found.note


def test_entries_on_two_machines_never_share_a_mean():
    """T6."""
    table = only_table(
        [trained("si", 0), trained("si", 1, hardware="Another CPU", speed=400)]
    )
    assert [len(entry.rows) for entry in table.entries] == [1, 1]


FORCES = st.lists(st.integers(45, 60), min_size=3, max_size=5)


def some_models(forces):
    """Models with and without errors frame by frame, with one seed or three."""
    records = []
    for i, force in enumerate(forces):
        if i % 3 == 0:
            records.append(three_seeds(f"m{i}", force, 1, steps=i + 1))
        else:
            record = synthetic_record(model=f"m{i}", force=force, width=4)
            records.append(
                [with_errors(record, force, seed=i) if i % 3 == 1 else record]
            )
    return records


@settings(max_examples=10, deadline=None)
@given(forces=FORCES, data=st.data())
def test_removing_a_model_changes_no_verdict(forces, data):
    """L4: verdicts of all pairs, ranges and the order of the others stay."""
    models = some_models(forces)
    gone = data.draw(st.integers(0, len(models) - 1))
    rest = [model for i, model in enumerate(models) if i != gone]
    before = only_table(r for model in models for r in model).entries
    after = only_table(r for model in rest for r in model).entries
    left = {entry.id for entry in after}
    kept = [entry for entry in before if entry.id in left]
    assert [entry.id for entry in kept] == [entry.id for entry in after]
    for old, new in zip(kept, after, strict=True):
        assert new.rank in (old.rank, old.rank - 1)
        assert new.rank_last in (old.rank_last, old.rank_last - 1)
        assert new.metrics == old.metrics
        for other, same in zip(kept, after, strict=True):
            if other.id != old.id:
                assert verdict(old, other) == verdict(new, same)


@settings(max_examples=10, deadline=None)
@given(forces=FORCES)
def test_ranks_are_those_that_counting_every_pair_gives(forces):
    """The short cut by intervals is no other rule."""
    entries = only_table(r for model in some_models(forces) for r in model).entries
    table = [[None if a is b else verdict(a, b) for b in entries] for a in entries]
    counted = rank_ranges([entry.model for entry in entries], table)
    assert [(e.rank, e.rank_last) for e in entries] == [
        (r.first, r.last) for r in counted
    ]


def test_a_verdict_turned_around_is_its_opposite():
    a, b = only_table(
        with_errors(synthetic_record(model=name), force, seed=seed)
        for seed, (name, force) in enumerate((("a", 50), ("b", 53)))
    ).entries
    assert verdict(a, b).outcome == "better"
    assert verdict(b, a).outcome == "worse"
