"""ABACUS calculations by dpdata's functions, with the steps that its readers leave out.

dpdata drops unconverged steps, and everything of a calculation without an energy; here
they are handed on without their labels, to be quarantined.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dpbench.io.gate import volumes


def geometry(path: str) -> list[dict[str, Any]]:
    """Return the atoms of a calculation in which dpdata found no labels.

    A folder that was never run holds none.
    """
    from dpdata.formats.abacus import scf as untyped

    scf: Any = untyped
    inputs = _input_lines(path)
    if not Path(scf.get_path_out(path, inputs)).is_file():
        return []
    return [scf.get_frame_from_stru(scf.get_geometry_in(path, inputs))]


def trajectory(path: str) -> dict[str, Any]:
    """Return all steps of an MD run; an unconverged one has NaN for its energy.

    A killed run may have logged the energy of a step that it did not dump.
    """
    from dpdata.formats.abacus import md as untyped

    md: Any = untyped
    inputs = _input_lines(path)
    system: dict[str, Any] = md.get_frame_from_stru(md.get_geometry_in(path, inputs))
    output = Path(md.get_path_out(path, inputs))
    coord, cells, force, stress = md.get_coords_from_dump(
        _lines(output / "MD_dump"), system["atom_numbs"]
    )
    log = _lines(output / "running_md.log")
    every = md.get_coord_dump_freq(inlines=inputs)
    try:
        energy = md.get_energy(log, len(coord), every)
    except AssertionError:
        energy = md.get_energy(log, len(coord) + 1, every)[:-1]
    system.update(
        cells=cells,
        coords=coord,
        energies=energy,
        unconverged=np.isnan(energy),
    )
    if force is not None:
        system["forces"] = force
    # dpdata fills in zeros where the dump holds no virial
    if np.abs(stress).max() > 0:
        system["virials"] = stress * volumes(cells)[:, None, None]
    return system


def _input_lines(path: str) -> list[str]:
    return _lines(Path(path, "INPUT"))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n")
