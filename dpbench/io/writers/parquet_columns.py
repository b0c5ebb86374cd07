"""The columns of a Parquet export: names, Croissant types and meanings, said once."""

from dataclasses import dataclass


def split_name(part: str | None) -> str:
    """Name the hub's split of a part; the hub allows no hyphen there."""
    return "train" if part is None else part.replace("-", "_")


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column."""

    data_type: str
    """Type in Croissant."""
    description: str
    """What it is; unit and sign."""
    shape: tuple[int, ...] = ()
    """Shape of a value; -1 = the number of atoms; () = a scalar."""


COLUMNS: dict[str, Column] = {
    "formula": Column(data_type="sc:Text", description="Hill formula"),
    "natoms": Column(data_type="cr:Int32", description="number of atoms"),
    "atomic_numbers": Column(
        data_type="cr:UInt8", description="atomic number of each atom", shape=(-1,)
    ),
    "positions": Column(
        data_type="cr:Float64",
        description="positions, Å, not wrapped into the cell",
        shape=(-1, 3),
    ),
    "cell": Column(
        data_type="cr:Float64",
        description="cell vectors, Å, one a row; null = no cell",
        shape=(3, 3),
    ),
    "pbc": Column(
        data_type="sc:Boolean",
        description="periodic along each cell vector",
        shape=(3,),
    ),
    "energy": Column(
        data_type="cr:Float64",
        description="energy, eV, the one whose derivative the forces are; null = no "
        "label",
    ),
    "forces": Column(
        data_type="cr:Float64",
        description="forces, eV/Å, minus the gradient; null = no label",
        shape=(-1, 3),
    ),
    "virial": Column(
        data_type="cr:Float64",
        description="virial, eV, -dE/dstrain = -volume x stress (tension positive); "
        "null = no label",
        shape=(3, 3),
    ),
    "source": Column(
        data_type="sc:Text", description="sha256 of the file the frame was read from"
    ),
    "step": Column(data_type="cr:Int32", description="position in that file"),
    "theory": Column(
        data_type="sc:Text", description="level of theory: key into dpbench.json"
    ),
    "charge": Column(
        data_type="cr:Float64", description="total charge, e; null = unknown"
    ),
    "multiplicity": Column(
        data_type="cr:Int16", description="spin multiplicity 2S + 1; null = unknown"
    ),
    "temperature": Column(
        data_type="cr:Float64",
        description="kinetic temperature, K, as printed; null = unknown",
    ),
}
"""Columns by name, in order."""
