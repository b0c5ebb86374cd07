"""Models of DeePMD-kit on many structures at once: the other side of ``consistency``.

Runs in DeePMD-kit's environment below ``serve.py``. LAMMPS gets a process of its own:
its plugin and the Python package would load the same libraries twice.
"""

import hashlib
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from serve import Refused


def _sibling(name: str) -> Any:
    """Load another worker, which lies beside this one."""
    path = Path(__file__).resolve().with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def task(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do ``write``, ``survey`` or ``survey_lammps``."""
    jobs = {"write": write, "survey": survey, "survey_lammps": survey_lammps}
    if name not in jobs:
        raise Refused(f"unknown task {name!r}; expected one of {sorted(jobs)}")
    return jobs[name](**arguments)


def write(models: dict[str, str], targets: dict[str, str]) -> dict[str, Any]:
    """Convert models, each to its target; name those that are refused."""
    kit = _sibling("deepmd_kit")

    def refusal(name: str) -> str:
        try:
            kit.files.convert(models[name], targets[name])
        except Refused as refused:
            return str(refused)
        return ""

    said = {name: refusal(name) for name in models}
    refused = {name: words for name, words in said.items() if words}
    return {"refused": refused, "versions": kit.files.versions()}


def survey(
    models: dict[str, str], structures: str, suffix: str, results: str
) -> dict[str, Any]:
    """Convert models to a backend and evaluate each on every structure.

    Args:
        models: Name: a portable ``.dp`` file.
        structures: An ``.npz`` file: for each structure NAME the arrays NAME.coord
            (frame, atom, 3), NAME.box (frame, 3, 3) or of no rows, NAME.atype (atom).
        suffix: That of the backend's files, such as ``.pb``.
        results: File of the arrays MODEL.STRUCTURE.{energy,force,virial} to write.

    Returns:
        ``refused``: MODEL or MODEL.STRUCTURE to the message; ``seconds``: MODEL to
        those of conversion and of evaluation; ``versions``.
    """
    kit = _sibling("deepmd_kit")
    found = _Found(structures)
    for name, path in models.items():
        with tempfile.TemporaryDirectory(prefix="deepmd-") as scratch:
            target = Path(scratch) / f"model{suffix}"
            began = time.perf_counter()
            try:
                kit.files.convert(path, str(target))
                converted = time.perf_counter()
                model = kit.open_model(str(target), {})
            except Refused as refusal:
                found.refused[name] = str(refusal)
                continue
            found.evaluate(name, model)
            taken = [converted - began, time.perf_counter() - converted]
            found.seconds[name] = taken
    return found.written(results, kit.files.versions())


def survey_lammps(
    models: dict[str, str], structures: str, results: str, type_map: list[str]
) -> dict[str, Any]:
    """Evaluate converted models through ``pair_style deepmd`` of LAMMPS.

    Args:
        models: Name: a file that the plugin reads.
        structures: As for ``survey``.
        results: As for ``survey``.
        type_map: Elements of the models.
    """
    pair = _sibling("lammps_pair")
    found = _Found(structures)
    for name, path in models.items():
        file = Path(path)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        description = file.with_suffix(".lammps.toml")
        description.write_text(
            f"type_map = {json.dumps(type_map)}\n"
            f'pair_style = "deepmd {file.name}"\n'
            f'pair_coeff = ["* * {" ".join(type_map)}"]\n'
            f'[files]\n"{file.name}" = "{digest}"\n',
            encoding="utf-8",
        )
        began = time.perf_counter()
        try:
            model = pair.open_model(str(description), {"programs": True})
        except Refused as refusal:
            found.refused[name] = str(refusal)
            continue
        found.evaluate(name, model)
        found.seconds[name] = [0.0, time.perf_counter() - began]
    return found.written(results, model.facts["versions"] if models else {})


class _Found:
    """What has been found so far."""

    def __init__(self, structures: str) -> None:
        self._given = np.load(structures)
        self._names = sorted({key.rpartition(".")[0] for key in self._given})
        self._arrays: dict[str, np.ndarray] = {}
        self.refused: dict[str, str] = {}
        self.seconds: dict[str, list[float]] = {}

    def evaluate(self, name: str, model: Any) -> None:
        """Evaluate a model on every structure."""
        for structure in self._names:
            key = f"{name}.{structure}"
            box = self._given[f"{structure}.box"]
            is_periodic = len(box) > 0
            try:
                found = model.evaluate(
                    self._given[f"{structure}.coord"],
                    box if is_periodic else None,
                    np.full(3, is_periodic),
                    self._given[f"{structure}.atype"],
                    {},
                )
            except Refused as refusal:
                self.refused[key] = str(refusal)
                continue
            self._arrays.update({f"{key}.{part}": found[part] for part in found})

    def written(self, results: str, versions: dict[str, str]) -> dict[str, Any]:
        """Write the arrays; return the rest."""
        np.savez(results, **self._arrays)
        return {
            "refused": self.refused,
            "seconds": self.seconds,
            "versions": versions,
        }
