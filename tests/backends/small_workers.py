"""Workers of the tiny Lennard-Jones backend, and structures for it."""

import sys
from pathlib import Path

import numpy as np

from dpbench.backends.client import BackendModel, Launch, open_backend
from dpbench.backends.trust import Trust
from dpbench.frames import Frames, concatenate, uniform

EPSILON, SIGMA, SHIFT = 0.0104, 3.4, -1.5

MODEL = f"{EPSILON} {SIGMA} {SHIFT} Ar Ne\n"


def lennard_jones(**env: str) -> Launch:
    """Start the tiny backend with this interpreter."""
    adapter = Path(__file__).with_name("lennard_jones_worker.py")
    return Launch(
        name="lj",
        python=Path(sys.executable),
        adapter=adapter.resolve(),
        env=env,
        reads_text=True,
    )


def opened(folder: Path, *, fault: str | None = None, **keywords) -> BackendModel:
    """Open the tiny model, with a fault or without one."""
    path = folder / "argon.txt"
    path.write_text(MODEL)
    options = {"fault": fault, "at": keywords.pop("at", 0)} if fault else {}
    options |= keywords.pop("options", {})
    keywords = {"timeout_s": 30.0, **keywords}
    return open_backend(
        lennard_jones(), path, trust=Trust(), options=options, **keywords
    )


def argon(nframes: int = 2, *, z: int = 18, seed: int = 0, side: int = 2) -> Frames:
    """Make periodic triclinic frames of ``side**3`` atoms."""
    rng = np.random.default_rng(seed)
    box = side * 4.1 * np.array([[1, 0, 0], [0.1, 1, 0], [-0.05, 0.08, 1.05]])
    frac = np.indices((side, side, side)).reshape(3, -1).T / side
    coord = frac @ box + rng.normal(scale=0.1, size=(nframes, len(frac), 3))
    return uniform(z=[z] * len(frac), coord=coord, box=np.tile(box, (nframes, 1, 1)))


def dimer(distance: float = 3.7) -> Frames:
    """Two atoms in no cell, of different elements."""
    return uniform(z=[18, 10], coord=np.array([[[0, 0, 0], [distance, 0, 0]]]))


def mixed() -> Frames:
    """Frames of several sizes, elements and periodicities, in no order."""
    blocks = [argon(2), dimer(), argon(1, z=10, seed=3), argon(2, seed=5)]
    return concatenate(blocks).select([4, 2, 0, 3, 5, 1])


def expected_energy(frames: Frames, index: int) -> float:
    """Sum the pair energies of one frame by a double loop, nearest images."""
    coord = frames.coord[frames.atoms_of(index)]
    box, total = frames.box[index], SHIFT * len(coord)
    for i in range(len(coord)):
        for j in range(i):
            delta = coord[i] - coord[j]
            if frames.pbc[index].all():
                frac = np.linalg.solve(box.T, delta)
                delta = box.T @ (frac - np.round(frac))
            six = (SIGMA / np.linalg.norm(delta)) ** 6
            total += 4 * EPSILON * (six**2 - six)
    return total
