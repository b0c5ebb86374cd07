"""Tasks of records from elsewhere are scored again from their answers (L6)."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from dpbench.config import canonical_json
from dpbench.eval.filing import read_records
from dpbench.eval.importing import import_files
from dpbench.eval.options import Options
from dpbench.eval.record import record_to_payload
from dpbench.eval.reproduce import reproduce
from dpbench.eval.reproduction import Wishes, plan_reproduction
from dpbench.eval.run import evaluate
from dpbench.eval.submission import write_submission
from dpbench.eval.task_rescoring import is_same, plain_values
from dpbench.eval.tasks import smoothness
from dpbench.eval.tasks.kept import keep_answers, load_answers
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.verify import verify_record
from dpbench.store import catalog
from dpbench.store.workspace import Workspace

NAME = smoothness.TASK.name


@pytest.fixture(scope="module")
def measured(trained):
    """A record of a task of the table, made here."""
    patch = pytest.MonkeyPatch()
    short = smoothness.SmoothnessSettings(frames=1, atoms=1, points=20)
    modes = {**smoothness.TASK.modes, "smoke": short}
    patch.setitem(TASKS, NAME, replace(smoothness.TASK, modes=modes))
    options = Options(mode="smoke", tasks=(NAME,), command=("dpbench", "evaluate"))
    filed = evaluate(
        trained.workspace, trained.model, dataset="pairs:test", options=options
    )[0]
    patch.undo()
    return filed


@pytest.fixture
def other(trained, tmp_path):
    """The data alone, without results."""
    root = tmp_path / "other"
    shutil.copytree(trained.workspace.root, root)
    for folder in ("objects/result", "objects/event", "predictions"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for file in root.glob("registry.db*"):
        file.unlink()
    return Workspace.find(root)


def sent(workspace, digest, path):
    assert write_submission(workspace, [digest], path) == []
    return path


def changed(trained, measured, tmp_path, change=None, answers=None):
    """Send the record after it was changed, or with other answers."""
    payload = json.loads(canonical_json(record_to_payload(measured.record)))
    maker = Workspace.find(tmp_path / "maker", create=True)
    kept = load_answers(trained.workspace, measured.record.tasks[NAME].kept)
    file = keep_answers(maker, answers(kept) if answers else kept)
    payload["tasks"][NAME]["kept"] |= {"path": file.path, "sha256": file.sha256}
    if change:
        change(payload["tasks"][NAME])
    digest = catalog.register_result(maker, payload)
    return sent(maker, digest, tmp_path / "changed.zip")


def test_a_task_whose_answers_give_its_numbers_is_verified(
    trained, measured, other, tmp_path
):
    (found,) = import_files(
        other, [sent(trained.workspace, measured.digest, tmp_path / "s.zip")]
    )
    assert found.outcome == "verified", found.words
    assert f"task {NAME} from its answers" in found.words
    assert read_records(other)[found.digest].marks == ()
    assert f"task {NAME} from its answers" in verify_record(other, found.digest)


def better(task):
    task["metrics"][0]["value"] = 1e-6


def nicer_plot(task):
    task["samples"] = {"curves": []}


def failed(task):
    task["status"] = "failed"


def other_code(task):
    task["code"] = "sha256:" + "0" * 64


def odd_settings(task):
    task["protocol"]["settings"] = {"frames": "many"}


@pytest.mark.parametrize(
    ("change", "outcome", "words"),
    [
        (better, "refused", "scoring the kept predictions again"),
        (nicer_plot, "refused", "its samples are not those of its answers"),
        (failed, "refused", "is 'failed'; scoring its answers again gives 'ok'"),
        (other_code, "unverified", "was scored by other code than is here"),
        (odd_settings, "unverified", "frames = 'many'"),
    ],
)
def test_a_task_that_was_changed_does_not_count(
    trained, measured, other, tmp_path, change, outcome, words
):
    (found,) = import_files(other, [changed(trained, measured, tmp_path, change)])
    assert found.outcome == outcome
    assert words in found.words


@pytest.mark.parametrize(
    "answers",
    [
        lambda kept: replace(kept, arrays={}),
        lambda kept: replace(kept, facts={}),
        lambda kept: replace(kept, facts={**kept.facts, "step_ang": "none"}),
        lambda kept: replace(kept, arrays={name: np.zeros(1) for name in kept.arrays}),
    ],
)
def test_answers_that_no_task_gives_are_refused(
    trained, measured, other, tmp_path, answers
):
    path = changed(trained, measured, tmp_path, answers=answers)
    (found,) = import_files(other, [path])
    assert found.outcome == "refused"
    assert "\n" not in found.words


def test_a_task_is_reproduced_with_its_own_settings(trained, measured):
    planned = plan_reproduction(trained.workspace, measured.digest, Wishes())
    assert planned.tasks[NAME].points == 20
    found = reproduce(trained.workspace, planned, say=lambda _: None)
    assert found.agrees
    assert {one.verdict for one in found.numbers} == {"agrees"}


def test_trees_of_values_are_level_within_a_tolerance():
    a = plain_values({"x": (1.0, float("nan")), "y": {"z": "w", "k": True}})
    assert a == {"x": [1.0, None], "y": {"z": "w", "k": True}}
    assert is_same(a, {"x": [1.0 + 1e-9, None], "y": {"z": "w", "k": True}}, 1e-6)
    assert not is_same(a, {"x": [1.1, None], "y": {"z": "w", "k": True}}, 1e-6)
    assert not is_same(a, {"x": [1.0], "y": {"z": "w", "k": True}}, 1e-6)
    assert not is_same(a, {"x": [1.0, None], "y": {"z": "v", "k": True}}, 1e-6)
    assert not is_same(1.0, "1.0", 1e-6)
