"""Synthetic VASP outputs for benchmarks/ingest.py, printed as VASP 5 and 6 print them.

Each ionic step has the text of real outputs: fifteen electronic iterations of some two
kilobytes in OUTCAR, the cell, the stress, and a table of positions and forces.
"""

from pathlib import Path

import numpy as np

NATOMS = 48
N_SCF = 15
CELL = np.diag([8.0, 8.5, 9.0])


def write_runs(folder: Path, *, files: int, steps: int) -> None:
    """Write ``OUTCAR`` and ``vasprun.xml`` of several runs, each to its own tree."""
    rng = np.random.default_rng(0)
    for number in range(files):
        made = [_numbers(rng) for _ in range(steps)]
        for name, text in (("OUTCAR", _outcar(made)), ("vasprun.xml", _vasprun(made))):
            path = folder / name.partition(".")[0] / f"run{number:03d}" / name
            path.parent.mkdir(parents=True)
            path.write_text(text)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


Step = dict[str, np.ndarray]


def _numbers(rng: np.random.Generator) -> Step:
    return {
        "coord": rng.uniform(0, 8, (NATOMS, 3)),
        "force": rng.normal(0, 1, (NATOMS, 3)),
        "stress": rng.normal(0, 10, 6),
        "energy": rng.normal(-200, 1, 1),
    }


def _outcar(steps: list[Step]) -> str:
    body = "".join(_outcar_step(i + 1, step) for i, step in enumerate(steps))
    return _OUTCAR_HEAD + body + _OUTCAR_TAIL


def _outcar_step(number: int, step: Step) -> str:
    rows = "".join(
        "".join(f"{x:13.5f}" for x in xyz)
        + "   "
        + "".join(f"{f:14.6f}" for f in fs)
        + "\n"
        for xyz, fs in zip(step["coord"], step["force"], strict=True)
    )
    cell = "".join(
        "   " + "".join(f"{x:13.9f}" for x in row) + "   0.125000000  0.000000000"
        "  0.000000000\n"
        for row in CELL
    )
    loops = "".join(
        f"{'-' * 39} Iteration {number:6d}({i:4d})  {'-' * 39}\n{_SCF}"
        for i in range(1, N_SCF + 1)
    )
    stress = "".join(f"{x:12.5f}" for x in step["stress"])
    rule = " " + "-" * 83
    return f"""{loops}{"-" * 24} aborting loop because EDIFF is reached {"-" * 40}

  in kB  {stress}
  external pressure =        1.00 kB  Pullay stress =        0.00 kB

 VOLUME and BASIS-vectors are now :
 {"-" * 77}
  energy-cutoff  :      400.00
  volume of cell :      612.00
      direct lattice vectors                 reciprocal lattice vectors
{cell}
 POSITION                                       TOTAL-FORCE (eV/Angst)
{rule}
{rows}{rule}
    total drift:                               -0.000457     -0.000398     -0.000002

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  ={step["energy"][0]:20.8f} eV

  energy  without entropy=     -200.0  energy(sigma->0) =     -200.0
     LOOP+:  cpu time    7.0434: real time    7.2702
"""


def _vasprun(steps: list[Step]) -> str:
    return _VASPRUN_HEAD + "".join(map(_vasprun_step, steps)) + "</modeling>\n"


def _vasprun_step(step: Step) -> str:
    fractional = step["coord"] / np.diag(CELL)
    a, b, c, d, e, f = step["stress"]
    stress = np.array([[a, d, f], [d, b, e], [f, e, c]])
    energy = "".join(
        f'   <i name="{name}">{step["energy"][0]:16.8f} </i>\n'
        for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    )
    return (
        " <calculation>\n"
        + f"  <scstep>\n{_XML_SCF}   <energy>\n{energy}   </energy>\n  </scstep>\n"
        * N_SCF
        + "  <structure>\n   <crystal>\n"
        + _varray("basis", CELL)
        + "   </crystal>\n"
        + _varray("positions", fractional)
        + "  </structure>\n"
        + _varray("forces", step["force"])
        + _varray("stress", stress)
        + f"  <energy>\n{energy}  </energy>\n </calculation>\n"
    )


def _varray(name: str, table: np.ndarray) -> str:
    rows = "".join(
        "    <v>" + "".join(f"{x:17.8f}" for x in row) + " </v>\n" for row in table
    )
    return f'   <varray name="{name}" >\n{rows}   </varray>\n'


_TIMERS = (
    *("POTLOK", "SETDIJ", "EDDIAG", "RMM-DIIS", "ORTHCH"),
    *("DOS", "CHARGE", "MIXING", "LOOP"),
)
_TIMES = "".join(
    f"{name:>10}:  cpu time    0.1338: real time    0.1359\n" for name in _TIMERS
)
_TERMS = "".join(
    f"  {name:<23}=       128.68311560\n"
    for name in (
        "alpha Z        PSCENC",
        "Ewald energy   TEWEN",
        "-Hartree energ DENC",
        "-exchange      EXHF",
        "-V(xc)+E(xc)   XCENC",
        "PAW double counting",
        "entropy T*S    EENTRO",
        "eigenvalues    EBANDS",
        "atomic energy  EATOM",
        "Solvation  Ediel_sol",
    )
)
_SCF = f"""

{_TIMES}
 eigenvalue-minimisations  :   640
 total energy-change (2. order) :-0.2739500E-07  ( 0.0000000E+00)
 number of electron      64.0000001 magnetization
 augmentation part        0.1852115 magnetization

 Broyden mixing:
  rms(total) = 0.37172E-04    rms(broyden)= 0.37171E-04
  rms(prec ) = 0.50215E-04
  weight for this iteration     100.00

 eigenvalues of (default mixing * dielectric matrix)
  average eigenvalue GAMMA=   2.5160
  2.5160

 Free energy of the ion-electron system (eV)
  ---------------------------------------------------
{_TERMS}  ---------------------------------------------------
  free energy    TOTEN  =       -24.02879026 eV

  energy without entropy =      -24.02879026  energy(sigma->0) =      -24.02879026

"""
_XML_SCF = "".join(
    f'   <time name="{name}">    0.04    0.04</time>\n'
    for name in ("diag", "diis", "orth", "total")
)
_OUTCAR_HEAD = f""" vasp.6.3.0 20Jan22 (build Jan 01 2023 00:00:00) complex

   VRHFIN =O: s2p4
   TITEL  = PAW_PBE O 08Apr2002
   VRHFIN =H: ultrasoft test
   TITEL  = PAW_PBE H 15Jun2001
   number of dos      NEDOS =    301   number of ions     NIONS = {NATOMS:6d}
   ions per type =  {NATOMS // 3:14d}{2 * NATOMS // 3:4d}
   ENCUT  =  400.0 eV  29.40 Ry    5.42 a.u.
   NELM   =     60;   NELMIN=  4; NELMDL= -5     # of ELM steps
   EDIFF  = 0.1E-05   stopping-criterion for ELM
   GGA     =    PE    GGA type
"""
_OUTCAR_TAIL = """
 General timing and accounting informations for this job:
 ========================================================
"""
_ATOMS = "".join(
    f"    <rc><c>{symbol} </c><c>{kind}</c></rc>\n"
    for symbol, kind, count in (("O", 1, NATOMS // 3), ("H", 2, 2 * NATOMS // 3))
    for _ in range(count)
)
_VASPRUN_HEAD = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">6.3.0  </i>
 </generator>
 <incar>
  <i type="int" name="NELM">    60</i>
 </incar>
 <kpoints>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="electronic" >
   <i name="ENMAX">    400.00000000</i>
   <i type="int" name="NELM">    60</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>{NATOMS:8d} </atoms>
  <types>       2 </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
{_ATOMS}   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <set>
    <rc><c>{NATOMS // 3}</c><c>O </c><c> 16.0</c><c> 6.0</c><c> PAW_PBE O </c></rc>
    <rc><c>{2 * NATOMS // 3}</c><c>H </c><c> 1.0</c><c> 1.0</c><c> PAW_PBE H </c></rc>
   </set>
  </array>
 </atominfo>
"""
