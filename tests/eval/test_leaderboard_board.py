from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.eval.leaderboard.board import NO_ACCURACY, make_board
from tests.eval.synthetic_records import exploded, synthetic_record, with_digests


def table_of(*records):
    (table,) = make_board(with_digests(list(records))).tables
    return table


def names(table):
    return [(row.rank, row.record.model.name) for row in table.rows]


def test_models_are_ranked_by_force_error_and_overlaps_share_a_rank():
    table = table_of(
        synthetic_record(model="worst", force=90),
        synthetic_record(model="best", force=40, width=3),
        synthetic_record(model="as-good", force=44, width=3),
    )
    assert names(table) == [(1, "best"), (1, "as-good"), (3, "worst")]


def test_a_marked_row_takes_no_rank_and_stands_below():
    table = table_of(
        synthetic_record(model="honest", force=60),
        synthetic_record(model="peeked", force=5, marks=("validation frames",)),
    )
    assert names(table) == [(1, "honest"), (None, "peeked")]


def test_an_exploded_run_lists_the_model_all_the_same():
    table = table_of(exploded(synthetic_record(model="wild")))
    (row,) = table.rows
    assert row.metrics["nve_drift_mev_per_atom_ps"].value is None
    assert row.stability.status == "exploded"


def test_every_table_has_the_baseline_once():
    table = table_of(*(synthetic_record(model=m, seed=i) for i, m in enumerate("abc")))
    assert len(table.baselines) == 1
    assert table.baselines[0].baseline.fitted_on == "si8-v1:train"


def test_parts_splits_and_datasets_never_share_a_table():
    base = synthetic_record()
    other_split = replace(base, split=replace(base.split, digest="6" * 64))
    board = make_board(
        with_digests(
            [
                base,
                synthetic_record(part="ood"),
                synthetic_record(part="validation", marks=("validation frames",)),
                synthetic_record(dataset="water"),
                other_split,
            ]
        )
    )
    assert len(board.tables) == 5
    si8 = [table.part for table in board.tables if table.dataset == "si8-v1"]
    assert si8 == ["test", "test", "ood", "validation"]


def test_precision_and_hardware_are_rows_of_their_own():
    table = table_of(
        synthetic_record(),
        synthetic_record(precision="float32"),
        synthetic_record(hardware="Another CPU, 8 threads"),
    )
    assert len(table.rows) == 3
    assert {row.rank for row in table.rows} == {1}


def test_a_row_joins_the_newest_record_of_each_task():
    old = synthetic_record(force=99, speed=10, created_at="2026-01-01T00:00:00+00:00")
    accuracy = replace(
        synthetic_record(force=50, created_at="2026-02-01T00:00:00+00:00"),
        throughput=None,
        stability=None,
    )
    speed = replace(
        synthetic_record(speed=30, created_at="2026-03-01T00:00:00+00:00"),
        accuracy=None,
        stability=None,
    )
    (row,) = table_of(old, accuracy, speed).rows
    assert row.metrics["force_rmse_component_mev_per_ang"].value == 50
    assert row.metrics["md_us_per_atom_step"].value == pytest.approx(30, rel=0.1)
    assert row.stability == old.stability
    assert len(set(row.digests.values())) == 3


def test_a_row_without_accuracy_takes_no_rank():
    (row,) = table_of(replace(synthetic_record(), accuracy=None)).rows
    assert row.rank is None
    assert NO_ACCURACY in row.marks


def test_a_suite_keeps_only_its_records():
    records = [synthetic_record(), replace(synthetic_record(), suite="core-1")]
    board = make_board(with_digests(records), suite="core-1")
    assert board.nrecords == 1
    assert make_board(with_digests(records)).nrecords == 2


MODELS = st.lists(
    st.tuples(st.integers(10, 99), st.integers(0, 20)), min_size=2, max_size=4
)


@settings(max_examples=15)
@given(models=MODELS, data=st.data())
def test_removing_a_model_never_reorders_the_rest(models, data):
    records = [
        replace(
            synthetic_record(model=f"m{i}", force=float(force), width=float(width)),
            stability=None,
            throughput=None,
        )
        for i, (force, width) in enumerate(models)
    ]
    gone = data.draw(st.integers(0, len(records) - 1))
    rest = [record for i, record in enumerate(records) if i != gone]
    before = {name: rank for rank, name in names(table_of(*records))}
    after = {name: rank for rank, name in names(table_of(*rest))}
    for a, rank_a in after.items():
        for b, rank_b in after.items():
            if before[a] < before[b]:
                assert rank_a <= rank_b
