"""Stochastic cell rescaling: a volume that fluctuates as it should."""

from typing import final

import torch
from torch import Tensor

from dpbench.md.settings import Baths
from dpbench.md.state import State
from dpbench.shapes import Float64
from dpbench.units import BAR, BOLTZMANN

MOST_STRAIN = 0.5
"""Largest logarithmic strain of one step that is not an explosion."""


@final
class CellRescaling:
    """First-order, stochastic barostat that samples the isothermal-isobaric ensemble.

    iso:   d sqrt(V) = -(beta sqrt(V) / 2 tau) (P0 - P - kT / 2V) dt
                       + sqrt(kT beta / 2 tau) dW
    aniso: d ln L_a  = -(beta / 3 tau) (P0 - P_aa) dt + sqrt(2 kT beta / 3 V tau) dW_a

    Positions and cell are stretched, velocities shrunk. A centre of mass at rest is no
    part of the kinetic energy; its kT / V is added to the pressure, so that volumes
    are those of 3 N momenta: p(V) ~ V^N exp(-P0 V / kT) for an ideal gas.

    Source:
        M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020); aniso, with
        the same derivation for each axis: V. Del Tatto et al., Appl. Sci. 12, 1139
        (2022).
    """

    def __init__(self, baths: Baths) -> None:
        """Take pressure, temperature and relaxation time from ``baths``."""
        self._kt = BOLTZMANN * baths.temperature
        self._pressure = baths.pressure * BAR
        # beta dt / tau, Å^3/eV.
        softness = baths.compressibility / BAR * baths.timestep / baths.pdamp
        self._softness = softness
        self._is_iso = baths.couple == "iso"
        self._missing = 0.0 if baths.is_momentum_free else self._kt

    def strain(
        self, state: State, generator: torch.Generator
    ) -> Float64[Tensor, "replica 3"]:
        """Draw the logarithmic strain along x, y and z of this step."""
        volume = state.volume()
        stress = (state.kinetic + state.virial).diagonal(dim1=1, dim2=2)
        pressure = (stress + self._missing) / volume[:, None]
        noise = torch.randn(
            state.nreplicas,
            1 if self._is_iso else 3,
            generator=generator,
            dtype=torch.float64,
            device=state.device,
        )
        if self._is_iso:
            return self._iso(volume, pressure.mean(dim=1), noise[:, 0])
        third = self._softness / 3
        width = torch.sqrt(2 * third * self._kt / volume)[:, None]
        return third * (pressure - self._pressure) + width * noise

    def _iso(self, volume: Tensor, pressure: Tensor, noise: Tensor) -> Tensor:
        root = volume.sqrt()
        excess = pressure + self._kt / (2 * volume) - self._pressure
        change = 0.5 * self._softness * root * excess
        change = change + noise * (0.5 * self._softness * self._kt) ** 0.5
        # Each edge grows by the third root of the volume, which is root squared.
        strain = torch.log1p(change / root) * (2 / 3)
        return strain[:, None].expand(-1, 3)

    def work(
        self, state: State, before: Tensor, strain: Tensor
    ) -> Float64[Tensor, " replica"]:
        """Potential energy that the strain has brought in, to second order, eV.

        Args:
            state: After the step.
            before: (replica, 3), diagonal of the virial before the step.
            strain: (replica, 3), of the step.
        """
        after = state.virial.diagonal(dim1=1, dim2=2)
        return -0.5 * ((before + after) * strain).sum(dim=1)

    def push(self, state: State, strain: Tensor) -> Float64[Tensor, " replica"]:
        """P0 dV of a strain (replica, 3) that has been made, eV."""
        gained = -torch.expm1(-strain.sum(dim=1))
        return self._pressure * state.volume() * gained

    def energy(self, state: State) -> Float64[Tensor, " replica"]:
        """P0 V, eV."""
        return self._pressure * state.volume()
