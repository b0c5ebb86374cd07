"""Runs from a dataset to a model file."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dpbench.errors import DatasetError, ModelError, TrainingError
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.models.checkpoint import load_model
from dpbench.store import catalog
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from dpbench.train import run as front
from dpbench.train import state
from dpbench.train.curve import draw_curve
from dpbench.train.engine import Engine
from dpbench.train.history import CurveRow, read_curve
from dpbench.train.run import TrainReport, choose_device, train
from dpbench.train.state import checkpoints, load_checkpoint
from tests.train.small_runs import small_config, write_system


class Listener:
    """A reporter that remembers, and can do something at a step."""

    def __init__(self, at: int = -1, action=None) -> None:
        self.rows, self.notes, self.losses = [], [], []
        self._at, self._action = at, action

    def start(self, first: int, steps: int) -> None:
        self.first, self.steps = first, steps

    def step(self, done: int, loss: float | None) -> None:
        self.losses.append(loss)
        if done == self._at:
            self._action()

    def row(self, row: CurveRow) -> None:
        self.rows.append(row)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        pass


def parameters(report: TrainReport) -> torch.Tensor:
    return load_model(report.model_path)[0].parameters.flat


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Drawing takes longer than such a training; one test draws."""
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)


@pytest.fixture
def run(workspace, tmp_path):
    """Train on ``pairs`` with the small model."""

    def start(name: str = "out", progress=None, **training) -> TrainReport:
        return train(
            workspace,
            small_config(**training),
            dataset="pairs",
            out=tmp_path / name,
            progress=progress,
            command=["dpbench", "train", "--dataset", "pairs"],
        )

    return start


def test_training_lowers_the_errors(run):
    listener = Listener()
    report = run(progress=listener, steps=100, validation_every=10)
    first, last = listener.rows[0], listener.rows[-1]
    assert last.rmse_f_validation < first.rmse_f_validation
    assert last.rmse_e_train < first.rmse_e_train
    assert len(listener.losses) == report.steps == 100


def test_model_file_says_all_about_its_making(run, workspace, version):
    report = run()
    model, provenance = load_model(report.model_path)
    split = provenance["split"]
    assert provenance["dataset"] == {
        "name": "pairs",
        "number": 1,
        "digest": version.digest,
        "theories": sorted({s.theory_id for s in version.sources}),
    }
    assert split["digest"] == report.split_digest
    assert split["parts"] == {"train": 24, "test": 12, "validation": 12}
    assert provenance["seed"] == 1
    assert provenance["config"]["training"]["steps"] == 20
    assert provenance["run_id"] == report.run_id
    assert provenance["command"] == ["dpbench", "train", "--dataset", "pairs"]
    assert provenance["engine"]
    assert provenance["threads"] == torch.get_num_threads()
    assert provenance["precision"] == "float64"
    assert provenance["steps"] == 20
    assert provenance["wall_time_s"] > 0
    assert provenance["weights"] == "last"
    assert provenance["curve"]["last"]["step"] == 20
    assert provenance["versions"]["torch"] == torch.__version__
    assert model.type_map == ("C", "Si")


def test_run_and_model_are_filed(run, workspace):
    report = run()
    assert report.run_id in {r["run_id"] for r in catalog.runs(workspace)}
    assert report.model_digest in {m["digest"] for m in catalog.models(workspace)}


def test_run_folder_holds_curve_checkpoints_and_log(run, monkeypatch):
    monkeypatch.setattr(front, "draw_curve", draw_curve)
    report = run(checkpoint_every=5, keep_checkpoints=2)
    folder = report.run_folder
    assert [row.step for row in read_curve(folder / "curve.csv")] == [5, 10, 15, 20]
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in checkpoints(folder)] == [
        "checkpoint-15.pth",
        "checkpoint-20.pth",
    ]
    assert (folder / "log.txt").exists()
    told = json.loads((folder / "run.json").read_text())
    assert told["config"]["training"]["checkpoint_every"] == 5
    model, _ = load_model(folder / "checkpoint-20.pth")
    assert torch.equal(model.parameters.flat, parameters(report))


def test_seed_decides_the_run_bitwise(run):
    one, same, other = run("one"), run("same"), run("other", seed=2)
    assert torch.equal(parameters(one), parameters(same))
    assert one.model_digest == same.model_digest
    assert not torch.equal(parameters(one), parameters(other))


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_interrupted_and_resumed_is_straight_bitwise(
    run, workspace, tmp_path, precision
):
    straight = run("straight", precision=precision)
    stopped = run("stopped", precision=precision, progress=Listener(11, interrupt))
    assert stopped.interrupted
    assert stopped.model_path is None
    assert stopped.steps == 11
    assert "dpbench train --resume" in stopped.summary()
    listener = Listener()
    resumed = train(
        workspace,
        None,
        dataset=None,
        out=tmp_path / "resumed",
        resume=stopped.run_id,
        progress=listener,
    )
    assert listener.first == 11
    assert resumed.run_id == stopped.run_id
    assert torch.equal(parameters(straight), parameters(resumed))
    one, two = (
        [replace(row, wall_time=0) for row in read_curve(r.run_folder / "curve.csv")]
        for r in (straight, resumed)
    )
    assert one == two


def test_interrupt_gives_signals_back(run):
    before = signal.getsignal(signal.SIGINT)
    run(progress=Listener(3, interrupt))
    assert signal.getsignal(signal.SIGINT) is before


def test_resume_takes_run_folder_or_checkpoint(run, workspace, tmp_path):
    stopped = run(progress=Listener(7, interrupt))
    for name in (checkpoints(stopped.run_folder)[-1], str(stopped.run_folder)):
        resumed = train(workspace, None, dataset=None, out=tmp_path / "m", resume=name)
        assert resumed.steps == 20
    (workspace.runs / "99999999-empty").mkdir()
    with pytest.raises(TrainingError, match="no checkpoint, folder or run") as caught:
        train(workspace, None, dataset=None, out=tmp_path, resume="absent")
    assert stopped.run_id in str(caught.value)
    assert "99999999-empty" not in str(caught.value)


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    run, workspace, tmp_path
):
    report = run(checkpoint_every=5)
    newest = checkpoints(report.run_folder)[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    listener = Listener()
    resumed = train(
        workspace,
        None,
        dataset=None,
        out=tmp_path / "again",
        resume=report.run_id,
        progress=listener,
    )
    assert listener.first == 15
    assert torch.equal(parameters(report), parameters(resumed))


def test_one_flipped_bit_of_the_state_is_noticed(run, tmp_path):
    report = run()
    path = checkpoints(report.run_folder)[-1]
    payload = torch.load(path, weights_only=True)
    payload["training"]["optimiser"]["mean"][3] += 1e-9
    torch.save(payload, path)
    with pytest.raises(ModelError, match="does not fit its checksum"):
        load_checkpoint(path)


def test_a_model_is_no_checkpoint(run, workspace, tmp_path):
    report = run()
    with pytest.raises(TrainingError, match="no state of training"):
        train(workspace, None, dataset=None, out=tmp_path, resume=report.model_path)


def test_training_needs_no_frame_of_the_test_part(made, tmp_path):
    root = tmp_path / "workspace"
    shutil.copytree(made / "workspace", root)
    workspace = Workspace.find(root)
    version = open_dataset(workspace, "pairs")
    hidden = next(i for i, s in enumerate(version.sources) if s.path.endswith("d"))
    removed = 0
    for entry, segment in zip(version.payload["data"], version.segments, strict=True):
        if any(s["path"].endswith("d") for s in segment.manifest["sources"]):
            for name in ("coord", "force", "energy"):
                for folder in root.rglob(f"*{entry['id']}*/**/{name}"):
                    shutil.rmtree(folder)
                    removed += 1
    assert removed == 3
    with pytest.raises(DatasetError):
        open_dataset(workspace, "pairs").read(
            np.flatnonzero(version.source_of == hidden)
        )
    report = train(
        workspace, small_config(steps=5), dataset="pairs", out=tmp_path / "out"
    )
    assert report.steps == 5


def test_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(
    run, workspace, monkeypatch
):
    real, calls = Engine.losses_and_gradients, []

    def broken(*args, **options):
        calls.append(1)
        result = real(*args, **options)
        if len(calls) < 13:
            return result
        return replace(result, loss=torch.tensor(torch.nan))

    monkeypatch.setattr(Engine, "losses_and_gradients", broken)
    known = set(workspace.runs.iterdir())
    with pytest.raises(TrainingError, match=r"step 12: the loss is nan"):
        run(checkpoint_every=5)
    (folder,) = set(workspace.runs.iterdir()) - known
    last = load_checkpoint(checkpoints(folder)[-1])
    assert last.state.step == 10
    assert torch.isfinite(last.model.parameters.flat).all()


def test_full_disk_is_one_clear_error_and_older_checkpoints_stay(
    run, workspace, monkeypatch
):
    real = state.write_whole

    def full(path: Path, content: bytes) -> None:
        if path.name == "checkpoint-10.pth":
            raise state.ModelError(f"{path}: cannot be written (No space left).")
        real(path, content)

    monkeypatch.setattr(state, "write_whole", full)
    known = set(workspace.runs.iterdir())
    with pytest.raises(TrainingError, match=r"No space left.*--resume"):
        run(checkpoint_every=5)
    (folder,) = set(workspace.runs.iterdir()) - known
    assert [p.name for p in checkpoints(folder)] == ["checkpoint-5.pth"]


def test_folder_that_cannot_be_written_is_known_at_once(workspace, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(TrainingError, match="--out"):
        train(workspace, small_config(), dataset="pairs", out=blocked / "out")


def test_missing_labels_are_left_out_of_the_loss(tmp_path):
    write_system(tmp_path / "full" / "a", seed=1)
    write_system(tmp_path / "full" / "b", seed=2, virial=True)
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    ingest(workspace, "deepmd", [tmp_path / "full"], dataset="gaps", workers=0)
    listener = Listener()
    report = train(
        workspace,
        small_config(batch_size=1),
        dataset="gaps",
        out=tmp_path / "out",
        progress=listener,
    )
    assert np.isfinite([row.rmse_f_train for row in listener.rows]).all()
    assert torch.isfinite(parameters(report)).all()


def test_time_budget_becomes_steps_once_and_is_recorded(run):
    listener = Listener()
    report = run(progress=listener, steps=None, time_budget="1s")
    _, provenance = load_model(report.model_path)
    assert report.steps == provenance["plan"]["steps"] == listener.steps
    assert provenance["plan"]["reason"].startswith("time budget 1s at ")


def test_report_is_json_and_ends_with_the_model(run):
    report = run()
    assert json.loads(json.dumps(report.to_json()))["run_id"] == report.run_id
    assert report.summary().splitlines()[-1] == str(report.model_path)
    assert report.model_path.name == "m.pth"


def test_epochs_are_passes_over_the_training_frames(run):
    assert run(steps=None, epochs=2.0).steps == 12


def test_split_is_found_by_the_start_of_its_digest(run, version):
    digest = run().split_digest
    assert run(split=digest[:12]).split_digest == digest
    assert run(split=digest.partition(":")[2][:8]).split_digest == digest
    with pytest.raises(DatasetError, match="0 splits of pairs-v1 are called so"):
        run(split="nonsense")


def test_default_split_is_made_and_kept(tmp_path, made):
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    ingest(workspace, "deepmd", [made / "systems"], dataset="new", workers=0)
    first, second = (
        train(workspace, small_config(steps=2), dataset="new", out=tmp_path / name)
        for name in ("one", "two")
    )
    assert first.split_digest == second.split_digest
    assert set(first.sizes) == {"train", "validation", "test"}


def test_trajectories_cut_for_want_of_others_are_spoken_of(tmp_path, made, run):
    whole = Listener()
    run(progress=whole, steps=2)
    assert not any("too few" in note for note in whole.notes)
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    ingest(workspace, "deepmd", [made / "systems/a"], dataset="one", workers=0)
    cut = Listener()
    out = tmp_path / "cut"
    train(workspace, small_config(steps=2), dataset="one", out=out, progress=cut)
    (told,) = [note for note in cut.notes if "too few" in note]
    assert told == (
        "split: asked for whole trajectories, but 1 trajectory is too few for 3 parts: "
        "each was cut into blocks"
    )


def test_unknown_devices_are_refused():
    assert choose_device("cpu").type == "cpu"
    for name in ("gpu", "cuda:99", "meta"):
        with pytest.raises(TrainingError, match="device"):
            choose_device(name)


def test_a_mix_of_levels_of_theory_is_warned_of_and_kept(tmp_path, caplog):
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    declared = {"code": "qe", "functional": "LDA-PZ"}
    for name, theory in (("a", None), ("b", declared)):
        write_system(tmp_path / "systems" / name, seed=1 + (name == "b"))
        options = IngestOptions(workers=0, theory=theory, allow_mixed_theory=True)
        where = [tmp_path / "systems" / name]
        ingest(workspace, "deepmd", where, dataset="mix", options=options)
    report = train(workspace, small_config(steps=2), dataset="mix", out=tmp_path)
    line = "mix-v2: mixed levels of theory: theory: "
    assert [r.levelname for r in caplog.records if line in r.getMessage()] == [
        "WARNING"
    ]
    _, provenance = load_model(report.model_path)
    assert provenance["dataset"]["mixed_theory"][0]["key"] == "theory"
