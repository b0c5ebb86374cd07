"""Whole files that the fuzz damages, one entry a reader."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

import dpbench
from tests.io.vasp_texts import made_up_steps, outcar, vasprun


@dataclass(frozen=True)
class Subject:
    """A calculation, and which of its files are to be damaged."""

    code: str
    targets: tuple[str, ...]
    write: Callable[[Path, Path], None]
    """Writes it into a folder, given the shared data."""
    is_binary: bool = False
    is_free: bool = False
    """Whether numbers may be as wide as they like: a lost digit leaves no trace."""
    pack: bool = True
    """Whether it is read packed too."""


def copied(*names: str) -> Callable[[Path, Path], None]:
    def write(folder: Path, data: Path) -> None:
        for name in names:
            shutil.copy(data / name, folder)
            (folder / Path(name).name).chmod(0o644)

    return write


def made(name: str, text: str) -> Callable[[Path, Path], None]:
    return lambda folder, _: (folder / name).write_text(text) and None


def demo_md(folder: Path, _: Path) -> None:
    path = Path(dpbench.__file__).parent / "_demo" / "si8_a525_900K.out.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    stop = text.index("Self-consistent Calculation", len(text) // 8)
    (folder / "md.out").write_text(text[:stop])


def system(folder: Path, data: Path) -> None:
    source = data / "generated" / "npy" / "water8_cp2k_pbe"
    source = next(p.parent for p in sorted(source.rglob("type.raw")))
    for path in source.glob("*.raw"):
        shutil.copy(path, folder)
    sets = next(source.glob("set.*"))
    (folder / "set.000").mkdir()
    for path in sets.glob("*.npy"):
        np.save(folder / "set.000" / path.name, np.load(path)[:12])
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def hdf5(folder: Path, data: Path) -> None:
    parts = folder / "parts"
    parts.mkdir()
    system(parts, data)
    with h5py.File(folder / "water.hdf5", "w") as file:
        group = file.create_group("water")
        group["type.raw"] = np.loadtxt(parts / "type.raw", dtype=np.int64)
        group["type_map.raw"] = (parts / "type_map.raw").read_text().split()
        for path in (parts / "set.000").glob("*.npy"):
            group[f"set.000/{path.name}"] = np.load(path)
    shutil.rmtree(parts)


def extended(folder: Path, _: Path) -> None:
    rng = np.random.default_rng(3)
    lines = []
    for _ in range(12):
        natoms = int(rng.choice([6, 8]))
        lines += [
            f"{natoms}",
            'Lattice="9.5 0.0 0.0 0.5 9.0 0.0 0.0 0.1 8.5" '
            "Properties=species:S:1:pos:R:3:forces:R:3 "
            f'energy={rng.normal(-40, 1):.8f} virial="'
            + " ".join(f"{x:.6f}" for x in rng.normal(size=9))
            + '" pbc="T T T"',
        ]
        for _ in range(natoms):
            numbers = " ".join(f"{x:12.6f}" for x in rng.normal(0, 2, 6))
            lines.append(f"{rng.choice(['O', 'H', 'Si'])} {numbers}")
    (folder / "md.extxyz").write_text("\n".join(lines) + "\n")


def mlearn(folder: Path, _: Path) -> None:
    rng = np.random.default_rng(4)
    entries = []
    for number in range(6):
        share = rng.random((5, 3)).round(6)
        sites = [
            {
                "species": [{"element": "Si", "occu": 1}],
                "abc": row.tolist(),
                "xyz": (8.0 * row).tolist(),
            }
            for row in share
        ]
        entries.append(
            {
                "structure": {
                    "@module": "pymatgen.core.structure",
                    "lattice": {"matrix": (8.0 * np.eye(3)).tolist()},
                    "sites": sites,
                },
                "group": "Vacancy",
                "description": f"Snapshot {number} of 6 of AIMD at 300 K",
                "outputs": {
                    "energy": round(float(rng.normal(-20, 1)), 6),
                    "forces": rng.normal(size=(5, 3)).round(6).tolist(),
                    "virial_stress": rng.normal(size=6).round(6).tolist(),
                },
            }
        )
    (folder / "training.json").write_text(json.dumps(entries))


CH4 = "thirdparty/vasp_ch4/000000"
CP2K = "generated/other_codes/cp2k_xtb_medium_log"
CP2K_FILES = ("cp2k.log", "w8-1.cell", "w8-1.ener", "w8-frc-1.xyz", "w8-pos-1.xyz")
QE = "thirdparty/qe_samples"
NPY = tuple(f"set.000/{name}.npy" for name in ("coord", "box", "energy", "force"))

SUBJECTS = {
    "outcar": Subject("vasp", ("OUTCAR",), copied(f"{CH4}/OUTCAR")),
    "outcar-made": Subject(
        "vasp", ("OUTCAR",), made("OUTCAR", outcar(made_up_steps(6)))
    ),
    "vasprun": Subject("vasp", ("vasprun.xml",), copied(f"{CH4}/vasprun.xml")),
    "vasprun-made": Subject(
        "vasp", ("vasprun.xml",), made("vasprun.xml", vasprun(made_up_steps(6)))
    ),
    "vasp-both": Subject(
        "vasp",
        ("OUTCAR", "vasprun.xml"),
        copied(f"{CH4}/OUTCAR", f"{CH4}/vasprun.xml"),
        pack=False,
    ),
    "qe-md": Subject("qe", ("md.out",), demo_md),
    "qe-relax": Subject(
        "qe", ("si8_relax.out",), copied("generated/qe_fixtures/si8_relax.out")
    ),
    "qe-vcrelax": Subject(
        "qe", ("aiida.out",), copied(f"{QE}/vcrelax_success/aiida.out")
    ),
    "qe-xml": Subject(
        "qe",
        ("aiida.out", "data-file-schema.xml"),
        copied(
            f"{QE}/relax_success/aiida.out",
            f"{QE}/relax_success/data-file-schema.xml",
        ),
        pack=False,
    ),
    "cp2k": Subject(
        "cp2k",
        CP2K_FILES,
        copied(*(f"{CP2K}/{name}" for name in CP2K_FILES)),
        pack=False,
    ),
    "deepmd-npy": Subject("deepmd", (*NPY, "type.raw"), system, is_binary=True),
    "deepmd-hdf5": Subject("deepmd", ("water.hdf5",), hdf5, is_binary=True),
    "extxyz": Subject("extxyz", ("md.extxyz",), extended, is_free=True),
    "mlearn": Subject("mlearn", ("training.json",), mlearn, is_free=True),
}
