"""The water box, repeated, for dpbench and for LAMMPS."""

from pathlib import Path

import numpy as np

MASS = (15.999, 1.008)


def write_structures(system: Path, folder: Path, repeat: int) -> int:
    """Write ``water.extxyz`` and ``water.lmp``; return the number of atoms.

    Args:
        system: A deepmd/npy system of one frame or more, O and H, right angles.
        folder: Where the files go.
        repeat: Copies along each cell vector.
    """
    kinds = np.loadtxt(system / "type.raw", dtype=int)
    coord = np.load(system / "set.000" / "coord.npy")[0].reshape(-1, 3).astype(float)
    box = np.load(system / "set.000" / "box.npy")[0].reshape(3, 3).astype(float)
    if not np.allclose(box, np.diag(np.diag(box))):
        raise SystemExit(f"{system}: the cell has no right angles")
    edge = np.diag(box)
    coord %= edge
    shifts = np.indices((repeat,) * 3).reshape(3, -1).T
    places = (coord + (shifts * edge)[:, None]).reshape(-1, 3)
    types = np.tile(kinds, repeat**3)
    edge = edge * repeat
    write_extxyz(folder / "water.extxyz", places, types, edge)
    write_lammps(folder / "water.lmp", places, types, edge)
    return len(types)


def write_extxyz(
    path: Path, places: np.ndarray, types: np.ndarray, edge: np.ndarray
) -> None:
    lattice = " ".join(f"{x:.10f}" for x in np.diag(edge).ravel())
    rows = [
        f"{'OH'[kind]} {x:.10f} {y:.10f} {z:.10f}"
        for kind, (x, y, z) in zip(types, places, strict=True)
    ]
    head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"'
    path.write_text("\n".join([str(len(types)), head, *rows]) + "\n")


def write_lammps(
    path: Path, places: np.ndarray, types: np.ndarray, edge: np.ndarray
) -> None:
    bounds = [
        f"0.0 {length:.10f} {axis}lo {axis}hi"
        for length, axis in zip(edge, "xyz", strict=True)
    ]
    rows = [
        f"{i + 1} {kind + 1} {x:.10f} {y:.10f} {z:.10f}"
        for i, (kind, (x, y, z)) in enumerate(zip(types, places, strict=True))
    ]
    head = ["water", "", f"{len(types)} atoms", "2 atom types", "", *bounds]
    path.write_text("\n".join([*head, "", "Atoms # atomic", "", *rows]) + "\n")
