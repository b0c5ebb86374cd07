"""Other descriptions of structures, and structures to describe."""

import json
from dataclasses import replace

import numpy as np

from dpbench.elements import atomic_numbers
from dpbench.frames import Frames, concatenate, uniform


def random_orthogonal(rng, *, reflect=False):
    """Draw a rotation, or a rotation with a reflection."""
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if (np.linalg.det(matrix) < 0) != reflect:
        matrix[0] *= -1
    return matrix


def random_unimodular(rng, size=3, *, steps=6, most=3):
    """Draw an integer matrix of determinant 1 or -1."""
    matrix = np.eye(size, dtype=np.int64)
    for _ in range(steps if size > 1 else 0):
        i, j = rng.choice(size, 2, replace=False)
        matrix[i] += rng.integers(-most, most + 1) * matrix[j]
    return matrix[rng.permutation(size)]


def one_frame(frames, index):
    """Take one frame out."""
    return frames.select([index])


def twin_of(frame, rng, *, permute=True, wrap=True, rotate=True, recell=True):
    """Describe a frame in another way; labels are turned with it."""
    coord, box, pbc = frame.coord.astype(float), frame.box[0].copy(), frame.pbc[0]
    force, virial = frame.force.astype(float), frame.virial[0].copy()
    order = rng.permutation(len(coord)) if permute else np.arange(len(coord))
    coord = coord + rng.normal(scale=5.0, size=3)
    if wrap and pbc.any():
        coord = coord + rng.integers(-2, 3, (len(coord), pbc.sum())) @ box[pbc]
    if recell and pbc.any():
        box[pbc] = random_unimodular(rng, int(pbc.sum())) @ box[pbc]
    if rotate:
        turn = random_orthogonal(rng, reflect=bool(rng.integers(2)))
        coord, box, force = coord @ turn, box @ turn, force @ turn
        virial = turn.T @ virial @ turn
    return Frames(
        atom_offset=frame.atom_offset,
        z=frame.z[order],
        coord=coord[order],
        force=force[order],
        box=box[None],
        pbc=frame.pbc,
        energy=frame.energy,
        virial=virial[None],
    )


def twins_of(frames, rng, **choices):
    """Describe every frame in another way."""
    parts = [
        twin_of(one_frame(frames, i), rng, **choices) for i in range(frames.nframes)
    ]
    return concatenate(parts)


def mlearn(shared_data, element, part):
    """Read structures of mlearn, in eV and Å; (frames, groups)."""
    path = shared_data / "thirdparty" / "mlearn" / element / f"{part}.json"
    parts, groups = [], []
    for entry in json.loads(path.read_text()):
        sites = entry["structure"]["sites"]
        parts.append(
            uniform(
                z=atomic_numbers([s["label"] for s in sites], where=str(path)),
                coord=np.array([[s["xyz"] for s in sites]]),
                box=np.array([entry["structure"]["lattice"]["matrix"]]),
                energy=np.array([entry["outputs"]["energy"]]),
                force=np.array([entry["outputs"]["forces"]]),
            )
        )
        groups.append(entry["group"])
    return concatenate(parts), groups


def npy_runs(shared_data, name):
    """Yield (run, frames) of a generated set, in the order of time."""
    for folder in sorted((shared_data / "generated" / "npy" / name).iterdir()):
        arrays = {
            key: np.load(folder / "set.000" / f"{key}.npy").astype(float)
            for key in ("coord", "box", "energy", "force")
        }
        nframes = len(arrays["coord"])
        virial = folder / "set.000" / "virial.npy"
        arrays["virial"] = np.load(virial).astype(float) if virial.exists() else None
        names = (folder / "type_map.raw").read_text().split()
        types = np.loadtxt(folder / "type.raw", dtype=int)
        yield (
            folder.name,
            uniform(
                z=np.array(atomic_numbers(names, where=str(folder)))[types],
                coord=arrays["coord"].reshape(nframes, -1, 3),
                box=arrays["box"].reshape(nframes, 3, 3),
                energy=arrays["energy"].reshape(nframes),
                force=arrays["force"].reshape(nframes, -1, 3),
                virial=arrays["virial"],
            ),
        )


def small_steps(frame, nframes, size):
    """One atom creeping by ``size`` Å a frame."""
    parts = []
    for number in range(nframes):
        coord = frame.coord.copy()
        coord[0, 0] += number * size
        parts.append(replace(frame, coord=coord))
    return concatenate(parts)
