"""From a model file to filed records, on a model that was really trained."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dpbench.errors import DatasetError, DpbenchError, EvaluationError, ModelError
from dpbench.eval import run as run_module
from dpbench.eval.leaderboard import build
from dpbench.eval.leaderboard.board import make_board
from dpbench.eval.leaderboard.export import render_csv, render_json
from dpbench.eval.leaderboard.markdown import render_markdown
from dpbench.eval.leaderboard.page import render_page
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.options import Options
from dpbench.eval.record import record_from_payload, record_to_payload
from dpbench.eval.run import evaluate
from dpbench.eval.stability import StabilitySettings
from dpbench.eval.summary import record_text
from dpbench.eval.throughput import ThroughputSettings
from dpbench.eval.verify import verify_record
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.eval.conftest import ingest_systems

ACCURACY = Options(tasks=("accuracy",), command=("dpbench", "evaluate"))
FORCE = "force_rmse_component_mev_per_ang"


def value(record, name):
    return {m.name: m.value for m in record.accuracy.metrics}[name]


@pytest.fixture
def short_tasks(monkeypatch):
    """The real tasks, cut to a few steps."""
    stability = StabilitySettings(steps=20, seeds=(0,), min_natoms=8)
    speed = ThroughputSettings(window_s=0.01, min_natoms=8, growth=2, nsizes=2)
    monkeypatch.setitem(run_module.STABILITY, "smoke", stability)
    monkeypatch.setitem(run_module.THROUGHPUT, "smoke", speed)


def test_held_out_parts_become_one_record_each(trained):
    filed = evaluate(trained.workspace, trained.model, options=ACCURACY)
    assert [item.record.part for item in filed] == ["test", "ood"]
    for item in filed:
        assert item.record.marks == ()
        assert item.record.nframes == 12
        assert item.record.overlap.train == item.record.overlap.validation == 0
        payload = objects.get(trained.workspace, "result", item.digest)
        assert record_from_payload(payload, where="r") == item.record


def test_the_numbers_are_those_of_the_definitions(trained):
    (record,) = (
        item.record
        for item in evaluate(
            trained.workspace, trained.model, dataset="pairs:test", options=ACCURACY
        )
    )
    version = open_dataset(trained.workspace, "pairs")
    model, provenance = load_model(trained.model)
    split = provenance["split"]["digest"]
    assert record.split.digest == split
    rows = [
        i
        for i, s in enumerate(version.source_of)
        if "d" in version.sources[s].path[-3:]
    ]
    frames = version.read(rows)
    answer = NativeEvaluator(model).predict(frames)
    force = 1000 * np.sqrt(np.mean((answer.force - frames.force) ** 2))
    energy = 1000 * np.mean(np.abs(answer.energy - frames.energy) / frames.natoms)
    assert value(record, FORCE) == pytest.approx(force, rel=1e-12)
    assert value(record, "energy_mae_per_atom_mev") == pytest.approx(energy, rel=1e-9)
    baseline = {m.name: m.value for m in record.accuracy.baseline.metrics}
    rms = 1000 * np.sqrt(np.mean(frames.force**2))
    assert baseline[FORCE] == pytest.approx(rms, rel=1e-12)
    assert baseline["force_rmse_relative_percent"] == pytest.approx(100.0)
    assert record.accuracy.baseline.fitted_on == "pairs-v1:train"


def test_the_record_tells_the_whole_chain(trained):
    record = evaluate(trained.workspace, trained.model, options=ACCURACY)[0].record
    _, provenance = load_model(trained.model)
    assert record.provenance.run["run_id"] == provenance["run_id"]
    assert record.provenance.training_dataset.digest == record.dataset.digest
    assert record.provenance.nsources == len(record.provenance.sources) == 5
    assert all(len(source.sha256) == 64 for source in record.provenance.sources)
    assert record.software.packages["torch"]
    assert record.hardware.cores >= 1
    assert record.command == ("dpbench", "evaluate")


@pytest.mark.parametrize("part", ["validation", "train"])
def test_a_row_on_frames_that_shaped_the_model_is_marked(trained, part):
    (item,) = evaluate(
        trained.workspace, trained.model, dataset=f"pairs:{part}", options=ACCURACY
    )
    assert item.record.marks == (f"{'training' if part == 'train' else part} frames",)


def test_training_frames_under_another_name_are_found_by_digest(trained, tmp_path):
    """Planted leak: the training systems again, as a dataset of their own."""
    for name in ("a", "d"):
        (tmp_path / name).symlink_to(trained.root / "systems" / name)
    ingest_systems(trained.workspace, tmp_path, "renamed")
    (item,) = evaluate(
        trained.workspace, trained.model, dataset="renamed", options=ACCURACY
    )
    assert item.record.part == "all"
    assert item.record.overlap.train == 12
    assert item.record.marks == ("12 of 24 frames are training frames",)


def test_a_part_that_does_not_exist_names_those_that_do(trained):
    with pytest.raises(EvaluationError, match=r"expected one of .*ood"):
        evaluate(trained.workspace, trained.model, dataset="pairs:tset")


def test_a_dataset_that_does_not_exist_names_the_nearest(trained):
    with pytest.raises(DatasetError, match="pairs"):
        evaluate(trained.workspace, trained.model, dataset="pair")


def test_a_model_from_elsewhere_asks_for_a_dataset(trained, tmp_path):
    model, _ = load_model(trained.model)
    save_model(tmp_path / "m.pth", model, {})
    with pytest.raises(EvaluationError, match="--dataset"):
        evaluate(trained.workspace, tmp_path / "m.pth", options=ACCURACY)
    (item,) = evaluate(
        trained.workspace, tmp_path / "m.pth", dataset="pairs:all", options=ACCURACY
    )
    assert item.record.overlap.train is None
    assert "evaluated frames" in item.record.accuracy.baseline.fitted_on


def test_a_model_is_the_same_model_in_either_precision(trained):
    records = [
        evaluate(
            trained.workspace,
            trained.model,
            dataset="pairs:test",
            options=replace(ACCURACY, precision=precision),
        )[0].record
        for precision in ("float64", "float32")
    ]
    model, _ = load_model(trained.model)
    assert {record.model.digest for record in records} == {model_digest(model)}
    assert [record.precision for record in records] == ["float64", "float32"]
    low, high = (value(record, FORCE) for record in records)
    assert low != high
    assert low == pytest.approx(high, rel=1e-3)
    tables = records[0].accuracy.fidelity
    assert 0 < tables.force_max_component_mev_per_ang < 1e-2
    assert records[0].kernels["embedding"] == "tabulated embedding"
    assert records[0].kernels["inference"] == "numba"
    fidelity = records[1].accuracy.fidelity
    assert fidelity.reference == "dpbench, float64"
    assert 0 < fidelity.force_mae_component_mev_per_ang < 1.0
    assert fidelity.force_max_component_mev_per_ang < 10.0


def test_a_model_that_answers_nan_is_marked_and_listed(trained, tmp_path):
    model, provenance = load_model(trained.model)
    model.parameters.flat.fill_(float("nan"))
    save_model(tmp_path / "m.pth", model, provenance)
    filed = evaluate(trained.workspace, tmp_path / "m.pth", options=ACCURACY)
    record = filed[0].record
    assert record.accuracy.nonfinite_frames == 12
    assert record.marks == ("no finite answer on 12 frames",)
    payload = record_to_payload(record)
    assert payload["accuracy"]["metrics"][0]["value"] is None
    assert verify_record(trained.workspace, filed[0].digest)


def test_all_three_tasks_stand_in_the_record_of_the_first_part(trained, short_tasks):
    options = Options(mode="smoke")
    first, second = evaluate(trained.workspace, trained.model, options=options)
    stability, speed = first.record.stability, first.record.throughput
    assert stability.runs[0].steps_done == 20
    assert stability.protocol.natoms >= 8
    assert [size.natoms for size in speed.sizes] == [8, 16]
    md = speed.sizes[0].quantities["md_us_per_atom_step"]
    assert len(md.samples) == 5
    assert min(md.samples) > 0
    assert md.list_rebuilds >= 1
    assert second.record.stability is second.record.throughput is None
    assert "speeds from their samples" in verify_record(trained.workspace, first.digest)


def test_tasks_without_accuracy_make_one_record(trained, short_tasks):
    options = Options(mode="smoke", tasks=("stability",))
    (item,) = evaluate(trained.workspace, trained.model, options=options)
    assert item.record.accuracy is item.record.throughput is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ("acuracy",)}, "task 'acuracy'"),
        ({"tasks": ()}, "no task"),
        ({"backends": ("dpbench", "dpbench")}, "named twice"),
        ({"precision": "float16"}, "float64 or float32"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_a_wrong_choice_is_named(changes, words):
    with pytest.raises(EvaluationError, match=words):
        Options(**changes)


def test_a_damaged_model_is_one_clear_error(trained, tmp_path):
    (tmp_path / "m.pth").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"m\.pth"):
        evaluate(trained.workspace, tmp_path / "m.pth")


def test_verifying_scores_the_kept_predictions_again(trained):
    item = evaluate(trained.workspace, trained.model, options=ACCURACY)[0]
    assert verify_record(trained.workspace, item.digest[:10])[-1] == (
        "accuracy rescored from kept predictions"
    )


def test_a_number_that_was_improved_by_hand_is_found(trained):
    item = evaluate(trained.workspace, trained.model, options=ACCURACY)[0]
    payload = record_to_payload(item.record)
    payload["accuracy"]["metrics"][5]["value"] *= 0.9
    forged = objects.put(trained.workspace, "result", payload)
    try:
        with pytest.raises(EvaluationError, match="scoring the kept predictions again"):
            verify_record(trained.workspace, forged)
    finally:
        remove_object(trained.workspace, forged)


def test_changed_predictions_are_found(trained):
    item = evaluate(trained.workspace, trained.model, options=ACCURACY)[1]
    path = trained.workspace.root / item.record.accuracy.predictions.path
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-7] + b"changed")
        with pytest.raises(EvaluationError, match="was changed"):
            verify_record(trained.workspace, item.digest)
    finally:
        path.write_bytes(whole)


def test_a_changed_record_is_found(trained):
    item = evaluate(trained.workspace, trained.model, options=ACCURACY)[0]
    path = object_path(trained.workspace, item.digest)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole.replace(b'"test"', b'"best"'))
        with pytest.raises(DpbenchError, match="damaged"):
            verify_record(trained.workspace, item.digest)
    finally:
        path.write_bytes(whole)


def test_the_leaderboard_needs_no_argument_and_holds_every_row(trained, tmp_path):
    evaluate(trained.workspace, trained.model, options=ACCURACY)
    paths = build(trained.workspace, tmp_path / "board")
    board = json.loads(paths[3].read_text(encoding="utf-8"))
    parts = {(t["dataset"], t["part"]) for t in board["tables"]}
    assert {("pairs-v1", "test"), ("pairs-v1", "ood")} <= parts
    again = build(trained.workspace, tmp_path / "again")
    for one, two in zip(paths, again, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_an_empty_workspace_has_no_leaderboard(tmp_path):
    workspace = Workspace.find(tmp_path / "w", create=True)
    with pytest.raises(EvaluationError, match="dpbench evaluate"):
        build(workspace, tmp_path / "board")


def object_path(workspace, digest):
    return workspace.objects / "result" / digest[:2] / f"{digest}.json"


def remove_object(workspace, digest):
    object_path(workspace, digest).unlink()


def test_a_mix_of_levels_of_theory_costs_the_rank(trained):
    """Two systems of one dataset, of which one alone declares its level."""
    options = IngestOptions(workers=0)
    declared = {"code": "qe", "functional": "LDA-PZ"}
    mixed = replace(options, theory=declared, allow_mixed_theory=True)
    systems = trained.root / "systems"
    ingest(trained.workspace, "deepmd", [systems / "c"], dataset="mix", options=options)
    ingest(trained.workspace, "deepmd", [systems / "d"], dataset="mix", options=mixed)
    (item,) = evaluate(
        trained.workspace, trained.model, dataset="mix", options=ACCURACY
    )
    assert item.record.marks[-1] == "mixed levels of theory (theory)"
    assert "takes no rank: mixed levels of theory" in record_text(item.record, "r")
    board = make_board({item.digest: item.record})
    assert [row.rank for table in board.tables for row in table.rows] == [None]
    for render in (render_csv, render_json, render_markdown, render_page):
        assert "mixed levels of theory" in render(board)
