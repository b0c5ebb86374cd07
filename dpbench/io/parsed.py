"""What every reader returns: all frames of one source, each judged by its gate.

A reader never drops a frame and never raises because one frame is bad: the frame is
returned with a quarantine reason. It raises ``SourceError`` only where nothing can be
read at all.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames


class Quarantine(StrEnum):
    """Why a frame is kept out of versions. Written to stores: add, never rename."""

    NONE = ""
    UNCONVERGED = "unconverged"
    """The electronic self-consistency was not reached."""
    TRUNCATED = "truncated"
    """The file ends, or is overwritten, inside the frame."""
    NOT_A_NUMBER = "nan"
    """NaN, infinity or overflow stars among coordinates, cell or labels."""
    NO_ENERGY = "no_energy"
    NO_FORCE = "no_force"
    NOT_DFT = "not_dft"
    """Labels of a machine-learned step (VASP ML_FF), not of DFT."""
    BAD_SHAPE = "bad_shape"
    """Arrays of the frame do not fit each other."""
    MISMATCH = "mismatch"
    """Two files of the calculation contradict each other."""
    REPEATED = "repeated"
    """The same frame, labels and all, stands earlier in the dataset (a restart)."""


OPTIONAL = ("charge", "multiplicity", "temperature")
"""Facts of frames that few sources tell."""

THEORY_KEYS = (
    "code",
    "code_version",
    "functional",
    "dispersion",
    "hubbard_u",
    "cutoff",
    "cutoff_density",
    "rel_cutoff",
    "basis",
    "kpoints",
    "smearing",
    "smearing_width",
    "spin",
    "pseudopotentials",
    "energy_kind",
    "details",
)
"""Keys of a level of theory (docs/theory.md). None or no key = not told; "none" and {}
= told that there is none. Cutoffs and widths are eV; ``pseudopotentials`` and ``basis``
map a species label to {title, hash}, ``hubbard_u`` to that species' values;
``kpoints`` are {mesh, shift} or {count}; ``spin`` is none, collinear, noncollinear or
spin-orbit; ``energy_kind`` says which printed energy was taken; ``details`` hold what
one code alone has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedSource:
    """All frames of one calculation, in file order, kept and quarantined alike."""

    code: str
    """Program that made the labels: ``qe``, ``vasp``, ``cp2k``, ``abacus`` ..., or
    ``unknown`` where the format does not tell (npy, extxyz)."""
    code_version: str | None
    """As the file prints it."""
    format: str
    """Format of the file the labels were read from, e.g. ``vasp/outcar``."""
    frames: Frames
    """All frames for which coordinates could be read; missing labels are NaN."""
    step: NDArray[np.int32]
    """(frame), position of the frame in the source: its MD or ionic step as printed,
    else 0, 1, 2 ..."""
    n_scf: NDArray[np.int16]
    """(frame), electronic iterations; -1 where the source does not tell."""
    quarantine: tuple[Quarantine, ...]
    """(frame), NONE for a frame that is good."""
    theory: dict[str, Any]
    """Level of theory as far as the source tells: plain JSON values, keys as in
    ``THEORY_KEYS``; empty = undeclared."""
    complete: bool
    """Whether the code's own end marker was found."""
    notes: tuple[str, ...] = field(default=())
    """Facts to show the user, e.g. which file of the calculation was cross-checked."""
    charge: NDArray[np.float64] | None = None
    """(frame), total charge, e; NaN where the source does not tell it. None = nowhere.
    A fact of the frame: the level of theory is that of its neutral neighbours."""
    multiplicity: NDArray[np.int16] | None = None
    """(frame), spin multiplicity 2S + 1; -1 where the source does not tell it."""
    temperature: NDArray[np.float64] | None = None
    """(frame), kinetic temperature, K; NaN where the source does not tell it. None =
    nowhere. No label: it does not enter the digest."""
    time_step: float | None = None
    """fs between two steps of molecular dynamics; None if it is none or not told."""
    potential_hashes: dict[str, str] = field(default_factory=dict)
    """Hashes of potential files that lay beside the output, by the labels of
    ``theory["pseudopotentials"]``, e.g. ``sha256:...``. They are compared but do not
    name the level of theory, which must not depend on what was kept."""

    def __post_init__(self) -> None:
        """Check that the per-frame facts fit the frames, and the theory's keys."""
        unknown = set(self.theory) - set(THEORY_KEYS)
        if unknown:
            raise ValueError(f"theory: unknown keys {sorted(unknown)}")
        for name in ("step", "n_scf", "quarantine", *OPTIONAL):
            if getattr(self, name) is None:
                continue
            if len(getattr(self, name)) != self.frames.nframes:
                raise ValueError(
                    f"{name}: {len(getattr(self, name))} values for "
                    f"{self.frames.nframes} frames"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFiles:
    """The files of one calculation, found together."""

    format: str
    """Key into the reader table: ``qe``, ``vasp``, ``cp2k``, ``deepmd/npy`` ..."""
    paths: tuple[Path, ...]
    """All files of the calculation, main file first; a deepmd system is its folder."""
    member: str = ""
    """Group inside the main file (``file.hdf5#/water``); empty for the whole file."""
    origin: tuple[tuple[str, Any], ...] = ()
    """Where the calculation comes from, as far as the finder knows: pairs of a key and
    a plain JSON value, e.g. the iteration and walk of an exploration. It is kept with
    the source and enters neither its identity nor any digest of frames."""

    @property
    def main(self) -> Path:
        """The file that names the source."""
        return self.paths[0]
