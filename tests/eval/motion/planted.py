"""Cheap models behind the interface of backends, with faults that may be planted."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import to_atoms
from dpbench.frames import Frames
from dpbench.metrics.frame_errors import Predictions


class Classical(AbstractEvaluator):
    """A classical potential; ``fault`` may spoil what it answers."""

    backend, precision, device = "classical", "float64", "cpu"
    rcut = None

    def __init__(self, elements, fault=None) -> None:
        self.type_map = tuple(elements)
        self.fault = fault or (lambda call, frames, answer: answer)
        self.calls = 0

    def answer(self, frames: Frames) -> Predictions:
        raise NotImplementedError

    def predict(self, frames, *, fparam=None):
        found = self.fault(self.calls, frames, self.answer(frames))
        self.calls += 1
        return found

    def prepare(self, frame):
        return None

    def forward(self, frame):
        return self.predict(frame)

    def calculator(self):
        raise NotImplementedError

    def list_builds(self, calculator):
        return None

    def synchronise(self):
        pass


class Springs(Classical):
    """Every atom on springs of its own to its site: U = k (r - r0)^2 / 2."""

    def __init__(self, sites, elements, *, k=5.0, fault=None) -> None:
        super().__init__(elements, fault)
        self.sites = np.asarray(sites)
        rng = np.random.default_rng(11)
        self.k = k * rng.uniform(0.5, 1.5, self.sites.shape)

    def answer(self, frames):
        off = frames.coord.reshape(frames.nframes, -1, 3) - self.sites
        if frames.pbc.all():  # to the nearest image of the site
            box = frames.box[0]
            off -= np.round(off @ np.linalg.inv(box)) @ box
        return Predictions(
            energy=0.5 * (self.k * off**2).sum(axis=(1, 2)),
            force=(-self.k * off).reshape(-1, 3),
            virial=-np.einsum("fai,faj->fij", self.k * off, off),
        )


class FreeAtoms(Classical):
    """No forces at all: an ideal gas."""

    def answer(self, frames):
        return Predictions(
            energy=np.zeros(frames.nframes),
            force=np.zeros((len(frames.z), 3)),
            virial=np.zeros((frames.nframes, 3, 3)),
        )


class ByCalculator(Classical):
    """Any calculator of ASE, frame by frame."""

    def __init__(self, calculator, elements, fault=None) -> None:
        super().__init__(elements, fault)
        self.ase = calculator

    def answer(self, frames):
        energy, force, virial = [], [], []
        for index in range(frames.nframes):
            atoms: Atoms = to_atoms(frames.select([index]))
            self.ase.calculate(atoms, ["energy", "forces", "stress"], all_changes)
            found = self.ase.results
            energy.append(found["energy"])
            force.append(found["forces"])
            xx, yy, zz, yz, xz, xy = found["stress"]
            stress = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
            virial.append(-np.array(stress) * atoms.get_volume())
        return Predictions(
            energy=np.array(energy),
            force=np.concatenate(force),
            virial=np.array(virial),
        )


def no_number_after(calls):
    """Forces that are NaN from some call on."""

    def fault(call, frames, answer):
        if call >= calls:
            answer.force[0, 0] = np.nan
        return answer

    return fault


def gains_energy(ev_per_atom_ps, timestep):
    """An energy that rises at a known pace, whatever the atoms do."""

    def fault(call, frames, answer):
        natoms = len(frames.z) // frames.nframes
        answer.energy[:] += ev_per_atom_ps * natoms * call * timestep / 1000
        return answer

    return fault


def curls(strength):
    """Forces with a curl about z: work is gained in every turn, energy is unchanged."""

    def fault(call, frames, answer):
        off = frames.coord - frames.coord.mean(axis=0)
        answer.force[:, 0] -= strength * off[:, 1]
        answer.force[:, 1] += strength * off[:, 0]
        return answer

    return fault


def explodes_after(calls, factor=-3e3):
    """Forces that are driven far out from some call on."""

    def fault(call, frames, answer):
        if call >= calls:
            answer.force[:] = factor * answer.force
        return answer

    return fault


def lets_go_after(calls, atom, natoms, *, force):
    """One atom is pulled out of the rest from some call on."""

    def fault(call, frames, answer):
        if call >= calls:
            answer.force.reshape(-1, natoms, 3)[:, atom] = (0.0, 0.0, force)
        return answer

    return fault
