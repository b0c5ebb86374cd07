"""Foreign trainers, played by scripts: what is exported, filed and said, and faults."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dpbench.backends.trust import digest_of, trust_of
from dpbench.errors import ConfigError, TrainingError
from dpbench.eval.known import known_provenance
from dpbench.eval.parts import find_training, parts_to_evaluate
from dpbench.store import catalog
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import find_split
from dpbench.store.workspace import Workspace
from dpbench.train.history import read_curve
from dpbench.trainers.filed import provenance_of
from dpbench.trainers.run import Request, train_foreign
from dpbench.trainers.table import trainer_of
from tests.trainers.conftest import fake_launch

THEIRS = {
    "model": {
        "descriptor": {"type": "se_e2_a", "seed": 1},
        "fitting_net": {"neuron": [4], "seed": 1},
    },
    "learning_rate": {"start_lr": 0.001},
    "training": {
        "training_data": {"systems": ["/other/data"], "batch_size": 3},
        "numb_steps": 1000,
        "seed": 1,
    },
}


class Listener:
    """A ``Reporter`` that remembers."""

    def __init__(self):
        self.notes, self.steps, self.rows, self.closed = [], [], [], False

    def start(self, first, steps):
        self.planned = steps

    def step(self, done, loss):
        self.steps.append(done)

    def row(self, row):
        self.rows.append(row)

    def note(self, text):
        self.notes.append(text)

    def close(self):
        self.closed = True


def configuration(folder: Path, theirs=THEIRS) -> Path:
    path = folder / "theirs.json"
    path.write_text(json.dumps(theirs))
    return path


def train(workspace, launch, folder, *, trainer="deepmd", progress=None, **options):
    theirs = options.pop("theirs", THEIRS)
    request = {"dataset": "pairs", "out": folder / "m.dp", "steps": 20} | options
    return train_foreign(
        workspace,
        trainer_of(trainer),
        Request(config=configuration(folder, theirs), **request),
        progress=progress,
        launch=launch,
    )


def last_run(workspace) -> Path:
    return max(workspace.runs.iterdir(), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def well(made, tmp_path_factory):
    """One run that goes well: its report, what was told, and where the model is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(made / "home"))
        patch.setenv("DPBENCH_BACKENDS", str(made / "backends"))
        folder, listener = tmp_path_factory.mktemp("well"), Listener()
        report = train(
            Workspace.find(made / "workspace"),
            fake_launch("well"),
            folder,
            progress=listener,
            seed=7,
        )
    return report, listener, folder / "m.dp"


def test_training_and_validation_are_handed_out_and_the_test_never(well):
    folder = well[0].run_folder
    seen = json.loads((folder / "seen.json").read_text())
    assert seen == {"training_data": 24, "validation_data": 12}
    parts = sorted(path.name for path in (folder / "data").iterdir())
    assert parts == ["train", "validation"]


def test_the_model_is_registered_as_one_of_ours(workspace, well):
    report, _, model = well
    version = open_dataset(workspace, "pairs")
    split = find_split(version)
    provenance = provenance_of(workspace, model)
    assert provenance["split"]["digest"] == split.digest == report.split_digest
    assert provenance["dataset"]["digest"] == version.digest
    assert provenance["seed"] == 7
    assert provenance["steps"] == 20
    assert provenance["trainer"] == "deepmd"
    assert provenance["licence"] == "LGPL-3.0-or-later"
    assert provenance["parameters"] == 12  # what statistics decide is not counted
    assert provenance["config"]["theirs"] == THEIRS
    assert provenance["cost"]["train"]["cpu_s"] > 0
    assert provenance["cost"]["train"]["peak_bytes"] > 1e6
    assert set(provenance["cost"]) == {"train", "freeze", "convert"}
    assert report.run_id in {run["run_id"] for run in catalog.runs(workspace)}


def test_its_held_out_part_is_found_and_takes_a_rank(workspace, well):
    provenance = provenance_of(workspace, well[2])
    training = find_training(workspace, provenance)
    (part,) = parts_to_evaluate(workspace, training, None)
    assert part.name == "test"
    assert not part.marks


def test_every_format_of_the_model_was_made_here(workspace, well):
    report, _, model = well
    frozen = report.run_folder / "frozen.pth"
    made = trust_of(workspace.root).made_here
    assert {digest_of(model), digest_of(frozen)} <= made
    assert provenance_of(workspace, frozen)["run_id"] == report.run_id


def test_evaluation_knows_the_making_unless_the_file_tells_it(workspace, well):
    report, _, model = well
    known = known_provenance(workspace, model, {"note": "of the file"})
    assert known["run_id"] == report.run_id
    assert known["note"] == "of the file"
    told = {"dataset": {"name": "other"}}
    assert known_provenance(workspace, model, told) == told


def test_an_unknown_file_has_no_provenance(workspace, tmp_path):
    (tmp_path / "other.pth").write_bytes(b"made elsewhere")
    assert provenance_of(workspace, tmp_path / "other.pth") is None


def test_the_curve_is_theirs_in_our_columns(well):
    report, listener, _ = well
    rows = read_curve(report.run_folder / "curve.csv")
    assert [row.step for row in rows] == [0, 5, 10, 15, 20]
    assert rows[-1].rmse_f_train == 0.3
    assert rows[-1].rmse_e_validation == 0.02
    assert rows[-1].rmse_v_validation == 0.06
    assert rows[-1].wall_time > 0
    assert listener.planned == 20
    assert listener.steps[-1] == 20
    assert len(listener.rows) == 5
    assert listener.closed
    assert (report.run_folder / "curve.png").stat().st_size > 1000


def test_every_change_of_their_configuration_is_said(well):
    said = "\n".join(well[1].notes)
    assert 'systems = 1 systems of pairs-v1:train instead of ["/other/data"]' in said
    assert "training.numb_steps = 20 instead of 1000 (--steps)" in said
    assert "model.fitting_net.seed = 7 instead of 1 (--seed)" in said
    assert 'model.type_map = ["C", "Si"] (elements of pairs-v1)' in said
    assert "the test part is not handed out" in said
    assert "licence LGPL-3.0-or-later" in said


def test_the_suffix_decides_what_is_made(workspace, fake, tmp_path):
    report = train(workspace, fake(), tmp_path, out=tmp_path / "m.pth")
    assert (tmp_path / "m.pth").read_bytes() == b"frozen weights"
    assert not (report.run_folder / "m.dp").exists()
    assert report.parameters is None


def test_a_suffix_that_is_not_made_is_refused_before_anything(
    workspace, fake, tmp_path
):
    before = list(workspace.runs.iterdir())
    with pytest.raises(ConfigError, match=r"makes no \.pb; expected .*\.dp or \.pth"):
        train(workspace, fake(), tmp_path, out=tmp_path / "m.pb")
    assert list(workspace.runs.iterdir()) == before


def test_a_crash_is_one_line_with_its_last_words(workspace, fake, tmp_path):
    with pytest.raises(TrainingError) as caught:
        train(workspace, fake("crash"), tmp_path)
    message = str(caught.value)
    assert "'train' ended with status 1" in message
    assert "FloatingPointError: the well ran dry" in message
    assert "\n" not in message
    assert not (tmp_path / "m.dp").exists()
    assert "Traceback" in (last_run(workspace) / "log.txt").read_text()
    assert len(read_curve(last_run(workspace) / "curve.csv")) == 2


def test_a_loss_that_is_no_number_stops_the_run(workspace, fake, tmp_path):
    with pytest.raises(TrainingError, match="loss is not a number at step 10"):
        train(workspace, fake("nan"), tmp_path)
    assert not (tmp_path / "m.dp").exists()


def test_a_trainer_that_writes_no_model_is_said(workspace, fake, tmp_path):
    with pytest.raises(TrainingError, match=r"'freeze' wrote no frozen\.pth"):
        train(workspace, fake("lazy"), tmp_path)


def test_a_model_that_cannot_be_converted_is_said_with_the_reason(
    workspace, fake, tmp_path
):
    with pytest.raises(TrainingError, match="DescrptHybrid has no serialize"):
        train(workspace, fake("stubborn"), tmp_path)
    assert (last_run(workspace) / "frozen.pth").is_file()


def test_an_interpreter_that_is_not_there_is_one_line(workspace, fake, tmp_path):
    launch = replace(fake(), python=tmp_path / "bin" / "python")
    with pytest.raises(TrainingError) as caught:
        train(workspace, launch, tmp_path)
    assert "python" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ctrl_c_stops_a_trainer_that_hangs_and_keeps_what_it_wrote(
    workspace, fake, tmp_path
):
    listener = Listener()
    killer = threading.Event()

    def interrupt():
        while not (listener.steps and listener.steps[-1] == 10):
            if killer.wait(0.05):
                return
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        report = train(workspace, fake("hang"), tmp_path, progress=listener)
    finally:
        killer.set()
        thread.join()
    assert report.interrupted
    assert report.model_path is None
    assert report.steps == 10
    assert (report.run_folder / "model.ckpt-10.pt").read_bytes() == b"weights"
    assert len(read_curve(report.run_folder / "curve.csv")) == 3
    assert "stopped; what it wrote is in" in report.summary()
    told = json.loads((report.run_folder / "run.json").read_text())
    assert told["steps"] == 10
    assert report.run_id not in {run["run_id"] for run in catalog.runs(workspace)}


def test_a_configuration_that_cannot_be_used_leaves_no_run(workspace, fake, tmp_path):
    before = set(workspace.runs.iterdir())
    theirs = json.loads(json.dumps(THEIRS))
    theirs["training"]["training_data"]["url"] = "https://example.org/data"
    with pytest.raises(ConfigError, match=r"training_data\.url: is not known here"):
        train(workspace, fake(), tmp_path, theirs=theirs)
    assert set(workspace.runs.iterdir()) == before


def test_an_unknown_trainer_is_named():
    with pytest.raises(
        ConfigError, match="expected one of deepmd, deepmd-tf, mace, nequip"
    ):
        trainer_of("mtp")
