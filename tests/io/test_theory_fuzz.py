"""Damaged headers: a scan for the level of theory never raises, and gives JSON."""

import json
import random

import numpy as np
import pytest

from dpbench.frames import uniform
from dpbench.io.readers.cp2k.input import electrons_of_input, theory_of_input
from dpbench.io.readers.cp2k.theory import electrons_of, theory_of_log
from dpbench.io.readers.dpdata.theory import told
from dpbench.io.readers.qe.theory import charge_of, theory_of_output
from dpbench.io.readers.vasp.potcar_theory import potcar_hashes
from dpbench.io.readers.vasp.settings import outcar_settings, theory_of
from dpbench.io.text import read_text
from dpbench.store.theory.mixture import compatibility, fingerprint

HEAD = 60_000
FRAMES = uniform(
    z=(1, 8),
    coord=np.zeros((1, 2, 3)),
    box=None,
    energy=None,
    force=None,
    virial=None,
)


def scan_dpdata(code):
    def scan(text, folder):
        return told(code, text, FRAMES, version=None, path=folder).theory

    return scan


def scan_cp2k(text, folder):
    electrons_of(text)
    return theory_of_log(text)


def scan_cp2k_input(text, folder):
    electrons_of_input(text)
    return theory_of_input(text)


def scan_qe(text, folder):
    charge_of(text, ["Si"] * 8)
    return theory_of_output(text, mesh=None)


def scan_vasp(text, folder):
    potcar_hashes(text, ["PAW_PBE H 15Jun2001"])
    return theory_of(outcar_settings(text))


THIRD = "thirdparty/dpdata_samples"
SUBJECTS = {
    "thirdparty/vasp_ch4/000000/OUTCAR": scan_vasp,
    "thirdparty/pymatgen_vasp/OUTCAR.gz": scan_vasp,
    "generated/si8_qe_lda/si8_a540_300K.out": scan_qe,
    "thirdparty/fp_trees/out_data_post_fp_pwscf/02.fp/task.000.000000/output": scan_qe,
    "generated/water8_cp2k_pbe/cp2k.log": scan_cp2k,
    "generated/water8_cp2k_pbe/water8_pbe.inp": scan_cp2k_input,
    f"{THIRD}/abacus.md.newversion/OUT.Sn_nve/running_md.log": scan_dpdata("abacus"),
    f"{THIRD}/fhi_aims/out_scf": scan_dpdata("fhi_aims"),
    f"{THIRD}/siesta/scf/siesta_output": scan_dpdata("siesta"),
    f"{THIRD}/gaussian/aimd_gaussian_CH4_output": scan_dpdata("gaussian"),
    "generated/other_codes/h2o_psi4.out": scan_dpdata("psi4"),
}

MARKS = ("***********", "NaN", "-1", "0", "1e999", "99999999999", "\0", "", "1.2.3")


def damaged(text, rng):
    """Cut, drop, repeat or swap lines, or put nonsense in the place of words."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.randint(1, 30)):
        i = rng.randrange(len(lines))
        kind = rng.randrange(5)
        if kind == 0 and len(lines) > 10:
            del lines[i]
        elif kind == 1:
            lines.insert(i, lines[rng.randrange(len(lines))])
        elif kind == 2:
            words = lines[i].split(" ")
            words[rng.randrange(len(words))] = rng.choice(MARKS)
            lines[i] = " ".join(words)
        elif kind == 3:
            lines[i] = lines[i][: rng.randrange(len(lines[i]) + 1)]
        else:
            j = rng.randrange(len(lines))
            lines[i], lines[j] = lines[j], lines[i]
    return "".join(lines)


@pytest.mark.shared_data
@pytest.mark.parametrize("path", SUBJECTS)
def test_a_damaged_header_never_breaks_the_scan(shared_data, tmp_path, path):
    text = read_text(shared_data / path)[:HEAD]
    # numbers of settings stand on few lines: damage those most
    lines = text.splitlines(keepends=True)
    settings = [line for line in lines if "=" in line] or lines
    scan, rng = SUBJECTS[path], random.Random(path)
    whole = scan(text, tmp_path)
    for n in range(60):
        subject = text if n % 2 else "".join(settings)
        theory = scan(damaged(subject, rng), tmp_path)
        json.dumps(theory, allow_nan=False)
        fingerprint(theory)
        compatibility(whole, theory)
