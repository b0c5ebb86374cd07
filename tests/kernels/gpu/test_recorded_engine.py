"""Training steps as graphs through the training seam, in Triton's interpreter."""

import pytest
import torch

from dpbench.frames import concatenate
from dpbench.kernels import choice
from dpbench.kernels.families import IN_USE
from dpbench.kernels.gpu import graph
from dpbench.kernels.gpu.graph import Shelf
from dpbench.kernels.gpu.training import DeviceStep
from dpbench.models.edge_features import DISTANCE_STEP
from dpbench.models.gpu_training import shortest_in
from dpbench.train import recorded_engine
from dpbench.train.config import OptimiserConfig
from dpbench.train.engine import Engine, Prefactors
from dpbench.train.history import Errors
from dpbench.train.loop import Hooks, LoopState, Plan, run_loop
from dpbench.train.loss import label_counts
from dpbench.train.monitor import table_error
from dpbench.train.optimisers import make_optimiser
from dpbench.train.progress import Silent
from dpbench.train.ranks import Place, Ranks
from dpbench.train.recorded_engine import RecordedEngine, Recorder, record
from dpbench.train.schedule import LearningRateConfig, LossConfig, Schedule
from dpbench.train.shared_engine import SharedEngine
from dpbench.train.state import load_checkpoint, save_checkpoint
from tests.models.structures import batch_of, config, model, water

INTERVALS = 8  # the interpreter runs one program for each
WEIGHTS = Prefactors(energy=0.7, force=2.0, virial=0.3)
NO_VIRIAL = Prefactors(energy=0.9, force=1.5, virial=0.0)
PARTS = ("loss", "mse_energy", "mse_force", "mse_virial", "gradient")
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def same_tables(monkeypatch):
    """Variants of the tables interpolate otherwise: alike on fine grids only."""
    monkeypatch.setenv("DPBENCH_KERNELS", "tables=reference")


def recorded(reach=None, intervals=INTERVALS):
    return RecordedEngine(
        name="table", intervals=intervals, ranks=Ranks(), recorder=Recorder(reach)
    )


def reach_of_all(potential, batches):
    found = [shortest_in(potential, batch) for batch in batches]
    return torch.stack(found).amin(dim=0).flatten().tolist()


def assert_same(found, expected):
    for part in PARTS:
        one, two = getattr(found, part).cpu(), getattr(expected, part).cpu()
        assert torch.equal(one.nan_to_num(-1.0), two.nan_to_num(-1.0)), part


@pytest.mark.parametrize("weights", [WEIGHTS, NO_VIRIAL])
def test_loss_and_gradient_are_those_of_the_cpu_engine(device, weights):
    potential = model()
    frames = concatenate([water(1, natoms=5), water(4, natoms=1, box=None)])
    batch = batch_of(frames, potential)
    batch.has_force[1] = False
    engine = recorded(reach_of_all(potential, [batch]))
    moved = potential.to(device)
    found = engine.losses_and_gradients(
        moved, batch.to(device, potential.dtype), weights
    )
    plain = Engine(name="table", intervals=INTERVALS)
    expected = plain.losses_and_gradients(potential, batch, weights)
    for part in PARTS:
        one, two = getattr(found, part).cpu(), getattr(expected, part)
        scale = float(two.abs().nan_to_num().max())
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10 * scale, equal_nan=True)


def test_shapes_take_turns_and_what_was_returned_stays(device):
    potential = model().to(device)
    batches = [
        batch_of(water(1, natoms=3), potential).to(device, potential.dtype),
        batch_of(water(2, natoms=4), potential).to(device, potential.dtype),
    ]
    engine = recorded(reach_of_all(potential, batches))
    rounds = [
        [engine.losses_and_gradients(potential, b, NO_VIRIAL) for b in batches]
        for _ in range(graph.SIGHTS)
    ]
    step = engine.recorder._step
    assert len(step._graphs) == 2
    for again in rounds[1:]:
        for found, first in zip(again, rounds[0], strict=True):
            assert_same(found, first)
    assert not torch.equal(rounds[0][0].gradient, rounds[0][1].gradient)


def test_kernels_in_use_tell_of_graphs_once_one_was_replayed(device, monkeypatch):
    monkeypatch.delitem(IN_USE, "step", raising=False)
    potential = model().to(device)
    batch = batch_of(water(1, natoms=2), potential).to(device, potential.dtype)
    engine = recorded()
    for _ in range(graph.SIGHTS - 1):
        engine.losses_and_gradients(potential, batch, NO_VIRIAL)
        assert "step" not in choice.kernels_in_use()
    engine.losses_and_gradients(potential, batch, NO_VIRIAL)
    assert choice.kernels_in_use()["step"] == "graph"


def test_a_closer_batch_widens_the_grid_and_a_new_run_goes_on_alike(device):
    potential = model().to(device)
    far, near = (
        batch_of(water(2, natoms=4), potential).to(device, potential.dtype)
        for _ in range(2)
    )
    near.edge_vec[:] *= 0.5
    engine = recorded()
    engine.losses_and_gradients(potential, far, NO_VIRIAL)
    first, before = engine.recorder._step, list(engine.recorder.reach)
    assert far in engine.recorder._packs  # also: nothing was refused
    found = engine.losses_and_gradients(potential, near, NO_VIRIAL)
    assert engine.recorder._step is not first
    assert far not in engine.recorder._packs
    reach = list(engine.recorder.reach)
    assert all(new <= old for new, old in zip(reach, before, strict=True))
    assert reach != before
    # From a checkpoint: the grid is that of the run, whatever comes first.
    later = recorded(list(reach))
    assert_same(later.losses_and_gradients(potential, near, NO_VIRIAL), found)
    assert later.recorder.reach == reach


@pytest.mark.parametrize("value", [0.01, float("nan")])
def test_what_no_table_reaches_goes_the_plain_way(device, value):
    potential = model()
    batch = batch_of(water(2, natoms=3), potential)
    batch.edge_vec[0] = value
    engine = recorded()
    found = engine.losses_and_gradients(potential, batch, NO_VIRIAL)
    plain = Engine(name="table", intervals=INTERVALS)
    assert_same(found, plain.losses_and_gradients(potential, batch, NO_VIRIAL))
    assert min(engine.recorder.reach, default=1.0) > DISTANCE_STEP


def test_a_part_of_a_batch_goes_the_plain_way(monkeypatch):
    monkeypatch.setattr(Recorder, "evaluate", lambda *_, **__: pytest.fail("recorded"))
    potential = model()
    batch = batch_of(water(2, natoms=3), potential)
    plain = Engine(name="table", intervals=INTERVALS)
    expected = plain.losses_and_gradients(potential, batch, NO_VIRIAL)
    engine, counts = recorded(), label_counts(batch)
    assert_same(
        engine.losses_and_gradients(potential, batch, NO_VIRIAL, counts=counts),
        expected,
    )
    engine.agreement.pieces = 2
    found = engine.losses_and_gradients(potential, batch, NO_VIRIAL)
    torch.testing.assert_close(found.gradient, expected.gradient)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("operation not permitted when stream is capturing"),
        ValueError("out of resource: shared memory"),
    ],
)
def test_where_a_device_refuses_kernels_go_one_by_one(monkeypatch, caplog, error):
    monkeypatch.setitem(IN_USE, "step rejected", "")

    def too_small(*_):
        raise error

    monkeypatch.setattr(DeviceStep, "step", too_small)
    potential = model()
    batch = batch_of(water(2, natoms=3), potential)
    engine = recorded()
    plain = Engine(name="table", intervals=INTERVALS)
    expected = plain.losses_and_gradients(potential, batch, NO_VIRIAL)
    for _ in range(2):
        assert_same(engine.losses_and_gradients(potential, batch, NO_VIRIAL), expected)
    assert len(caplog.messages) == 1
    assert str(error) in caplog.text
    assert choice.kernels_in_use()["step rejected"] == f"graph: {error}"
    assert "step" not in choice.kernels_in_use()
    assert not len(engine.recorder._packs)
    assert engine.agreement.pieces == 1


def test_the_watch_over_tables_sees_the_grid_of_the_steps():
    potential = model()
    batch = batch_of(water(2, natoms=6), potential)
    wide = [0.3] * 4
    plain = Engine(name="table", intervals=INTERVALS)
    narrow = table_error(plain, potential, batch)
    assert table_error(recorded(), potential, batch) == narrow
    assert table_error(recorded(wide), potential, batch) > 2 * narrow


class Trained:
    """A run over two shapes of batches, in one go or in two."""

    def __init__(self, device, *stops):
        self.potential = model().to(device)
        self.optimiser = make_optimiser(self.potential.parameters, OptimiserConfig())
        self.state = LoopState()
        for stop in stops:
            self.go_on(device, stop)

    def go_on(self, device, stop):
        state = self.state
        self.engine = recorded(state.table_reach, intervals=2)
        batches = [
            batch_of(water(seed, natoms=natoms), self.potential).to(
                device, torch.float64
            )
            for seed, natoms in ((1, 3), (2, 3), (3, 4), (2, 3))
        ]
        run_loop(
            self.potential,
            self.optimiser,
            Schedule(LearningRateConfig(start_lr=1e-3), LossConfig(), steps=4),
            iter(batches[state.step : stop]),
            plan=Plan(steps=4, validation_every=4, checkpoint_every=4),
            state=state,
            hooks=Hooks(
                validate=lambda _: Errors(energy=0.0, force=0.0, virial=0.0),
                save=lambda _: None,
                watcher=Silent(),
            ),
            engine=self.engine,
        )


def test_the_loop_trains_with_it_and_goes_on_bit_for_bit(device, monkeypatch):
    monkeypatch.setattr(recorded_engine, "MARGIN", 1.0)
    whole = Trained(device, 4)
    assert whole.state.step == 4
    assert whole.state.table_intervals > 2  # made finer on the way
    assert whole.state.table_reach
    assert whole.state.rows[-1].rmse_f_train > 0
    assert not whole.engine.recorder.is_off
    parts = Trained(device, 2, 4)
    assert parts.state.table_reach == whole.state.table_reach
    assert torch.equal(parts.potential.parameters.flat, whole.potential.parameters.flat)


def test_a_checkpoint_holds_the_distances(tmp_path):
    potential, reach = model(), [float("inf"), 1 / 3, 0.9, 0.9]
    optimiser = make_optimiser(potential.parameters, OptimiserConfig())
    path, state = tmp_path / "checkpoint-0.pth", LoopState(table_reach=reach)
    save_checkpoint(path, potential, optimiser, state, provenance={})
    assert load_checkpoint(path).state.table_reach == reach


ALONE = Ranks()


@pytest.mark.parametrize(
    ("options", "kernels", "missing", "words"),
    [
        ({"activation_function": "silu"}, "auto", None, "the embedding is 'silu'"),
        ({}, "auto", "Tesla P4 is too old", "Tesla P4 is too old"),
        ({}, "reference", None, "kernels of passes are the reference's"),
    ],
)
def test_what_is_not_recorded_says_why(monkeypatch, options, kernels, missing, words):
    monkeypatch.setenv("DPBENCH_KERNELS", kernels)
    monkeypatch.setattr(recorded_engine, "why_not", lambda _: missing)
    engine = record(Engine(name="table"), config(**options), ranks=ALONE, device=CUDA)
    assert type(engine) is SharedEngine
    assert engine.reason.startswith("kernels are launched one by one")
    assert words in engine.reason


def test_several_ranks_share_batches_as_before():
    place = Place(rank=0, size=2, local_rank=0, local_size=2)
    engine = record(
        Engine(name="table"), config(), ranks=Ranks(place=place), device=CUDA
    )
    assert type(engine) is SharedEngine
    assert "several processes" in engine.reason


def test_other_engines_are_left_alone():
    engine = record(Engine(name="exact"), config(), ranks=ALONE, device=CUDA)
    assert (type(engine), engine.reason) == (SharedEngine, None)


def test_where_triton_serves_steps_are_recorded(monkeypatch):
    monkeypatch.setattr(recorded_engine, "why_not", lambda _: None)
    monkeypatch.setattr(recorded_engine, "choose", lambda *_: None)
    serving = dict.fromkeys(("passes", "tables", "fitting"), "triton")
    monkeypatch.setattr(recorded_engine, "kernels_in_use", lambda: serving)
    reach = []
    engine = record(
        Engine(name="table", intervals=64),
        config(),
        ranks=ALONE,
        device=CUDA,
        reach=reach,
    )
    assert isinstance(engine, RecordedEngine)
    assert (engine.name, engine.intervals, engine.reason) == ("table", 64, None)
    assert engine.recorder.reach is reach


def test_a_shelf_keeps_few_and_only_what_comes_often(monkeypatch):
    monkeypatch.setattr(graph, "MOST_GRAPHS", 2)
    monkeypatch.setattr(graph, "STALE", 10)
    shelf = Shelf()
    sights = [shelf.get("a", lambda: "A") for _ in range(graph.SIGHTS + 1)]
    assert sights == [None] * (graph.SIGHTS - 1) + ["A", "A"]
    for name in "bc":
        found = [shelf.get(name, name.upper) for _ in range(graph.SIGHTS)]
    assert found[-1] is None  # "a" and "b" were wanted a moment ago
    assert len(shelf) == 2
    for _ in range(10):
        shelf.get("b", pytest.fail)
    assert shelf.get("c", lambda: "C") == "C"  # in the place of "a"
    assert shelf.get("a", pytest.fail) is None
    assert shelf.get("b", pytest.fail) == "B"
