"""Writer of ``deepmd/npy/mixed``: systems that share the number of atoms alone.

Each frame's elements stand in ``real_atom_types.npy``. No virtual atoms are added.

Source: DeePMD-kit documentation, "Formats of a system", mixed type.
"""

from pathlib import Path

from dpbench.io.exchange.content import Content
from dpbench.io.writers import Written, deepmd_npy


def write(folder: Path, content: Content) -> Written:
    """Write all frames below ``folder``."""
    return deepmd_npy.write(folder, content, mixed=True)
