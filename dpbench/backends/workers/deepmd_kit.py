"""DeePMD-kit as a backend: every file that its ``DeepPot`` reads, and its own jobs.

Runs in DeePMD-kit's environment below ``serve.py`` and needs nothing of dpbench. A
model file of another suffix than that of the wanted backend is converted in a scratch
folder first, by DeePMD-kit itself. What DeePMD-kit does not support is ``Refused`` with
its own message.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from serve import Refused


def _sibling(name: str) -> Any:
    """Load a part of this worker from beside it; ``-I`` leaves its folder out."""
    path = Path(__file__).resolve().with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


files = _sibling("deepmd_files")

OPTIONS = {"backend", "suffix", "head", "atom_energy", "batch_atoms", "nlist_backend"}


def open_model(path: str, options: dict[str, Any]) -> "Model":
    """Open a model file of DeePMD-kit.

    Args:
        path: The file, or the folder of a SavedModel.
        options: ``backend`` (a key of BACKENDS: the file is converted to it where it is
            another's), ``suffix`` (what kind the file is, where its name does not say),
            ``head`` (branch of a multi-task model), ``atom_energy`` (whether to give
            energies per atom too), ``batch_atoms`` (atoms of one pass),
            ``nlist_backend`` (who builds neighbour lists for PyTorch models: native,
            vesin or nv).

    Raises:
        Refused: With DeePMD-kit's message, if it does not read the file.
    """
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise Refused(f"unknown option {unknown[0]}; expected one of {sorted(OPTIONS)}")
    backend = options.get("backend")
    if backend is not None and backend not in files.BACKENDS:
        known = list(files.BACKENDS)
        raise Refused(f"unknown backend {backend!r}; expected one of {known}")
    scratch = tempfile.TemporaryDirectory(prefix="deepmd-")
    try:
        source = files.named(Path(path), options.get("suffix"), Path(scratch.name))
        source = files.of_backend(source, backend, Path(scratch.name))
        return Model(source, options, scratch)
    except BaseException:
        scratch.cleanup()
        raise


class Model:
    """A model that DeePMD-kit evaluates."""

    def __init__(self, path: Path, options: dict[str, Any], scratch: Any) -> None:
        """Load ``path``; ``scratch`` is the folder that lives as long as the model."""
        from deepmd.infer import DeepPot

        self._scratch = scratch
        self._atomic = bool(options.get("atom_energy", False))
        more: dict[str, Any] = {}
        if options.get("head") is not None:
            more["head"] = options["head"]
        if options.get("batch_atoms") is not None:
            more["auto_batch_size"] = int(options["batch_atoms"])
        if options.get("nlist_backend") is not None:
            more["nlist_backend"] = str(options["nlist_backend"])
        self._model = files.asked(DeepPot, str(path), **more)
        name = files.backend_of(path)
        if not isinstance(self._model, DeepPot):
            kind = type(self._model).__name__
            raise Refused(f"the model is a {kind}, which gives no energies and forces")
        if self._model.has_spin:
            raise Refused("the model has spins, which frames here do not tell")
        if name == "DPModel":
            raise Refused(
                "the NumPy backend of DeePMD-kit gives energies alone, no forces; name "
                "another backend"
            )
        self.facts: dict[str, Any] = {
            "type_map": [str(symbol) for symbol in self._model.get_type_map()],
            "rcut": float(self._model.get_rcut()),
            "precision": _precision(self._model),
            "backend": f"DeePMD-kit {name}",
            "versions": files.versions(),
            "device": _device(name),
            "description": f"DeePMD-kit {name} model, {path.suffix}",
            "dim_fparam": int(self._model.get_dim_fparam()),
            "dim_aparam": int(self._model.get_dim_aparam()),
        }

    def evaluate(
        self,
        coord: np.ndarray,
        box: Any,
        pbc: np.ndarray,
        atype: np.ndarray,
        extra: dict[str, np.ndarray],
    ) -> dict[str, Any]:
        """Energy (eV), force (eV/Å) and virial (eV) of frames of one kind.

        Args:
            coord: (frame, atom, 3), Å.
            box: (frame, 3, 3), Å, or None.
            pbc: (3), whether frames repeat along each cell vector.
            atype: (atom), indices into the model's type_map.
            extra: ``fparam`` (frame, number) and ``aparam`` (frame, atom, number).

        Raises:
            Refused: If DeePMD-kit does not evaluate such frames.
        """
        nframes, natoms = coord.shape[:2]
        is_periodic = bool(np.all(pbc))
        if not is_periodic and bool(np.any(pbc)):
            raise Refused(
                "DeePMD-kit knows frames that are periodic along all three cell "
                f"vectors or none, not {[bool(flag) for flag in pbc]}"
            )
        if is_periodic and box is None:
            raise Refused("periodic frames without a cell")
        for name in ("fparam", "aparam"):
            self._check_numbers(name, extra.get(name))
        found = files.asked(
            self._model.eval,
            coord.reshape(nframes, -1),
            box.reshape(nframes, 9) if is_periodic else None,
            atype,
            atomic=self._atomic,
            fparam=extra.get("fparam"),
            aparam=extra.get("aparam"),
        )
        answer = {
            "energy": np.asarray(found[0], np.float64).reshape(nframes),
            "force": np.asarray(found[1], np.float64).reshape(nframes, natoms, 3),
            "virial": np.asarray(found[2], np.float64).reshape(nframes, 3, 3),
        }
        if self._atomic:
            own = np.asarray(found[3], np.float64)
            answer["atom_energy"] = own.reshape(nframes, natoms)
        return answer

    def _check_numbers(self, name: str, given: Any) -> None:
        wanted = self.facts[f"dim_{name}"]
        if given is not None and not wanted:
            raise Refused(f"the model takes no {name}, but {name} was given")
        if given is None and wanted and not self._has_default(name):
            raise Refused(f"the model needs {wanted} numbers of {name}; none was given")

    def _has_default(self, name: str) -> bool:
        try:
            return name == "fparam" and bool(self._model.has_default_fparam())
        except (AttributeError, NotImplementedError):
            return False


def task(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do a job that needs no open model.

    ``convert``: ``source``, ``target``, and ``atomic_virial``, ``head``, ``suffix`` of
    the source; ``compress``: ``source``, ``target``, ``step``, ``extrapolate``;
    ``versions``: nothing.
    """
    jobs = {"convert": files.convert, "compress": files.compress}
    if name == "versions":
        return {"versions": files.versions()}
    if name not in jobs:
        raise Refused(f"unknown task {name!r}; expected one of {sorted(jobs)}")
    return jobs[name](**arguments)


def _precision(model: Any) -> Any:
    """Return the precision of the nets, or None where the model does not tell."""
    try:
        script = model.get_model_def_script()
    except Exception:
        # A backend that keeps no script says so by any exception that occurs to it.
        return None
    found: set[str] = set()
    parts = [script]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if "neuron" in part:
                found.add(str(part.get("precision", "default")))
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)
    high = "float64" if os.environ.get("DP_INTERFACE_PREC", "high") == "high" else ""
    names = {high if name == "default" else name for name in found}
    return "+".join(sorted(names)) or None


def _device(backend: str) -> str:
    """Name the device that a backend computes on."""
    if backend.startswith("PyTorch"):
        from deepmd.pt.utils.env import DEVICE

        return str(DEVICE)
    if backend == "JAX":
        import jax

        return str(jax.devices()[0].platform)
    if backend.startswith("TensorFlow"):
        import tensorflow

        return "cuda" if tensorflow.config.list_physical_devices("GPU") else "cpu"
    return "cpu"
