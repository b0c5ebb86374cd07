import pytest

from dpbench.errors import ConfigError, DatasetError
from dpbench.explore.changes import remember
from dpbench.explore.journal import Iteration
from dpbench.explore.labels.labelling import forget_quarantined
from dpbench.explore.report.collect import collect
from dpbench.explore.stages.ingesting import check_theory
from dpbench.explore.stages.labelling import driver_at_work, outputs_of
from dpbench.explore.stages.start import refuse_taken_name, start
from dpbench.explore.status import status
from dpbench.store.dataset import open_dataset
from tests.explore.loop.small import FAILS, LOG, calculator, labels_paid, session_of


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Return the file that counts labels."""
    monkeypatch.setenv(LOG, str(tmp_path / "labels.log"))
    return tmp_path / "labels.log"


@pytest.fixture
def begun(tmp_path):
    """A workspace whose dataset ``cu-v1`` has four labelled frames."""
    with session_of(tmp_path) as session:
        start(session)
        yield session


def books(session):
    return Iteration(number=-1, folder=session.root / "start")


def test_structures_are_labelled_and_become_the_first_version(begun):
    version = open_dataset(begun.workspace, "cu-v1")
    assert version.nframes == 4
    assert version.read(range(4)).has_force.all()
    assert "start of exploration cu" in version.payload["note"]


def test_the_start_is_made_once(begun, log):
    again = start(begun)
    assert again == books(begun).ingest
    assert labels_paid(log) == 0


def test_labels_are_not_paid_again_when_the_books_are_lost(begun, log):
    (begun.root / "start" / "label.json").unlink()
    (begun.root / "start" / "ingest.json").unlink()
    before = open_dataset(begun.workspace, "cu-v1").digest
    assert start(begun).digest == before
    assert labels_paid(log) == 0
    assert all(frame.is_cached for frame in books(begun).label.done)


def test_a_version_of_another_dataset_is_copied_under_the_new_name(begun, tmp_path):
    changes = {"dataset": "copper", "start": {"dataset": "cu-v1", "structures": []}}
    with session_of(tmp_path, **changes) as session:
        refuse_taken_name(session)
        result = start(session)
    old = open_dataset(begun.workspace, "cu-v1")
    assert (result.version, result.nframes) == ("copper-v1", 4)
    assert result.digest == old.digest


def test_the_dataset_that_grows_may_be_begun_with(begun, tmp_path):
    changes = {"start": {"dataset": "cu-v1", "structures": []}}
    with session_of(tmp_path, **changes) as session:
        refuse_taken_name(session)
        (session.root / "start" / "ingest.json").unlink()
        assert start(session).version == "cu-v1"


def test_a_name_that_is_taken_is_refused(begun):
    with pytest.raises(DatasetError, match="there is one of that name, cu-v1"):
        refuse_taken_name(begun)


def test_files_are_ingested(begun, tmp_path):
    [first, *_] = books(begun).label.done
    outputs = outputs_of(begun, [first.key])
    changes = {
        "dataset": "files",
        "start": {
            "files": [str(path) for path in outputs],
            "structures": [],
            "format": driver_at_work(begun).code,
        },
    }
    told = []
    with session_of(tmp_path, told.append, **changes) as session:
        assert start(session).nframes == 1
    assert [(one.stage, one.text, one.is_over) for one in told] == [
        ("ingest", "", False),
        ("ingest", "files-v1", True),
    ]


def test_frames_that_cannot_be_labelled_are_told_and_the_others_are_taken(tmp_path):
    label = {**calculator("StretchedFails"), "ratio_failed": 1.0}
    with session_of(tmp_path, label=label) as session:
        result = start(session)
        labelled = books(session).label
    assert result.nframes == len(labelled.done)
    assert 0 < len(labelled.done) < 4
    assert len(labelled.done) + len(labelled.quarantined) == 4
    assert all("the cell is stretched" in q.reason for q in labelled.quarantined)


def test_equal_frames_share_a_label_and_are_counted(tmp_path, log):
    perfect = {
        "name": "fcc",
        "kind": "prototype",
        "prototype": "fcc",
        "elements": ["Cu"],
        "lattice": 3.6,
    }
    with session_of(tmp_path, explore={"structures": [perfect]}) as session:
        result = start(session)
        labelled = books(session).label
    assert labels_paid(log) == 1
    assert [frame.is_cached for frame in labelled.done] == [False, True, True, True]
    assert (result.nframes, sum(result.refused.values())) == (1, 3)


def test_too_many_failures_stop_before_anything_is_ingested(tmp_path):
    with session_of(tmp_path, label=calculator("NeverConverges")) as session:
        with pytest.raises(DatasetError, match="4 of 4 frames are quarantined"):
            start(session)
        assert books(session).label is None
        remember(session.root, session.config, base=tmp_path)
        assert [q.reason for q in status(session.root).refused.quarantined]
        lines = "\n".join(status(session.root).lines())
        page = collect(session.root)
    assert "stopped: 4 of 4 frames could not be labelled" in lines
    assert "did not converge" in lines
    assert (page.state, len(page.start_label.quarantined)) == ("stopped", 4)


def test_labels_that_came_after_all_are_not_called_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(FAILS, "yes")
    with session_of(tmp_path) as session:
        with pytest.raises(DatasetError, match=r"labels/\w+, correct .* --retry"):
            start(session)
        monkeypatch.delenv(FAILS)
        forget_quarantined(session.labels)
        assert start(session).nframes == 4
        assert books(session).refused is None


def test_no_label_at_all_is_told_with_the_place_of_the_reasons(tmp_path):
    label = {**calculator("NeverConverges"), "ratio_failed": 1.0}
    words = r"not one frame .* start/label\.json"
    with (
        session_of(tmp_path, label=label) as session,
        pytest.raises(DatasetError, match=words),
    ):
        start(session)


@pytest.mark.slow
def test_a_frame_that_kills_its_process_is_quarantined_and_the_others_go_on(tmp_path):
    label = {**calculator("Deadly"), "ratio_failed": 1.0}
    resources = {"workers": 1}
    with session_of(tmp_path, label=label, resources=resources) as session:
        start(session)
        labelled = books(session).label
    assert len(labelled.done) + len(labelled.quarantined) == 4
    assert labelled.quarantined
    assert all("killed by SIGKILL" in q.reason for q in labelled.quarantined)


def test_labels_of_another_theory_are_refused_before_one_is_paid_for(begun, tmp_path):
    label = {"driver": "ase", "ase": {"calculator": "ase.calculators.lj:LennardJones"}}
    with session_of(tmp_path, label=label) as session:
        version = open_dataset(session.workspace, "cu-v1")
        with pytest.raises(DatasetError, match="another level of theory"):
            check_theory(session, version)


def test_a_retracted_or_older_version_cannot_be_begun_with(begun, tmp_path):
    changes = {"start": {"dataset": "cu-v7", "structures": []}}
    with session_of(tmp_path, **changes) as session:
        (session.root / "start" / "ingest.json").unlink()
        with pytest.raises((DatasetError, ConfigError), match="cu-v7"):
            start(session)
