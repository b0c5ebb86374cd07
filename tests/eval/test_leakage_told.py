"""What a record and the leaderboard tell of leakage, for planted overlaps."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from dpbench.eval.leaderboard import write_board
from dpbench.eval.leaderboard.leakage_cell import leakage_cell
from dpbench.eval.options import Options
from dpbench.eval.record import (
    LeakageFacts,
    Overlap,
    record_from_payload,
    record_to_payload,
)
from dpbench.eval.run import evaluate
from dpbench.eval.summary import record_text
from dpbench.io.leakage.split import with_leakage
from dpbench.models.checkpoint import load_model, save_model
from dpbench.store.dataset import open_dataset
from dpbench.store.history import rename, retract
from dpbench.store.references import parse_reference
from dpbench.store.splits.making import find_split, make_split, save_split
from dpbench.store.workspace import Workspace
from tests.eval.conftest import ingest_systems
from tests.eval.synthetic_records import NO_LEAKAGE, synthetic_record, with_digests

ACCURACY = Options(tasks=("accuracy",))
NONE = replace(NO_LEAKAGE, n_train=12)


def rewrite(source, target, **changes):
    """Copy a deepmd system and change some of its arrays."""
    (target / "set.000").mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    for path in (source / "set.000").glob("*.npy"):
        array = np.load(path)
        change = changes.get(path.stem)
        np.save(target / "set.000" / path.name, change(array) if change else array)


def leakage_of(trained, dataset, **options):
    (item,) = evaluate(
        trained.workspace,
        trained.model,
        dataset=dataset,
        options=replace(ACCURACY, **options),
    )
    return item.record


def test_held_out_parts_of_other_runs_share_nothing(trained):
    for item in evaluate(trained.workspace, trained.model, options=ACCURACY):
        assert item.record.leakage == replace(
            NONE, n_train=item.record.split.parts["train"]
        )
        assert "0 copies, 0 twins, 0 from" in record_text(item.record, item.digest)


def test_training_frames_share_everything(trained):
    record = leakage_of(trained, "pairs:train")
    n = record.nframes
    assert record.leakage.exact == record.leakage.equal_labels == n
    assert record.leakage.nearest_steps == 0
    assert record.marks == ("training frames",)


def test_training_structures_with_other_labels_take_no_rank(trained, tmp_path):
    rewrite(
        trained.root / "systems" / "a", tmp_path / "x" / "a", energy=lambda e: e + 1.0
    )
    ingest_systems(trained.workspace, tmp_path / "x", "relabelled")
    record = leakage_of(trained, "relabelled")
    assert record.overlap.train == 0
    assert (record.leakage.exact, record.leakage.equal_labels) == (12, 0)
    assert record.marks == ("12 of 12 frames are training structures",)


def test_turned_training_frames_take_no_rank(trained, tmp_path):
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]

    def turn(array):
        return (array.reshape(len(array), -1, 3) @ matrix).reshape(array.shape)

    rewrite(
        trained.root / "systems" / "a",
        tmp_path / "x" / "a",
        coord=turn,
        force=turn,
        box=turn,
    )
    ingest_systems(trained.workspace, tmp_path / "x", "turned")
    record = leakage_of(trained, "turned")
    assert (record.leakage.exact, record.leakage.invariant) == (0, 12)
    assert record.marks == ("12 of 12 frames are twins of training frames",)


@pytest.fixture
def copied(trained, tmp_path):
    """A copy that a test may file splits in."""
    root = tmp_path / "workspace"
    shutil.copytree(trained.workspace.root, root)
    return replace(trained, workspace=Workspace.find(root))


def test_another_split_of_the_same_data_is_compared_with_the_training_frames(copied):
    version = open_dataset(copied.workspace, "pairs")
    train = set(find_split(version).part("train").tolist())
    other = make_split(version, strategy="random", seed=1, name="other")
    save_split(version, other)
    record = leakage_of(copied, "pairs:test", split="other")
    assert record.split.names == ("other",)
    shared = len(set(other.part("test").tolist()) & train)
    assert record.leakage.exact == shared > 0


def test_what_the_split_says_is_taken_from_there(copied):
    version = open_dataset(copied.workspace, "pairs")
    split = with_leakage(version, find_split(version))
    assert split.leakage["test"]["exact"] == 0
    told = {"test": split.leakage["test"] | {"invariant": 1}}
    save_split(version, replace(split, leakage=told))
    assert leakage_of(copied, "pairs:test").leakage.invariant == 1


def test_a_model_from_elsewhere_has_unknown_leakage(trained, tmp_path):
    model, _ = load_model(trained.model)
    save_model(tmp_path / "m.pth", model, {})
    (item,) = evaluate(
        trained.workspace, tmp_path / "m.pth", dataset="pairs:all", options=ACCURACY
    )
    leakage = item.record.leakage
    assert leakage.exact is leakage.invariant is leakage.same_trajectory is None
    assert "not in the workspace" in leakage.why_not
    assert "unknown; the training data" in record_text(item.record, item.digest)


def test_records_of_the_first_schema_are_read_and_shown():
    payload = record_to_payload(synthetic_record())
    del payload["leakage"], payload["split"]["names"]
    del payload["provenance"]["training_split"]["names"]
    record = record_from_payload(payload | {"schema_version": 1}, where="old")
    assert record.leakage is None
    assert leakage_cell(record).text == "no copy (twins not checked)"
    unknown = replace(record, overlap=Overlap(train=None, validation=None))
    assert leakage_cell(unknown).text == "unknown"


@pytest.mark.parametrize(
    ("leakage", "text", "severity"),
    [
        (NO_LEAKAGE, "none", 0.0),
        (replace(NO_LEAKAGE, invariant=3), "3 twins", 0.03),
        (replace(NO_LEAKAGE, exact=1, invariant=1), "1 copy, 1 twin", 0.02),
        (
            replace(NO_LEAKAGE, same_trajectory=50, nearest_steps=1),
            "same run (50%, 1 step off)",
            0.005,
        ),
        (
            replace(NO_LEAKAGE, exact=2, same_trajectory=50, nearest_steps=0),
            "2 copies (50% same run)",
            0.025,
        ),
        (LeakageFacts(n_train=9, same_trajectory=0), "twins not checked", None),
        (LeakageFacts(n_train=9, same_trajectory=0, exact=3), "3 copies", 0.03),
        (
            LeakageFacts(n_train=9, same_trajectory=100, nearest_steps=4),
            "twins not checked (100% same run, 4 steps off)",
            None,
        ),
        (LeakageFacts(why_not="no data"), "unknown", None),
    ],
)
def test_cells_say_what_was_found_and_sort_by_it(leakage, text, severity):
    cell = leakage_cell(synthetic_record(leakage=leakage))
    assert (cell.text, cell.severity) == (text, pytest.approx(severity))


def test_every_form_of_the_leaderboard_carries_leakage(tmp_path):
    leakage = replace(NO_LEAKAGE, invariant=3, same_trajectory=7, nearest_steps=2)
    records = with_digests([synthetic_record(leakage=leakage)])
    page, markdown, table, board, *_ = write_board(records, tmp_path)
    assert "3 twins (7% same run)" in markdown.read_text()
    assert '"3 twins"' in page.read_text()
    assert "A copy is the same structure" in page.read_text()
    (row, *_) = csv.DictReader(table.read_text().splitlines())
    keys = ("copies", "twins", "same_trajectory", "nearest_steps")
    assert [row[f"leakage_{key}"] for key in keys] == ["0", "3", "7", "2"]
    told = json.loads(board.read_text())["tables"][0]["rows"][0]["leakage"]
    assert told["invariant"] == 3


def test_a_rows_leakage_is_that_of_its_accuracy(tmp_path):
    leaky = replace(NO_LEAKAGE, exact=5)
    first = synthetic_record(leakage=leaky)
    later = replace(
        synthetic_record(created_at="2027-01-01T00:00:00+00:00"),
        accuracy=None,
        stability=None,
        leakage=None,
    )
    board = write_board(with_digests([first, later]), tmp_path)[3]
    (row,) = json.loads(board.read_text())["tables"][0]["rows"]
    assert row["leakage"]["exact"] == 5


def elsewhere(trained, folder, systems):
    """Another workspace that has some of the systems, and no training version."""
    for name in systems:
        (folder / "systems").mkdir(exist_ok=True)
        (folder / "systems" / name).symlink_to(trained.root / "systems" / name)
    workspace = Workspace.find(folder / "workspace", create=True)
    ingest_systems(workspace, folder / "systems", "mine")
    return workspace


def test_a_model_file_knows_its_trajectories_in_another_workspace(trained, tmp_path):
    workspace = elsewhere(trained, tmp_path, ["a", "e"])
    (item,) = evaluate(workspace, trained.model, dataset="mine", options=ACCURACY)
    leakage = item.record.leakage
    assert leakage.exact is leakage.invariant is None
    assert (leakage.same_trajectory, leakage.nearest_steps) == (12, 0)
    assert leakage.n_train == 24
    assert "not in the workspace" in leakage.why_not
    assert leakage_cell(item.record).text == (
        "twins not checked (50% same run, 0 steps off)"
    )


def test_the_training_data_is_found_under_another_name(trained, tmp_path):
    workspace = elsewhere(trained, tmp_path, ["a", "b", "c", "d", "e"])
    version = open_dataset(workspace, "mine")
    assert version.digest == open_dataset(trained.workspace, "pairs").digest
    held = {"test": ["*d"], "ood": ["*e"], "validation": ["*c"]}
    save_split(version, make_split(version, fractions={"train": 1.0}, hold_out=held))
    filed = evaluate(workspace, trained.model, options=ACCURACY)
    assert [item.record.part for item in filed] == ["test", "ood"]
    assert filed[0].record.leakage.exact == 0
    assert filed[0].record.overlap.train == 0


def test_training_data_that_was_retracted_is_compared_all_the_same(copied):
    retract(copied.workspace, parse_reference("pairs-v1"), "wrong cutoff")
    ingest_systems(copied.workspace, copied.root / "systems" / "a", "again")
    assert leakage_of(copied, "again").leakage.exact == 12


def test_training_data_that_was_renamed_is_found(copied):
    rename(copied.workspace, "pairs", "couples")
    record = leakage_of(copied, "couples:test")
    assert record.leakage.exact == 0
    assert record.leakage.n_train == 24
