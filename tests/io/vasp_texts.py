"""Small VASP outputs with known content, written as VASP writes them."""

import numpy as np
from numpy.typing import NDArray

CELL = np.array([[4.0, 0.0, 0.0], [0.5, 5.0, 0.0], [0.0, -0.25, 6.0]])
RULE = " " + "-" * 83


def made_up_steps(count: int, natoms: int = 3) -> list[dict[str, NDArray[np.float64]]]:
    """Return numbers that print exactly in VASP's formats."""
    rng = np.random.default_rng(7)
    return [
        {
            "coord": np.round(rng.uniform(-1, 4, (natoms, 3)), 5),
            "force": np.round(rng.normal(0, 2, (natoms, 3)), 6),
            "stress": np.round(rng.normal(0, 50, 6), 5),
            "energy": np.array(round(float(rng.normal(-30, 1)), 8)),
        }
        for _ in range(count)
    ]


def outcar_head(*, nelm: int = 20, version: str = "5.4.4.18Apr17-6-g9f103f2a35") -> str:
    cell = "\n".join(
        "   " + "".join(f"{x:13.9f}" for x in row) + "   " + f"{0.1:13.9f}" * 3
        for row in CELL
    )
    return f""" vasp.{version} (build Jan 01 2020 00:00:00) complex

 executed on             LinuxIFC date 2020.01.01  00:00:00

 POTCAR:    PAW_PBE O 08Apr2002
   VRHFIN =O: s2p4
   TITEL  = PAW_PBE O 08Apr2002
 POTCAR:    PAW_PBE H 15Jun2001
   VRHFIN =H: ultrasoft test
   TITEL  = PAW_PBE H 15Jun2001
 generate k-points for:    2    1    1
   number of dos      NEDOS =    301   number of ions     NIONS =      3
   ions per type =               1   2
 Startparameter for this run:
   ISPIN  =      1    spin polarized calculation?
   ENCUT  =  400.0 eV  29.40 Ry    5.42 a.u.
   NELM   = {nelm:6d};   NELMIN=  4; NELMDL= -5     # of ELM steps
   EDIFF  = 0.1E-05   stopping-criterion for ELM
   ISMEAR =     0;   SIGMA  =   0.05  broadening in eV -4-tet -1-fermi 0-gaus
   GGA     =    --    GGA type
      direct lattice vectors                 reciprocal lattice vectors
{cell}

"""


def outcar_step(
    number: int,
    step: dict[str, NDArray[np.float64]],
    *,
    n_scf: int = 9,
    stress: bool = True,
    learned: bool = False,
    banner: str = "aborting loop because EDIFF is reached",
) -> str:
    ml = "ML " if learned else "  "
    mark = " (ML)" if learned else ""
    loops = "".join(
        f"{'-' * 39} Iteration {number:6d}({i:4d})  {'-' * 39}\n"
        f" total energy-change (2. order) :-0.1000000E-02  (-0.1000000E-03)\n"
        for i in range(1, n_scf + 1)
    )
    kbar = "".join(f"{x:12.5f}" for x in step["stress"])
    rows = "\n".join(
        "".join(f"{x:13.5f}" for x in xyz) + "   " + "".join(f"{f:14.6f}" for f in fs)
        for xyz, fs in zip(step["coord"], step["force"], strict=True)
    )
    cell = "\n".join(
        "   " + "".join(f"{x:13.9f}" for x in row) + "   " + f"{0.1:13.9f}" * 3
        for row in CELL
    )
    return (
        ("" if learned else loops + f"{'-' * 24} {banner} {'-' * 40}\n\n")
        + (f"  in kB{kbar}\n" if stress else "")
        + f""" VOLUME and BASIS-vectors are now :
      direct lattice vectors                 reciprocal lattice vectors
{cell}

 POSITION                                       TOTAL-FORCE (eV/Angst){mark}
{RULE}
{rows}
{RULE}
    total drift:                               -0.000457     -0.000398     -0.000002

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy {ml}TOTEN  ={float(step["energy"]):20.8f} eV

  energy  without entropy=      -24.0  energy(sigma->0) =      -24.0
     LOOP+:  cpu time    7.0434: real time    7.2702
"""
    )


TAIL = """
 General timing and accounting informations for this job:
 ========================================================
"""


def outcar(steps: list[dict[str, NDArray[np.float64]]], **kwargs: object) -> str:
    """Return a whole OUTCAR of converged steps."""
    body = "".join(
        outcar_step(i, step, **kwargs)  # type: ignore[arg-type]
        for i, step in enumerate(steps, start=1)
    )
    return outcar_head() + body + TAIL


def _varray(name: str, table: NDArray[np.float64]) -> str:
    rows = "\n".join(
        "   <v>" + "".join(f"{x:17.8f}" for x in row) + " </v>" for row in table
    )
    return f'  <varray name="{name}" >\n{rows}\n  </varray>\n'


def vasprun_step(step: dict[str, NDArray[np.float64]], *, n_scf: int = 9) -> str:
    fractional = np.linalg.solve(CELL.T, step["coord"].T).T
    xx, yy, zz, xy, yz, zx = step["stress"]
    stress = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
    energy = f'   <i name="e_fr_energy">{float(step["energy"]):16.8f} </i>\n'
    return (
        " <calculation>\n"
        + f"  <scstep>\n   <energy>\n{energy}   </energy>\n  </scstep>\n" * n_scf
        + "  <structure>\n   <crystal>\n"
        + _varray("basis", CELL)
        + "   </crystal>\n"
        + _varray("positions", fractional)
        + "  </structure>\n"
        + _varray("forces", step["force"])
        + _varray("stress", stress)
        + f"  <energy>\n{energy}  </energy>\n"
        + " </calculation>\n"
    )


def vasprun(steps: list[dict[str, NDArray[np.float64]]], **kwargs: int) -> str:
    """Return a whole vasprun.xml of converged steps."""
    atoms = "".join(
        f"    <rc><c>{name}</c><c>{kind:4d}</c></rc>\n"
        for name, kind in (("O ", 1), ("H ", 2), ("H ", 2))
    )
    types = "".join(
        f"    <rc><c>{n:4d}</c><c>{name}</c><c>1.0</c><c>1.0</c><c>{title}</c></rc>\n"
        for n, name, title in (
            (1, "O ", "  PAW_PBE O 08Apr2002                   "),
            (2, "H ", "  PAW_PBE H 15Jun2001                   "),
        )
    )
    head = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">5.4.4.18Apr17-6-g9f103f2a35  </i>
 </generator>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       2        1        1 </v>
  </generation>
 </kpoints>
 <parameters>
  <separator name="electronic" >
   <i name="ENMAX">    400.00000000</i>
   <i name="EDIFF">      0.00000100</i>
   <i type="int" name="ISMEAR">     0</i>
   <i name="SIGMA">      0.05000000</i>
   <i type="int" name="ISPIN">     1</i>
   <i type="int" name="NELM">    20</i>
  </separator>
  <i type="string" name="GGA">--</i>
  <i type="int" name="NELM">     1</i>
 </parameters>
 <atominfo>
  <atoms>       3 </atoms>
  <array name="atoms" >
   <set>
{atoms}   </set>
  </array>
  <array name="atomtypes" >
   <set>
{types}   </set>
  </array>
 </atominfo>
"""
    body = "".join(vasprun_step(step, **kwargs) for step in steps)
    return head + body + "</modeling>\n"
