"""What the surroundings of each atom look like, in numbers no rotation changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames
from dpbench.io.quality.lattice import reduced_boxes
from dpbench.kernels.neighbours import find_neighbours

CUTOFF_LOW = 5.0
"""Å, the least cutoff."""

CUTOFF_HIGH = 8.0
"""Å, the largest cutoff: dilute structures have little to see beyond it."""

CUTOFF_SPACINGS = 2.2
"""Cutoff in units of (volume / atoms)^(1/3): about 45 neighbours in any matter."""

MOST_SPACINGS = 10.0
"""No cutoff exceeds this many (volume / atoms)^(1/3): 4,200 neighbours."""

OPEN_CUTOFF = 6.0
"""Å, where a direction is open, so that the volume says nothing."""

SHELLS = 6
"""Radial functions behind the scalar features."""

DIRECTED_SHELLS = 3
"""Wider radial functions behind the features of vectors and of tensors."""

ATOM_FEATURES = SHELLS + 2 * DIRECTED_SHELLS
"""Invariants of each atom."""

EDGES_AT_ONCE = 50_000
"""Pairs in memory at a time: about 30 MB of intermediate numbers."""

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples fill (0, 1) evenly, so that no two elements get the same weight."""

_NUMBERS = np.arange(len(SYMBOLS), dtype=np.float64)

NEIGHBOUR_WEIGHT = 0.5 + (_NUMBERS * GOLDEN) % 1.0
"""Weight of a neighbour by atomic number."""

CENTRE_WEIGHT = 0.5 + (_NUMBERS * 2**0.5) % 1.0
"""Weight of the atom itself by atomic number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pairs:
    """Directed pairs of some frames, grouped by centre."""

    centre: NDArray[np.int64]
    """(pair), row of the centre among the atoms of the frames."""
    z: NDArray[np.uint8]
    """(pair), atomic number of the neighbour."""
    vector: NDArray[np.float64]
    """(pair, 3), Å, from the centre to the neighbour."""
    cutoff: NDArray[np.float64]
    """(pair), Å."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What one search for neighbours tells of frames."""

    features: NDArray[np.float64]
    """(atom, feature), invariants of each atom."""
    nearest: NDArray[np.float64]
    """(frame), smallest distance of two atoms, or of an atom and its image, Å; NaN if
    there is none within the cutoff."""
    ratio: NDArray[np.float64]
    """(frame), smallest distance in units of the two covalent radii's sum; NaN if there
    is no pair within the cutoff."""


def describe(frames: Frames) -> Surroundings:
    """Describe the surroundings of every atom by invariants, and find the near pairs.

    With neighbours j of atom i at r_j u_j, weights w of their elements, the switch
    s(r) = (1 - (r/rc)^2)^3 and Gaussians G_k, H_k on shells of equal spacing,

        a_k = sum_j w_j s(r_j) G_k(r_j)                              scalars
        b_k = |sum_j w_j s(r_j) H_k(r_j) u_j|                        vectors
        c_k = |sum_j w_j s(r_j) H_k(r_j) (u_j u_j^T - 1/3)|          tensors

    all times a weight of the element of i. Each is invariant to translation, rotation
    and reflection, smooth in the distances, and changes to first order when an atom
    moves, in a perfect crystal too.

    Args:
        frames: Structures; labels are not looked at.

    Raises:
        ValueError: If a coordinate is not finite or a periodic cell is flat.
    """
    features = np.zeros((len(frames.z), ATOM_FEATURES))
    nearest, ratio = np.full((2, frames.nframes), np.inf)
    frame_of = np.repeat(np.arange(frames.nframes), frames.natoms)
    radius = covalent_radii()
    for pairs in _pair_blocks(frames):
        first = np.flatnonzero(np.diff(pairs.centre, prepend=-1))
        r = np.sqrt((pairs.vector**2).sum(axis=1))
        sums = np.add.reduceat(_terms(pairs, r), first, axis=1).T
        centres = pairs.centre[first]
        features[centres] = _norms(sums)
        np.minimum.at(nearest, frame_of[centres], np.minimum.reduceat(r, first))
        scaled = r / (radius[pairs.z] + radius[frames.z[pairs.centre]])
        np.minimum.at(ratio, frame_of[centres], np.minimum.reduceat(scaled, first))
    features *= CENTRE_WEIGHT[frames.z][:, None]
    nearest[np.isinf(nearest)] = np.nan
    ratio[np.isinf(ratio)] = np.nan
    return Surroundings(features=features, nearest=nearest, ratio=ratio)


def covalent_radii() -> NDArray[np.float64]:
    """Return the covalent radius of each atomic number, Å.

    Source: B. Cordero et al., Dalton Trans. 2832 (2008), as ASE tabulates it; 1.5 Å
    for elements that have none there.
    """
    # Imported here: ASE takes 0.2 s to import.
    from ase.data import covalent_radii as tabulated
    from ase.data import missing

    radii = np.full(len(SYMBOLS), np.nan)
    known = min(len(SYMBOLS), len(tabulated))
    radii[:known] = tabulated[:known]
    return np.where(np.isnan(radii) | (radii == missing), 1.5, radii)


def _terms(pairs: _Pairs, r: NDArray[np.float64]) -> NDArray[np.float64]:
    """(term, pair): what each pair adds to the sums of its centre.

    One row a term: numpy is four times as fast on long rows as on rows of three.
    """
    u = np.ascontiguousarray(pairs.vector.T) / np.maximum(r, 1e-9)
    x = r / pairs.cutoff
    weight = NEIGHBOUR_WEIGHT[pairs.z] * (1 - x**2) ** 3
    # Each element off the diagonal stands for two of the norm.
    tensor = [u[axis] * u[axis] - 1 / 3 for axis in range(3)]
    tensor += [2**0.5 * u[i] * u[j] for i, j in ((0, 1), (0, 2), (1, 2))]
    directed = [weight * shell for shell in _shells(x, DIRECTED_SHELLS)]
    terms = np.empty((SHELLS + 9 * DIRECTED_SHELLS, len(r)))
    rows = iter(terms)
    for shell in _shells(x, SHELLS):
        np.multiply(weight, shell, out=next(rows))
    for parts in (u, tensor):
        for factor in directed:
            for part in parts:
                np.multiply(factor, part, out=next(rows))
    return terms


def _shells(x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(shell, pair): Gaussians over x = r / rc, as wide as they are apart."""
    centres = ((np.arange(count) + 0.5) / count)[:, None]
    shells: NDArray[np.float64] = np.exp(-0.5 * ((x - centres) * count) ** 2)
    return shells


def _norms(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(atom, feature) from the sums (atom, term)."""
    edges = np.cumsum([SHELLS, 3 * DIRECTED_SHELLS])
    scalar, vector, tensor = np.split(sums, edges, axis=1)
    natoms = len(sums)
    norms = [
        np.sqrt((part.reshape(natoms, DIRECTED_SHELLS, -1) ** 2).sum(axis=2))
        for part in (vector, tensor)
    ]
    return np.concatenate([scalar, *norms], axis=1)


def _pair_blocks(frames: Frames) -> Iterator[_Pairs]:
    """Find the pairs of all frames, some frames at a time."""
    waiting: list[_Pairs] = []
    size = 0
    # A skewed cell would need images by the hundred; a reduced one a few.
    for frame_idx, box in enumerate(reduced_boxes(frames)):
        pairs = _pairs_of(frames, frame_idx, box)
        waiting.append(pairs)
        size += len(pairs.centre)
        if size >= EDGES_AT_ONCE:
            yield _joined(waiting)
            waiting, size = [], 0
    if size:
        yield _joined(waiting)


def _pairs_of(frames: Frames, frame_idx: int, box: NDArray[np.float64]) -> _Pairs:
    atoms = frames.atoms_of(frame_idx)
    coord = frames.coord[atoms].astype(np.float64)
    full = np.zeros((3, 3))
    full[: len(box)] = box
    cutoff = _cutoff(box, len(coord))
    found = find_neighbours(coord, full, np.arange(3) < len(box), cutoff)
    npairs = len(found.edge_i)
    vector = coord[found.edge_j] - coord[found.edge_i] + found.shift @ full
    return _Pairs(
        centre=found.edge_i.astype(np.int64) + atoms.start,
        z=frames.z[atoms][found.edge_j],
        vector=vector,
        cutoff=np.full(npairs, cutoff),
    )


def _cutoff(box: NDArray[np.float64], natoms: int) -> float:
    """Choose the cutoff of a frame, Å, from what no description of it changes."""
    if len(box) < 3:
        return OPEN_CUTOFF
    spacing = (abs(float(np.linalg.det(box))) / natoms) ** (1 / 3)
    cutoff = float(np.clip(CUTOFF_SPACINGS * spacing, CUTOFF_LOW, CUTOFF_HIGH))
    # Atoms crammed together by a wrong unit would have neighbours by the million.
    return min(cutoff, float(MOST_SPACINGS * spacing))


def _joined(blocks: list[_Pairs]) -> _Pairs:
    return _Pairs(
        centre=np.concatenate([b.centre for b in blocks]),
        z=np.concatenate([b.z for b in blocks]),
        vector=np.concatenate([b.vector for b in blocks]),
        cutoff=np.concatenate([b.cutoff for b in blocks]),
    )
