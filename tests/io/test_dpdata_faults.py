"""What the gate adds to dpdata: unconverged, cut and foreign files."""

import shutil

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.dpdata.formats import read
from dpbench.io.readers.dpdata.names import labelled_formats
from dpbench.io.readers.dpdata.text import GATES, gate_of, judge_text
from dpbench.units import BOHR, HARTREE


def parse(name, path):
    return read(SourceFiles(format=f"dpdata:{name}", paths=(path,)))


def reasons(source):
    return [str(reason) for reason in source.quarantine]


@pytest.fixture(scope="session")
def samples(shared_data):
    return shared_data / "thirdparty" / "dpdata_samples"


@pytest.fixture(scope="session")
def psi4_output(shared_data):
    return shared_data / "generated" / "other_codes" / "h2o_psi4.out"


def spoilt(tmp_path, source, spoil):
    """A copy of an output with something planted in it."""
    path = tmp_path / source.name
    path.write_text(spoil(source.read_text()))
    return path


UNCONVERGED = {
    "psi4 says so": (
        "psi4/out",
        "generated/other_codes/h2o_psi4.out",
        lambda t: t.replace(
            "Energy and wave function converged", "Could not converge SCF iterations"
        ),
        ["unconverged"],
    ),
    "siesta says so": (
        "siesta/output",
        "thirdparty/dpdata_samples/siesta/scf/siesta_output",
        lambda t: t.replace(
            "SCF cycle converged after", "SCF_NOT_CONV: SCF did not converge in"
        ),
        ["unconverged"],
    ),
    "second of five steps": (
        "siesta/aimd_output",
        "thirdparty/dpdata_samples/siesta/aimd/output",
        lambda t: "SCF_NOT_CONV\nsiesta: E_KS".join(
            [
                "siesta: E_KS".join(t.split("siesta: E_KS")[:2]),
                "siesta: E_KS".join(t.split("siesta: E_KS")[2:]),
            ]
        ),
        ["", "unconverged", "", "", ""],
    ),
    "fhi-aims lacks the line": (
        "fhi_aims/output",
        "thirdparty/dpdata_samples/fhi_aims/out_md",
        lambda t: t.replace("Self-consistency cycle converged", "", 1),
        ["unconverged", "", ""],
    ),
    "fhi-aims single point": (
        "fhi_aims/scf",
        "thirdparty/dpdata_samples/fhi_aims/out_scf",
        lambda t: t.replace("Self-consistency cycle converged", ""),
        ["unconverged"],
    ),
    "gaussian at the first step": (
        "gaussian/md",
        "thirdparty/dpdata_samples/gaussian/aimd_gaussian_CH4_output",
        lambda t: t.replace(
            " SCF Done:", " >>>>>>>>>> Convergence criterion not met.\n SCF Done:", 1
        ),
        ["unconverged"] + [""] * 21,
    ),
}


@pytest.mark.parametrize("case", UNCONVERGED)
def test_unconverged_frame_is_quarantined(shared_data, tmp_path, case):
    name, path, spoil, expected = UNCONVERGED[case]
    source = parse(name, spoilt(tmp_path, shared_data / path, spoil))
    assert reasons(source) == expected


def test_unconverged_abacus_calculation_is_quarantined(shared_data, tmp_path):
    tree = shared_data / "thirdparty" / "fp_trees" / "out_data_post_fp_abacus" / "02.fp"
    folder = tmp_path / "task"
    shutil.copytree(tree / "task.001.000000", folder)
    log = folder / "OUT.ABACUS" / "running_scf.log"
    log.chmod(0o644)
    lines = log.read_text().splitlines()
    kept = [line for line in lines if "final etot is" not in line]
    log.write_text(
        "\n".join([*kept[:-3], " convergence has NOT been achieved!", *kept[-3:]])
    )
    assert reasons(parse("abacus/scf", folder)) == ["unconverged"]


@pytest.fixture
def abacus_run(samples, tmp_path):
    """A copy of an ABACUS trajectory of 11 steps that may be written."""
    folder = tmp_path / "run"
    shutil.copytree(samples / "abacus.md.newversion", folder)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    return folder


def test_unconverged_step_of_abacus_is_quarantined_not_left_out(abacus_run):
    log = abacus_run / "OUT.Sn_nve" / "running_md.log"
    lines = log.read_text().split("\n")
    energies = [i for i, line in enumerate(lines) if "final etot is" in line]
    whole = parse("abacus/md", abacus_run)
    lines[energies[2]] = " !! convergence has not been achieved"
    log.write_text("\n".join(lines))
    source = parse("abacus/md", abacus_run)
    assert reasons(source) == ["", "", "unconverged"] + [""] * 8
    assert np.isnan(source.frames.energy[2])
    np.testing.assert_array_equal(source.frames.energy[3:], whole.frames.energy[3:])


def test_abacus_run_killed_before_it_dumped_its_last_step_keeps_the_others(abacus_run):
    dump = abacus_run / "OUT.Sn_nve" / "MD_dump"
    text = dump.read_text()
    dump.write_text(text[: text.rindex("MDSTEP")])
    source = parse("abacus/md", abacus_run)
    assert reasons(source) == [""] * 10


def test_orca_output_is_read_and_an_unconverged_one_quarantined(tmp_path):
    text = """Program Version 5.0.3
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  H      0.000000    0.000000    0.000000
  F      0.000000    0.000000    0.920000

        *  SCF CONVERGED AFTER   8 CYCLES         *
FINAL SINGLE POINT ENERGY      -100.400000000000
------------------
CARTESIAN GRADIENT
------------------

   1   H   :    0.000000000    0.000000000   -0.010000000
   2   F   :    0.000000000    0.000000000    0.010000000

                  ****ORCA TERMINATED NORMALLY****
"""
    path = tmp_path / "hf.out"
    path.write_text(text)
    source = parse("orca/spout", path)
    assert reasons(source) == [""]
    assert source.code_version == "5.0.3"
    np.testing.assert_allclose(source.frames.energy, -100.4 * HARTREE, rtol=1e-8)
    np.testing.assert_allclose(source.frames.force[0, 2], 0.01 * HARTREE / BOHR)
    path.write_text(text.replace("SCF CONVERGED", "SCF NOT CONVERGED"))
    assert reasons(parse("orca/spout", path)) == ["unconverged"]


def test_unconverged_steps_of_vasp_are_quarantined_not_left_out(samples):
    source = parse("vasp/outcar", samples / "poscars" / "OUTCAR.ch4.unconverged")
    assert reasons(source) == ["unconverged", "unconverged", ""]


CUT = {
    "siesta/aimd_output": ("siesta/aimd/output", 0.97, 4),
    "fhi_aims/output": ("fhi_aims/output_multi_elements", 0.9, 4),
    "gaussian/md": ("gaussian/aimd_gaussian_CH4_output", 0.97, 21),
    "vasp/outcar": ("poscars/OUTCAR.h2o.md.10", 0.9, 8),
}


@pytest.mark.parametrize("name", CUT)
def test_cut_trajectory_yields_its_whole_frames_and_is_incomplete(
    samples, tmp_path, name
):
    file, part, count = CUT[name]
    text = (samples / file).read_bytes()
    path = tmp_path / "cut.out"
    path.write_bytes(text[: int(len(text) * part)])
    source, whole = parse(name, path), parse(name, samples / file)
    assert reasons(source) == [""] * count
    assert not source.complete
    assert any("end" in note for note in source.notes)
    rows = slice(0, len(source.frames.z))
    np.testing.assert_array_equal(source.frames.energy, whole.frames.energy[:count])
    np.testing.assert_array_equal(source.frames.force, whole.frames.force[rows])
    np.testing.assert_array_equal(source.frames.coord, whole.frames.coord[rows])


def test_single_point_without_end_marker_is_truncated(psi4_output, tmp_path):
    path = spoilt(tmp_path, psi4_output, lambda t: t.partition("*** Psi4 exiting")[0])
    source = parse("psi4/out", path)
    assert reasons(source) == ["truncated"]
    assert not source.complete


def test_trajectory_read_as_a_single_point_is_a_mismatch(psi4_output, tmp_path):
    path = spoilt(tmp_path, psi4_output, lambda t: t + t)
    assert reasons(parse("psi4/out", path)) == ["mismatch"]


def test_md_output_of_pw_is_not_passed_off_as_one_frame(shared_data, tmp_path):
    """dpdata mixes first coordinates and forces with the last energy, silently."""
    log = shared_data / "generated" / "si8_qe_lda" / "si8_a525_900K.out"
    source = parse("qe/pw/scf", log)
    assert reasons(source) == ["mismatch"]
    assert any("60 calculations" in note for note in source.notes)


@pytest.mark.parametrize(
    "name",
    [
        "psi4/out",
        "siesta/output",
        "orca/spout",
        "vasp/xml",
        "fhi_aims/md",
        "gaussian/log",
        "abacus/scf",
    ],
)
def test_file_that_is_something_else_is_a_named_failure(tmp_path, name):
    path = tmp_path / "other.out"
    path.write_text("nothing of the kind\n")
    with pytest.raises(SourceError, match=r"other\.out|dpdata"):
        parse(name, path)


def test_output_without_frames_is_a_failure_not_an_empty_success(samples, tmp_path):
    text = (samples / "gaussian" / "aimd_gaussian_CH4_output").read_text()
    path = tmp_path / "cut.log"
    path.write_text(text[: text.index("SCF Done")])
    with pytest.raises(SourceError, match=r"cut\.log"):
        parse("gaussian/md", path)


def test_failure_of_one_of_unequal_counts_quarantines_all():
    gate = gate_of("gaussian/md")
    text = (" SCF Done: 1\n" * 3) + "Convergence failure\n SCF Done: 2\n"
    text += "Normal termination of Gaussian"
    verdict = judge_text(gate, text, 2, step_by_step=True)
    assert [str(reason) for reason in verdict.reasons] == ["unconverged"] * 2
    assert "quarantines all" in verdict.note


def test_orca_gate_wants_the_success_banner():
    good = "SCF CONVERGED AFTER 9 CYCLES\nFINAL SINGLE POINT ENERGY -1\n"
    end = "****ORCA TERMINATED NORMALLY****"
    gate = gate_of("orca/spout")
    for text, expected in (
        (good + end, ""),
        (good.replace("CONVERGED AFTER", "") + end, "unconverged"),
        (good.replace("CONVERGED", "NOT CONVERGED") + end, "unconverged"),
        (good, "truncated"),
    ):
        verdict = judge_text(gate, text, 1, step_by_step=False)
        assert [str(reason) for reason in verdict.reasons] == [expected]


def test_every_gate_belongs_to_formats_of_dpdata():
    known = labelled_formats()
    for name in GATES:
        assert any(f == name or f.startswith(f"{name}/") for f in known), name
