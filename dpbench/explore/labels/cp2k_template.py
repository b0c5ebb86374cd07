"""A template of CP2K turned into the input of one frame.

Source: the CP2K manual, https://manual.cp2k.org, sections FORCE_EVAL and GLOBAL.
"""

import copy
from collections.abc import Sequence

from dpbench.elements import symbols_of
from dpbench.explore.labels.cp2k_input import Section, render
from dpbench.frames import Frames

DATA_KEYS = (
    ((), "BASIS_SET_FILE_NAME"),
    ((), "POTENTIAL_FILE_NAME"),
    (("XC", "VDW_POTENTIAL", "PAIR_POTENTIAL"), "PARAMETER_FILE_NAME"),
    (("XC", "VDW_POTENTIAL", "NON_LOCAL"), "KERNEL_FILE_NAME"),
    (("QS", "XTB", "PARAMETER"), "PARAM_FILE_NAME"),
)
"""Sections below &DFT and keywords that name files of the data folder."""

MOST_STEPS = 200
"""Least MAX_SCF of an attempt that is to take more steps."""


def input_of(template: Section, frame: Frames, remedies: Sequence[str] = ()) -> str:
    """Write the input of a single point.

    Args:
        template: Stays as it is.
        frame: One periodic frame.
        remedies: What this attempt changes on the way to self-consistency.
    """
    root = copy.deepcopy(template)
    root.drop("MOTION", "EXT_RESTART", "VIBRATIONAL_ANALYSIS")
    root.demand("GLOBAL").set("RUN_TYPE", "ENERGY_FORCE")
    root.demand("GLOBAL").set("PRINT_LEVEL", "MEDIUM")
    root.demand("GLOBAL").set("PROJECT", "label")
    force = root.demand("FORCE_EVAL")
    if force.value("STRESS_TENSOR") in (None, "NONE"):
        force.set("STRESS_TENSOR", "ANALYTICAL")
    force.demand("PRINT", "FORCES").parameter = "ON"
    force.demand("PRINT", "STRESS_TENSOR").parameter = "ON"
    # what is kept for a restart would fill a disk
    force.demand("DFT", "SCF", "PRINT", "RESTART").parameter = "OFF"
    if (force.demand("DFT", "SCF").value("SCF_GUESS") or "").upper() == "RESTART":
        force.demand("DFT", "SCF").set("SCF_GUESS", "ATOMIC")
    _put_frame(force.demand("SUBSYS"), frame)
    scf = force.demand("DFT", "SCF")
    for name in remedies:
        _apply(scf, name)
    return render(root) + "\n"


def canonical(template: Section) -> str:
    """Return what decides a label: without comments, blanks and what is replaced.

    What only leads to self-consistency, such as mixing, is left out as well; what says
    when it is reached stays.
    """
    root = copy.deepcopy(template)
    root.drop("MOTION", "EXT_RESTART", "VIBRATIONAL_ANALYSIS", "GLOBAL")
    subsys = root.find("FORCE_EVAL", "SUBSYS")
    if subsys is not None:
        subsys.drop("CELL", "COORD")
    force = root.find("FORCE_EVAL")
    scf = root.find("FORCE_EVAL", "DFT", "SCF")
    if force is not None:
        force.drop("PRINT")
    if scf is not None:
        scf.drop("OT", "OUTER_SCF", "MIXING", "DIAGONALIZATION", "PRINT")
        scf.unset("MAX_SCF")
        scf.unset("SCF_GUESS")
    lines = (line.split("!")[0].split("#")[0] for line in render(root).splitlines())
    return "\n".join(words for line in lines if (words := " ".join(line.split())))


def uses_ot(template: Section) -> bool:
    """Whether the orbital transformation leads to self-consistency."""
    section = template.find("FORCE_EVAL", "DFT", "SCF", "OT")
    return section is not None and not is_off(section)


def is_xtb(template: Section) -> bool:
    """Whether GFN-xTB is computed, which needs no &KIND."""
    section = template.find("FORCE_EVAL", "DFT", "QS")
    return section is not None and (section.value("METHOD") or "").upper() == "XTB"


def is_off(section: Section) -> bool:
    """Whether a section is switched off by its parameter."""
    return section.parameter.upper() in ("F", ".FALSE.", "FALSE", "OFF", "NO")


def kinds_of(template: Section) -> tuple[str, ...]:
    """Return the elements that have a &KIND."""
    subsys = template.find("FORCE_EVAL", "SUBSYS")
    found = [] if subsys is None else subsys.sections("KIND")
    return tuple(section.parameter.split()[0].capitalize() for section in found)


def _put_frame(subsys: Section, frame: Frames) -> None:
    subsys.drop("CELL", "COORD")
    topology = subsys.find("TOPOLOGY")
    if topology is not None:
        for key in ("COORD_FILE_NAME", "COORD_FILE_FORMAT", "NUMBER_OF_ATOMS"):
            topology.unset(key)
    directions = "".join(
        name for name, is_on in zip("XYZ", frame.pbc[0], strict=True) if is_on
    )
    vectors = [_row(row) for row in frame.box[0].tolist()]
    cell = Section(
        name="CELL",
        items=[
            *(f"{name} {row}" for name, row in zip("ABC", vectors, strict=True)),
            f"PERIODIC {directions or 'NONE'}",
        ],
    )
    symbols = symbols_of(frame.z.tolist())
    coord = Section(
        name="COORD",
        items=[
            f"{symbol} {_row(row)}"
            for symbol, row in zip(symbols, frame.coord.tolist(), strict=True)
        ],
    )
    subsys.items[:0] = [cell, coord]


def _apply(scf: Section, name: str) -> None:
    """Change the way to self-consistency; its thresholds stay."""
    if name == "more_steps":
        steps = int(scf.value("MAX_SCF") or 50)
        scf.set("MAX_SCF", str(max(MOST_STEPS, 3 * steps)))
    elif name == "outer_loop":
        outer = scf.demand("OUTER_SCF")
        outer.parameter = ""
        outer.set("MAX_SCF", "20")
        outer.set("EPS_SCF", scf.value("EPS_SCF") or "1.0E-5")
        scf.set("MAX_SCF", "30")
    elif name == "conjugate_gradient":
        scf.demand("OT").set("MINIMIZER", "CG")
    elif name == "full_preconditioner":
        scf.demand("OT").set("PRECONDITIONER", "FULL_ALL")
        scf.demand("OT").set("ENERGY_GAP", "0.01")
    elif name == "smaller_mixing":
        mixing = scf.demand("MIXING")
        mixing.parameter = ""
        mixing.set("METHOD", "BROYDEN_MIXING")
        mixing.set("ALPHA", "0.1")
        mixing.set("NBROYDEN", "8")


def _row(values: Sequence[float]) -> str:
    return " ".join(f"{x:.10f}" for x in values)
