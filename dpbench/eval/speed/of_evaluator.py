"""From a model that is open to a configuration that other processes can open."""

from pathlib import Path

from dpbench.backends.trust import digest_of, is_program
from dpbench.errors import EvaluationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.foreign import ForeignEvaluator
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.speed.configurations import Configuration
from dpbench.models.checkpoint import save_model
from dpbench.models.compressed import CompressedPotential
from dpbench.models.compressed_file import save_compressed
from dpbench.models.files import Potential
from dpbench.store.workspace import Workspace


def configuration_of(
    evaluator: AbstractEvaluator, workspace: Workspace, folder: Path
) -> Configuration:
    """Describe an evaluator so that a process of its own can open the same model.

    Args:
        evaluator: dpbench's own or a foreign one.
        workspace: Has cards of its own.
        folder: Takes a copy of a model that lies in memory alone.

    Raises:
        EvaluationError: If it is neither.
    """
    if isinstance(evaluator, ForeignEvaluator):
        path = evaluator.model.path
        return Configuration(
            label=evaluator.backend,
            backend=evaluator.backend,
            path=None if path is None else str(path.resolve()),
            type_map=evaluator.type_map,
            rcut=evaluator.rcut,
            engine="ase",
            trusted=digest_of(path) if path is not None and is_program(path) else None,
            own_cards=str(workspace.root / "backends"),
        )
    if not isinstance(evaluator, NativeEvaluator):
        raise EvaluationError(
            f"{evaluator.backend}: cannot be opened by another process; expected "
            "dpbench's kernels or a backend of a card."
        )
    return Configuration(
        label=f"dpbench {evaluator.precision}",
        backend="dpbench",
        path=str(_written(evaluator.model, folder)),
        type_map=evaluator.type_map,
        rcut=evaluator.rcut,
        device=evaluator.device,
        is_exact=evaluator.is_exact,
        engine="dpbench",
    )


def _written(model: Potential, folder: Path) -> Path:
    """Write the model as it is evaluated: tables stay tables."""
    path = folder / "model.pth"
    on_cpu = model.to("cpu")
    if isinstance(on_cpu, CompressedPotential):
        save_compressed(path, on_cpu, {}, {})
    else:
        save_model(path, on_cpu, {})
    return path
