"""A client of i-PI: forces of a Deep Potential for who moves the atoms elsewhere."""

import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from typing import final

from dpbench.errors import ModelError, SimulationError
from dpbench.md.ipi_wire import Address, Answer, Posed, ServerGoneError, Wire
from dpbench.md.model_source import Precision, open_model
from dpbench.md.moving import MovingStructure, fastest
from dpbench.md.skin import Geometry
from dpbench.md.state import Structure
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, trained_overflow

PAUSE = 0.1
"""Seconds between two tries to connect."""

Evaluate = Callable[[Sequence[Posed]], list[Answer]]

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Tally:
    """What a client did."""

    evaluations: int = 0
    connections: int = 0
    seconds: float = 0.0
    """In the model."""
    beads: set[int] = field(default_factory=set)
    """Indices that INIT named."""

    def summary(self) -> str:
        """Say it in one line."""
        each = 1000 * self.seconds / self.evaluations if self.evaluations else 0.0
        return (
            f"{self.evaluations} evaluations, {each:.3g} ms each, "
            f"{self.connections} connection{'s' * (self.connections != 1)}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientOptions:
    """How a client reads its model, finds its server, and when it ends."""

    wait: float = 30.0
    """Seconds to try to reach the server, at the start and after it was lost."""
    reconnect: bool = False
    """Wait for a server that went away without EXIT to come back."""
    skin: float = 1.0
    """Extra radius of the neighbour list, Å."""
    precision: Precision | None = None
    """Of the nets; None keeps the file's."""
    exact: bool = False
    """Evaluate the embedding nets of a plain model exactly."""
    device: str = "cpu"
    """Where the model shall lie."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.wait >= 0:
            raise SimulationError(
                f"--wait {self.wait}: expected seconds, zero or more. Leave it out for "
                "30."
            )


def run_client(
    model: Potential | str | PathLike[str],
    structure: Structure,
    address: Address,
    options: ClientOptions,
) -> Tally:
    """Give forces of a model to a server until it says EXIT.

    Args:
        model: The model, or a file of one.
        structure: Elements in the server's order of atoms, and periodicity.
        address: Where the server listens.
        options: How.

    Raises:
        ModelError: If the model cannot be read, or does not serve the structure.
        SimulationError: If the server cannot be reached, goes away without EXIT and is
            not waited for, has other atoms, or is no i-PI.
    """
    potential, provenance = open_model(
        model, device=options.device, precision=options.precision
    )
    if options.exact and isinstance(potential, CompressedPotential):
        raise ModelError(
            f"{model}: is compressed, so there is no exact embedding; expected the "
            "m.pth it was made of. Leave --exact out, or give that."
        )
    forces = StructureForces(
        potential if options.exact else fastest(potential),
        structure,
        skin=options.skin,
        sel_overflow=trained_overflow(provenance),
    )
    # Compiles, reads tables, and finds what is wrong before the server waits for it.
    forces([Posed(coord=structure.coord, box=structure.box)])
    return serve(address, forces, structure.natoms, options)


@final
class StructureForces:
    """Forces of copies of one structure whose positions and cells come from elsewhere.

    The n-th of a batch is the same bead as a rule, so each place has its own list.
    """

    def __init__(
        self,
        model: Potential,
        structure: Structure,
        *,
        skin: float,
        sel_overflow: SelOverflow = "error",
    ) -> None:
        """Take a model as it is, and elements and periodicity of a structure."""
        self._structure = structure
        self._make = partial(
            MovingStructure,
            model,
            skin=skin,
            is_exact=True,  # as it is: tabulated already, or not to be
            sel_overflow=sel_overflow,
        )
        self._moving: list[MovingStructure] = []

    def __call__(self, posed: Sequence[Posed]) -> list[Answer]:
        """Evaluate."""
        while len(self._moving) < len(posed):
            self._moving.append(self._make())
        return [
            self._one(moving, one)
            for moving, one in zip(self._moving, posed, strict=False)
        ]

    def _one(self, moving: MovingStructure, posed: Posed) -> Answer:
        structure = self._structure
        found = moving.evaluate(
            Geometry(z=structure.z, coord=posed.coord, box=posed.box, pbc=structure.pbc)
        )
        return Answer(
            energy=float(found.energy[0]),
            force=found.force.cpu().numpy(),
            virial=found.virial[0].cpu().numpy(),
        )


def serve(
    address: Address,
    evaluate: Evaluate,
    natoms: int,
    options: ClientOptions,
) -> Tally:
    """Answer a server until it says EXIT.

    Args:
        address: Where it listens.
        evaluate: Gives energy, forces and virial.
        natoms: Atoms of the structure.
        options: When to give up.

    Raises:
        ServerGoneError: If the server goes away without EXIT, and is not waited for.
        SimulationError: If it cannot be reached, has other atoms, or is no i-PI.
    """
    tally = Tally()
    while True:
        wire = _connected(address, options.wait)
        tally.connections += 1
        try:
            _converse(wire, evaluate, natoms, tally)
        except ServerGoneError as error:
            if not options.reconnect:
                raise
            logger.warning("%s", error)
        else:
            return tally
        finally:
            wire.close()


def _connected(address: Address, wait: float) -> Wire:
    """Connect; try again for ``wait`` seconds."""
    end = time.monotonic() + wait
    while True:
        try:
            return Wire(address.connect(), address)
        except OSError as error:
            # Without a number: a name of no host, or too long for a socket.
            is_hopeless = isinstance(error, socket.gaierror) or error.errno is None
            if is_hopeless or time.monotonic() >= end:
                raise SimulationError(
                    f"i-PI server at {address}: cannot be reached within {wait:g} s "
                    f"({error.strerror or error}). Start i-PI first; the address "
                    "stands in its input, in <ffsocket>."
                ) from error
        time.sleep(PAUSE)


def _converse(wire: Wire, evaluate: Evaluate, natoms: int, tally: Tally) -> None:
    """Answer one connection until EXIT; the states are i-PI's."""
    batch = 0
    answers: list[Answer] | None = None
    while True:
        name = wire.header()
        if name == "STATUS":
            if not batch:
                wire.say("NEEDINIT")
            else:
                wire.say("READY" if answers is None else "HAVEDATA")
        elif name == "INIT":
            bead, batch = wire.init()
            tally.beads.add(bead)
        elif name == "POSDATA":
            # A server may leave INIT out.
            posed = wire.positions(natoms, batch=max(batch, 1))
            begin = time.perf_counter()
            answers = evaluate(posed)
            tally.seconds += time.perf_counter() - begin
            tally.evaluations += len(posed)
        elif name == "GETFORCE" and answers is not None:
            wire.forces(answers)
            answers = None
        elif name == "EXIT":
            return
        else:
            raise wire.unexpected(
                "GETFORCE before POSDATA" if name == "GETFORCE" else repr(name)
            )
