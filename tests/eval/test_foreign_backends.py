"""A model on foreign backends: records, failures, and what users are told."""

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends.adopt import adopt
from dpbench.backends.trust import digest_of
from dpbench.errors import BackendError, ModelError
from dpbench.eval.leaderboard.board import make_board
from dpbench.eval.leaderboard.export import render_csv
from dpbench.eval.leaderboard.markdown import render_markdown
from dpbench.eval.options import Options
from dpbench.eval.record import record_from_payload, record_to_payload
from dpbench.eval.run import evaluate
from dpbench.metrics.frame_errors import Predictions, frame_errors
from dpbench.store.workspace import Workspace

WORKER = Path(__file__).resolve().parents[1] / "backends" / "lennard_jones_worker.py"

DYING = {"dead": 0, "dying": 1}
"""Backend -> the call in which it dies; the first one is all of the accuracy."""

CARD = """
name = "{name}"
title = "Lennard-Jones in numpy"
licence = "LGPL-3.0-or-later"
homepage = "https://example.org"
adapter = "lennard_jones_worker.py"
imports = "numpy"
options = {options}
"""


@pytest.fixture
def workspace(trained, tmp_path, monkeypatch) -> Workspace:
    """The workspace with cards of tiny backends, some of which die in their work."""
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "environments"))
    folder = trained.workspace.root / "backends"
    folder.mkdir(exist_ok=True)
    (folder / WORKER.name).write_bytes(WORKER.read_bytes())
    faults = {name: f'{{ fault = "die", at = {at} }}' for name, at in DYING.items()}
    faults["closed"] = '{ fault = "exit at open" }'
    for name, options in {"tiny": "{}", **faults}.items():
        card = CARD.format(name=name, options=options)
        (folder / f"{name}.toml").write_text(card)
        adopt(name, Path(sys.executable), own_cards=folder)
    return trained.workspace


@pytest.fixture
def potential(tmp_path) -> Path:
    path = tmp_path / "lj.txt"
    path.write_text("0.01 2.3 -1.5 C Si\n")
    return path


def options(potential: Path, *backends: str, **keywords) -> Options:
    chosen = {"tasks": ("accuracy",), "mode": "smoke", **keywords}
    return Options(backends=backends, trust=(digest_of(potential),), **chosen)


def test_a_record_tells_of_program_model_and_cost(workspace, potential):
    asked = options(potential, "tiny", tasks=("accuracy", "stability", "throughput"))
    (found,) = evaluate(workspace, potential, dataset="pairs:test", options=asked)
    record = found.record
    assert (record.backend, record.precision) == ("tiny", "float64")
    assert record.model.kind == "foreign"
    assert record.model.digest == f"sha256:{digest_of(potential)}"
    assert record.model.type_map == ("C", "Si")
    assert record.accuracy.nonfinite_frames == 0
    assert record.stability.status in {"completed", "exploded"}
    sizes = record.throughput.sizes
    assert all("forward_us_per_atom_step" not in size.quantities for size in sizes)
    assert sizes[0].quantities["md_us_per_atom_step"].median > 0
    program = record.foreign
    assert program.licence == "LGPL-3.0-or-later"
    assert program.trusted is None  # a text is data
    assert program.calls > 20
    assert program.worker_s > 0
    assert program.overhead_s > 0
    again = record_from_payload(record_to_payload(record), where="record")
    assert again.foreign == program


def test_one_backend_that_dies_is_filed_and_the_others_go_on(workspace, potential):
    asked = options(potential, "dead", "closed", "tiny")
    dead, closed, lived = evaluate(
        workspace, potential, dataset="pairs:test", options=asked
    )
    assert dead.record.accuracy is None
    assert dead.record.failure.startswith("accuracy on pairs-v1:test: dead")
    assert "Segmentation fault is near" in dead.record.failure
    assert "no such device" in closed.record.failure
    assert closed.record.foreign is None
    assert lived.record.failure is None
    board = make_board({item.digest: item.record for item in (dead, closed, lived)})
    (table,) = board.tables
    ranks = {row.record.backend: row.rank for row in table.rows}
    assert ranks == {"dead": None, "closed": None, "tiny": 1}
    assert "the backend failed: accuracy on" in render_markdown(board)
    assert "Segmentation fault is near" in render_csv(board)
    assert json.dumps(record_to_payload(dead.record), allow_nan=False)


def test_what_was_measured_before_a_backend_died_stays(workspace, potential):
    asked = options(potential, "dying", tasks=("accuracy", "stability"))
    (found,) = evaluate(workspace, potential, dataset="pairs:test", options=asked)
    assert found.record.accuracy.nonfinite_frames == 0
    assert found.record.stability is None
    assert found.record.failure.startswith("stability on pairs-v1:test: dying")
    (row,) = make_board({found.digest: found.record}).tables[0].rows
    assert row.rank == 1


def test_the_only_backend_that_does_not_open_is_one_error(workspace, potential):
    asked = options(potential, "closed")
    with pytest.raises(BackendError, match=r"closed.*no such device"):
        evaluate(workspace, potential, dataset="pairs:test", options=asked)


def test_a_program_that_nobody_vouches_for_is_not_opened(workspace, potential):
    potential.write_bytes(pickle.dumps(["0.01 2.3 -1.5 C Si"]))
    asked = replace(options(potential, "tiny"), trust=())
    with pytest.raises(BackendError, match=rf"--trust {digest_of(potential)}"):
        evaluate(workspace, potential, dataset="pairs:test", options=asked)


def test_a_backend_that_is_not_here_is_named_before_anything_runs(workspace, potential):
    absent = options(potential, "tiny", "mace")
    with pytest.raises(BackendError, match="backends install mace"):
        evaluate(workspace, potential, dataset="pairs:test", options=absent)
    unknown = options(potential, "tinny")
    with pytest.raises(BackendError, match="is no backend"):
        evaluate(workspace, potential, dataset="pairs:test", options=unknown)


def test_our_own_model_is_no_model_of_another_program(trained, workspace, potential):
    asked = options(potential, "tiny")
    with pytest.raises(BackendError, match="does not read"):
        evaluate(workspace, trained.model, dataset="pairs:test", options=asked)


def test_a_foreign_file_needs_the_name_of_a_backend(workspace, potential):
    asked = options(potential)
    with pytest.raises(ModelError, match=r"lj\.txt"):
        evaluate(workspace, potential, dataset="pairs:test", options=asked)


def test_a_virial_that_a_backend_does_not_give_is_missing_and_not_infinite(trained):
    from dpbench.store.dataset import open_dataset

    frames = open_dataset(trained.workspace, "pairs").read([0, 1, 2])
    virial = np.full((3, 3, 3), np.nan)
    virial[1] = frames.virial[1] + 1.0
    answer = Predictions(
        energy=frames.energy + 0.1, force=frames.force + 0.1, virial=virial
    )
    told = replace(answer, no_virial=np.array([True, False, True]))
    elements = ("C", "Si")
    found = frame_errors(frames, told, elements=elements).virial_square
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx(1 / 16)
    blamed = frame_errors(frames, answer, elements=elements).virial_square
    assert np.isinf(blamed[[0, 2]]).all()
