"""A whole run: read, start or go on, loop, record."""

import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import dpbench
from dpbench.config import from_mapping, to_mapping
from dpbench.errors import SimulationError
from dpbench.kernels.heap import keep_freed_memory
from dpbench.md.dynamics import Dynamics
from dpbench.md.models import LoadedForces, load_forces
from dpbench.md.observables import DISCARD, Digest
from dpbench.md.output.arrays import ZarrLog, ZarrTrajectory
from dpbench.md.output.reading import read_samples
from dpbench.md.output.sink import LogSink, TrajectorySink
from dpbench.md.output.text import CsvLog, ExtxyzTrajectory
from dpbench.md.record import closeness, make_record, write_record
from dpbench.md.restart import Restart, read_restart, write_restart
from dpbench.md.settings import MDConfig
from dpbench.md.simulation import Outcome, Progress, Simulation, positions
from dpbench.md.state import State, start_state
from dpbench.md.structures import read_structure, repeated
from dpbench.md.velocities import (
    draw_velocities,
    remove_momentum,
    scale_to,
    twice_kinetic,
)
from dpbench.store.workspace import Workspace

RESTART_FILE, RECORD_FILE = "restart.npz", "md.json"
RUN_FILES = (RECORD_FILE, RESTART_FILE, "observables.*", "trajectory*")
"""What the folder of a run holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A finished run."""

    outcome: Outcome
    record: dict[str, Any]
    """Content of md.json."""
    out: Path
    """The run's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """The open outputs of a run."""

    log: LogSink
    trajectory: TrajectorySink | None
    names: tuple[str, ...]

    def positions(self) -> list[Any]:
        """Flush; return where each ends."""
        return positions((self.log, self.trajectory))

    def cut(self, places: Sequence[Any]) -> None:
        """Drop what was written after ``positions`` returned these places."""
        for sink, place in zip((self.log, self.trajectory), places, strict=True):
            if sink is not None and place is not None:
                sink.cut(place)

    def close(self) -> None:
        """Let go of the files."""
        for sink in (self.log, self.trajectory):
            if sink is not None:
                sink.close()


ProgressMaker = Callable[[MDConfig, State], Progress]
"""Makes the progress line of a run that is about to start."""


def start_run(
    config: MDConfig,
    out: Path,
    *,
    workspace: Callable[[], Workspace] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: ProgressMaker | None = None,
    command: Sequence[str] = (),
) -> Report:
    """Run molecular dynamics from a structure.

    Args:
        config: The run.
        out: Folder for everything that is written; must not hold a run already.
        workspace: Opens the workspace, for structures of datasets.
        should_stop: Asked after each step; true writes a restart file and stops.
        progress: Makes the progress line.
        command: What the user typed, for the record.

    Raises:
        DpbenchError: If model, structure or folder cannot be used; if the run fails.
            What was written until then is kept.
    """
    held = [path.name for pattern in RUN_FILES for path in out.glob(pattern)]
    if held:
        raise SimulationError(
            f"{out}: holds a run already ({held[0]}); expected a folder without one. "
            f"Go on with --restart {out}, or choose another --out."
        )
    structure = repeated(
        read_structure(config.structure, workspace=workspace), config.repeat
    )
    _check_cell(config, bool(structure.pbc.all()), structure.where)
    if config.velocities == "file" and structure.velocity is None:
        raise SimulationError(
            f"{structure.where}: has no velocities. Draw them, with --velocities draw."
        )
    forces = load_forces(config, structure.z)
    state = start_state(structure, nreplicas=config.replicas, device=config.device)
    generator = torch.Generator(device=config.device).manual_seed(config.seed)
    dynamics = Dynamics(forces.field, state, config.baths, generator=generator)
    velocities = _set_velocities(dynamics, config)
    dynamics.start()
    first = math.ceil(DISCARD * config.steps)
    digest = Digest(nreplicas=config.replicas, first=first)
    outputs = open_outputs(config, out, state)
    return _go(
        dynamics,
        config,
        digest,
        context=_Context(out, outputs, forces, tuple(command), velocities),
        should_stop=should_stop,
        progress=progress,
    )


def go_on(
    out: Path,
    *,
    steps: int | None = None,
    model: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: ProgressMaker | None = None,
    command: Sequence[str] = (),
) -> Report:
    """Go on with the run in a folder, from its restart file.

    Args:
        out: The folder.
        steps: Steps of the whole run, if it shall be longer than planned.
        model: Where the model file lies now; it must be the same model.
        should_stop: Asked after each step.
        progress: Makes the progress line.
        command: What the user typed, for the record.

    Raises:
        DpbenchError: As ``start_run``.
    """
    restart = restart_of(out)
    config = from_mapping(MDConfig, restart.header["config"], where=RESTART_FILE)
    config = replace(config, steps=steps or config.steps, model=model or config.model)
    step = int(restart.header["step"])
    if config.steps <= step:
        raise SimulationError(
            f"{out}: has made {step} of {config.steps} steps; nothing is left to do. "
            "Ask for more with --steps."
        )
    state = restart.state(config.device)
    forces = load_forces(config, state.z)
    if forces.digest != restart.header["model_digest"]:
        raise SimulationError(
            f"{config.model}: is not the model that the run began with "
            f"({restart.header['model_digest'][:19]}...). Give that one with --model."
        )
    generator = torch.Generator(device=config.device)
    dynamics = Dynamics(forces.field, state, config.baths, generator=generator)
    restart.resume(dynamics)
    dynamics.extended = int(restart.header.get("extended", 0))
    digest = _digest_of(restart, config)
    velocities = restart.header.get("velocities", {})
    outputs = open_outputs(config, out, state)
    try:
        outputs.cut(restart.header["positions"])
    except SimulationError:
        outputs.close()
        raise
    return _go(
        dynamics,
        config,
        digest,
        context=_Context(out, outputs, forces, tuple(command), velocities),
        should_stop=should_stop,
        progress=progress,
    )


def restart_of(out: Path) -> Restart:
    """Read the restart file of the run in a folder.

    Raises:
        SimulationError: If there is none that can be used; a run that ended before its
            first is told apart.
    """
    path = out / RESTART_FILE
    ended = {} if path.exists() else _ended(out / RECORD_FILE)
    if ended.get("status") in ("exploded", "failed"):
        reason = str(ended["reason"]).rstrip(".")
        raise SimulationError(
            f"{out}: the run {ended['status']} at step {ended['steps']} before its "
            f"first restart file ({reason}); there is nothing to go on from. "
            "Start it anew with another --out, and a smaller --restart-every."
        )
    return read_restart(path)


def _ended(path: Path) -> dict[str, Any]:
    """Read how a run ended; nothing where no record tells."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@dataclass(frozen=True, slots=True)
class _Context:
    """What the loop does not need to know, but the record does."""

    out: Path
    outputs: Outputs
    forces: LoadedForces
    command: tuple[str, ...]
    velocities: dict[str, Any]
    """Those that the run began with, for the record."""


def _go(
    dynamics: Dynamics,
    config: MDConfig,
    digest: Digest,
    *,
    context: _Context,
    should_stop: Callable[[], bool],
    progress: ProgressMaker | None,
) -> Report:
    """Run the loop; whatever happens, close the outputs and write the record."""
    keep_freed_memory()
    out, outputs = context.out, context.outputs
    header = {
        "config": to_mapping(config),
        "model_digest": context.forces.digest,
        "first": digest.first,
        "velocities": context.velocities,
        "dpbench": dpbench.__version__,
        "python": platform.python_version(),
    }

    def save() -> None:
        places = outputs.positions()
        write_restart(
            out / RESTART_FILE,
            dynamics,
            {**header, "positions": places, "extended": dynamics.extended},
            digest.arrays(),
        )

    line = None if progress is None else progress(config, dynamics.state)
    simulation = Simulation(
        dynamics,
        config,
        digest,
        log=outputs.log,
        trajectory=outputs.trajectory,
        save=save,
        progress=line,
    )
    try:
        outcome = simulation.run(should_stop)
    finally:
        if line is not None:
            line.close()
        outputs.close()
    record = make_record(simulation, outcome, context.forces, command=context.command)
    record["velocities"] = context.velocities
    record["outputs"] = list(outputs.names)
    record["summary"] = _summary(digest, dynamics.state, out / outputs.names[0])
    write_record(out / RECORD_FILE, record)
    if outcome.error is not None:
        close = record["pairs_beyond_table"]
        raise SimulationError(
            f"step {dynamics.state.step} of {config.steps}: "
            f"{(outcome.reason or '').rstrip('.')}. "
            + (f"Before that, {closeness(record)}. " if close else "")
            + f"What was written until then is in {out}."
        ) from outcome.error
    return Report(outcome=outcome, record=record, out=out)


def _summary(digest: Digest, state: State, log: Path) -> dict[str, Any]:
    """Sum up all but the first fifth of the steps that were made."""
    first = math.ceil(DISCARD * state.step)
    if first != digest.first:
        # The run is not as long as planned when it began; the log has it all.
        digest = Digest(nreplicas=state.nreplicas, first=first)
        for sample in read_samples(log, state.nreplicas):
            digest.add(sample)
    return digest.summary(state.natoms)


def open_outputs(config: MDConfig, out: Path, state: State) -> Outputs:
    """Open the outputs at their end, made where there are none.

    Raises:
        SimulationError: If the folder or the disk refuses.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SimulationError(f"{out}: cannot be made ({error.strerror}).") from error
    is_zarr = config.log_format == "zarr"
    names = ["observables.zarr" if is_zarr else "observables.csv"]
    log: LogSink = (
        ZarrLog(out / names[0], state.nreplicas) if is_zarr else CsvLog(out / names[0])
    )
    trajectory: TrajectorySink | None = None
    if config.traj_every and config.traj_format == "zarr":
        names.append("trajectory.zarr")
        trajectory = ZarrTrajectory(out / names[-1], state, config.traj_fields)
    elif config.traj_every:
        files = _trajectory_names(state.nreplicas)
        names += files
        trajectory = ExtxyzTrajectory([out / f for f in files], config.traj_fields)
    return Outputs(log=log, trajectory=trajectory, names=tuple(names))


def _trajectory_names(nreplicas: int) -> list[str]:
    if nreplicas == 1:
        return ["trajectory.extxyz"]
    width = len(str(nreplicas - 1))
    return [f"trajectory-{index:0{width}}.extxyz" for index in range(nreplicas)]


def _set_velocities(dynamics: Dynamics, config: MDConfig) -> dict[str, Any]:
    """Draw velocities at exactly the temperature, or keep those of the file.

    Returns:
        Where they come from and what motion of the centre of mass was taken out of
        those of a file, for the record.
    """
    state, baths = dynamics.state, config.baths
    if config.velocities == "draw":
        drawn = draw_velocities(
            state.mass.cpu().numpy(),
            baths.temperature,
            seed=config.seed,
            nreplicas=config.replicas,
        )
        state.velocity.copy_(torch.from_numpy(drawn))
    before, twice = state.velocity[0, 0].clone(), twice_kinetic(state)
    if not baths.is_momentum_free:
        remove_momentum(state)
    if config.velocities == "draw":
        scale_to(state, baths.temperature, dynamics.dof)
        return {"from": "draw"}
    # All replicas start with the same velocities.
    return {
        "from": "file",
        "centre_of_mass_removed_ang_per_ps": (before - state.velocity[0, 0]).tolist(),
        "kinetic_removed_ev": float(twice[0] - twice_kinetic(state)[0]) / 2,
        "kinetic_ev": float(twice_kinetic(state)[0]) / 2,
    }


def _digest_of(restart: Restart, config: MDConfig) -> Digest:
    digest = Digest(nreplicas=config.replicas, first=int(restart.header["first"]))
    digest.restore(restart.part("digest"))
    return digest


def _check_cell(config: MDConfig, is_periodic: bool, where: str) -> None:
    if config.baths.ensemble == "npt" and not is_periodic:
        raise SimulationError(
            f"{where}: is not periodic in all directions, so it has no volume that "
            "npt could change. Use nvt, or a structure with a cell."
        )
