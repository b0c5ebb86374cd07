"""Writer of ``extxyz``: one extended XYZ file.

Energies are ``energy`` (eV) and forces ``forces`` (eV/Å). The virial is written twice:
``virial`` (eV, -dE/dstrain) for QUIP, GPUMD and dpdata, and ``stress`` (eV/Å^3, tension
> 0, = -virial/V) for ASE, MACE and NequIP. Numbers have all their digits.

Source: the extended XYZ specification (https://github.com/libAtoms/extxyz).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import symbols_of
from dpbench.frames import Frames
from dpbench.io.exchange.content import Content
from dpbench.io.gate import volumes
from dpbench.io.writers import Written

FILE = "data.xyz"
"""Name of the file."""


def write(folder: Path, content: Content) -> Written:
    """Write all frames into ``folder / FILE``."""
    with (folder / FILE).open("x", encoding="ascii") as file:
        for chunk, frames in content.blocks():
            for i, position in enumerate(chunk.tolist()):
                file.write(frame_text(frames, i, _provenance(content, position)))
    return Written()


def _provenance(content: Content, position: int) -> str:
    source = content.sources[int(content.source[position])]
    text = (
        f"dataset={content.version.label} source={source.sha256} "
        f"step={int(content.step[position])} theory={source.theory_id}"
    )
    told = content.told(position)
    return " ".join([text, *(f"{name}={value!r}" for name, value in told.items())])


def frame_text(frames: Frames, i: int, provenance: str) -> str:
    """Write one frame.

    Args:
        frames: Frames; labels that are NaN are left out.
        i: Which of them.
        provenance: ``key=value`` pairs that end the comment line.
    """
    rows = frames.atoms_of(i)
    has_force = not np.isnan(frames.force[rows]).any()
    keys = []
    box = frames.box[i]
    has_box = not np.isnan(box).any()
    if has_box:
        keys.append(f'Lattice="{_numbers(box.ravel())}"')
    columns = "species:S:1:pos:R:3" + (":forces:R:3" if has_force else "")
    aparam = frames.aparam_of(i)
    columns += "" if aparam is None else f":aparam:R:{aparam.shape[1]}"
    keys.append(f"Properties={columns}")
    if not np.isnan(frames.energy[i]):
        keys.append(f"energy={float(frames.energy[i])!r}")
    virial = frames.virial[i]
    if not np.isnan(virial).any():
        # flat tensors run column by column
        keys.append(f'virial="{_numbers(virial.T.ravel())}"')
        if has_box:
            stress = -virial / volumes(box[None])[0]
            keys.append(f'stress="{_numbers(stress.T.ravel())}"')
    flags = " ".join("T" if flag else "F" for flag in frames.pbc[i].tolist())
    keys += [f'pbc="{flags}"', provenance]
    symbols = symbols_of(frames.z[rows].tolist())
    parts = [frames.coord[rows]] + ([frames.force[rows]] if has_force else [])
    parts += [] if aparam is None else [aparam]
    numbers = np.concatenate(parts, axis=1).astype(np.float64).tolist()
    lines = [
        f"{symbol} {' '.join(map(repr, row))}"
        for symbol, row in zip(symbols, numbers, strict=True)
    ]
    return "\n".join([str(len(lines)), " ".join(keys), *lines, ""])


def _numbers(values: NDArray[np.floating]) -> str:
    return " ".join(map(repr, values.astype(np.float64).tolist()))
