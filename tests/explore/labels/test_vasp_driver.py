"""VASP labels by the user's INCAR and POTCARs; recorded runs stand for the program."""

from pathlib import Path

import numpy as np
import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.explore.labels.vasp_input import poscar, read_tags
from dpbench.frames import Frames, uniform
from dpbench.io.discover import find_sources
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import READERS, reader_of
from dpbench.store.theory.mixture import compatibility

INCAR = """\
SYSTEM = a run of the user   ! of last year
ENCUT = 350; EDIFF = 1E-6
ISMEAR = 1 ; SIGMA = 0.2 # metal
NSW = 500
IBRION = 0
NELM = 10
ALGO = Fast
NCORE = 4
KSPACING = 0.5
"""
POTCAR = (
    " PAW_PBE {0} 04Jan2001\n   VRHFIN ={0}:\n   TITEL  = PAW_PBE {0} 04Jan2001\n"
    " End of Dataset\n"
)


@pytest.fixture
def outcars(shared_data) -> Path:
    """Folders of single points of two Al atoms by VASP 5.4.4; the last did not end."""
    return shared_data / "thirdparty/fp_trees/out_data_post_fp_vasp/02.fp"


@pytest.fixture
def settings(tmp_path):
    """Settings of VASP; keys of its table can be changed."""
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "INCAR").write_text(INCAR)
    for symbol in ("Al", "Mg"):
        (folder / f"POTCAR.{symbol}").write_text(POTCAR.format(symbol))

    def make(command: str = "vasp_std", **more) -> LabelSettings:
        table = {
            "incar": "INCAR",
            "potcar": {"Mg": "POTCAR.Mg", "Al": "POTCAR.Al"},
            "command": command,
            **more,
        }
        given = {"driver": "vasp", "vasp": table}
        return from_mapping(LabelSettings, given, where="label").resolved(folder)

    return make


def frame_of(folder: Path) -> Frames:
    """The frame of a recorded run, without its labels."""
    path = folder / "OUTCAR"
    frames = READERS["vasp"].read(SourceFiles(format="vasp", paths=(path,))).frames
    return uniform(z=frames.z, coord=frames.coord[None], box=frames.box)


def only_label(frames: Frames, settings: LabelSettings, folder: Path):
    (task,) = label_tasks(frames, settings, folder=folder)
    return label(task)


def alloy() -> Frames:
    coord = np.array([[[0, 0, 0], [2.1, 2.1, 0], [2.1, 0, 2.1], [0, 2.1, 2.1 / 3]]])
    return uniform(z=[13, 12, 13, 12], coord=coord, box=np.eye(3)[None] * 4.2)


def written(settings: LabelSettings, frame: Frames, folder: Path, **more) -> Path:
    folder.mkdir()
    driver_of(settings).write(frame, folder, attempt=0, **more)
    return folder


def test_recorded_run_is_the_label_of_its_frame(tmp_path, outcars, settings, program):
    vasp = program("vasp_std", f"cp {outcars}/task.000.000000/OUTCAR .")
    frame = frame_of(outcars / "task.000.000000")
    done = only_label(frame, settings(str(vasp)), tmp_path / "labels")
    assert (done.status, done.reason) == ("done", "")
    assert done.theory["code"] == "vasp"
    (source,) = find_sources("vasp", done.outputs).sources
    parsed = reader_of(source.format).read(source)
    assert parsed.frames.has_virial.all()
    folder = done.outputs[0].parent
    assert "NSW = 0" in (folder / "INCAR").read_text()


def test_run_that_stopped_at_nelm_is_mended_though_vasp_5_calls_it_converged(
    tmp_path, outcars, settings, program
):
    vasp = program(
        "vasp_std",
        "if grep -qx 'NELM = 10' INCAR\n"
        f"then cp {outcars}/task.001.000001/OUTCAR .\n"
        f"else cp {outcars}/task.000.000000/OUTCAR .\nfi",
    )
    frame = frame_of(outcars / "task.000.000000")
    done = only_label(frame, settings(str(vasp)), tmp_path / "labels")
    assert (done.status, done.remedies) == ("done", ("more_steps",))


def test_run_that_never_converges_is_quarantined(tmp_path, outcars, settings, program):
    vasp = program("vasp_std", f"cp {outcars}/task.001.000001/OUTCAR .")
    frame = frame_of(outcars / "task.001.000001")
    done = only_label(frame, settings(str(vasp)), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", "unconverged")
    assert done.remedies == ("more_steps", "smaller_mixing", "all_bands")


def test_output_of_another_frame_is_no_label(tmp_path, outcars, settings, program):
    vasp = program("vasp_std", f"cp {outcars}/task.000.000000/OUTCAR .")
    frame = frame_of(outcars / "task.000.000000")
    frame.coord[0] += 0.01
    done = only_label(frame, settings(str(vasp)), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", "unreadable")


@pytest.mark.parametrize(
    ("script", "trouble", "words"),
    [
        ("echo 'ERROR: there must be 1 or 3 items on line 2 of POSCAR'; exit 1",
         "refused", "there must be 1 or 3 items"),
        ("echo ' Error EDDDAV: Call to ZHEGV failed. Returncode = 7'; exit 1",
         "broken", "EDDDAV"),
        ("kill -9 $$", "died", "SIGKILL"),
    ],
)  # fmt: skip
def test_what_vasp_says_of_its_end_is_told(
    tmp_path, settings, program, script, trouble, words
):
    vasp = program("vasp_std", script)
    done = only_label(alloy(), settings(str(vasp)), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", trouble)
    assert words in done.reason


def test_poscar_and_potcar_list_elements_in_one_order(tmp_path, settings):
    folder = written(settings(), alloy(), tmp_path / "run")
    lines = (folder / "POSCAR").read_text().splitlines()
    assert lines[5:8] == ["Mg Al", "2 2", "Cartesian"]
    assert lines[8].split()[:2] == ["2.1000000000000001", "2.1000000000000001"]
    titles = [x for x in (folder / "POTCAR").read_text().splitlines() if "TITEL" in x]
    assert [line.split()[3] for line in titles] == ["Mg", "Al"]


def test_poscar_is_read_back_to_the_last_digit(tmp_path):
    from ase.io import read

    rng = np.random.default_rng(5)
    coord = rng.normal(0, 2, (1, 4, 3))
    frame = uniform(z=[13, 12, 13, 12], coord=coord, box=rng.normal(0, 4, (1, 3, 3)))
    path = tmp_path / "POSCAR"
    path.write_text(poscar(frame))
    atoms = read(path, format="vasp")
    assert atoms.get_chemical_symbols() == ["Mg", "Mg", "Al", "Al"]
    assert np.allclose(atoms.positions, frame.coord[[1, 3, 0, 2]], rtol=0, atol=1e-14)
    assert np.allclose(atoms.cell.array, frame.box[0], rtol=0, atol=1e-14)


def test_user_s_tags_stay_and_those_of_a_run_go(tmp_path, settings):
    folder = written(settings(), alloy(), tmp_path / "run")
    tags = read_tags((folder / "INCAR").read_text())
    kept = {"ENCUT": "350", "EDIFF": "1E-6", "ISMEAR": "1", "SIGMA": "0.2"}
    assert {key: tags[key] for key in kept} == kept
    assert (tags["NSW"], tags["IBRION"], tags["ISIF"]) == ("0", "-1", "2")
    assert tags["LWAVE"] == ".FALSE."
    assert not (folder / "KPOINTS").exists()


def test_kpoints_follow_from_the_spacing_of_each_frame(tmp_path, settings):
    folder = written(settings(kspacing=0.4), alloy(), tmp_path / "run")
    # 2 pi / 4.2 = 1.496 = 3.74 * 0.4
    assert (folder / "KPOINTS").read_text().splitlines()[1:4] == ["0", "Gamma", "4 4 4"]


def test_moments_follow_the_atoms(tmp_path, settings):
    folder = written(settings(magmom={"Mg": 1.5}), alloy(), tmp_path / "run")
    assert read_tags((folder / "INCAR").read_text())["MAGMOM"] == "1.5 1.5 0 0"


def test_remedies_change_no_tag_that_decides_a_label(tmp_path, settings):
    plain = read_tags(
        (written(settings(), alloy(), tmp_path / "a") / "INCAR").read_text()
    )
    remedies = ("more_steps", "smaller_mixing", "all_bands")
    folder = written(settings(), alloy(), tmp_path / "b", remedies=remedies)
    changed = read_tags((folder / "INCAR").read_text())
    moved = {key for key in changed if changed[key] != plain.get(key)}
    assert moved == {"NELM", "ALGO", "AMIX", "BMIX", "TIME"}
    assert changed["ALGO"] == "All"


def test_pseudopotentials_and_cutoff_decide_a_label_and_parallelism_does_not(
    tmp_path, settings
):
    keys = []
    for change in (
        ("", ""),
        ("NCORE = 4", "NCORE = 8"),
        ("ENCUT = 350", "ENCUT = 500"),
    ):
        (tmp_path / "given/INCAR").write_text(INCAR.replace(*change))
        keys.append(label_tasks(alloy(), settings(), folder=tmp_path)[0].key)
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "given/INCAR").write_text(INCAR)
    path = tmp_path / "given/POTCAR.Al"
    path.write_text(path.read_text() + "harder\n")
    assert label_tasks(alloy(), settings(), folder=tmp_path)[0].key != keys[0]


def test_wrong_potcar_is_found_before_any_run(tmp_path, settings):
    swapped = settings(potcar={"Al": "POTCAR.Mg", "Mg": "POTCAR.Al"})
    with pytest.raises(ConfigError, match=r"POTCAR.Mg: is of Mg .* given for Al"):
        label_tasks(alloy(), swapped, folder=tmp_path)


def test_incar_and_potcars_foretell_what_the_outcar_tells(
    tmp_path, outcars, settings, program
):
    run = "ENCUT = 600; ISMEAR = 1\nSIGMA = 1.0\nNELM = 60\nKSPACING = 9\n"
    (tmp_path / "given/INCAR").write_text(run)
    vasp = program("vasp_std", f"cp {outcars}/task.000.000000/OUTCAR .")
    frame = frame_of(outcars / "task.000.000000")
    chosen = settings(str(vasp), potcar={"Al": "POTCAR.Al"})
    done = only_label(frame, chosen, tmp_path / "labels")
    told = driver_of(chosen).foretold()
    assert told.keys() > {"functional", "cutoff", "smearing", "spin", "dispersion"}
    assert {key: done.theory[key] for key in told} == told
    (tmp_path / "given/INCAR").write_text(run.replace("600", "500") + "GGA = PS\n")
    other = compatibility(driver_of(chosen).foretold(), done.theory)
    assert {difference.key for difference in other} == {"cutoff", "functional"}
    # the same title, another content: found before anything is paid for
    potcar = tmp_path / "given/POTCAR.Al"
    potcar.write_text(potcar.read_text().replace("VRHFIN", "a second VRHFIN"))
    (tmp_path / "given/INCAR").write_text(run)
    other = compatibility(driver_of(chosen).foretold(), done.theory)
    assert [difference.key for difference in other] == ["pseudopotentials.Al"]


def test_what_is_missing_is_named(tmp_path, settings):
    with pytest.raises(ConfigError, match=r"potcar: none of Mg"):
        label_tasks(alloy(), settings(potcar={"Al": "POTCAR.Al"}), folder=tmp_path)
    with pytest.raises(ConfigError, match=r"INCAR.2: cannot be read"):
        label_tasks(alloy(), settings(incar="INCAR.2"), folder=tmp_path)
    (tmp_path / "given/INCAR").write_text("ENCUT = 300\n")
    with pytest.raises(ConfigError, match=r"no k-points; expected kpoints, kspacing"):
        label_tasks(alloy(), settings(), folder=tmp_path)
    molecule = uniform(z=[13], coord=np.zeros((1, 1, 3)))
    with pytest.raises(ConfigError, match=r"1 of 1 frames are not periodic"):
        label_tasks(molecule, settings(kspacing=0.3), folder=tmp_path)


def test_left_handed_cell_costs_one_frame(tmp_path, settings, program):
    frame = alloy()
    frame.box[0] = frame.box[0][[1, 0, 2]]
    vasp = program("vasp_std", "true")
    done = only_label(frame, settings(str(vasp)), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", "refused")
    assert "left-handed" in done.reason
