"""Several processes that train one model together."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.errors import TrainingError
from dpbench.frames import concatenate
from dpbench.kernels.assembly import select_frames
from dpbench.models.checkpoint import load_model
from dpbench.train.engine import Engine, StepResult, choose_engine
from dpbench.train.loss import Prefactors
from dpbench.train.ranks import Place, Ranks, naming_lost_ranks, place_of
from dpbench.train.run import choose_device
from dpbench.train.shared_engine import share, without_labels
from tests.models.structures import batch_of, model, water

PEER = Path(__file__).with_name("rank_peer.py")
ROOT = Path(__file__).parents[2]
PREFACTORS = Prefactors(energy=0.5, force=10.0, virial=0.3)
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node",
    "MASTER_PORT": "1",
}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "MASTER_ADDR": "node",
    "MASTER_PORT": "1",
}


def test_torchrun_and_srun_tell_the_place():
    expected = Place(rank=1, size=4, local_rank=1, local_size=2)
    assert place_of(TORCHRUN) == expected
    expected = Place(rank=5, size=8, local_rank=1, local_size=4)
    assert place_of(SRUN) == expected


def test_a_batch_script_is_one_process():
    assert place_of({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) is None
    assert place_of({}) is None
    assert place_of(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"LOCAL_RANK": "x"}, "RANK, WORLD_SIZE, LOCAL_RANK"),
        ({"RANK": "4"}, "rank 4 of 4"),
        ({"MASTER_PORT": None}, "MASTER_PORT is not set"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    told = {k: v for k, v in (TORCHRUN | change).items() if v is not None}
    with pytest.raises(TrainingError, match=words):
        place_of(told)


def rank_of(rank: int, size: int) -> Ranks:
    place = Place(rank=rank, size=size, local_rank=rank, local_size=size)
    return Ranks(place)


@settings(max_examples=100, deadline=None)
@given(
    natoms=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    size=st.integers(1, 6),
)
def test_ranks_share_out_every_frame_once(natoms, size):
    positions = np.arange(len(natoms)) * 10
    counts = np.array(natoms)
    parts = [rank_of(r, size).own_part(positions, counts) for r in range(size)]
    assert np.concatenate(parts).tolist() == positions.tolist()
    if len(natoms) >= size:
        assert min(map(len, parts)) >= 1
    heaviest = max(counts[part // 10].sum() for part in parts)
    assert heaviest <= counts.sum() / size + 2 * counts.max()


class Adding(Ranks):
    """Two ranks in one process: the second one's numbers are known beforehand."""

    def __init__(self) -> None:
        super().__init__(Place(rank=0, size=2, local_rank=0, local_size=2))
        self.others: list[torch.Tensor] = []
        self.own: list[torch.Tensor] = []
        self.sent: list[torch.Tensor] = []

    def add_up(self, tensor):
        self.own.append(tensor)
        return tensor + (self.others.pop(0) if self.others else 0)


@pytest.fixture
def whole():
    potential = model()
    frames = [water(seed, natoms=4 + seed) for seed in range(4)]
    frames[1].energy[:] = np.nan
    frames[2].virial[:] = np.nan
    return potential, batch_of(concatenate(frames), potential)


def by_two_ranks(engine: Engine, potential, parts) -> StepResult:
    """Let two ranks talk to each other, one message after the other."""
    first, second = Adding(), Adding()
    for _ in range(3):  # each round knows one message more of the other side
        first.own, second.own = [], []
        first.others, second.others = list(second.sent), list(first.sent)
        results = [
            share(engine, ranks).losses_and_gradients(potential, part, PREFACTORS)
            for ranks, part in zip((first, second), parts, strict=True)
        ]
        first.sent, second.sent = first.own, second.own
    assert torch.equal(results[0].gradient, results[1].gradient)
    return results[0]


def assert_close(one: StepResult, two: StepResult, tol: float = 1e-12) -> None:
    for field in fields(StepResult):
        torch.testing.assert_close(
            getattr(one, field.name), getattr(two, field.name), rtol=tol, atol=tol
        )


@pytest.mark.parametrize("name", ["exact", "autograd"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_parts_of_a_batch_add_up_to_its_gradient(whole, name, cut):
    potential, batch = whole
    engine = choose_engine(potential.config, name)
    expected = engine.losses_and_gradients(potential, batch, PREFACTORS)
    parts = [select_frames(batch, 0, cut), select_frames(batch, cut, 4)]
    assert_close(by_two_ranks(engine, potential, parts), expected)


def test_a_rank_without_frames_adds_nothing(whole):
    potential, batch = whole
    engine = choose_engine(potential.config, "exact")
    expected = engine.losses_and_gradients(potential, batch, PREFACTORS)
    idle = without_labels(select_frames(batch, 2, 3))
    assert_close(by_two_ranks(engine, potential, [batch, idle]), expected)


def test_numbers_of_a_single_precision_model_travel_in_double(whole):
    potential, batch = whole
    single = potential.to("cpu", torch.float32)
    narrow = batch.to("cpu", torch.float32)
    engine = choose_engine(single.config, "exact")
    expected = engine.losses_and_gradients(single, narrow, PREFACTORS)
    idle = without_labels(select_frames(narrow, 0, 1))
    found = by_two_ranks(engine, single, [narrow, idle])
    assert found.loss.dtype == torch.float64
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-13, atol=0)


class TooSmall:
    """A device that has room for so many frames at once."""

    def __init__(self, monkeypatch, room: int) -> None:
        self.sizes: list[int] = []
        plain = Engine.losses_and_gradients

        def evaluate(engine, model, batch, prefactors, *, counts=None):
            self.sizes.append(batch.nframes)
            if batch.nframes > room:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return plain(engine, model, batch, prefactors, counts=counts)

        monkeypatch.setattr(Engine, "losses_and_gradients", evaluate)


@pytest.mark.parametrize("room", [1, 2, 3])
def test_out_of_memory_a_smaller_batch_gives_the_same(whole, room, monkeypatch, caplog):
    potential, batch = whole
    engine = choose_engine(potential.config, "exact")
    expected = engine.losses_and_gradients(potential, batch, PREFACTORS)
    device = TooSmall(monkeypatch, room)
    patient = share(engine, Ranks())
    found = patient.losses_and_gradients(potential, batch, PREFACTORS)
    assert_close(found, expected)
    assert max(device.sizes[-2:]) <= room
    assert "smaller ones from now on" in caplog.text
    device.sizes.clear()
    again = patient.losses_and_gradients(potential, batch, PREFACTORS)
    assert_close(again, expected)
    assert max(device.sizes) <= room  # it does not run into the wall again


def test_a_single_frame_that_does_not_fit_says_what_to_do(whole, monkeypatch):
    potential, batch = whole
    TooSmall(monkeypatch, 0)
    patient = share(choose_engine(potential.config, "exact"), Ranks())
    with pytest.raises(TrainingError, match=r"one frame of 7 atoms.*--memory-budget"):
        patient.losses_and_gradients(potential, batch, PREFACTORS)


def test_each_rank_takes_a_cuda_device_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", rank_of(1, 2)) == torch.device("cuda:1")
    assert choose_device("auto") == torch.device("cuda")
    with pytest.raises(TrainingError, match="finds 2 CUDA devices"):
        choose_device("cuda", rank_of(2, 3))


def test_a_lost_rank_is_named_in_one_line():
    place = Place(rank=2, size=4, local_rank=2, local_size=4)
    with (
        pytest.raises(TrainingError, match=r"rank 2 of 4: another rank.*reset by peer"),
        naming_lost_ranks(place),
    ):
        raise RuntimeError("Connection reset by peer\n stack of torch")


def start(kind: str, workspace: Path, out: Path, size: int, *more: str):
    """Start ``size`` processes; return them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    processes = []
    for rank in range(size):
        told = {
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, str(PEER), kind, str(workspace), str(out), *more]
        processes.append(
            subprocess.Popen(
                command,
                env=os.environ | told,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finished(processes, *, seconds: float = 240.0) -> list[tuple[int, str, str]]:
    """Wait for all; exit status and what was said."""
    end = time.monotonic() + seconds
    found = []
    try:
        for process in processes:
            said = process.communicate(timeout=max(1.0, end - time.monotonic()))
            found.append((process.returncode, *said))
    finally:
        for process in processes:
            process.kill()
    return found


@pytest.mark.slow
def test_two_processes_train_the_same_model_and_go_on(workspace, tmp_path):
    models = {}
    for name, size in (("alone", 1), ("together", 2)):
        done = finished(start("train", workspace.root, tmp_path / name, size))
        assert [status for status, _, _ in done] == [0] * size, done
        models[name], told = load_model(tmp_path / name / "m.pth")
        assert told["ranks"] == size
        folder = Path(done[0][1].split("\n")[0])
    one, two = models["alone"].parameters.flat, models["together"].parameters.flat
    assert float((one - two).abs().max()) <= 1e-10
    rows = {
        name: load_model(tmp_path / name / "m.pth")[1]["curve"]["last"]
        for name in models
    }
    for key, value in rows["alone"].items():
        if key != "wall_time":
            assert rows["together"][key] == pytest.approx(value, rel=1e-10), key

    early = str(folder / "checkpoint-12.pth")
    again = tmp_path / "again"
    done = finished(start("resume", workspace.root, again, 2, early))
    assert [status for status, _, _ in done] == [0, 0], done
    resumed, _ = load_model(again / "m.pth")
    assert torch.equal(resumed.parameters.flat, two)

    done = finished(start("resume", workspace.root, again, 1, early))
    assert done[0][0] == 1
    assert "begun by 2 processes, now there are 1" in done[0][2]


@pytest.mark.slow
def test_clocks_that_differ_make_one_plan(workspace, tmp_path):
    done = finished(start("budget", workspace.root, tmp_path, 2), seconds=120)
    assert [status for status, _, _ in done] == [0, 0], done
    _, told = load_model(tmp_path / "m.pth")
    assert told["plan"]["reason"].startswith("time budget 1s at ")
    assert told["steps"] == told["plan"]["steps"]


@pytest.mark.slow
def test_ranks_that_drift_end_with_the_same_weights(workspace, tmp_path):
    done = finished(start("drift", workspace.root, tmp_path, 2))
    assert [status for status, _, _ in done] == [0, 0], done
    first, second = (said.split("\n")[:2] for _, said, _ in done)
    assert first == second


@pytest.mark.slow
def test_all_ranks_stop_when_one_is_asked_to(workspace, tmp_path):
    done = finished(start("stop", workspace.root, tmp_path, 2))
    assert [status for status, _, _ in done] == [0, 0], done
    steps, interrupted = done[0][1].split("\n")[1].split()
    assert interrupted == "True"
    assert int(steps) < 20


@pytest.mark.slow
def test_the_others_end_when_a_rank_dies(workspace, tmp_path):
    began = time.monotonic()
    done = finished(start("die", workspace.root, tmp_path, 2))
    assert done[1][0] == 9
    assert done[0][0] == 1
    assert "rank 0 of 2: another rank has ended or does not answer" in done[0][2]
    assert time.monotonic() - began < 240
