"""Descriptions of LAMMPS' pair styles (``.lammps.toml``), told from other text."""

import tomllib

KEYS = {"type_map", "pair_style", "pair_coeff"}
"""Every description has them."""

PROGRAMS = ("python", "mliap", "deepmd", "deepspin", "kim", "mace", "nequip", "allegro")
"""Styles whose model files are programs, by the start of their names; the worker
``lammps_pair.py``, which imports nothing of dpbench, has the same list."""


def description_kind(text: str) -> tuple[str, str] | None:
    """Tell whether a text describes a potential of LAMMPS; return kind and words.

    Args:
        text: The whole file.
    """
    try:
        known = tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    if not set(known) >= KEYS:
        return None
    words = f"{known['pair_style']} {known['pair_coeff']}".replace("'", " ").split()
    if any(word.startswith(PROGRAMS) for word in words):
        return "unknown", "description of a LAMMPS pair style that runs a program"
    return "text-potential", "description of a LAMMPS pair style"
