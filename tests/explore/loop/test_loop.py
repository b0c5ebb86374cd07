import json

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import DatasetError, EvaluationError, SimulationError
from dpbench.explore import checks
from dpbench.explore.announce import silent
from dpbench.explore.filing import filed_iterations
from dpbench.explore.journal import exploration_folder, iterations_of, read_record
from dpbench.explore.labels.labelling import forget_quarantined
from dpbench.explore.loop import run
from dpbench.store import catalog
from dpbench.store.workspace import Workspace
from tests.explore.loop.small import FAILS, LOG, labels_paid, small_config

pytestmark = pytest.mark.slow

ONE = {"stop": {"iterations": 1}}


def loop(base, announce=silent, **changes):
    workspace = Workspace.find(base / "workspace", create=True)
    config = small_config(base, **changes)
    return run(workspace, config, base=base, announce=announce)


def iterations(base):
    return iterations_of(base / "workspace" / "explorations" / "cu")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A loop of one iteration that has come to its end, and what it told."""
    base = tmp_path_factory.mktemp("done")
    told = []
    return base, loop(base, told.append, **ONE), told


def test_each_iteration_adds_a_version_and_its_models_learn_from_it(done):
    base, explored, _ = done
    first, last = iterations(base)
    assert (explored.start.version, explored.version) == ("cu-v1", "cu-v2")
    assert (first.train.dataset, last.train.dataset) == ("cu-v1", "cu-v2")
    assert first.ingest.new == 2
    assert explored.nframes == 6
    assert explored.models == tuple(
        base / "workspace" / "explorations" / "cu" / model.path
        for model in last.train.models
    )
    assert all(path.is_file() for path in explored.models)


def test_later_models_start_from_the_ones_before(done):
    first, last = iterations(done[0])
    assert [model.started_from for model in last.train.models] == [
        model.digest for model in first.train.models
    ]


def test_every_explored_frame_is_accounted_for(done):
    [first, _] = iterations(done[0])
    explored = sum(walk.nframes for walk in first.explore.walks)
    selected = first.select
    assert sum(selected.counts.values()) == explored
    assert len(selected.chosen) + sum(selected.rejected.values()) == explored
    histogram = selected.max_devi_f
    assert sum(histogram.counts) + histogram.beyond == explored


def test_frames_added_are_measured_before_and_after(done):
    [first, _] = iterations(done[0])
    assert first.assess.nframes == 2
    assert first.assess.before.rmse_f > 0
    assert first.assess.after.rmse_f > 0


def test_each_iteration_is_an_object_that_the_registry_finds_again(done):
    base, _, _ = done
    workspace = Workspace.find(base / "workspace")
    [before] = filed_iterations(workspace, "cu")
    catalog.rebuild(workspace)
    [filed] = filed_iterations(workspace, "cu")
    assert filed == before
    [first, _] = iterations(base)
    assert filed["ingest"]["digest"] == first.ingest.digest
    assert len(filed["select"]["chosen"]) == 2


def test_every_stage_is_announced_from_begin_to_end(done):
    told = done[2]
    ended = [(one.iteration, one.stage) for one in told if one.is_over]
    stages = ("train", "explore", "select", "label", "ingest")
    assert ended == [
        (None, "label"),
        (None, "ingest"),
        *((0, stage) for stage in stages),
        (1, "train"),
        (0, "assess"),
        (0, "over"),
    ]


def test_a_loop_that_is_over_does_nothing_again(done, monkeypatch):
    base, explored, _ = done
    monkeypatch.setenv(LOG, str(base / "again.log"))
    assert loop(base, **ONE) == explored
    assert labels_paid(base / "again.log") == 0


def test_the_command_tells_how_far_it_is(done):
    base, _, _ = done
    (base / "explore.json").write_text("{}")
    config = base / "explore.toml"
    config.write_text(MINIMAL)
    where = ("--workspace", str(base / "workspace"))
    status = CliRunner().invoke(
        cli, ["explore", str(config), "--status", "--json", *where]
    )
    assert status.exit_code == 0, status.output
    assert json.loads(status.stdout)["iterations"][0]["ingest"]["new"] == 2


MINIMAL = """
dataset = "cu"
seed = 3
[start]
structures = ["fcc"]
[explore]
structures = [{ name = "fcc", kind = "prototype", elements = ["Cu"], lattice = 3.6 }]
stages = [{ structures = ["fcc"], temperatures = [300] }]
[label]
driver = "ase"
[label.ase]
calculator = "ase.calculators.emt:EMT"
"""


def test_a_loop_that_was_over_goes_on_with_another_level_and_mended_labels(
    tmp_path, monkeypatch
):
    converged = loop(tmp_path, select={"force": [1e8, 1e9]})
    assert (converged.stop.kind, converged.stop.is_converged) == ("accurate", True)
    assert (converged.version, converged.iterations) == ("cu-v1", 1)
    [only] = iterations(tmp_path)
    assert only.label is None  # the list of candidates is empty
    explored = only.explore
    monkeypatch.setenv(FAILS, "yes")
    with pytest.raises(DatasetError, match="2 of 2 frames are quarantined"):
        loop(tmp_path, **ONE)
    assert iterations(tmp_path)[0].label is None
    monkeypatch.delenv(FAILS)
    root = exploration_folder(Workspace.find(tmp_path / "workspace"), "cu")
    assert forget_quarantined(root / "labels") == 2
    assert loop(tmp_path, **ONE).version == "cu-v2"
    changes = [entry.changed for entry in read_record(root)]
    assert changes[1] == (
        "select.force: [100000000.0, 1000000000.0] -> [0.0, 1000000000.0]",
        "stop.iterations: 2 -> 1",
    )
    assert iterations(tmp_path)[0].explore == explored  # not walked again


def test_a_loop_that_is_over_stays_what_it_came_to_when_stages_change(tmp_path):
    cold = {"structures": ["fcc"], "temperatures": [300], "steps": 20, "every": 5}
    warm = {**cold, "temperatures": [600]}
    stop = {"iterations": 9, "stage_iterations": 1}
    first = loop(tmp_path, explore={"stages": [cold, warm]}, stop=stop)
    assert (first.version, first.iterations) == ("cu-v3", 2)
    workspace = Workspace.find(tmp_path / "workspace")
    filed = filed_iterations(workspace, "cu")
    count = len(list(catalog.runs(workspace)))
    fewer = loop(tmp_path, explore={"stages": [cold]}, stop=stop)
    assert (fewer.version, fewer.iterations) == ("cu-v3", 2)
    said = []
    hot = {**warm, "temperatures": [900]}
    config = small_config(tmp_path, explore={"stages": [cold, hot]}, stop=stop)
    other = run(workspace, config, base=tmp_path, tell_changes=said.append)
    assert said == [other.changed]
    assert "explore.stages[1]: None -> " in other.changed[0]
    assert (other.version, other.unused) == ("cu-v3", ("explore",))
    assert filed_iterations(workspace, "cu") == filed
    assert len(list(catalog.runs(workspace))) == count


def test_models_that_are_wrong_everywhere_stop_the_loop_with_advice(tmp_path):
    explored = loop(tmp_path, select={"force": [0.0, 1e-12]})
    assert explored.stop.kind == "stuck"
    assert "raise the upper trust level" in explored.stop.reason
    assert explored.version == "cu-v1"


def test_an_exploding_walk_is_told_and_the_others_are_gone_on_with(tmp_path):
    stage = {"structures": ["fcc"], "temperatures": [300, 3e7], "steps": 20, "every": 5}
    loop(tmp_path, explore={"stages": [stage]}, **ONE)
    [first, _] = iterations(tmp_path)
    calm, hot = first.explore.walks
    assert calm.outcome == "done"
    assert hot.outcome == "exploded" or sum(hot.dropped.values()) > 0
    assert first.ingest.new == 2


def test_walks_without_a_frame_are_told_in_one_line(tmp_path):
    stage = {"structures": ["fcc"], "temperatures": [3e7], "steps": 20, "every": 5}
    for _ in range(2):  # it is not kept: what is mended is walked anew
        with pytest.raises(EvaluationError, match=r"no walk gave a frame .*[^.]\. Tr"):
            loop(tmp_path, explore={"stages": [stage]}, **ONE)
        assert iterations(tmp_path)[0].done == ("train",)
    models = iterations(tmp_path)[0].train.models
    calm = {**stage, "temperatures": [300]}
    explored = loop(tmp_path, explore={"stages": [calm]}, train={"steps": 9}, **ONE)
    assert explored.version == "cu-v2"
    assert [one.steps for one in models] == [8, 8]
    assert [one.steps for one in iterations(tmp_path)[0].train.models] == [9, 9]


def test_an_engine_that_is_missing_and_then_there_is_gone_on_with(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(checks, "check_engine", lambda _: None)  # it goes later
    broken = {"engine": "ase", "ase": {"calculator": "not_there:Yet"}}
    for _ in range(2):
        with pytest.raises(SimulationError, match=r"no walk was made: .*not_there"):
            loop(tmp_path, explore=broken, **ONE)
    assert iterations(tmp_path)[0].done == ("train",)
    assert loop(tmp_path, explore={"engine": "dpbench"}, **ONE).version == "cu-v2"
