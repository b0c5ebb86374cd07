"""Suites on the leaderboard: frozen bounds, published rows, what plots are made of."""

import json
from dataclasses import replace

import pytest

from dpbench.eval.leaderboard import write_board
from dpbench.eval.leaderboard.board import make_board
from dpbench.eval.leaderboard.columns import further_columns
from dpbench.eval.leaderboard.figures import data_steps, size_curves
from dpbench.eval.leaderboard.markdown import render_markdown
from dpbench.eval.leaderboard.suite_tables import SMOKE, suite_table, suites_of
from dpbench.eval.record import DatasetFacts
from dpbench.eval.suites.loading import load_suite
from dpbench.eval.task_results import TaskResult
from dpbench.metrics.definitions import metric_value
from tests.eval.synthetic_records import synthetic_record, with_digests

MLEARN = load_suite("mlearn-v1")


def on_suite(record, *, suite=MLEARN, key="si"):
    """The record as one of a suite, on a dataset of it."""
    data = suite.data(key)
    version = DatasetFacts(
        name=data.dataset, number=1, label=f"{data.dataset}-v1", digest=data.digest
    )
    split = replace(record.split, digest=data.split.digest)
    return replace(
        record,
        dataset=version,
        split=split,
        suite=suite.label,
        suite_digest=suite.digest,
    )


def whole_set(model, force):
    keys = [data.key for data in MLEARN.file.data]
    return [on_suite(synthetic_record(model=model, force=force), key=k) for k in keys]


def board_of(records):
    named = with_digests(records)
    return make_board(named, suites=suites_of(named))


def suite_rows(records):
    (table,) = board_of(records).suites
    return {row.name: row for row in table.rows}


def test_published_rows_stand_beside_measured_ones_and_take_no_rank():
    rows = suite_rows(whole_set("ours", 80.0))
    assert set(rows) == {"ours", "GAP", "MTP", "SNAP", "qSNAP"}
    assert rows["ours"].rank == 1
    assert rows["GAP"].rank is None
    assert rows["GAP"].published.source.startswith("Zuo")
    assert 0 < rows["GAP"].score < rows["SNAP"].score < 1


def test_published_rows_stand_in_the_table_of_the_same_frames():
    board = board_of([on_suite(synthetic_record())])
    (table,) = board.tables
    told = {line.row.model: line.metrics for line in table.published}
    assert told["SNAP"]["force_mae_component_mev_per_ang"].value > 100
    other = board_of([on_suite(synthetic_record(part="train"))]).tables[0]
    assert other.published == ()


def test_a_suite_whose_file_is_another_gives_no_score():
    records = [replace(r, suite_digest="sha256:0") for r in whole_set("ours", 80.0)]
    names = {suite.label for suite in suites_of(with_digests(records))}
    assert names == {"mlearn-v1"}  # for its published rows
    unknown = [replace(synthetic_record(), suite="nowhere-v1")]
    assert suites_of(with_digests(unknown)) == ()


def test_a_score_does_not_depend_on_who_else_is_listed():
    """L4: scores come from bounds; a verdict between two rows stays what it is."""
    models = {"a": 60.0, "b": 64.0, "c": 90.0}
    whole = suite_rows([r for m, f in models.items() for r in whole_set(m, f)])
    for gone in models:
        kept = {m: f for m, f in models.items() if m != gone}
        rows = suite_rows([r for m, f in kept.items() for r in whole_set(m, f)])
        assert {m: rows[m].score for m in kept} == {m: whole[m].score for m in kept}
        first, second = sorted(kept)
        apart = whole[first].rank_last < whole[second].rank
        assert (rows[first].rank_last < rows[second].rank) == apart


def test_a_missing_number_gives_no_score_and_says_which():
    (row,) = [
        row
        for row in suite_rows([on_suite(synthetic_record())]).values()
        if row.record is not None
    ]
    assert row.score is None
    assert "mo:test" in row.why_none
    assert row.cells[0].value is not None
    assert row.cells[0].row is not None
    assert "not measured: " in render_markdown(board_of([on_suite(synthetic_record())]))


def test_rows_of_one_training_count_once_against_others():
    ours = whole_set("ours", 80.0)
    faster = [replace(record, precision="float32") for record in ours]
    others = whole_set("theirs", 300.0)
    table = board_of([*ours, *faster, *others]).suites[0]
    ranks = [(row.name, row.rank, row.rank_last) for row in table.rows if row.rank]
    assert ranks == [("ours", 1, 1), ("ours", 1, 1), ("theirs", 2, 2)]


def silicon_rows(mode):
    """The row of a model that has every number of a suite with dynamics."""
    suite = load_suite("si-lda-v1")
    records = []
    for metric in suite.file.metric:
        base = on_suite(synthetic_record(part=metric.part), suite=suite, key="si8")
        value = metric_value(metric.name, metric.useless, n=1)
        if metric.task == "accuracy":
            accuracy = replace(base.accuracy, metrics=(value,))
            records.append(replace(base, accuracy=accuracy, mode=mode))
            continue
        result = TaskResult(task=metric.task, code="", status="ok", metrics=(value,))
        kept = dict.fromkeys(("accuracy", "stability", "throughput"))
        records.append(replace(base, tasks={metric.task: result}, mode=mode, **kept))
    one = with_joined_tasks(records)
    return [row for row in suite_table(suite, with_digests(one)).rows if row.record]


def with_joined_tasks(records):
    """One record for each part and task, with all its numbers."""
    joined = {}
    for record in records:
        task = next(iter(record.tasks), "accuracy")
        held = joined.get((record.part, task))
        if held is None:
            joined[record.part, task] = record
        elif task == "accuracy":
            metrics = (*held.accuracy.metrics, *record.accuracy.metrics)
            accuracy = replace(held.accuracy, metrics=metrics)
            joined[record.part, task] = replace(held, accuracy=accuracy)
        else:
            old = held.tasks[task]
            new = replace(old, metrics=(*old.metrics, *record.tasks[task].metrics))
            joined[record.part, task] = replace(held, tasks={task: new})
    return list(joined.values())


def test_a_score_of_short_runs_says_so_and_takes_no_rank():
    (rough,), (whole,) = silicon_rows("smoke"), silicon_rows("standard")
    assert rough.score == whole.score == pytest.approx(1.0)
    assert (rough.rank, rough.marks) == (None, (SMOKE,))
    assert (whole.rank, whole.marks) == (1, ())


def test_every_file_has_the_suite(tmp_path):
    paths = write_board(with_digests(whole_set("ours", 80.0)), tmp_path)
    page, markdown, table, board = [p.read_text(encoding="utf-8") for p in paths[:4]]
    assert '"label":"mlearn-v1"' in page
    assert "## Suite mlearn-v1" in markdown
    assert "GAP (published)" in markdown
    assert ",published,,,GAP," in table
    (suite,) = json.loads(board)["suites"]
    assert suite["suite_digest"] == MLEARN.digest
    assert [row["published"] for row in suite["rows"]] == [False] + 4 * [True]


def test_a_suite_is_chosen_with_or_without_its_version():
    records = with_digests([*whole_set("ours", 80.0), synthetic_record()])
    assert make_board(records, suite="mlearn").nrecords == len(MLEARN.file.data)
    assert make_board(records, suite="mlearn-v1").nrecords == len(MLEARN.file.data)
    assert make_board(records, suite="mlearn-v2").nrecords == 0
    assert make_board(records, suite="mlear").nrecords == 0


def with_task(record, code, value):
    task = TaskResult(
        task="nve",
        code=code,
        status="ok",
        metrics=(metric_value("nve_instability", value, n=3),),
    )
    return replace(record, tasks={"nve": task})


def test_numbers_of_two_codes_of_a_task_never_share_a_column():
    records = [
        with_task(synthetic_record(model="a"), "1" * 64, 0.5),
        with_task(synthetic_record(model="b"), "2" * 64, 0.6),
    ]
    (table,) = make_board(with_digests(records)).tables
    keys = [c.key for c in further_columns(table.rows) if c.task == "nve"]
    assert keys == ["nve_instability@11111111", "nve_instability@22222222"]
    (one,) = make_board(with_digests(records[:1])).tables
    assert "nve_instability" in [c.key for c in further_columns(one.rows)]


def trained_on(number, force):
    """The same configuration, trained on one version of a dataset."""
    record = synthetic_record(model=f"v{number}", force=force, seed=number)
    version = replace(record.dataset, number=number, label=f"si8-v{number}")
    run = {"run_id": str(number), "seed": 1, "config": {"neuron": [8]}}
    provenance = replace(record.provenance, run=run, training_dataset=version)
    return replace(record, provenance=provenance)


def test_the_same_training_on_the_next_version_is_told_by_element():
    records = [trained_on(1, 60.0), trained_on(2, 48.0), synthetic_record(model="x")]
    (table,) = make_board(with_digests(records)).tables
    (step,) = data_steps(table)
    assert (step["from"]["data"], step["to"]["data"]) == ("si8-v1", "si8-v2")
    assert step["all"] == [60.0, 48.0]
    ((symbol, before, after),) = step["elements"]
    assert (symbol, before, after) == ("Si", 60.0, 48.0)


def test_cost_against_size_is_kept_machine_by_machine():
    """T6."""
    records = [
        synthetic_record(model="a"),
        synthetic_record(model="b", hardware="GPU", speed=2),
    ]
    (table,) = make_board(with_digests(records)).tables
    curves = size_curves(table)
    assert sorted(c["hardware"] for c in curves) == ["GPU", "Made-up CPU, 2 threads"]
    assert [n for n, _ in curves[0]["points"]] == [64, 256, 1024]
    assert curves[0]["points"][0][1] == pytest.approx(
        40 if curves[0]["name"] == "a" else 2, rel=0.2
    )
