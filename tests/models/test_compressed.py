"""The compressed potential: physics, files, and how far it is from the exact model."""

import numpy as np
import pytest
import torch

from dpbench.errors import ModelError
from dpbench.kernels.inference import make_evaluator
from dpbench.models.checkpoint import save_model
from dpbench.models.compressed import TableSettings, compress
from dpbench.models.compressed_error import frame_error, scan_error
from dpbench.models.compressed_file import MAGIC, compressed_digest, save_compressed
from dpbench.models.files import kind_of, load_potential, potential_digest
from dpbench.models.geometry import atom_types
from tests.models.structures import BOX, batch_of, mixed, model, moved, predict, water

REFINED = TableSettings(intervals=8192, shortest=0.2)
REFINED_ERROR = 1e-10
DEFAULT_ERROR = 1e-5

STRUCTURES = {
    "small skewed cell": water(),
    "no cell": water(box=None),
    "one atom and its images": water(natoms=1),
    "one atom alone": water(natoms=1, box=None),
    "larger cell": water(natoms=40, box=2.2 * BOX),
}


_MADE = {}


def refined(potential):
    """The potential by fine tables, made once for each kind of net."""
    kind = str(potential.config)
    if kind not in _MADE:
        _MADE[kind] = compress(potential, REFINED)
    return _MADE[kind]


def evaluator_of(potential, frames, **options):
    types = torch.from_numpy(atom_types(frames.z, potential.type_map))
    return make_evaluator(potential, types, **options)


def listed(potential, frames):
    """The first frame, by the kernels with a neighbour list."""
    coord = torch.from_numpy(np.array(frames.coord))
    box = torch.from_numpy(np.array(frames.box[:1]))
    evaluator = evaluator_of(potential, frames)
    evaluator.build(coord, box, torch.from_numpy(np.array(frames.pbc[0])))
    return evaluator.evaluate(coord, box)


def compare(found, exact, tol):
    for name in ("energy", "force", "virial", "atom_energy"):
        torch.testing.assert_close(
            getattr(found, name), getattr(exact, name), rtol=tol, atol=tol
        )


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_refined_table_gives_the_exact_model(potential, name):
    frames = STRUCTURES[name]
    exact = predict(frames, potential)
    compressed = refined(potential)
    compare(predict(frames, compressed), exact, REFINED_ERROR)
    compare(listed(compressed, frames), exact, REFINED_ERROR)


def test_batches_of_any_frames_are_served(potential):
    frames = mixed()
    exact = predict(frames, potential)
    compare(predict(frames, refined(potential)), exact, REFINED_ERROR)


def test_the_default_table_is_near_the_exact_model(potential):
    frames = STRUCTURES["larger cell"]
    error = frame_error(potential, compress(potential), frames)
    assert 0 < error.force_max < DEFAULT_ERROR
    assert error.force_rmse <= error.force_max
    assert error.energy_max_per_atom < DEFAULT_ERROR
    coarse = frame_error(
        potential, compress(potential, TableSettings(intervals=8)), frames
    )
    assert coarse.force_max > 100 * error.force_max


def test_errors_of_tables_fall_with_the_fifth_power_of_the_step():
    potential = model()
    coarse, fine = (
        scan_error(potential, compress(potential, TableSettings(intervals=n)))
        for n in (64, 128)
    )
    assert 20 < coarse.slope / fine.slope < 50
    assert coarse.value > 20 * fine.value


def test_forces_and_virial_are_derivatives_of_the_compressed_energy(potential):
    """Of its own energy, however coarse the table: molecular dynamics needs that."""
    compressed = compress(potential, TableSettings(intervals=32))
    frames, step = water(natoms=12, box=1.3 * BOX), 1e-5
    found = listed(compressed, frames)
    for atom, axis in ((0, 0), (5, 1), (11, 2)):
        coord = [np.array(frames.coord) for _ in range(2)]
        coord[0][atom, axis] += step
        coord[1][atom, axis] -= step
        up, down = (listed(compressed, moved(frames, coord=c)).energy for c in coord)
        slope = float(up - down) / (2 * step)
        assert float(found.force[atom, axis]) == pytest.approx(-slope, abs=1e-7)
    for a, b in ((0, 0), (0, 1), (2, 1)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            strained = moved(
                frames, coord=frames.coord @ strain, box=frames.box @ strain
            )
            energies.append(float(listed(compressed, strained).energy))
        slope = (energies[0] - energies[1]) / (2 * step)
        assert float(found.virial[0, a, b]) == pytest.approx(-slope, abs=1e-6)


def test_neighbours_enter_smoothly(potential):
    """No jump of energy or force where an atom crosses the cutoff."""
    compressed = compress(potential, TableSettings(intervals=16))
    # Two H: no kind of net excludes that pair, which would be let out with a jump.
    frames = moved(water(natoms=2, box=None), z=np.array([1, 1], dtype=np.uint8))
    found = []
    for distance in (4.0 - 1e-6, 4.0 + 1e-6):
        coord = np.array([[0.0, 0, 0], [distance, 0, 0]])
        found.append(listed(compressed, moved(frames, coord=coord)))
    compare(*found, 1e-9)


def test_float32_is_near_float64(potential):
    frames = STRUCTURES["larger cell"]
    compressed = compress(potential)
    single = compressed.to("cpu", torch.float32)
    assert single.config.precision == "float32"
    assert listed(single, frames).energy.dtype == torch.float64
    compare(listed(single, frames), listed(compressed, frames), 1e-4)


def test_energy_is_conserved_by_velocity_verlet():
    """The drift over 150 steps of 0.1 fs is far below the kinetic energy."""
    compressed, frames = compress(model()), water(natoms=12)
    coord = torch.from_numpy(np.array(frames.coord))
    box, pbc = torch.from_numpy(np.array(frames.box)), torch.tensor([True] * 3)
    mass = torch.from_numpy(np.where(frames.z == 8, 16.0, 1.0))[:, None] * 103.6427
    evaluator = evaluator_of(compressed, frames, skin=0.4)
    velocity, step = torch.zeros_like(coord), 0.1  # Å/fs, fs
    totals, kinetic = [], 0.0
    evaluator.build(coord, box, pbc)
    found = evaluator.evaluate(coord, box)
    for _ in range(150):
        velocity = velocity + step / 2 * found.force / mass
        coord = coord + step * velocity
        if evaluator.needs_build(coord):
            evaluator.build(coord, box, pbc)
        found = evaluator.evaluate(coord, box)
        velocity = velocity + step / 2 * found.force / mass
        kinetic = float((mass * velocity**2).sum()) / 2
        totals.append(kinetic + float(found.energy))
    assert kinetic > 1e-3
    assert max(totals) - min(totals) < 1e-2 * kinetic
    assert 1 < evaluator.builds < 75


def test_what_cannot_be_tabulated_is_refused():
    with pytest.raises(ModelError, match="intervals = 0"):
        compress(model(), TableSettings(intervals=0))
    with pytest.raises(ModelError, match="between 0 and the cutoff"):
        compress(model(), TableSettings(shortest=4.0))


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_file_comes_back_bitwise(tmp_path, potential, precision):
    potential = potential.to("cpu", getattr(torch, precision))
    compressed = compress(potential, TableSettings(intervals=20))
    path = tmp_path / "m-compressed.pth"
    save_compressed(path, compressed, {"seed": 3}, {"intervals": 20})
    loaded, provenance = load_potential(path)
    assert kind_of(loaded) == "compressed"
    assert provenance == {"seed": 3, "compression": {"intervals": 20}}
    assert loaded.config == potential.config
    assert potential_digest(loaded) == compressed_digest(compressed)
    frames = mixed()
    first, second = (predict(frames, m) for m in (compressed, loaded))
    assert torch.equal(first.force, second.force)
    again = tmp_path / "again.pth"
    save_compressed(again, loaded, {"seed": 3}, {"intervals": 20})
    assert again.read_bytes() == path.read_bytes()


def test_plain_files_are_loaded_by_the_same_function(tmp_path):
    save_model(tmp_path / "m.pth", model(), {"seed": 1})
    loaded, provenance = load_potential(tmp_path / "m.pth", dtype=torch.float32)
    assert kind_of(loaded) == "plain"
    assert provenance == {"seed": 1}
    assert loaded.dtype == torch.float32


@pytest.mark.parametrize("kind", ["newer", "short", "table", "net", "told", "missing"])
def test_a_damaged_file_is_one_clear_line(tmp_path, kind):
    path = tmp_path / "m.pth"
    save_compressed(path, compress(model(), TableSettings(intervals=9)), {}, {})
    payload = torch.load(path, weights_only=True)
    assert payload["magic"] == MAGIC
    tensors = payload["tensors"]
    if kind == "newer":
        payload["format"] = 99
    elif kind == "short":
        tensors["tables.coefficients"] = tensors["tables.coefficients"][:-3]
    elif kind == "table":
        tensors["tables.coefficients"][4, 2, 1] += 1e-9
    elif kind == "net":
        tensors["fitting.1.2.w"][0, 0] += 1e-9
    elif kind == "told":
        payload["compression"] = '{"frames": null}'
    else:
        del tensors["fitting.0.0.b"]
    torch.save(payload, path)
    with pytest.raises(ModelError) as caught:
        load_potential(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_batch_of_no_frames_has_no_energies():
    potential = model()
    frames = water().select([])
    found = compress(potential).energy_and_forces(batch_of(frames, potential))
    assert found.energy.shape == (0,)
    assert found.force.shape == (0, 3)
