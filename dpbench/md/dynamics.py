"""One step of molecular dynamics: the splitting that all ensembles share."""

from typing import final

import torch
from torch import Tensor

from dpbench.errors import SimulationError
from dpbench.kernels.motion import moves_for
from dpbench.md.barostat import MOST_STRAIN, CellRescaling
from dpbench.md.forces import ForceField
from dpbench.md.neighbours import ListWatch
from dpbench.md.settings import Baths
from dpbench.md.state import State
from dpbench.md.thermostats import NoseHooverChains, StochasticRescaling, friction
from dpbench.md.velocities import degrees_of_freedom, remove_momentum
from dpbench.md.watch import ExplosionError
from dpbench.shapes import Float64

WARMTH = "warmth"
"""In ``State.bath``, (replica): the root of each replica's temperature over that of the
baths. Under Langevin friction replicas at several temperatures so run side by side."""


@final
class Dynamics:
    """Takes a ``State`` further, step by step.

    global thermostat | kick 1/2 | drift 1/2 | friction, cell | drift 1/2 | forces |
    kick 1/2 | chain 1/2. Without friction and cell the two half drifts are one: that
    is velocity Verlet (nve) or the Trotter splitting of Nose-Hoover chains (nvt); with
    friction it is BAOAB (langevin).
    """

    def __init__(
        self,
        field: ForceField,
        state: State,
        baths: Baths,
        *,
        generator: torch.Generator,
    ) -> None:
        """Compose the step; call ``start`` before the first."""
        self.state, self.baths = state, baths
        self.field, self.generator = field, generator
        self.dof = degrees_of_freedom(
            state.natoms, is_momentum_free=baths.is_momentum_free
        )
        self._moves = moves_for(state.device)
        self.neighbours = ListWatch(
            field, self._moves, is_cell_fixed=baths.ensemble != "npt"
        )
        self._dt = baths.timestep / 1000
        self._kick = 0.5 * self._dt / state.mass
        self._still = torch.zeros_like(self._kick)
        self._compose(baths)
        self.extended = 0
        """Edges shorter than the tables reach, summed over all evaluations."""

    def retarget(self, baths: Baths) -> None:
        """Go on with other targets: another temperature or pressure, for ramps.

        What ``conserved`` returns is not conserved across it.

        Args:
            baths: The same ensemble, thermostat and time step.

        Raises:
            SimulationError: If they are others.
        """
        for name in ("ensemble", "bath", "timestep"):
            if getattr(baths, name) != getattr(self.baths, name):
                raise SimulationError(
                    f"{name} = {getattr(baths, name)}: cannot replace "
                    f"{getattr(self.baths, name)} in a run; expected other targets of "
                    "the same dynamics. Start another run."
                )
        self.baths = baths
        self._compose(baths)

    def start(self) -> None:
        """Evaluate forces and kinetic energy where the state is.

        Raises:
            SimulationError: If atoms at rest meet a thermostat that scales velocities.
        """
        state = self.state
        self.neighbours.refresh(state)
        self._evaluate()
        self.measure()
        if self._rescaling is not None:
            self._rescaling.check(state)

    def step(self) -> None:
        """Make one step."""
        state, moves = self.state, self._moves
        if self._chains is not None:
            self._chains.half(state)
        if self._rescaling is not None:
            self._rescaling.step(state, self.generator)
        strain = None
        if self._barostat is not None:
            before = state.virial.diagonal(dim1=1, dim2=2).clone()
            strain = self._barostat.strain(state, self.generator)
        self._move(strain)
        self.neighbours.refresh(state)
        self._evaluate()
        moves.kick_measure(
            state.velocity, state.force, self._kick, state.mass, state.kinetic
        )
        if self._chains is not None:
            self._chains.half(state)
        if self._barostat is not None and strain is not None:
            state.heat += self._barostat.work(state, before, strain)
        state.step += 1
        every = self.baths.zero_every
        if every and state.step % every == 0 and not self.baths.is_momentum_free:
            remove_momentum(state)
            self.measure()

    def conserved(self) -> Float64[Tensor, " replica"]:
        """What the exact dynamics conserves, eV: energy with that of the baths."""
        state = self.state
        total = state.energy + 0.5 * state.twice_kinetic() - state.heat
        if self._chains is not None:
            total = total + self._chains.energy(state)
        if self._barostat is not None:
            total = total + self._barostat.energy(state)
        return total

    def _compose(self, baths: Baths) -> None:
        """Make the thermostat and the barostat; what they remember is in the state."""
        state, bath = self.state, baths.bath
        self._chains = (
            NoseHooverChains(state, baths, self.dof, self._moves)
            if bath == "nhc"
            else None
        )
        self._rescaling = (
            StochasticRescaling(baths, self.dof, self._moves)
            if bath == "bussi"
            else None
        )
        self._friction = friction(baths) if bath == "langevin" else None
        self._barostat = CellRescaling(baths) if baths.ensemble == "npt" else None

    def _move(self, strain: Tensor | None) -> None:
        """Kick by half a step, drift by a whole one, with what acts in the middle."""
        state, moves, dt = self.state, self._moves, self._dt
        is_whole = strain is None and self._friction is None
        moves.kick_drift(
            state.coord,
            state.velocity,
            state.force,
            self._kick,
            dt if is_whole else dt / 2,
        )
        if is_whole:
            return
        if self._friction is not None:
            noise = torch.randn(
                state.velocity.shape,
                generator=self.generator,
                dtype=torch.float64,
                device=state.device,
            )
            if WARMTH in state.bath:
                noise *= state.bath[WARMTH][:, None, None]
            moves.ornstein(
                state.velocity, noise, state.mass, self._friction, state.heat
            )
        if strain is None:
            moves.drift(state.coord, state.velocity, dt / 2)
        else:
            self._stretch(strain)

    def _stretch(self, strain: Tensor) -> None:
        """Stretch cell and atoms, then drift by half a step; count the work."""
        state, barostat = self.state, self._barostat
        if barostat is None:
            raise RuntimeError("a strain without a barostat")
        _check_strain(strain)
        stretch = strain.exp()
        self._moves.scale_drift(state.coord, state.velocity, stretch, self._dt / 2)
        state.box *= stretch[:, None, :]
        state.heat += barostat.push(state, strain)
        kinetic = torch.empty_like(state.kinetic)
        self._moves.kick_measure(
            state.velocity, state.force, self._still, state.mass, kinetic
        )
        after = kinetic.diagonal(dim1=1, dim2=2)
        # Velocities were divided by the stretch: before, they had these energies.
        state.heat += 0.5 * (after * (1 - stretch**2)).sum(dim=1)

    def measure(self) -> None:
        """Bring the kinetic energy to what the velocities say, after a change."""
        state = self.state
        self._moves.kick_measure(
            state.velocity, state.force, self._still, state.mass, state.kinetic
        )

    def _evaluate(self) -> None:
        state = self.state
        found = self.field.evaluate(state.coord.view(-1, 3), state.box)
        state.energy.copy_(found.energy)
        state.force.copy_(found.force.view_as(state.force))
        state.virial.copy_(found.virial)
        self.extended += int(found.extended)


def _check_strain(strain: Tensor) -> None:
    """Stop a barostat that tears at the cell; NaN is stopped, too."""
    is_sound = (strain.abs() <= MOST_STRAIN).all(dim=1)
    if not bool(is_sound.all()):
        replica = int(torch.nonzero(torch.logical_not(is_sound))[0])
        worst = float(strain[replica].abs().max())
        # The logarithm of a volume below zero is no number.
        size = f"by {worst:.3g}" if worst < torch.inf else "to less than nothing"
        raise ExplosionError(
            f"the barostat strains the cell of replica {replica} {size} in one step; "
            "a larger --pdamp or a smaller --compressibility makes it slower"
        )
