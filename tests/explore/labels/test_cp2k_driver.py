"""CP2K labels, by a recorded run and for real; what goes wrong is told and mended."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.frames import Frames, uniform
from dpbench.io.discover import find_sources
from dpbench.io.readers import reader_of
from dpbench.units import HARTREE
from tests.conftest import absent

RECORDED = Path(__file__).parent / "recorded"
ENERGY = -17.114989905638694  # hartree, as the recorded log prints it


def water(shift: float = 0.0) -> Frames:
    """The frame of the recorded run."""
    molecule = np.array([[0, 0, 0], [0.0, 0.76, 0.59], [0, -0.76, 0.59]])
    cell = np.eye(3) * 5
    cell += np.array([[0, 0.2, 0.345], [0.123, 0, 0.1], [0.1, 0.31234567, 0]])
    coord = molecule + 0.123456789 + np.array([[shift, 0, 0], [0, 0, 0], [0, 0, 0]])
    return uniform(z=[8, 1, 1], coord=coord[None], box=cell[None])


def settings_of(command: str, *, template: Path | None = None, **more) -> LabelSettings:
    given = template or RECORDED / "cp2k_water.inp"
    table = {"template": str(given), "command": command, **more}
    settings = {"driver": "cp2k", "timeout": 60.0, "cp2k": table}
    return from_mapping(LabelSettings, settings, where="label").resolved(Path())


def only_label(frames: Frames, settings: LabelSettings, folder: Path):
    (task,) = label_tasks(frames, settings, folder=folder)
    return label(task)


def read(outputs) -> Frames:
    (source,) = find_sources("cp2k", outputs).sources
    return reader_of(source.format).read(source).frames


@pytest.fixture
def recorded(tmp_path, program):
    """A program that prints the recorded log, changed by a filter; counts its calls."""
    log = tmp_path / "log"
    log.write_bytes(gzip.decompress((RECORDED / "cp2k_water.out.gz").read_bytes()))

    def make(change: str = "cat", then: str = "") -> str:
        script = (
            'case "$1" in --version) echo " CP2K version 2023.1"; exit;; esac\n'
            f"echo call >>{tmp_path}/calls\n{change} {log}\n{then}"
        )
        return str(program("cp2k", script))

    return make


@pytest.fixture(scope="session")
def cp2k() -> str:
    """The program cp2k."""
    found = shutil.which("cp2k")
    if found is None:
        absent("external", "cp2k is not installed: apt-get install cp2k")
    return str(found)


def test_recorded_run_is_the_label_of_its_frame(tmp_path, recorded):
    done = only_label(water(), settings_of(recorded()), tmp_path / "labels")
    assert (done.status, done.reason) == ("done", "")
    assert done.theory["functional"] == "PADE"
    found = read(done.outputs)
    assert found.energy[0] == pytest.approx(ENERGY * HARTREE, abs=1e-8)
    assert found.has_virial.all()
    # the log has three decimals of a cell vector and six of a position
    assert np.abs(found.box - water().box).max() < 1e-9
    assert np.abs(found.coord - water().coord).max() < 1e-9


def test_log_of_another_frame_is_no_label(tmp_path, recorded):
    done = only_label(water(0.01), settings_of(recorded()), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", "unreadable")
    assert "another frame" in done.reason


def test_remedies_follow_until_the_ladder_ends(tmp_path, recorded):
    change = "sed 's/SCF run converged in .* steps/SCF run NOT converged/'"
    done = only_label(water(), settings_of(recorded(change)), tmp_path / "labels")
    assert (done.status, done.trouble) == ("quarantined", "unconverged")
    assert done.remedies == ("outer_loop", "conjugate_gradient", "full_preconditioner")
    assert (tmp_path / "calls").read_text().count("call") == done.attempts == 4


def test_run_that_dies_is_run_again_once(tmp_path, recorded):
    command = recorded("head -c 20000", "kill -9 $$")
    done = only_label(water(), settings_of(command), tmp_path / "labels")
    assert (done.status, done.trouble, done.attempts) == ("quarantined", "died", 2)
    assert "SIGKILL" in done.reason


def test_abort_is_quoted_and_not_tried_again(tmp_path, recorded):
    abort = tmp_path / "abort"
    abort.write_text(
        " " + "*" * 79 + "\n"
        " *   ___                                                       *\n"
        " *  /   \\                                                      *\n"
        " * [ABORT]                                                     *\n"
        " *  \\___/      The requested basis set <NOPE> for element <O>  *\n"
        " *    |        was not found in the basis set files            *\n"
        " *  O/|        <BASIS_MOLOPT>                                  *\n"
        " * /| |                                                        *\n"
        " * / \\                         aobasis/basis_set_types.F:1509  *\n"
        " " + "*" * 79 + "\n"
    )
    command = recorded(f"cat {abort} #", "exit 1")
    done = only_label(water(), settings_of(command), tmp_path / "labels")
    assert (done.trouble, done.attempts) == ("refused", 1)
    assert done.reason.startswith(
        "CP2K: The requested basis set <NOPE> for element <O> was not found in the "
        "basis set files <BASIS_MOLOPT>"
    )


def test_basis_sets_decide_a_label_and_mixing_does_not(tmp_path, recorded):
    text = (RECORDED / "cp2k_water.inp").read_text()
    command = recorded()
    keys = []
    for change in (
        ("", ""),
        ("MINIMIZER DIIS", "MINIMIZER CG"),
        ("MAX_SCF 40", "MAX_SCF 90"),
        ("EPS_SCF 1.0E-5", "EPS_SCF 1.0E-6"),
        ("CUTOFF 100", "CUTOFF 200"),
    ):
        template = tmp_path / "template.inp"
        template.write_text(text.replace(*change))
        settings = settings_of(command, template=template)
        keys.append(label_tasks(water(), settings, folder=tmp_path)[0].key)
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 3
    data = tmp_path / "data"
    data.mkdir()
    for content in ("one", "two"):
        (data / "BASIS_MOLOPT").write_text(content)
        settings = settings_of(command, data=str(data))
        keys.append(label_tasks(water(), settings, folder=tmp_path)[0].key)
    assert keys[-1] != keys[-2]


def test_elements_without_kind_and_open_frames_are_refused_before_any_run(
    tmp_path, recorded
):
    settings = settings_of(recorded())
    iron = uniform(z=[26], coord=np.zeros((1, 1, 3)), box=np.eye(3)[None] * 4)
    with pytest.raises(ConfigError, match=r"&KIND: none of Fe; expected one for every"):
        label_tasks(iron, settings, folder=tmp_path)
    molecule = uniform(z=[8], coord=np.zeros((1, 1, 3)))
    with pytest.raises(ConfigError, match=r"1 of 1 frames have no cell"):
        label_tasks(molecule, settings, folder=tmp_path)
    assert not (tmp_path / "calls").exists()


def test_foretold_level_agrees_with_what_the_log_tells(tmp_path, recorded):
    settings = settings_of(recorded())
    done = only_label(water(), settings, tmp_path / "labels")
    foretold = driver_of(settings).foretold()
    assert {key: done.theory[key] for key in foretold if key != "kpoints"} == {
        key: value for key, value in foretold.items() if key != "kpoints"
    }


@pytest.mark.slow
@pytest.mark.external
def test_cp2k_itself_labels_as_recorded_and_a_remedy_finds_the_same(tmp_path, cp2k):
    done = only_label(water(), settings_of(cp2k), tmp_path / "labels")
    assert done.status == "done", done.reason
    log = tmp_path / "recorded.out"
    log.write_bytes(gzip.decompress((RECORDED / "cp2k_water.out.gz").read_bytes()))
    plain, known = read(done.outputs), read([log])
    assert plain.energy[0] == pytest.approx(known.energy[0], abs=1e-4)
    hasty = tmp_path / "hasty.inp"
    text = (RECORDED / "cp2k_water.inp").read_text()
    hasty.write_text(text.replace("MAX_SCF 40", "MAX_SCF 3"))
    settings = settings_of(cp2k, template=hasty)
    mended = only_label(water(), settings, tmp_path / "mended")
    assert mended.remedies == ("outer_loop",)
    again = read(mended.outputs)
    assert again.energy[0] == pytest.approx(plain.energy[0], abs=1e-3)
    assert np.abs(again.force - plain.force).max() < 0.02  # eV/Å, EPS_SCF 1e-5


def test_what_is_printed_in_place_of_a_version_is_quoted(program):
    command = str(program("cp2k", "echo 'libmkl.so: cannot open' >&2; exit 127"))
    with pytest.raises(ConfigError, match=r"but 'libmkl\.so: cannot open'; expected"):
        driver_of(settings_of(command)).identity()
