"""CP2K 7 and older: dpdata's own parsers behind dpbench's gate."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.cp2k.log import Log
from dpbench.io.readers.snapshots import Snapshot, frames_of, n_scf_of, steps_of
from dpbench.io.text import open_text

_SAME_CELL = 2e-3
"""Å; dpdata holds the cell in single precision, the log prints three decimals."""


def read_old(
    files: SourceFiles, *, log: Log, path: Path, theory: dict[str, Any]
) -> ParsedSource:
    """Read a calculation of CP2K 7 or older through dpdata.

    dpdata reads the numbers and knows of no convergence; the verdicts of the log are
    laid over its frames in order.

    Args:
        files: Log and trajectory files.
        log: The log, for verdicts, steps and cell.
        path: The log's path.
        theory: Level of theory of the log.

    Returns:
        All frames that dpdata yields, judged.

    Raises:
        SourceError: If dpdata reads no frame.
    """
    data, name = _load(files, path)
    version = theory["code_version"]
    found = _judged_by(log, data)
    names = [data["atom_names"][kind] for kind in data["atom_types"]]
    z = atomic_numbers(names, where=str(path))
    frames, reasons = frames_of(z, found, where=str(path))
    notes = [f"{path.name}: CP2K {version}, read by dpdata {name}."]
    if len(log.blocks) != len(found):
        notes.append(
            f"{path.name}: {len(log.blocks)} energies in the log for {len(found)} "
            "frames; one unconverged SCF quarantines all."
        )
    return ParsedSource(
        code="cp2k",
        code_version=version,
        format=f"dpdata:{name}",
        frames=frames,
        step=steps_of(found),
        n_scf=n_scf_of(found),
        quarantine=reasons,
        theory=theory,
        complete=log.is_complete,
        notes=tuple(notes),
    )


def _judged_by(log: Log, data: dict[str, Any]) -> list[Snapshot]:
    """Lay verdicts, steps and cells of the log over dpdata's frames."""
    count = len(data["energies"])
    blocks = log.blocks
    is_aligned = len(blocks) == count
    is_good = bool(blocks) and all(block.has_converged for block in blocks)
    found = []
    for index in range(count):
        block = blocks[index] if is_aligned else None
        has_converged = is_good if block is None else bool(block.has_converged)
        box = np.asarray(data["cells"][index], dtype=np.float64)
        printed = log.cell(block) if block is not None else None
        if printed is not None and np.abs(printed - box).max() < _SAME_CELL:
            box = printed
        virial = data["virials"][index] if "virials" in data else None
        found.append(
            Snapshot(
                coord=np.asarray(data["coords"][index], dtype=np.float64),
                box=box,
                energy=float(data["energies"][index]),
                force=np.asarray(data["forces"][index], dtype=np.float64),
                virial=None if virial is None else np.asarray(virial, np.float64),
                n_scf=-1 if block is None else block.n_scf,
                step=index if block is None else block.step,
                quarantine=Quarantine.NONE if has_converged else Quarantine.UNCONVERGED,
            )
        )
    return found


def _load(files: SourceFiles, path: Path) -> tuple[dict[str, Any], str]:
    """Let dpdata read the files; its MD format wants a folder with plain names."""
    import dpdata

    positions = [p for p in files.paths if "-pos-" in p.name]
    name = "cp2k/aimd_output" if positions else "cp2k/output"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "cp2k.log")
        _copy(path, log)
        if positions:
            _copy(positions[0], Path(folder, "cp2k-pos-1.xyz"))
        target = folder if positions else str(log)
        try:
            system = dpdata.LabeledSystem(target, fmt=name)
        # its line parser raises whatever it stumbles over, and none of it is ours
        except Exception as error:
            raise SourceError(
                f"{path}: dpdata's {name} cannot read it ({error}); expected a whole "
                "log of CP2K 7 or older. Run it again with CP2K 8.1 or later."
            ) from error
    if len(system) == 0:
        raise SourceError(
            f"{path}: dpdata's {name} finds no frame; expected energies, forces and "
            "positions (print level MEDIUM, PRINT FORCES). Complete the output."
        )
    return system.data, name


def _copy(source: Path, target: Path) -> None:
    """Copy a text file, unpacking it."""
    with open_text(source) as plain, target.open("w", encoding="utf-8") as copy:
        shutil.copyfileobj(plain, copy)
