"""Whether dpbench and every backend of DeePMD-kit say the same, cell by cell.

A cell is one model on one structure in one backend. It ``agrees`` within the
tolerances below, is ``refused`` with the message of DeePMD-kit, or ``differs``. The
matrix of a release of DeePMD-kit is kept in ``registry/consistency``.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.backends.client import run_task
from dpbench.backends.consistency_cases import TYPE_MAP, Case
from dpbench.backends.launch import Launch
from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.batching import make_batch
from dpbench.models.deepmd_file import write_deepmd
from dpbench.models.geometry import atom_types
from dpbench.models.potential import DeepPotential
from dpbench.models.sel import SelOverflow, within_sel
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
    ".pd": "Paddle",
    ".json": "Paddle, frozen",
    "lammps.pb": "LAMMPS, TensorFlow",
    "lammps.pth": "LAMMPS, PyTorch",
}
"""Suffixes of model files, behind the engine where it is another; what evaluates."""

WRONG_THERE: Mapping[tuple[str, str], str] = {
    ("se_e2_a, widening fitting net, float64", ".pb"): (
        "TensorFlow: a layer of the fitting net that is twice as wide as the one "
        "before it loses its shortcut and its time step, which all other backends "
        "have (`deepmd/tf/fit/ener.py` knows shortcuts of square layers alone). "
        "Energies and forces are wrong, without a message."
    ),
    ("se_e2_r two-sided, float64", ".pth"): (
        "PyTorch: has one embedding net per neighbour type for `se_e2_r`; of a "
        "two-sided model it takes the first nets and says nothing "
        "(`deepmd/pt/model/descriptor/se_r.py`)."
    ),
    ("se_e2_a two-sided, float64", ".pd"): (
        "Paddle: energies of a two-sided `se_e2_a` are right, forces and virial are "
        "NaN or numbers of the order of 1e302."
    ),
}
"""Where cells differ by a fault of DeePMD-kit, by model and suffix of the file."""

ENERGY_RELATIVE, ENERGY, FORCE, VIRIAL = 1e-12, 1e-10, 1e-10, 1e-10
"""Largest differences in float64: energy 1e-12 |E| + 1e-10 eV, force 1e-10 eV/Å,
virial 1e-10 (max |virial| + 1) eV."""

SINGLE = 1e-5
"""Largest relative difference of a float32 model: of |E|, of the largest |force| + 1
and of the largest |virial| + 1, in the units of the above."""

CLOSEST = 0.5
"""Å, the shortest distance that the model files name; ``dp compress`` needs one."""

WORKER = Path(__file__).resolve().parent / "workers" / "deepmd_survey.py"

ONE_THREAD: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "DP_INTRA_OP_PARALLELISM_THREADS": "1",
    "DP_INTER_OP_PARALLELISM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Compiling is most of the time: once for every structure.
    "XLA_FLAGS": "--xla_backend_optimization_level=0 "
    "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}
"""Environment of a survey: small models lose time on more threads."""

Ask = Callable[[str, dict[str, Any], Path], dict[str, Any]]
"""Sends a task, its arguments and the folder that the worker may write to a worker;
returns its reply."""


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


def worker_of(python: Path, *, timeout_s: float) -> Ask:
    """Return what asks a worker of DeePMD-kit.

    Args:
        python: Interpreter of its environment.
        timeout_s: How long a survey may take, s.
    """
    env = {**ONE_THREAD, **plugin_variables(python)}

    def ask(task: str, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
        needs = env if task == "survey_lammps" else ONE_THREAD
        launch = Launch(name="deepmd", python=python, adapter=WORKER, env=needs)
        return run_task(launch, task, arguments, scratch=folder, timeout_s=timeout_s)

    return ask


def survey(
    suffix: str,
    cases: Sequence[Case],
    structures: Mapping[str, Frames],
    ask: Ask,
) -> Survey:
    """Compare dpbench with one backend.

    Args:
        suffix: A key of BACKENDS.
        cases: The models.
        structures: Name to frames; the frames of one share their atoms' types.
        ask: What asks a worker, see ``worker_of``.

    Raises:
        BackendError: If the worker fails as a whole.
    """
    with tempfile.TemporaryDirectory(prefix="dpbench-consistency-") as scratch:
        where = Path(scratch).resolve()
        models = {case.name: where / f"{i:02d}.dp" for i, case in enumerate(cases)}
        for case in cases:
            write_deepmd(models[case.name], case.model, min_distance=CLOSEST)
        _write_structures(where / "structures.npz", structures)
        results = where / "results.npz"
        arguments = {
            "models": {name: str(path) for name, path in models.items()},
            "structures": str(where / "structures.npz"),
            "results": str(results),
        }
        if suffix.startswith("lammps"):
            reply = _through_lammps(suffix, arguments, ask, where)
        else:
            reply = ask("survey", arguments | {"suffix": suffix}, where)
        with np.load(results, allow_pickle=False) as arrays:
            cells = {
                case.name: _judged(case, structures, reply["refused"], arrays)
                for case in cases
            }
    return Survey(cells=cells, versions=reply["versions"], seconds=reply["seconds"])


def native_answers(
    model: DeepPotential, frames: Frames, *, overflow: SelOverflow = "error"
) -> Answers:
    """Evaluate dpbench's reference mathematics on the frames of one structure.

    Args:
        model: The model.
        frames: Frames of the same number of atoms.
        overflow: What to do with more neighbours than slots.
    """
    count = frames.nframes
    found = [
        find_neighbours(
            frames.coord[frames.atoms_of(i)], frames.box[i], frames.pbc[i], model.rcut
        )
        for i in range(count)
    ]
    batch = make_batch(
        frames,
        found,
        model.type_map,
        dtype=model.dtype,
        numb_aparam=model.config.fitting.numb_aparam,
    )
    answer = model.energy_and_forces(within_sel(batch, model.config, overflow=overflow))
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


def wrong_there(model: str, suffix: str) -> str | None:
    """Say what is wrong in DeePMD-kit with a model in a backend; None = nothing."""
    return WRONG_THERE.get((model, f".{suffix.rpartition('.')[2]}"))


def matrix_file(release: str = RELEASE) -> Path:
    """Return where the matrix of a release of DeePMD-kit is kept."""
    return registry_folder() / "consistency" / f"deepmd-kit-{release}.json"


def read_matrix(path: Path) -> dict[str, Any]:
    """Read a matrix: ``versions``, and ``cells`` by suffix, model and structure."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_matrix(path: Path, surveys: Mapping[str, Survey]) -> None:
    """Write the surveys of some backends; all other cells are kept as they stand.

    Args:
        path: File of the matrix.
        surveys: By suffix.
    """
    kept = read_matrix(path) if path.exists() else {"versions": {}, "cells": {}}
    for suffix, found in surveys.items():
        kept["versions"][suffix] = dict(sorted(found.versions.items()))
        column = kept["cells"].setdefault(suffix, {})
        for model, cells in found.cells.items():
            column[model] = {**column.get(model, {}), **cells}
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


def _through_lammps(
    suffix: str, arguments: Mapping[str, Any], ask: Ask, where: Path
) -> dict[str, Any]:
    """Have one worker convert the models, and another run LAMMPS with its plugin."""
    models = arguments["models"]
    ending = suffix.removeprefix("lammps")
    targets = {name: path.removesuffix(".dp") + ending for name, path in models.items()}
    made = ask("write", {"models": models, "targets": targets}, where)
    kept = {name: targets[name] for name in models if name not in made["refused"]}
    asked = {**arguments, "models": kept, "type_map": list(TYPE_MAP)}
    reply = ask("survey_lammps", asked, where)
    return {
        "refused": made["refused"] | reply["refused"],
        "seconds": reply["seconds"],
        "versions": made["versions"] | reply["versions"],
    }


def plugin_variables(python: Path) -> dict[str, str]:
    """Return what lets LAMMPS find DeePMD-kit's plugin and the libraries it needs."""
    own = python.parent.parent
    site = next(iter(own.glob("lib/python3*/site-packages")), own)
    parts = ("tensorflow", "torch/lib", "deepmd/lib", "nvidia/cuda_runtime/lib")
    libraries = [*(str(site / part) for part in parts), str(own / "lib")]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "LAMMPS_PLUGIN_PATH": str(site / "deepmd" / "lib"),
    }


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
