import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpbench.explore.journal import iterations_of
from dpbench.explore.stage_results import IngestResult, read_result
from tests.explore.loop.killed import PLANS
from tests.explore.loop.small import labels_paid

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two loops of one configuration: one was killed in every stage."""
    folder = tmp_path_factory.mktemp("killed")
    one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.explore.loop.killed", str(folder)],
        cwd=ROOT,
        env={**os.environ, **one_thread},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "planned": len(PLANS),
        "deaths": len(PLANS),
        "endings": [0, 0],
    }, done.stderr
    return folder


def root_of(folder, name):
    return folder / name / "workspace" / "explorations" / "cu"


@pytest.mark.slow
def test_a_loop_killed_in_every_stage_ends_with_the_same_versions(folder):
    versions = [
        [
            read_result(place, IngestResult).digest
            for place in (root / "start", *(one.folder for one in iterations_of(root)))
            if (place / "ingest.json").exists()
        ]
        for root in (root_of(folder, "killed"), root_of(folder, "whole"))
    ]
    assert len(versions[0]) == 2
    assert versions[0] == versions[1]


@pytest.mark.slow
def test_a_loop_killed_in_every_stage_ends_with_the_same_models(folder):
    models = [
        [[model.digest for model in one.train.models] for one in iterations_of(root)]
        for root in (root_of(folder, "killed"), root_of(folder, "whole"))
    ]
    assert len(models[0]) == 2
    assert models[0] == models[1]


@pytest.mark.slow
def test_no_label_is_paid_for_twice_however_often_the_loop_is_killed(folder):
    assert labels_paid(folder / "killed.log") == labels_paid(folder / "whole.log") == 6


@pytest.mark.slow
def test_killed_or_not_the_same_walks_are_explored_and_frames_chosen(folder):
    killed, whole = (
        iterations_of(root_of(folder, name))[0] for name in ("killed", "whole")
    )
    assert [w.name for w in killed.explore.walks] == [
        w.name for w in whole.explore.walks
    ]
    assert killed.select.chosen == whole.select.chosen
