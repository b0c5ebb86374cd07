"""Outputs of seven codes, each read by ``auto`` and held against reference arrays.

The references are those that lie beside the samples: they were made by the projects
that the samples come from, not by dpbench.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dpbench.frames import concatenate
from dpbench.io.discover import find_sources
from dpbench.io.ingest_plan import read_source
from dpbench.io.parsed import SourceFiles

SHAPES = {"coord": 3, "force": 3, "box": 9, "virial": 9, "energy": 1}


@dataclass(frozen=True)
class Sample:
    """One row: what is under a path, and where its reference lies."""

    frames: int
    quarantined: tuple[tuple[str, int], ...] = ()
    text: tuple[tuple[str, str], ...] = ()
    """(array, text file) of the reference."""
    system: str = ""
    """A deepmd folder with the reference."""
    atol: float = 2e-4
    rtol: float = 1e-6
    box_atol: float = 1e-5
    """Å; some references round the cell to three decimals."""
    code: str = "auto"
    skip_box: bool = False
    """Whether the reference has another cell on purpose."""


def aims(name):
    return tuple(
        (key, f"fhi_aims/ref_{key}_{name}.txt") for key in ("coord", "force", "energy")
    )


DPDATA, CP2K = "dpdata_samples", "cp2k_samples"
QE, TREES = "qe_samples", "fp_trees"
SAMPLES = {
    f"{DPDATA}/abacus.md.newversion": Sample(
        11,
        text=(
            ("coord", "abacus.md.newversion/coord.ref"),
            ("force", "abacus.md.newversion/force.ref"),
            ("virial", "abacus.md.newversion/virial.ref"),
        ),
    ),
    f"{DPDATA}/fhi_aims/out_md": Sample(3, text=aims("md")),
    f"{DPDATA}/fhi_aims/output_multi_elements": Sample(6, text=aims("md_m")),
    f"{DPDATA}/fhi_aims/out_scf": Sample(
        1,
        text=(("coord", "fhi_aims/ref_coord.txt"), ("force", "fhi_aims/ref_force.txt")),
    ),
    f"{DPDATA}/gaussian": Sample(22),
    f"{DPDATA}/siesta/aimd": Sample(
        5,
        text=(
            ("coord", "siesta/aimd/coord"),
            ("force", "siesta/aimd/force"),
            ("energy", "siesta/aimd/energy"),
            ("box", "siesta/aimd/cell"),
        ),
    ),
    f"{DPDATA}/siesta/scf": Sample(
        1,
        text=(
            ("coord", "siesta/scf/ref_coord"),
            ("force", "siesta/scf/ref_force"),
            ("energy", "siesta/scf/ref_energy"),
            ("box", "siesta/scf/ref_cell"),
        ),
    ),
    f"{DPDATA}/qe.scf/01.out": Sample(
        1,
        text=(
            ("coord", "qe.scf/ch4_coord"),
            ("force", "qe.scf/ch4_force"),
            ("virial", "qe.scf/ch4_virial"),
        ),
    ),
    f"{DPDATA}/qe.scf/02.out": Sample(
        1,
        text=(
            ("coord", "qe.scf/h2o_coord"),
            ("force", "qe.scf/h2o_force"),
            ("virial", "qe.scf/h2o_virial"),
            ("box", "qe.scf/h2o_cell"),
        ),
        atol=2e-3,
        rtol=2e-4,  # of an older value of the bohr
    ),
    f"{DPDATA}/qe.scf/03.out": Sample(1),
    f"{DPDATA}/qe.scf/Al.out": Sample(1),
    f"{DPDATA}/qe.scf/na.out": Sample(1),
    f"{DPDATA}/poscars/OUTCAR.Ge.vdw": Sample(1),
    f"{DPDATA}/poscars/OUTCAR.h2o.md.10": Sample(10),
    f"{DPDATA}/poscars/OUTCAR.ch4.unconverged": Sample(1, (("unconverged", 2),)),
    f"{DPDATA}/poscars/Ti-aimd-nwrite0": Sample(10),
    f"{DPDATA}/poscars/vasprun.h2o.md.novirial.xml": Sample(3),
    f"{DPDATA}/poscars/vasprun.h2o.md.tribox.xml": Sample(3),
    f"{CP2K}/v2022.2/aimd_npt_i": Sample(
        11, system=f"{CP2K}/v2022.2/aimd_npt_i/deepmd", code="cp2k"
    ),
    f"{CP2K}/v2023.1/aimd_nvt": Sample(
        4, system=f"{CP2K}/v2023.1/aimd_nvt/deepmd", code="cp2k", box_atol=6e-4
    ),
    f"{CP2K}/v2023.1/aimd_npt_f": Sample(
        4, system=f"{CP2K}/v2023.1/aimd_npt_f/deepmd", code="cp2k", skip_box=True
    ),
    f"{QE}/default_xml_240411": Sample(4),
    f"{QE}/failed_interrupted": Sample(0, (("truncated", 1),)),
    f"{QE}/failed_interrupted_relax": Sample(1),
    f"{QE}/failed_out_of_walltime": Sample(0, (("unconverged", 1),)),
    f"{QE}/failed_scf_not_converged": Sample(0, (("unconverged", 1),)),
    f"{QE}/relax_success": Sample(1),
    f"{QE}/vcrelax_success": Sample(3),
    "pymatgen_vasp": Sample(279, (("unconverged", 5),)),
    "vasp_ch4": Sample(120),
    f"{TREES}/out_data_post_fp_abacus/02.fp/task.001.000000": Sample(1),
    f"{TREES}/out_data_post_fp_abacus/02.fp/task.001.000001": Sample(1),
    f"{TREES}/out_data_post_fp_abacus/02.fp/task.001.000002": Sample(
        0, (("truncated", 1),)
    ),
    f"{TREES}/out_data_post_fp_cp2k/02.fp": Sample(
        1, system=f"{TREES}/out_data_post_fp_cp2k/orig"
    ),
    f"{TREES}/out_data_post_fp_pwscf/02.fp": Sample(
        2, system=f"{TREES}/out_data_post_fp_pwscf/orig", atol=2e-3
    ),
    f"{TREES}/out_data_post_fp_vasp/02.fp": Sample(3, (("unconverged", 1),)),
    "../generated/other_codes/cp2k_xtb_medium_log": Sample(5),
    "../generated/other_codes/h2o_psi4.out": Sample(1),
    "../generated/other_codes/si_gpaw.extxyz": Sample(1),
}


def read_all(code, path):
    """Frames and reasons of every source under a path, in order."""
    read = [read_source(files, None) for files in find_sources(code, [path]).sources]
    reasons = [str(reason) for source in read for reason in source.quarantine]
    return concatenate([source.frames for source in read]), reasons


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_read_and_is_what_its_reference_says(shared_data, name):
    sample, root = SAMPLES[name], shared_data / "thirdparty"
    frames, reasons = read_all(sample.code, root / name)
    counts = Counter(reasons)
    assert counts.pop("", 0) == sample.frames
    assert tuple(sorted(counts.items())) == sample.quarantined
    assert np.isfinite(frames.coord).all()
    for key, file in sample.text:
        values = np.loadtxt(root / DPDATA / file, ndmin=1).reshape(-1)
        found = getattr(frames, key).reshape(-1)
        np.testing.assert_allclose(found, values, atol=sample.atol, rtol=sample.rtol)
    if sample.system:
        compare_with_system(frames, root / sample.system, sample)


def compare_with_system(frames, folder: Path, sample):
    form = "deepmd/npy" if list(folder.glob("set.*")) else "deepmd/raw"
    reference = read_source(SourceFiles(format=form, paths=(folder,)), None).frames
    assert frames.natoms.tolist() == reference.natoms.tolist()
    mine, theirs = order(frames), order(reference)
    assert frames.z[mine].tolist() == reference.z[theirs].tolist()
    for key in ("coord", "force", "box", "energy", "virial"):
        if (key == "box" and sample.skip_box) or np.isnan(
            getattr(reference, key)
        ).all():
            continue
        found, wanted = getattr(frames, key), getattr(reference, key)
        atol = sample.box_atol if key == "box" else sample.atol
        if key in ("coord", "force"):
            found, wanted = found[mine], wanted[theirs]
        np.testing.assert_allclose(
            found, wanted, atol=atol, rtol=sample.rtol, err_msg=key
        )


def order(frames):
    """Atoms by frame, then element, then as they stand: dpdata sorts by element."""
    frame = np.repeat(np.arange(frames.nframes), frames.natoms)
    return np.lexsort((np.arange(len(frame)), frames.z, frame))


def test_every_sample_of_the_shared_data_stands_in_the_table(shared_data):
    root = shared_data / "thirdparty"
    listed = {(root / name).resolve() for name in SAMPLES}
    for group in (DPDATA, CP2K, QE, "pymatgen_vasp", TREES, "vasp_ch4"):
        for files in find_sources("auto", [root / group]).sources:
            if files.format.startswith("deepmd"):
                continue
            ancestors = {
                path.resolve()
                for main in files.paths[:2]
                for path in (main, *main.parents)
            }
            assert listed & ancestors, files.main
