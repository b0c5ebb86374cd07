"""Whether dpbench and every backend of DeePMD-kit say the same, cell by cell.

A cell is one model on one structure in one backend. It ``agrees`` within the
tolerances below, is ``refused`` with the message of DeePMD-kit, or ``differs``. The
matrix of a release of DeePMD-kit is kept in ``registry/consistency``.
"""

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.backends.consistency_cases import TYPE_MAP, Case
from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.batching import make_batch
from dpbench.models.deepmd_file import write_deepmd
from dpbench.models.geometry import atom_types
from dpbench.models.potential import DeepPotential
from dpbench.models.sel import within_sel
from dpbench.registry_files import registry_folder

RELEASE = "3.2.0"
"""The release of DeePMD-kit that the matrix is about."""

BACKENDS: Mapping[str, str] = {
    ".pb": "TensorFlow",
    ".pth": "PyTorch",
    ".pte": "PyTorch-exportable",
    ".pt2": "PyTorch-exportable, compiled",
    ".hlo": "JAX",
    ".savedmodel": "JAX as SavedModel",
    ".savedmodeltf": "TensorFlow 2",
    ".json": "Paddle",
}
"""Suffixes of model files, and what evaluates them."""

ENERGY_RELATIVE, ENERGY, FORCE, VIRIAL = 1e-12, 1e-10, 1e-10, 1e-10
"""Largest differences in float64: energy 1e-12 |E| + 1e-10 eV, force 1e-10 eV/Å,
virial 1e-10 (max |virial| + 1) eV."""

SINGLE = 1e-5
"""Largest relative difference of a float32 model: of |E|, of the largest |force| + 1
and of the largest |virial| + 1, in the units of the above."""

CLOSEST = 0.5
"""Å, the shortest distance that the model files name; ``dp compress`` needs one."""

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Sends the arguments of a survey to a worker and returns its reply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Energy (frame), force (frame, atom, 3), virial (frame, 3, 3) of a structure."""

    energy: NDArray[np.float64]
    """eV."""
    force: NDArray[np.float64]
    """eV/Å."""
    virial: NDArray[np.float64]
    """eV."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What one backend says about all models and structures."""

    cells: Mapping[str, Mapping[str, str]]
    """Model to structure to outcome, as ``judge`` words it."""
    versions: Mapping[str, str]
    """Programs that answered."""
    seconds: Mapping[str, Sequence[float]]
    """Model to seconds of conversion and of evaluation."""


def survey(
    suffix: str,
    cases: Sequence[Case],
    structures: Mapping[str, Frames],
    ask: Ask,
    *,
    folder: Path | None = None,
) -> Survey:
    """Compare dpbench with one backend.

    Args:
        suffix: That of the backend's files, a key of BACKENDS.
        cases: The models.
        structures: Name to frames; the frames of one share their atoms' types.
        ask: Sends the task ``survey`` to the worker of DeePMD-kit.
        folder: Where the worker may read and write; a temporary one by default.

    Raises:
        BackendError: If the worker fails as a whole.
    """
    with tempfile.TemporaryDirectory(prefix="dpbench-consistency-") as scratch:
        where = folder or Path(scratch)
        models = {case.name: where / f"{i:02d}.dp" for i, case in enumerate(cases)}
        for case in cases:
            write_deepmd(models[case.name], case.model, min_distance=CLOSEST)
        _write_structures(where / "structures.npz", structures)
        results = where / f"results{suffix}.npz"
        reply = ask(
            {
                "models": {name: str(path) for name, path in models.items()},
                "structures": str(where / "structures.npz"),
                "suffix": suffix,
                "results": str(results),
            }
        )
        with np.load(results, allow_pickle=False) as arrays:
            cells = {
                case.name: _judged(case, structures, reply["refused"], arrays)
                for case in cases
            }
    return Survey(cells=cells, versions=reply["versions"], seconds=reply["seconds"])


def native_answers(model: DeepPotential, frames: Frames) -> Answers:
    """Evaluate dpbench's reference mathematics on the frames of one structure."""
    count = frames.nframes
    found = [
        find_neighbours(
            frames.coord[frames.atoms_of(i)], frames.box[i], frames.pbc[i], model.rcut
        )
        for i in range(count)
    ]
    batch = make_batch(frames, found, model.type_map, dtype=model.dtype)
    answer = model.energy_and_forces(within_sel(batch, model.config))
    return Answers(
        energy=answer.energy.detach().numpy(),
        force=answer.force.detach().numpy().reshape(count, -1, 3),
        virial=answer.virial.detach().numpy(),
    )


def judge(ours: Answers, theirs: Answers, *, precision: str) -> str:
    """Word the comparison of two answers.

    Returns:
        ``agrees`` or ``differs`` and the largest differences of energy, force, virial.
    """
    pairs = {
        name: (getattr(ours, name), getattr(theirs, name))
        for name in ("energy", "force", "virial")
    }
    if any(a.shape != b.shape for a, b in pairs.values()):
        return "differs: shapes do not fit"
    off = {name: np.abs(a - b) for name, (a, b) in pairs.items()}
    size = {name: float(np.abs(a).max(initial=0)) for name, (a, _) in pairs.items()}
    energy = np.abs(ours.energy)
    if precision == "float64":
        allowed = {
            "energy": ENERGY_RELATIVE * energy + ENERGY,
            "force": FORCE,
            "virial": VIRIAL * (size["virial"] + 1),
        }
    else:
        allowed = {
            "energy": SINGLE * energy,
            "force": SINGLE * (size["force"] + 1),
            "virial": SINGLE * (size["virial"] + 1),
        }
    # NaN is no agreement.
    agrees = all(bool(np.all(off[name] <= allowed[name])) for name in off)
    largest = [float(np.max(off[name], initial=0)) for name in off]
    figures = "{:.1e} eV, {:.1e} eV/Å, {:.1e} eV".format(*largest)
    return f"{'agrees' if agrees else 'differs'}: {figures}"


def refusal(message: str) -> str:
    """Word a refusal of DeePMD-kit, without what differs from run to run."""
    plain = re.sub(r"/\S*/(?=[\w.-]+)", "", message)
    plain = re.sub(r"0x[0-9a-f]+", "0x", plain)
    return f"refused by {RELEASE}: {' '.join(plain.split())[:240]}"


def outcome(cell: str) -> str:
    """Return what two runs must have in common: the refusal, or the first word."""
    return cell if cell.startswith("refused") else cell.partition(":")[0]


def matrix_file(release: str = RELEASE) -> Path:
    """Return where the matrix of a release of DeePMD-kit is kept."""
    return registry_folder() / "consistency" / f"deepmd-kit-{release}.json"


def read_matrix(path: Path) -> dict[str, Any]:
    """Read a matrix: ``versions``, and ``cells`` by suffix, model and structure."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_matrix(path: Path, surveys: Mapping[str, Survey]) -> None:
    """Write the surveys of some backends; those of others are kept as they stand.

    Args:
        path: File of the matrix.
        surveys: By suffix.
    """
    kept = read_matrix(path) if path.exists() else {"versions": {}, "cells": {}}
    for suffix, found in surveys.items():
        kept["versions"][suffix] = dict(sorted(found.versions.items()))
        kept["cells"][suffix] = found.cells
    order = [suffix for suffix in BACKENDS if suffix in kept["cells"]]
    whole = {
        "deepmd_kit": RELEASE,
        "made_by": "tools/consistency.py",
        "tolerances": {
            "float64": f"energy {ENERGY_RELATIVE} |E| + {ENERGY} eV; force {FORCE} "
            f"eV/Å; virial {VIRIAL} (max |virial| + 1) eV",
            "float32": f"{SINGLE} |E|; {SINGLE} (max |force| + 1 eV/Å); {SINGLE} "
            "(max |virial| + 1 eV)",
        },
        "versions": {suffix: kept["versions"][suffix] for suffix in order},
        "cells": {suffix: kept["cells"][suffix] for suffix in order},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _write_structures(path: Path, structures: Mapping[str, Frames]) -> None:
    arrays: dict[str, Any] = {}
    for name, frames in structures.items():
        count = frames.nframes
        kinds = atom_types(frames.z, TYPE_MAP)
        arrays[f"{name}.coord"] = frames.coord.reshape(count, -1, 3)
        arrays[f"{name}.atype"] = kinds[: len(kinds) // count]
        has_cell = bool(frames.pbc.all())
        arrays[f"{name}.box"] = frames.box if has_cell else np.zeros((0, 3, 3))
    np.savez(path, **arrays)


def _judged(
    case: Case,
    structures: Mapping[str, Frames],
    refused: Mapping[str, str],
    arrays: Mapping[str, NDArray[np.float64]],
) -> dict[str, str]:
    """Return the outcome of each structure."""
    cells = {}
    for name, frames in structures.items():
        key = f"{case.name}.{name}"
        message = refused.get(case.name, refused.get(key))
        if message is not None:
            cells[name] = refusal(message)
            continue
        parts = {
            part: arrays[f"{key}.{part}"] for part in ("energy", "force", "virial")
        }
        cells[name] = judge(
            native_answers(case.model, frames),
            Answers(**parts),
            precision=case.model.config.precision,
        )
    return cells
