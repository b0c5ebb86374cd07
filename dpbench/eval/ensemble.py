"""The models of an ensemble, open at the same time, each on the backend that serves."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from dpbench.backends.cards import NATIVE
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.model_deviation import native_evaluator
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.opening import opened
from dpbench.eval.options import Options
from dpbench.eval.planning import plan_backends
from dpbench.models.recognise import OWN_KINDS, recognise
from dpbench.store.workspace import Workspace


def open_ensemble(
    stack: ExitStack,
    paths: Sequence[Path],
    *,
    workspace: Callable[[], Workspace],
    backend: str | None = None,
    trust: Sequence[str] = (),
    device: str = "cpu",
) -> list[AbstractEvaluator]:
    """Open the models of an ensemble.

    Args:
        stack: Closes what must be closed; workers end with it.
        paths: The files.
        workspace: Opens the workspace, which knows what was made here; not called
            for models that dpbench's kernels read.
        backend: Who evaluates all of them; None = dpbench's kernels where they serve,
            else the backend that a file is of.
        trust: sha256 of foreign programs that may be opened.
        device: Where.

    Raises:
        ModelError: If a file is no model.
        BackendError: If a backend is not installed, or a file is a program that
            nothing vouches for.
    """
    is_native = backend in (None, NATIVE)
    found: list[AbstractEvaluator] = []
    for path in paths:
        if is_native and recognise(path).kind in (*OWN_KINDS, "unknown"):
            found.append(native_evaluator(path, device=device))
            continue
        options = Options(
            backends=() if backend is None else (backend,),
            trust=tuple(trust),
            device=device,
        )
        home = workspace()
        (plan,) = plan_backends(home, path, options)
        subject = stack.enter_context(opened(home, plan, options))
        evaluator = subject.evaluator
        if isinstance(evaluator, NativeEvaluator):  # without tables: see there
            evaluator = subject.reference or evaluator
        found.append(evaluator)
    return found
