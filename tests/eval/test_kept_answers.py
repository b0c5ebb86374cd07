"""The dear stage's answers are kept as they were, and a changed file is refused."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.errors import EvaluationError
from dpbench.eval.tasks.kept import Kept, keep_answers, load_answers
from dpbench.store.files import sha256_of_file
from dpbench.store.workspace import Workspace

KEPT = Kept(
    arrays={"energy": np.linspace(0, 1, 7), "step": np.arange(3)},
    facts={"status": "completed", "seed": 2},
    wall_time_s=1.5,
)


@pytest.fixture
def workspace(tmp_path):
    return Workspace.find(tmp_path / "w", create=True)


def test_answers_come_back_bit_for_bit(workspace):
    again = load_answers(workspace, keep_answers(workspace, KEPT))
    assert again.facts == KEPT.facts
    assert again.wall_time_s == 1.5
    for name, array in KEPT.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_the_same_answers_make_the_same_file(workspace):
    assert keep_answers(workspace, KEPT) == keep_answers(workspace, KEPT)
    other = replace(KEPT, facts={"seed": 3})
    assert keep_answers(workspace, other) != keep_answers(workspace, KEPT)


def test_a_changed_file_is_refused(workspace):
    file = keep_answers(workspace, KEPT)
    path = workspace.root / file.path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EvaluationError, match="was changed"):
        load_answers(workspace, file)


def test_a_missing_file_is_named(workspace):
    file = keep_answers(workspace, KEPT)
    (workspace.root / file.path).unlink()
    with pytest.raises(EvaluationError, match="cannot be read"):
        load_answers(workspace, file)


def test_a_file_that_is_something_else_is_refused(workspace):
    file = keep_answers(workspace, KEPT)
    path = workspace.root / file.path
    path.write_bytes(b"no archive")
    with pytest.raises(EvaluationError, match="expected answers"):
        load_answers(workspace, replace(file, sha256=sha256_of_file(path)))


def test_facts_are_no_array(workspace):
    with pytest.raises(EvaluationError, match="another name"):
        keep_answers(workspace, Kept(arrays={"facts": np.zeros(1)}))
