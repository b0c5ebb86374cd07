"""Records from elsewhere are computed again before they count (must-have L6)."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dpbench.config import canonical_json
from dpbench.eval.filing import list_records, read_records
from dpbench.eval.importing import import_files
from dpbench.eval.judging import LABELS
from dpbench.eval.leaderboard.board import make_board
from dpbench.eval.merging import merge
from dpbench.eval.options import Options
from dpbench.eval.predict import keep, load
from dpbench.eval.record import record_to_payload
from dpbench.eval.run import evaluate
from dpbench.eval.score import score
from dpbench.eval.standing import standings
from dpbench.eval.submission import write_submission
from dpbench.eval.verify import verify_record
from dpbench.store import catalog, objects
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import find_split, save_split
from dpbench.store.workspace import Workspace
from tests.eval.conftest import ingest_systems

FORCE = "force_rmse_component_mev_per_ang"


@pytest.fixture(scope="module")
def measured(trained):
    """A record of accuracy that was made here, and its digest."""
    options = Options(tasks=("accuracy",), command=("dpbench", "evaluate"))
    return evaluate(trained.workspace, trained.model, options=options)[0]


@pytest.fixture
def sent(trained, measured, tmp_path):
    """The file that its maker sends."""
    path = tmp_path / "sent.zip"
    assert write_submission(trained.workspace, [measured.digest[:12]], path) == []
    return path


@pytest.fixture
def elsewhere(tmp_path):
    return Workspace.find(tmp_path / "elsewhere", create=True)


@pytest.fixture(scope="module")
def with_data(trained, tmp_path_factory):
    """The same content under another name, with the same split."""
    root = tmp_path_factory.mktemp("other")
    workspace = Workspace.find(root / "workspace", create=True)
    ingest_systems(workspace, trained.root / "systems", "twos")
    own = open_dataset(trained.workspace, "pairs")
    version = open_dataset(workspace, "twos")
    assert version.digest == own.digest
    save_split(version, find_split(own, None))
    return workspace


@pytest.fixture
def other(with_data, tmp_path):
    """A fresh copy of it."""
    import shutil

    shutil.copytree(with_data.root, tmp_path / "copy")
    return Workspace.find(tmp_path / "copy")


def filed(workspace):
    """Objects and predictions."""
    kept = (workspace.root / "predictions").glob("*")
    return sorted([*workspace.objects.rglob("*.json"), *kept])


def outcome(workspace, path):
    (found,) = import_files(workspace, [path])
    return found


def test_a_record_whose_numbers_agree_is_filed_as_verified(measured, sent, other):
    found = outcome(other, sent)
    assert (found.outcome, found.digest) == ("verified", measured.digest)
    assert "accuracy from predictions" in found.words
    assert objects.get(other, "result", measured.digest)["part"] == "test"
    record = read_records(other)[measured.digest]
    assert record.marks == ()
    assert record.dataset.label == "twos-v1"  # what these data are called here
    (row,) = list_records(other)
    assert row.standing.status == "verified"
    assert "rescored" in verify_record(other, measured.digest)[-1]
    (table,) = make_board(read_records(other)).tables
    assert [row.rank for row in table.rows] == [1]


def test_importing_twice_files_nothing_new(sent, other):
    outcome(other, sent)
    before = filed(other)
    assert outcome(other, sent).outcome == "known"
    assert filed(other) == before


def test_a_record_of_this_workspace_is_known(trained, sent):
    assert outcome(trained.workspace, sent).outcome == "known"
    assert standings(trained.workspace) == {}


def test_a_model_keeps_the_name_it_has_here(trained, measured, other, tmp_path):
    def rename(payload):
        payload["model"]["name"] = "the best of all"

    renamed = forged(trained, measured, tmp_path, rename)
    assert outcome(other, renamed).outcome == "verified"
    assert [r.model.name for r in read_records(other).values()] == ["the best of all"]
    own = record_to_payload(measured.record)
    catalog.register_result(other, own)
    names = {record.model.name for record in read_records(other).values()}
    assert names == {measured.record.model.name}


def test_a_record_without_data_is_kept_apart_and_takes_no_rank(
    measured, sent, elsewhere
):
    found = outcome(elsewhere, sent)
    assert found.outcome == "unverified"
    assert "is not here" in found.words
    record = read_records(elsewhere)[measured.digest]
    assert record.marks[0].startswith("unverified: the dataset version pairs-v1")
    ranks = [r.rank for t in make_board(read_records(elsewhere)).tables for r in t.rows]
    assert ranks == [None]
    assert outcome(elsewhere, sent).outcome == "unverified"
    assert len(objects.digests(elsewhere, "event")) == 1


def test_an_unverified_record_is_verified_once_its_data_are_here(
    trained, measured, sent, elsewhere
):
    assert outcome(elsewhere, sent).outcome == "unverified"
    ingest_systems(elsewhere, trained.root / "systems", "pairs")
    found = outcome(elsewhere, sent)
    assert found.outcome == "unverified"
    assert "the split" in found.words
    own = open_dataset(trained.workspace, "pairs")
    save_split(open_dataset(elsewhere, "pairs"), find_split(own, None))
    assert outcome(elsewhere, sent).outcome == "verified"
    assert read_records(elsewhere)[measured.digest].marks == ()


def test_a_record_without_predictions_is_unverified(measured, other, tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(canonical_json(record_to_payload(measured.record)))
    found = outcome(other, path)
    assert found.outcome == "unverified"
    assert "predictions did not come" in found.words


def forged(trained, measured, tmp_path, change, predictions=None):
    """Send a record that was changed after it was made."""
    payload = json.loads(canonical_json(record_to_payload(measured.record)))
    change(payload)
    maker = Workspace.find(tmp_path / "maker", create=True)
    file = measured.record.accuracy.predictions
    kept = predictions or load(trained.workspace, file)
    written = keep(maker, kept)
    if predictions is not None:
        payload["accuracy"]["predictions"] |= {
            "path": written.path,
            "sha256": written.sha256,
        }
    digest = catalog.register_result(maker, payload)
    write_submission(maker, [digest], tmp_path / "forged.zip")
    return tmp_path / "forged.zip"


def metric(payload, name, *path):
    place = payload["accuracy"]
    for key in path:
        place = place[key]
    return next(m for m in place if m["name"] == name)


FORGERIES = {
    "a better error": (
        lambda p: metric(p, FORCE, "metrics").update(value=1.0),
        "is 1.0; scoring the kept predictions again gives",
    ),
    "a narrower interval": (
        lambda p: metric(p, FORCE, "metrics").update(
            ci_low=metric(p, FORCE, "metrics")["value"]
        ),
        "the interval of",
    ),
    "an element that is better": (
        lambda p: metric(p, FORCE, "by_element", "Si").update(value=1.0),
        "Si: force_rmse",
    ),
    "errors of other frames": (
        lambda p: p["accuracy"]["errors"]["columns"].update(force_square="AAAAAA=="),
        "'force_square', frame by frame",
    ),
    "a baseline that is worse": (
        lambda p: metric(p, FORCE, "baseline", "metrics").update(value=9e9),
        "composition-only",
    ),
    "frames that failed": (
        lambda p: p["accuracy"].update(nonfinite_frames=3),
        "says 3 frames without a finite answer",
    ),
    "more frames": (lambda p: p.update(nframes=13), "says 13 frames"),
    "another part": (lambda p: p.update(part="ood"), "predictions are of other frames"),
    "a part that is not": (lambda p: p.update(part="best"), "part 'best'"),
    "another source file": (
        lambda p: p["provenance"]["sources"][0].update(sha256="0" * 64),
        "names the source file 000000000000",
    ),
    "hardware of another id": (
        lambda p: p["hardware"].update(id="0" * 12),
        "its hardware has the id '000000000000'",
    ),
    "the future": (lambda p: p.update(created_at="2999-01-01T00:00:00+00:00"), "2999"),
    "no time": (lambda p: p.update(created_at="soon"), "was made at 'soon'"),
    "another unit": (
        lambda p: metric(p, FORCE, "metrics").update(unit="eV/Å"),
        "expected meV/Å",
    ),
    "a metric of its own": (
        lambda p: metric(p, FORCE, "metrics").update(name="beauty"),
        "'beauty', which is unknown",
    ),
    "predictions elsewhere": (
        lambda p: p["accuracy"]["predictions"].update(path="../../etc/passwd"),
        "keeps predictions at '../../etc/passwd'",
    ),
    "a dataset that is a path": (
        lambda p: p["dataset"].update(name="../x"),
        "dataset '../x'",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_record_that_was_changed_is_refused_and_leaves_nothing(
    trained, measured, other, tmp_path, name
):
    """L6: the number that differs is named."""
    change, words = FORGERIES[name]
    path = forged(trained, measured, tmp_path, change)
    before = filed(other)
    found = outcome(other, path)
    assert found.outcome == "refused"
    assert words in found.words
    assert filed(other) == before


def test_training_frames_that_were_kept_secret_are_told(
    trained, measured, other, tmp_path
):
    def claim(payload):
        payload["overlap"].update(train=5)

    found = outcome(other, forged(trained, measured, tmp_path, claim))
    assert found.outcome == "refused"
    assert "says that 5 of its frames are training frames" in found.words


def test_predictions_of_other_frames_are_refused(trained, measured, other, tmp_path):
    kept = load(trained.workspace, measured.record.accuracy.predictions)
    other_frames = kept.frame_digests.copy()
    other_frames[3] = 7
    swapped = replace(kept, frame_digests=other_frames)
    path = forged(trained, measured, tmp_path, lambda _: None, swapped)
    assert "of other frames" in outcome(other, path).words


def test_predictions_that_equal_the_labels_are_flagged(
    trained, measured, other, tmp_path
):
    """Their numbers agree; no model is that good."""
    version = open_dataset(trained.workspace, "pairs")
    kept = load(trained.workspace, measured.record.accuracy.predictions)
    frames = version.read(kept.indices)
    exact = replace(
        kept,
        predictions=replace(
            kept.predictions,
            energy=frames.energy,
            force=frames.force,
            virial=frames.virial,
        ),
    )
    told = measured.record.accuracy
    perfect = score(exact, version, baseline=None, file=None, wall_time_s=0.0)
    perfect = replace(perfect, predictions=told.predictions)
    changed = replace(measured.record, accuracy=perfect)
    answers = record_to_payload(changed)

    def become(payload):
        payload.clear()
        payload.update(json.loads(canonical_json(answers)))

    found = outcome(other, forged(trained, measured, tmp_path, become, exact))
    assert found.outcome == "verified"
    assert LABELS in read_records(other)[found.digest].marks


def test_order_of_frames_does_not_matter(trained, measured, other, tmp_path):
    """The same content may lie in another order where it was measured."""
    kept = load(trained.workspace, measured.record.accuracy.predictions)
    order = np.random.default_rng(0).permutation(len(kept.indices))
    natoms = np.diff(kept.atom_offset)
    atoms = np.concatenate(
        [np.arange(kept.atom_offset[i], kept.atom_offset[i + 1]) for i in order]
    )
    shuffled = replace(
        kept,
        indices=order,
        frame_digests=kept.frame_digests[order],
        atom_offset=np.concatenate([[0], np.cumsum(natoms[order])]),
        predictions=replace(
            kept.predictions,
            energy=kept.predictions.energy[order],
            force=kept.predictions.force[atoms],
            virial=kept.predictions.virial[order],
        ),
    )
    path = forged(trained, measured, tmp_path, lambda _: None, shuffled)
    assert outcome(other, path).outcome == "verified"


def test_a_workspace_or_a_folder_of_files_is_merged(
    trained, measured, sent, other, tmp_path
):
    folder = tmp_path / "inbox"
    folder.mkdir()
    sent.rename(folder / "a.zip")
    (folder / "b.json").write_text("{}")
    (folder / "link.zip").symlink_to(folder / "a.zip")
    found = merge(other, folder)
    assert sorted(one.outcome for one in found) == ["refused", "verified"]
    outcomes = {one.digest: one.outcome for one in merge(other, trained.workspace.root)}
    assert outcomes[measured.digest] == "known"
    assert "refused" not in outcomes.values()


def test_what_is_only_told_never_takes_the_place_of_what_was_measured(measured):
    """The same model, data and machine, claimed to be faster tomorrow."""
    claim = replace(
        measured.record,
        created_at="2100-01-01T00:00:00+00:00",
        marks=("unverified: its predictions did not come with it",),
    )
    board = make_board({"a" * 64: measured.record, "b" * 64: claim})
    rows = board.tables[0].rows
    assert [row.rank for row in rows] == [1, None]
    assert rows[0].digests == {"accuracy": "a" * 64}
