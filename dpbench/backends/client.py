"""Models of foreign backends: opened in a worker, evaluated there, asked like our own.

    with open_backend(launch, model, trust=trust) as potential:
        answer = potential.evaluate(frames)

Nothing of a foreign program is imported or unpickled in this process.
"""

import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from dpbench.backends.facts import checked_facts
from dpbench.backends.grouping import calls, rows_of, type_columns
from dpbench.backends.launch import Launch
from dpbench.backends.protocol import (
    ALIGNMENT,
    PREDICTED,
    Array,
    ProtocolError,
    read_arrays,
    seconds_of,
)
from dpbench.backends.sandbox import companions, is_confined, sandbox_kind
from dpbench.backends.tasks import START_SECONDS, run_task
from dpbench.backends.trust import Trust, data_of, suffix_option
from dpbench.backends.worker_process import WorkerProcess
from dpbench.errors import BackendError, BackendRefused, ModelError
from dpbench.frames import Frames
from dpbench.metrics.frame_errors import Predictions
from dpbench.models.atom_numbers import atom_numbers

ANSWER_SECONDS = 600.0
"""How long one call may take, unless the caller says otherwise."""

ATOMS_PER_CALL = 2048
"""Atoms of one call, one frame at least."""

__all__ = ["Answer", "BackendModel", "Launch", "open_backend", "run_task"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a backend says about some frames, and what that took."""

    predictions: Predictions
    """Energy, force, virial; NaN where the backend gives no virial."""
    worker_s: float
    """The backend's own time, s."""
    total_s: float
    """The same with all that lies between, s."""
    atom_energy: NDArray[np.float64] | None = None
    """(atom), eV, where the backend gives it for every frame."""

    @property
    def overhead_s(self) -> float:
        """What the way to the worker and back took, s."""
        return self.total_s - self.worker_s


@final
class BackendModel:
    """A model in a worker. One thread at a time may use it."""

    def __init__(
        self,
        launch: Launch,
        model: Path | None,
        *,
        options: Mapping[str, Any],
        timeout_s: float,
        start_timeout_s: float,
        memory_limit: int | None,
        atoms_per_call: int,
        readable: Iterable[Path],
        is_confined: bool,
    ) -> None:
        """Take what ``open_backend`` has checked; ``restart`` opens the model."""
        self.launch = launch
        self.path = model
        self.facts: dict[str, Any] = {}
        self.sandbox = sandbox_kind()
        self.start_s = 0.0
        self._options = {**launch.options, **options}
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._memory_limit = memory_limit
        self._atoms_per_call = atoms_per_call
        self._readable = [*readable, *(companions(model) if model else [])]
        self._is_confined = is_confined
        self._worker: WorkerProcess | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._columns = np.zeros(0, np.int64)

    @property
    def name(self) -> str:
        """Name of the backend."""
        return self.launch.name

    @property
    def type_map(self) -> tuple[str, ...]:
        """Elements that the model knows."""
        return tuple(self.facts["type_map"])

    @property
    def is_alive(self) -> bool:
        """Whether its worker runs; if not, ``restart`` opens the model again."""
        return self._worker is not None and self._worker.is_alive

    def restart(self) -> None:
        """Open the model in a new worker, whatever became of the one before.

        Raises:
            BackendError: If it cannot be opened.
        """
        self.close()
        began = time.perf_counter()
        self._scratch = tempfile.TemporaryDirectory(
            prefix="dpbench-worker-", ignore_cleanup_errors=True
        )
        self._worker = WorkerProcess(
            self.launch,
            scratch=Path(self._scratch.name).resolve(),
            readable=self._readable,
            memory_limit=self._memory_limit,
            is_confined=self._is_confined,
        )
        try:
            versions = self._worker.start(timeout_s=self._start_timeout_s)
            path = "" if self.path is None else str(self.path.resolve())
            what = self.path.name if self.path is not None else "its potential"
            content = self._worker.ask(
                {"do": "open", "path": path, "options": self._options},
                timeout_s=self._start_timeout_s,
                doing=f"opened {what}",
                about=what,
            )
            try:
                self.facts = checked_facts(content.get("facts"), versions)
            except ProtocolError as error:
                raise self._worker.liar(str(error)) from error
        except BaseException:
            self.close()
            raise
        self._columns = type_columns(self.type_map)
        self.start_s = time.perf_counter() - began

    def evaluate(
        self, frames: Frames, fparam: NDArray[np.float64] | None = None
    ) -> Answer:
        """Return energy, force and virial of some frames.

        Args:
            frames: Of any compositions; the backend gets those that share their atom
                types together.
            fparam: (frame, number), the frame parameters of each.

        Raises:
            BackendRefused: If the model does not know an element, or the backend does
                not do it. The worker goes on.
            BackendError: If the backend failed, or answered NaN or what it should not.
            BackendCrashed: If the worker died; ``restart`` starts another.
            BackendTimeout: If it took too long and was stopped.
        """
        began, worker_s = time.perf_counter(), 0.0
        self._check_elements(frames)
        natoms = int(frames.atom_offset[-1])
        energy = np.empty(frames.nframes)
        force = np.empty((natoms, 3))
        virial = np.full((frames.nframes, 3, 3), np.nan)
        atom_energy: NDArray[np.float64] | None = np.empty(natoms)
        for index in calls(frames, self._atoms_per_call):
            rows = rows_of(frames, index)
            found, seconds = self._call(frames, index, rows, fparam=fparam)
            worker_s += seconds
            energy[index] = found["energy"]
            force[rows] = found["force"]
            if "virial" in found:
                virial[index] = found["virial"]
            if "atom_energy" not in found:
                atom_energy = None
            elif atom_energy is not None:
                atom_energy[rows] = found["atom_energy"]
        return Answer(
            predictions=Predictions(energy=energy, force=force, virial=virial),
            worker_s=worker_s,
            total_s=time.perf_counter() - began,
            atom_energy=atom_energy,
        )

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._worker = self._scratch = None

    def __enter__(self) -> Self:
        """Return itself; ``open_backend`` has opened it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker."""
        self.close()

    def _call(
        self,
        frames: Frames,
        index: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        fparam: NDArray[np.float64] | None,
    ) -> tuple[dict[str, NDArray[np.float64]], float]:
        """Have the worker evaluate frames that share their atom types."""
        worker = self._worker
        if worker is None:
            raise BackendError(f"{self.name}: is closed; expected restart() first.")
        nframes, natoms = rows.shape
        shapes = ((nframes,), (nframes, natoms, 3), (nframes, 3, 3), (nframes, natoms))
        named = list(zip(PREDICTED, shapes, strict=True))
        worker.memory.reach(nframes * (80 + 32 * natoms) + len(PREDICTED) * ALIGNMENT)
        arrays: dict[str, Array] = {
            "coord": np.asarray(frames.coord[rows], np.float64),
            "pbc": frames.pbc[index[0]],
            "atype": self._columns[frames.z[rows[0]]],
        }
        if arrays["pbc"].any():
            arrays["box"] = np.asarray(frames.box[index], np.float64)
        if count := int(self.facts.get("dim_aparam") or 0):
            arrays["extra.aparam"] = _atom_numbers(frames, index, count)
        if fparam is not None:
            arrays["extra.fparam"] = np.asarray(fparam[index], np.float64)
        entries = worker.memory.write(arrays)
        began = time.perf_counter()
        content = worker.ask(
            {"do": "evaluate", "size": worker.memory.size, "arrays": entries},
            timeout_s=self._timeout_s,
            doing=f"evaluated {nframes} frames of {natoms} atoms",
        )
        try:
            found = read_arrays(
                content.get("arrays"),
                worker.memory,
                required=dict(named[:2]),
                optional=dict(named[2:]),
            )
            passed = time.perf_counter() - began
            seconds = seconds_of(content, total_s=passed)
        except ProtocolError as error:
            raise worker.liar(str(error)) from error
        for quantity, values in found.items():
            if not np.isfinite(values).all():
                is_finite = np.isfinite(values).reshape(nframes, -1).all(axis=1)
                frame = int(index[int(np.argmin(is_finite))])
                raise BackendError(
                    f"{self.name}: frame {frame} of {frames.nframes}: {quantity} is "
                    "NaN or infinite; expected numbers. Look at that structure, or "
                    "leave it out."
                )
        return found, seconds

    def _check_elements(self, frames: Frames) -> None:
        if (self._columns[frames.z] < 0).any():
            unknown = [s for s in frames.symbols if s not in self.type_map]
            raise BackendRefused(
                f"{self.name}: the model does not know {', '.join(unknown)}; it knows "
                f"{', '.join(self.type_map[:20])}"
                f"{' ...' if len(self.type_map) > 20 else ''}. Use frames of these."
            )


def _atom_numbers(
    frames: Frames, index: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return the ``count`` numbers of some frames' atoms, (frame, atom, number)."""
    try:
        found = [atom_numbers(frames, i, count, name=f"frame {i}") for i in index]
    except ModelError as error:
        raise BackendRefused(str(error)) from error
    return np.stack(found)


def open_backend(
    launch: Launch,
    model: Path | None,
    *,
    trust: Trust,
    options: Mapping[str, Any] | None = None,
    timeout_s: float = ANSWER_SECONDS,
    start_timeout_s: float = START_SECONDS,
    memory_limit: int | None = None,
    atoms_per_call: int = ATOMS_PER_CALL,
    readable: Iterable[Path] = (),
) -> BackendModel:
    """Open a model in a worker.

    Args:
        launch: How the backend is started.
        model: Its file or folder; None where the backend needs none.
        trust: Which programs may be opened.
        options: For the backend; they stand above those of its card.
        timeout_s: How long one call may take, s.
        start_timeout_s: How long starting, and then opening, may take, s.
        memory_limit: Bytes that the worker may hold; None = four fifths of all.
        atoms_per_call: Atoms of one call, one frame at least.
        readable: Other files that the backend reads.

    Returns:
        The model, a context manager that ends the worker.

    Raises:
        BackendError: If it cannot be opened, or is not trusted.
        ModelError: If there is no such file, or it is damaged.
    """
    confined = is_confined()
    options = dict(options or {})
    if model is not None:
        options |= suffix_option(launch, model, options)
        data = data_of(launch, model, options)
        trust.check(model, is_confined=confined, data=data)
    opened = BackendModel(
        launch,
        model,
        options=options,
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
        memory_limit=memory_limit,
        atoms_per_call=atoms_per_call,
        readable=readable,
        is_confined=confined,
    )
    opened.restart()
    return opened
