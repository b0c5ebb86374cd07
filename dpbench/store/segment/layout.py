"""The arrays of a segment: name, type, dimensions and unit, each said once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 3
"""Version of the segment layout; readers accept all older ones. Since 2: charge,
multiplicity and temperature. Since 3: numbers of atoms (aparam)."""

FORMAT_PLAIN = 2
"""What a segment is written as whose atoms have no numbers: as ever, so that its name
and its files stay what they were."""

CHUNK_ROWS = 65_536
"""Rows of an inner chunk; a shorter array is one chunk."""

SHARD_ROWS = 1_048_576
"""Rows of a shard, that is of a file."""

GROUP = "segment.zarr"
"""Folder of the Zarr group in a segment's folder."""

FACTS = "facts.npy"
"""File of the per-frame facts in a segment's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArraySpec:
    """One array of a segment."""

    dtype: str
    """Type on disk; "float" stands for float32 or float64, as the source has it."""
    dims: tuple[str, ...]
    """Dimension names; the first one counts rows."""
    shape: tuple[int, ...] = ()
    """Shape of one row."""
    units: str | None = None
    """Unit, as xarray shows it."""
    description: str = ""
    """What it is."""


ATOMS: dict[str, ArraySpec] = {
    "z": ArraySpec(dtype="uint8", dims=("atom",), description="atomic number"),
    "coord": ArraySpec(
        dtype="float",
        dims=("atom", "axis"),
        shape=(3,),
        units="angstrom",
        description="position, not wrapped",
    ),
    "force": ArraySpec(
        dtype="float",
        dims=("atom", "axis"),
        shape=(3,),
        units="eV/angstrom",
        description="-dE/dcoord; NaN = no label",
    ),
}
"""Arrays with one row per atom, in group ``atoms``."""

APARAM = ArraySpec(
    dtype="float64",
    dims=("atom", "aparam"),
    description="numbers of the atom that a model takes; NaN = none",
)
"""Array ``aparam`` of group ``atoms``, there if any frame has such numbers. How many
stand in a row (the frame with most decides) is told by ``aparam`` in the manifest."""

FRAMES: dict[str, ArraySpec] = {
    "atom_offset": ArraySpec(
        dtype="int64",
        dims=("frame_edge",),
        description="first atom row of each frame, and the number of atom rows",
    ),
    "box": ArraySpec(
        dtype="float64",
        dims=("frame", "cell_vector", "axis"),
        shape=(3, 3),
        units="angstrom",
        description="rows are cell vectors; NaN = no cell",
    ),
    "pbc": ArraySpec(
        dtype="bool",
        dims=("frame", "cell_vector"),
        shape=(3,),
        description="periodic along each cell vector",
    ),
    "energy": ArraySpec(
        dtype="float64",
        dims=("frame",),
        units="eV",
        description="the energy whose derivative the forces are; NaN = no label",
    ),
    "virial": ArraySpec(
        dtype="float64",
        dims=("frame", "axis", "axis_2"),
        shape=(3, 3),
        units="eV",
        description="-dE/dstrain = -V stress; NaN = no label",
    ),
    "labels": ArraySpec(
        dtype="uint8",
        dims=("frame",),
        description="bits: 1 energy, 2 force, 4 virial, 8 cell",
    ),
    "source_id": ArraySpec(
        dtype="int32", dims=("frame",), description="index into the manifest's sources"
    ),
    "step": ArraySpec(
        dtype="int32", dims=("frame",), description="position in the source"
    ),
    "system_id": ArraySpec(
        dtype="int32",
        dims=("frame",),
        description="index into the manifest's compositions",
    ),
    "n_scf": ArraySpec(
        dtype="int16", dims=("frame",), description="electronic iterations; -1 unknown"
    ),
    "hash": ArraySpec(
        dtype="uint8",
        dims=("frame", "byte"),
        shape=(32,),
        description="digest of the frame, scheme dpb1",
    ),
}
"""Arrays with one row per frame (``atom_offset``: one more), in group ``frames``."""

OPTIONAL_FRAMES: dict[str, ArraySpec] = {
    "charge": ArraySpec(
        dtype="float64",
        dims=("frame",),
        units="e",
        description="total charge; NaN = unknown",
    ),
    "multiplicity": ArraySpec(
        dtype="int16",
        dims=("frame",),
        description="spin multiplicity 2S + 1; -1 = unknown",
    ),
    "temperature": ArraySpec(
        dtype="float64",
        dims=("frame",),
        units="K",
        description="kinetic temperature, as printed; NaN = unknown",
    ),
}
"""Arrays of group ``frames`` that are there if any frame knows its value."""

_FACTS_1 = [
    ("natoms", "<i4"),
    ("source_id", "<i4"),
    ("system_id", "<i4"),
    ("step", "<i4"),
    ("n_scf", "<i2"),
    ("labels", "u1"),
    ("reason", "u1"),
    ("hash", "u1", (32,)),
]

FACTS_DTYPE_1 = np.dtype(_FACTS_1)
"""The facts of format 1."""

FACTS_DTYPE = np.dtype(
    [
        *_FACTS_1,
        ("charge", "<f8"),
        ("multiplicity", "<i2"),
        ("temperature", "<f8"),
    ]
)
"""Per-frame facts that are also kept outside the Zarr group: what splits, listings and
the trainer's sampler need to know of *all* frames of a version. They let a process
plan with frames whose arrays it never opens, such as those of a test part."""

UNKNOWN = {"charge": np.nan, "multiplicity": -1, "temperature": np.nan}
"""What stands for an optional fact of a frame whose source does not tell it."""

LABEL_BITS = {"energy": 1, "force": 2, "virial": 4, "box": 8}
"""Bits of ``labels``."""

APARAM_BIT = 16
"""Bit of ``labels``: the frame's atoms have numbers (aparam)."""


def as_facts(stored: NDArray[Any]) -> NDArray[Any]:
    """Return facts of any format as ``FACTS_DTYPE``; what is no facts as it is."""
    if stored.dtype != FACTS_DTYPE_1:
        return stored
    facts = np.zeros(stored.shape, dtype=FACTS_DTYPE)
    for name in FACTS_DTYPE_1.names or ():
        facts[name] = stored[name]
    for name, unknown in UNKNOWN.items():
        facts[name] = unknown
    return facts
