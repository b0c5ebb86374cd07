"""ABACUS labels by the user's INPUT; recorded outputs stand for the program."""

from pathlib import Path

import numpy as np
import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.labels.abacus_input import read_parameters
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.frames import Frames, uniform
from dpbench.io.discover import find_sources
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import reader_of

INPUT = """\
INPUT_PARAMETERS
calculation md   # a run of the user
ntype 3
pseudo_dir /far/away
ecutwfc 80
scf_thr 1e-8
mixing_type pulay
mixing_beta 0.4
scf_nmax 50
nspin 1
smearing_method fixed // an insulator
force 1
"""
FORMAT = "dpdata:abacus/scf"


@pytest.fixture
def recorded(shared_data) -> Path:
    """The folder of a single point of methane by ABACUS 2.1."""
    tree = shared_data / "thirdparty/fp_trees/out_data_post_fp_abacus/02.fp"
    return tree / "task.001.000000"


@pytest.fixture
def settings(tmp_path):
    """Settings of ABACUS; keys of its table can be changed."""
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "INPUT").write_text(INPUT)
    for symbol in ("H", "C"):
        (folder / f"{symbol}_ONCV_PBE-1.0.upf").write_text(f"potential of {symbol}\n")
        (folder / f"{symbol}.orb").write_text(f"orbitals of {symbol}\n")

    def make(command: str = "abacus", **more) -> LabelSettings:
        table = {
            "input": "INPUT",
            "pseudopotentials": {s: f"{s}_ONCV_PBE-1.0.upf" for s in ("H", "C")},
            "kspacing": 1.0,
            "command": command,
            **more,
        }
        given = {"driver": "abacus", "abacus": table}
        return from_mapping(LabelSettings, given, where="label").resolved(folder)

    return make


def frame_of(folder: Path) -> Frames:
    files = SourceFiles(format=FORMAT, paths=(folder,))
    frames = reader_of(FORMAT).read(files).frames
    return uniform(z=frames.z, coord=frames.coord[None], box=frames.box)


def methane() -> Frames:
    coord = np.array([[[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63],
                       [0.63, -0.63, -0.63], [-0.63, 0.63, -0.63]]])  # fmt: skip
    box = np.array([[[9.0, 0, 0], [1.0, 8.0, 0], [0, 0, 7.0]]])
    return uniform(z=[6, 1, 1, 1, 1], coord=coord + 0.123456789, box=box)


def only_label(frames: Frames, settings: LabelSettings, folder: Path):
    (task,) = label_tasks(frames, settings, folder=folder)
    return label(task)


def written(settings: LabelSettings, frame: Frames, folder: Path, **more) -> Path:
    folder.mkdir()
    driver_of(settings).write(frame, folder, attempt=0, **more)
    return folder


def test_recorded_run_is_the_label_of_its_frame(tmp_path, recorded, settings, program):
    abacus = program("abacus", f"cp -r {recorded}/OUT.ABACUS . && chmod -R u+w .")
    done = only_label(frame_of(recorded), settings(str(abacus)), tmp_path / "labels")
    assert (done.status, done.reason) == ("done", "")
    (source,) = find_sources(FORMAT, done.outputs).sources
    parsed = reader_of(source.format).read(source)
    assert parsed.frames.energy[0] == pytest.approx(-219.7924465754728, abs=1e-6)
    assert parsed.frames.has_virial.all()
    assert done.theory["pseudopotentials"]["H"]["title"] == "H_ONCV_PBE-1.0.upf"
    assert done.theory["functional"] == "PBE"
    told = driver_of(settings()).foretold()
    assert {key: done.theory[key] for key in told} == told


def test_run_that_does_not_converge_climbs_the_ladder(
    tmp_path, recorded, settings, program
):
    log = "OUT.ABACUS/running_scf.log"
    abacus = program(
        "abacus",
        f"cp -r {recorded}/OUT.ABACUS . && chmod -R u+w .\n"
        "grep -q 'mixing_beta 0.1' INPUT && exit 0\n"
        "sed -i 's/charge density convergence is achieved/"
        f"convergence has not been achieved/' {log}",
    )
    done = only_label(frame_of(recorded), settings(str(abacus)), tmp_path / "labels")
    assert (done.status, done.remedies) == ("done", ("more_steps", "smaller_mixing"))


@pytest.mark.parametrize(
    ("script", "trouble", "words"),
    [
        ("echo ' NOTICE '; echo ' !!!!!!!!!!!!!!!!'; echo ' can not find pseudo file';"
         "echo ' !!!!!!!!!!!!!!!!'; exit 1", "refused", "can not find pseudo file"),
        ("kill -9 $$", "died", "SIGKILL"),
        ("echo done", "died", "ended with exit status 0"),
    ],
)  # fmt: skip
def test_what_abacus_says_of_its_end_is_told(
    tmp_path, settings, program, script, trouble, words
):
    abacus = program("abacus", script)
    done = only_label(methane(), settings(str(abacus)), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", trouble)
    assert words in done.reason


def test_output_of_another_frame_is_no_label(tmp_path, recorded, settings, program):
    # a program that ignores its STRU and leaves that of another frame
    abacus = program("abacus", f"cp -r {recorded}/* . && chmod -R u+w .")
    done = only_label(methane(), settings(str(abacus)), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", "unreadable")


def test_stru_is_read_back_by_dpdata(tmp_path, settings):
    import dpdata

    frame = methane()
    folder = written(settings(), frame, tmp_path / "run")
    data = dpdata.System(str(folder / "STRU"), fmt="stru").data
    names = [data["atom_names"][kind] for kind in data["atom_types"]]
    assert names == ["H", "H", "H", "H", "C"]
    assert np.allclose(data["cells"][0], frame.box[0], rtol=0, atol=1e-9)
    assert np.allclose(
        data["coords"][0], frame.coord[[1, 2, 3, 4, 0]], rtol=0, atol=1e-9
    )


def test_user_s_parameters_stay_and_those_of_a_run_go(tmp_path, settings):
    folder = written(settings(), methane(), tmp_path / "run")
    found = read_parameters((folder / "INPUT").read_text())
    assert (found["ecutwfc"], found["scf_thr"]) == ("80", "1e-8")
    assert found["smearing_method"] == "fixed"
    assert (found["calculation"], found["cal_force"]) == ("scf", "1")
    assert (found["cal_stress"], found["ntype"]) == ("1", "2")
    assert "force" not in found
    assert (folder / "H_ONCV_PBE-1.0.upf").read_text() == "potential of H\n"
    # 2 pi / 8, one division of at most 1.0/Å each
    assert (folder / "KPT").read_text() == "K_POINTS\n0\nGamma\n1 1 1 0 0 0\n"


def test_orbitals_stand_in_stru_and_lie_beside_it(tmp_path, settings):
    orbitals = {"H": "H.orb", "C": "C.orb"}
    folder = written(settings(orbitals=orbitals), methane(), tmp_path / "run")
    text = (folder / "STRU").read_text()
    assert "NUMERICAL_ORBITAL\nH.orb\nC.orb\n" in text
    assert (folder / "C.orb").is_file()


def test_files_and_cutoff_decide_a_label_and_mixing_does_not(tmp_path, settings):
    keys = []
    for change in (("", ""), ("0.4", "0.7"), ("ecutwfc 80", "ecutwfc 100")):
        (tmp_path / "given/INPUT").write_text(INPUT.replace(*change))
        keys.append(label_tasks(methane(), settings(), folder=tmp_path)[0].key)
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "given/INPUT").write_text(INPUT)
    (tmp_path / "given/H_ONCV_PBE-1.0.upf").write_text("another\n")
    assert label_tasks(methane(), settings(), folder=tmp_path)[0].key != keys[0]


def test_what_is_missing_is_named(tmp_path, settings):
    potentials = {"H": "H_ONCV_PBE-1.0.upf"}
    with pytest.raises(ConfigError, match=r"pseudopotentials: none of C"):
        label_tasks(methane(), settings(pseudopotentials=potentials), folder=tmp_path)
    with pytest.raises(ConfigError, match=r"orbitals and pseudopotentials: C in one"):
        settings(orbitals={"H": "H.orb"})
    (tmp_path / "given/INPUT").write_text(INPUT + "basis_type lcao\n")
    with pytest.raises(ConfigError, match=r"label.abacus.orbitals: none"):
        label_tasks(methane(), settings(), folder=tmp_path)
    (tmp_path / "given/INPUT").write_text(INPUT)
    with pytest.raises(ConfigError, match=r"no k-points; expected kpt, kspacing"):
        label_tasks(methane(), settings(kspacing=None), folder=tmp_path)
