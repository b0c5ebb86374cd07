"""Model deviation: how far the models of an ensemble disagree about a frame.

With ``< >`` the mean over models and the deviation taken with 1/(number of models),

    force   e_i = sqrt(< |F_i - <F_i>|^2 >)           maximum, minimum, mean over atoms
    virial  e_ab = sqrt(< (W_ab - <W_ab>)^2 >), W = virial/natoms
                                              maximum, minimum, sqrt(sum e_ab^2)/3
    energy  e = sqrt(< (E - <E>)^2 >), E = energy/natoms

Where labels are given they stand in for the mean: the root mean squared error of the
models. The relative deviation divides by the length of the mean, or of the label, plus
a level that keeps small ones from deciding.

Source: DeePMD-kit documentation, "Model deviation" (doc/test/model-deviation.md);
Zeng et al., J. Chem. Phys. 159, 054801 (2023), eqs. 67 to 72.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = (
    "max_devi_v",
    "min_devi_v",
    "avg_devi_v",
    "max_devi_f",
    "min_devi_f",
    "avg_devi_f",
    "devi_e",
)
"""Columns of ``model_devi.out`` behind the step, in the order of DeePMD-kit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """Deviation of one frame."""

    max_devi_v: float
    """eV/atom, largest over the nine components; NaN where a model gives no virial."""
    min_devi_v: float
    """eV/atom, smallest over the nine components."""
    avg_devi_v: float
    """eV/atom, root mean square over the nine components."""
    max_devi_f: float
    """eV/Å, largest over atoms; without a unit where it is relative."""
    min_devi_f: float
    """eV/Å, smallest over atoms."""
    avg_devi_f: float
    """eV/Å, mean over atoms."""
    devi_e: float
    """eV/atom."""
    atom_devi_f: NDArray[np.float64]
    """eV/Å, (atom)."""

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers of ``COLUMNS``."""
        return tuple(float(getattr(self, name)) for name in COLUMNS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Reference values of one frame, for the error instead of the deviation."""

    force: NDArray[np.floating]
    """eV/Å, (atom, 3); NaN where there is none."""
    virial: NDArray[np.floating]
    """eV, (3, 3); NaN where there is none."""
    energy: float
    """eV; NaN where there is none."""


def model_deviation(
    force: NDArray[np.floating],
    *,
    virial: NDArray[np.floating] | None,
    energy: NDArray[np.floating],
    labels: Labels | None = None,
    relative: float | None = None,
    relative_virial: float | None = None,
) -> Deviation:
    """Compare what several models say about one frame.

    Args:
        force: eV/Å, (model, atom, 3).
        virial: eV, (model, 3, 3); None or NaN where there is none.
        energy: eV, (model).
        labels: Reference values: the RMS error of the models is returned instead.
        relative: Level of the relative force deviation, eV/Å; None = absolute.
        relative_virial: Level of the relative virial deviation, eV/atom.

    Returns:
        The deviation, NaN where predictions or labels are missing.

    Raises:
        ValueError: If the arrays do not fit each other, or there is no atom.
    """
    _check_shapes(force, virial, energy)
    natoms = force.shape[1]
    f = np.asarray(force, np.float64)
    of_atom = np.linalg.norm(
        _spread(f, None if labels is None else labels.force), axis=1
    )
    if relative is not None:
        centre = f.mean(axis=0) if labels is None else labels.force
        of_atom = of_atom / (np.linalg.norm(centre, axis=1) + relative)
    if virial is None:
        virial = np.full((len(f), 3, 3), np.nan)
    w = np.asarray(virial, np.float64).reshape(-1, 9) / natoms
    label = None if labels is None else labels.virial.reshape(9) / natoms
    components = _spread(w, label)
    if relative_virial is not None:
        centre = w.mean(axis=0) if label is None else label
        components = components / (np.linalg.norm(centre) + relative_virial)
    e = np.asarray(energy, np.float64) / natoms
    e_label = None if labels is None else np.float64(labels.energy / natoms)
    return Deviation(
        max_devi_v=float(components.max()),
        min_devi_v=float(components.min()),
        avg_devi_v=float(np.linalg.norm(components) / 3.0),
        max_devi_f=float(of_atom.max()),
        min_devi_f=float(of_atom.min()),
        avg_devi_f=float(of_atom.mean()),
        devi_e=float(_spread(e, e_label)),
        atom_devi_f=of_atom,
    )


def model_devi_lines(
    steps: Sequence[int],
    deviations: Sequence[Deviation],
    *,
    header: str = "",
    atomic: bool = False,
) -> Iterator[str]:
    """Write frames as DeePMD-kit's ``model_devi.out`` does, header first.

    Args:
        steps: First column, (frame).
        deviations: (frame).
        header: Words of the first line, the system's path in DeePMD-kit.
        atomic: Add the force deviation of each atom; all frames must then have as
            many atoms as the first.

    Yields:
        Lines without their end.
    """
    names = (*COLUMNS, "atm_devi_f(N)") if atomic else COLUMNS
    yield f"# {header}"
    yield f"# {'step':10s}" + "".join(f"{name:19s}" for name in names)
    for step, deviation in zip(steps, deviations, strict=True):
        values = list(deviation.values)
        if atomic:
            values += deviation.atom_devi_f.tolist()
        yield f"{step:12d}" + "".join(f"{value:19.6e}" for value in values)


def _spread(
    values: NDArray[np.float64], label: NDArray[np.floating] | np.float64 | None
) -> NDArray[np.float64]:
    """Root mean square over models of the distance from their mean, or the label."""
    if label is not None:
        return np.asarray(np.sqrt(((values - label) ** 2).mean(axis=0)))
    # From the first model, so that equal models differ by exactly nothing.
    return np.asarray(np.std(values - values[0], axis=0))


def _check_shapes(
    force: NDArray[np.floating],
    virial: NDArray[np.floating] | None,
    energy: NDArray[np.floating],
) -> None:
    nmodels = len(force)
    fits = (
        force.ndim == 3
        and force.shape[2] == 3
        and 0 not in force.shape
        and energy.shape == (nmodels,)
        and (virial is None or virial.shape == (nmodels, 3, 3))
    )
    if not fits:
        found = (force.shape, None if virial is None else virial.shape, energy.shape)
        raise ValueError(
            f"force, virial, energy: shapes {found}; expected (model, atom, 3), "
            "(model, 3, 3), (model) of at least one model and atom"
        )
