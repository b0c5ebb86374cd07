"""Levels of theory at the gate: what passes, what is told apart, what is recorded."""

import re
import shutil
from pathlib import Path

import pytest

from dpbench.errors import DatasetError
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.theory_file import read_theory_file
from dpbench.store.dataset import open_dataset
from dpbench.store.history import retract
from dpbench.store.references import parse_reference
from dpbench.store.theory.levels import levels_of_version
from dpbench.store.workspace import Workspace

EXAMPLE = Path(__file__).parents[2] / "registry/theory/si8-lda.toml"

pytestmark = pytest.mark.shared_data


@pytest.fixture
def workspace(tmp_path):
    return Workspace.find(tmp_path / "ws", create=True)


def take(workspace, code, *paths, **options):
    """Ingest in this process; readers of whole files do not crash here."""
    chosen = IngestOptions(workers=0, **options)
    return ingest(workspace, code, paths, dataset="d", options=chosen)


def refusal(workspace, code, *paths):
    with pytest.raises(DatasetError, match="mix levels of theory") as caught:
        take(workspace, code, *paths)
    return str(caught.value)


def test_unary_and_binary_files_of_one_level_go_together(workspace, shared_data):
    generated = shared_data / "generated"
    report = take(workspace, "qe", generated / "almg_qe_lda")
    assert report.n_kept == 850
    assert report.undeclared == ()
    assert any("differ in shift" in note for note in report.theory_notes)
    assert "mixed_theory" not in open_dataset(workspace, "d").payload
    assert take(workspace, "qe", generated / "almg_qe_lda").is_new is False


def test_cells_of_different_size_with_one_mesh_go_together(workspace, shared_data):
    take(workspace, "qe", shared_data / "generated/si8_qe_lda")
    version = open_dataset(workspace, "d")
    assert len(version.theories) == 1
    sides = {
        level.theory["kpoints"]["reciprocal"][0] for level in levels_of_version(version)
    }
    assert min(sides) == pytest.approx(1.1321, abs=1e-3)  # 2 pi / 5.55 Å
    assert max(sides) == pytest.approx(1.1968, abs=1e-3)  # 2 pi / 5.25 Å


PLANTED = {
    "functional": [
        ("SLA  PW   PBX  PBC", "SLA  PZ   NOGX NOGC"),
        ("(   1   4   3   4   0   0   0)", "(   1   1   0   0   0   0   0)"),
    ],
    "cutoff": [("=      36.0000  Ry", "=      40.0000  Ry")],
    "cutoff_density": [("=     240.0000  Ry", "=     999.0000  Ry")],
    "pseudopotentials.O": [
        ("932f1ddd01dba2749558f1893c74a415", "932f1ddd01dba2749558f1893c74a416")
    ],
    "dispersion": [
        (
            "     convergence has been achieved",
            "     DFT-D3 Dispersion         =      -0.01 Ry\n\n"
            "     convergence has been achieved",
        )
    ],
    "kpoints": [
        (
            "   0.0000000   0.0000000), wk =   2.0000000",
            "   0.0000000   0.0000000), wk =   0.6666667\n        k(    2) = ("
            "   0.3333333   0.0000000   0.0000000), wk =   1.3333333",
        ),
    ],
}


@pytest.mark.parametrize("key", PLANTED)
def test_one_changed_setting_of_pw_x_is_refused_by_name(
    workspace, shared_data, tmp_path, key
):
    folder = shared_data / "generated/water8_qe_pbe"
    first, second = (folder / f"f_350K_{n}.out" for n in ("00400", "00420"))
    text = second.read_text()
    for old, new in PLANTED[key]:
        assert old in text
        text = text.replace(old, new)
    planted = tmp_path / "planted.out"
    planted.write_text(text)
    take(workspace, "qe", first)
    message = refusal(workspace, "qe", planted)
    named = re.findall(r"(?:theory: |\| )([\w.]+)(?: \([^)]*\))?: ", message)
    assert named == [key]
    assert str(first) in message
    assert str(planted) in message
    assert open_dataset(workspace, "d").number == 1


def vasp_folders(shared_data, tmp_path, count=12):
    """The methane runs, without their vasprun.xml: OUTCAR and INCAR each."""
    folders = []
    for source in sorted((shared_data / "thirdparty/vasp_ch4").glob("0*"))[:count]:
        folder = tmp_path / "runs" / source.name
        folder.mkdir(parents=True)
        for name in ("OUTCAR", "INCAR"):
            shutil.copy(source / name, folder / name)
        folders.append(folder)
    return folders


def test_three_of_twelve_runs_with_dispersion_are_found(
    workspace, shared_data, tmp_path
):
    """A data set in the making, where some runs were set up with D3."""
    folders = vasp_folders(shared_data, tmp_path)
    for folder in folders[4:7]:
        incar = folder / "INCAR"
        incar.write_text(incar.read_text() + "\nIVDW = 12\n")
    message = refusal(workspace, "vasp", tmp_path / "runs")
    assert "dispersion: none [A] but DFT-D3(BJ) [B]" in message
    assert f"[A] 9 sources, e.g. {folders[0]}" in message
    assert f"[B] 3 sources, e.g. {folders[4]}" in message
    report = take(workspace, "vasp", tmp_path / "runs", allow_mixed_theory=True)
    line = "mixed levels of theory: dispersion: none | DFT-D3(BJ)"
    assert line in report.summary()
    assert [entry["key"] for entry in report.to_json()["mixed_theory"]] == [
        "dispersion"
    ]
    (recorded,) = open_dataset(workspace, report.label).payload["mixed_theory"]
    assert recorded["key"] == "dispersion"
    assert [(v["value"], v["n_sources"]) for v in recorded["values"]] == [
        ("none", 9),
        ("DFT-D3(BJ)", 3),
    ]


def test_a_mixed_dataset_stays_marked_and_goes_on_only_if_told(
    workspace, shared_data, tmp_path
):
    folders = vasp_folders(shared_data, tmp_path, count=3)
    incar = folders[1] / "INCAR"
    incar.write_text(incar.read_text() + "\nIVDW = 12\n")
    take(workspace, "vasp", *folders[:2], allow_mixed_theory=True)
    assert "dispersion" in refusal(workspace, "vasp", folders[2])
    take(workspace, "vasp", folders[2], allow_mixed_theory=True)
    assert open_dataset(workspace, "d").payload["mixed_theory"]


POTCAR = """  PAW_PBE {name}
   1.0
 parameters from PSCTR are:
   VRHFIN ={element}: s
   TITEL  = PAW_PBE {name}
{body}
 End of Dataset
"""


def write_potcar(folder, body):
    parts = [
        POTCAR.format(name="H 15Jun2001", element="H", body="0.1 0.2"),
        POTCAR.format(name="C 08Apr2002", element="C", body=body),
    ]
    (folder / "POTCAR").write_text("".join(parts))


def test_two_potcar_sets_of_one_title_are_told_apart_by_their_hashes(
    workspace, shared_data, tmp_path
):
    one, other, without = vasp_folders(shared_data, tmp_path, count=3)
    write_potcar(one, "0.3 0.4")
    write_potcar(other, "0.3 0.5")
    take(workspace, "vasp", one)
    message = refusal(workspace, "vasp", other)
    assert "pseudopotentials.C" in message
    assert "pseudopotentials.H" not in message
    write_potcar(other, "0.3 0.4")
    take(workspace, "vasp", other)
    take(workspace, "vasp", without)
    # the digest does not depend on whether a POTCAR was kept
    assert len(open_dataset(workspace, "d").theories) == 1


def test_a_potcar_of_other_potentials_is_left_aside_and_said(
    workspace, shared_data, tmp_path
):
    (folder,) = vasp_folders(shared_data, tmp_path, count=1)
    (folder / "POTCAR").write_text(
        POTCAR.format(name="N 08Apr2002", element="N", body="1")
    )
    report = take(workspace, "vasp", folder)
    assert any("other potentials than the run" in note for note in report.notes)


def test_printed_hashes_tell_two_sets_of_one_title_apart(
    workspace, shared_data, tmp_path
):
    """VASP >= 6 repeats the SHA256 lines of newer POTCARs."""
    one, other = vasp_folders(shared_data, tmp_path, count=2)
    for folder, digit in ((one, "a"), (other, "b")):
        text = (folder / "OUTCAR").read_text()
        line = f"   SHA256 =  {digit * 64} C/POTCAR\n   VRHFIN =C: s2p2"
        assert "   VRHFIN =C: s2p2" in text
        (folder / "OUTCAR").write_text(text.replace("   VRHFIN =C: s2p2", line))
    take(workspace, "vasp", one)
    message = refusal(workspace, "vasp", other)
    assert f"sha256:{'b' * 64}" in message
    assert "pseudopotentials.C" in message


def test_a_upf_beside_an_output_without_check_sums_is_hashed(
    workspace, shared_data, tmp_path
):
    folder = shared_data / "generated/water8_qe_pbe"
    for run, number in (("one", "00400"), ("other", "00420")):
        text = (folder / f"f_350K_{number}.out").read_text()
        text = re.sub(r"\n\s+MD5 check sum:.*", "", text)
        (tmp_path / run).mkdir()
        (tmp_path / run / "pw.out").write_text(text)
        (tmp_path / run / "H.pbe-kjpaw.UPF").write_text("<UPF>same</UPF>")
        (tmp_path / run / "O.pbe-rrkjus.UPF").write_text(f"<UPF>{run}</UPF>")
    take(workspace, "qe", tmp_path / "one")
    message = refusal(workspace, "qe", tmp_path / "other")
    assert "pseudopotentials.O" in message
    assert "pseudopotentials.H" not in message


def test_npy_is_undeclared_until_a_file_declares_it(workspace, shared_data):
    generated = shared_data / "generated"
    npy = generated / "npy/si8_qe_lda/si8_a540_300K"
    take(workspace, "qe", generated / "si8_qe_lda/si8_a540_900K.out")
    message = refusal(workspace, "deepmd", npy)
    assert "undeclared [" in message
    assert f"1 source, e.g. {npy}" in message
    assert "--theory FILE" in message
    assert "--allow-mixed-theory" in message
    report = take(workspace, "deepmd", npy, theory=read_theory_file(EXAMPLE))
    assert report.is_new
    assert report.undeclared == ()
    version = open_dataset(workspace, "d")
    assert len(version.theories) == 1, "the file says what the output says, bit by bit"
    assert {source.code for source in version.sources} == {"qe"}


def test_undeclared_sources_mix_with_each_other_and_are_counted(workspace, shared_data):
    npy = shared_data / "generated/npy"
    report = take(
        workspace,
        "deepmd",
        npy / "si8_qe_lda/si8_a540_300K",
        npy / "si8_qe_lda/si8_a540_900K",
    )
    assert len(report.undeclared) == 2
    assert "undeclared for 2 sources" in report.summary()
    again = take(
        workspace,
        "deepmd",
        npy / "si8_qe_lda/si8_a540_300K",
        theory=read_theory_file(EXAMPLE),
        allow_mixed_theory=True,
    )
    assert again.is_new, "a source that is declared later is another source"


def test_undeclared_first_then_declared_names_a_way_out_that_works(
    workspace, shared_data
):
    npy = shared_data / "generated/npy/si8_qe_lda/si8_a540_300K"
    take(workspace, "deepmd", npy)
    theory = read_theory_file(EXAMPLE)
    with pytest.raises(DatasetError, match="retract its versions and ingest") as caught:
        take(workspace, "deepmd", npy, theory=theory)
    assert "into a new dataset" in str(caught.value)
    assert "undeclared [A] but declared [B]" in str(caught.value)
    retract(workspace, parse_reference("d-v1"), "undeclared")
    report = take(workspace, "deepmd", npy, theory=theory)
    assert (report.label, report.undeclared) == ("d-v2", ())
    assert report.mixed_theory == ()
    fresh = IngestOptions(workers=0, theory=theory)
    assert ingest(workspace, "deepmd", [npy], dataset="new", options=fresh).is_new


def test_a_file_that_contradicts_an_output_commits_nothing(
    workspace, shared_data, tmp_path
):
    theory = read_theory_file(EXAMPLE) | {"functional": "PBE"}
    generated = shared_data / "generated"
    with pytest.raises(DatasetError) as caught:
        take(
            workspace,
            "auto",
            generated / "npy/si8_qe_lda/si8_a540_300K",
            generated / "si8_qe_lda/si8_a540_900K.out",
            theory=theory,
        )
    message = str(caught.value)
    assert "nothing was committed" in message
    assert "si8_a540_900K.out" in message
    assert "functional = LDA-PZ where --theory says PBE" in message
    assert list(workspace.stores.iterdir()) == []
