"""Ingest against plain dpdata, and random batches against zarr-python.

Run from the repository root::

    python benchmarks/ingest.py [--files 24] [--steps 150] [--workers 2] [--rounds 3]

A synthetic set of OUTCARs (48 atoms, 15 electronic steps a frame) is made once. Then,
in turn and several rounds: dpdata parses every file in this process and keeps nothing;
dpbench ingests the folder into an empty workspace with ``--workers 0``, that is
parsing, gates, digests, Zarr, fsync and registry; and the same with worker processes,
their start included. Last, random batches of 32 frames are read from that dataset by
the direct reader and by zarr-python. Medians and ranges are printed; nothing is held
against a threshold.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

NATOMS = 48
N_SCF = 15
BATCH = 32
CELL = np.diag([8.0, 8.5, 9.0])


def write_outcars(folder: Path, *, files: int, steps: int) -> int:
    """Write synthetic OUTCARs; return their size in bytes."""
    rng = np.random.default_rng(0)
    for number in range(files):
        blocks = [_step(i + 1, rng) for i in range(steps)]
        path = folder / f"run{number:03d}" / "OUTCAR"
        path.parent.mkdir(parents=True)
        path.write_text(_head() + "".join(blocks) + _TAIL)
    return sum(path.stat().st_size for path in folder.rglob("OUTCAR"))


def timed(function: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    count = function()
    return time.perf_counter() - start, count


def with_dpdata(folder: Path) -> int:
    import dpdata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(
            len(dpdata.LabeledSystem(str(path), fmt="vasp/outcar"))
            for path in sorted(folder.rglob("OUTCAR"))
        )


def with_dpbench(folder: Path, root: Path, workers: int) -> int:
    from dpbench.io.ingest import ingest
    from dpbench.store.workspace import Workspace

    shutil.rmtree(root, ignore_errors=True)
    workspace = Workspace.find(root, create=True)
    return ingest(workspace, "vasp", [folder], dataset="bench", workers=workers).n_kept


def read_batches(root: Path, *, seconds: float) -> dict[str, float]:
    """Read random batches; return frames a second of each reader."""
    import zarr

    from dpbench.store.dataset import open_dataset
    from dpbench.store.workspace import Workspace

    version = open_dataset(Workspace.find(root), "bench")
    rng = np.random.default_rng(1)
    rates = {}

    def direct() -> None:
        version.read(rng.integers(0, version.nframes, BATCH))

    groups = [
        zarr.open_group(segment.folder / "segment.zarr", mode="r")
        for segment in version.segments
    ]
    arrays = [
        [group[f"atoms/{name}"] for name in ("coord", "force", "z")]
        + [group[f"frames/{name}"] for name in ("energy", "box")]
        for group in groups
    ]
    offsets = [segment.atom_offset for segment in version.segments]

    def through_zarr() -> None:
        for _ in range(BATCH):
            which = int(rng.integers(len(groups)))
            row = int(rng.integers(len(offsets[which]) - 1))
            start, stop = offsets[which][row : row + 2]
            for array in arrays[which][:3]:
                array[int(start) : int(stop)]
            for array in arrays[which][3:]:
                array[row : row + 1]

    for name, function in (("direct", direct), ("zarr-python", through_zarr)):
        function()
        start, batches = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            function()
            batches += 1
        rates[name] = batches * BATCH / (time.perf_counter() - start)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, root = Path(folder) / "data", Path(folder) / "ws"
        size = write_outcars(data, files=options.files, steps=options.steps)
        expected = options.files * options.steps
        runs: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, function in (
                ("dpdata", lambda: with_dpdata(data)),
                ("dpbench, 1 process", lambda: with_dpbench(data, root, 0)),
                (
                    f"dpbench, {options.workers} workers",
                    lambda: with_dpbench(data, root, options.workers),
                ),
            ):
                seconds, count = timed(function)
                if count != expected:
                    raise SystemExit(f"{name}: {count} frames; expected {expected}")
                runs.setdefault(name, []).append(seconds)
        rates = read_batches(root, seconds=3.0)
    base = statistics.median(runs["dpdata"])
    report = {
        "size_mb": round(size / 1e6, 1),
        "frames": expected,
        "ingest": {
            name: {
                "seconds": round(statistics.median(times), 3),
                "range": [round(min(times), 3), round(max(times), 3)],
                "mb_per_s": round(size / 1e6 / statistics.median(times), 1),
                "ratio_to_dpdata": round(base / statistics.median(times), 2),
            }
            for name, times in runs.items()
        },
        "random_frames_per_s": {name: round(rate) for name, rate in rates.items()},
    }
    print(json.dumps(report, indent=2))


def _head() -> str:
    return f""" vasp.6.3.0 20Jan22 (build Jan 01 2023 00:00:00) complex

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


def _step(number: int, rng: np.random.Generator) -> str:
    coord = rng.uniform(0, 8, (NATOMS, 3))
    force = rng.normal(0, 1, (NATOMS, 3))
    rows = "".join(
        "".join(f"{x:13.5f}" for x in xyz)
        + "   "
        + "".join(f"{f:14.6f}" for f in fs)
        + "\n"
        for xyz, fs in zip(coord, force, strict=True)
    )
    cell = "".join(
        "   " + "".join(f"{x:13.9f}" for x in row) + "   0.125000000  0.0  0.0\n"
        for row in CELL
    )
    loops = "".join(
        f"{'-' * 39} Iteration {number:6d}({i:4d})  {'-' * 39}\n"
        + "    POTLOK:  cpu time      0.0500: real time      0.0500\n" * 8
        + " eigenvalue-minimisations  :   640\n"
        " total energy-change (2. order) :-0.1000000E-07  (-0.1000000E-07)\n"
        " number of electron      64.0000000 magnetization\n"
        for i in range(1, N_SCF + 1)
    )
    stress = "".join(f"{x:12.5f}" for x in rng.normal(0, 10, 6))
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
  free  energy   TOTEN  ={rng.normal(-200, 1):20.8f} eV

  energy  without entropy=     -200.0  energy(sigma->0) =     -200.0
     LOOP+:  cpu time    7.0434: real time    7.2702
"""


_TAIL = """
 General timing and accounting informations for this job:
 ========================================================
"""

if __name__ == "__main__":
    main()
