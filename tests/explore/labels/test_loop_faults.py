"""Jobs of pw.x that die or never converge amid a loop, and a wrong pseudopotential."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from dpbench.errors import DatasetError
from dpbench.explore.announce import silent
from dpbench.explore.journal import exploration_folder, iterations_of
from dpbench.explore.loop import run
from dpbench.explore.stage_results import LabelResult, read_result
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.explore.loop.small import small_config

pytestmark = [pytest.mark.external, pytest.mark.slow]

SCRIPT = """#!/bin/sh
# what befalls a frame depends on its first atom alone, whatever the remedy
last=$(grep -m1 '^Al -\\?[0-9]*\\.[0-9]* .* ' pw.in | cut -d' ' -f2 | tail -c 2)
case $last in
    0|1) kill -9 $$ ;;
    2|3)
        sed -i 's/electron_maxstep.*//; s/&electrons/& electron_maxstep=1/' pw.in ;;
esac
exec pw.x "$@"
"""
"""A pw.x that dies with a fifth of all frames, and never converges with another."""


@pytest.fixture
def changes(template, tmp_path):
    """A loop of one iteration on aluminium by that program."""
    script = tmp_path / "unlucky-pw"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    structure = {
        "name": "fcc",
        "kind": "prototype",
        "prototype": "fcc",
        "elements": ["Al"],
        "lattice": 4.0,
        "rattle": 0.1,
    }
    stage = {"structures": ["fcc"], "temperatures": [600], "steps": 20, "every": 2}
    return {
        "start": {"structures": ["fcc"], "count": 8},
        "explore": {"structures": [structure], "stages": [stage]},
        "select": {"force": [0.0, 1e9], "most": 5},
        "stop": {"iterations": 1},
        "label": {
            "driver": "qe",
            "attempts": 2,
            "ratio_failed": 1.0,
            "ase": None,
            "qe": {
                "template": str(template),
                "command": str(script),
                "version": "6.7",
            },
        },
    }


def loop(base: Path, changes):
    workspace = Workspace.find(base / "workspace", create=True)
    config = small_config(base, **changes)
    return run(workspace, config, base=base, announce=silent), workspace


def test_a_loop_with_failing_jobs_ends_and_accounts_for_every_frame(
    pw_x, changes, tmp_path, figures
):
    explored, workspace = loop(tmp_path, changes)
    root = exploration_folder(workspace, "cu")
    start = read_result(root / "start", LabelResult)
    first = iterations_of(root)[0]
    assert len(start.done) + len(start.quarantined) == 8
    assert len(first.label.done) + len(first.label.quarantined) == len(
        first.select.chosen
    )
    troubles = Counter(
        q.trouble for q in (*start.quarantined, *first.label.quarantined)
    )
    figures(f"{len(start.done) + len(first.label.done)} labels, {dict(troubles)}")
    assert set(troubles) == {"died", "unconverged"}
    version = open_dataset(workspace, explored.version)
    assert version.nframes == len(start.done) + len(first.label.done)

    source = Path("/usr/share/espresso/pseudo/Al.pz-vbc.UPF")
    wrong = tmp_path / "upf"
    wrong.mkdir()
    shutil.copy(source.with_name("Mg.pz-n-vbc.UPF"), wrong)
    (wrong / source.name).write_text(source.read_text() + "\n")
    changes["label"]["qe"]["pseudo_dir"] = str(wrong)
    changes["stop"] = {"iterations": 2}
    labels = sorted(path.name for path in (root / "labels").iterdir())
    with pytest.raises(DatasetError, match=r"pseudopotentials\.Al"):
        loop(tmp_path, changes)
    assert sorted(path.name for path in (root / "labels").iterdir()) == labels
    assert open_dataset(workspace, "cu").label == explored.version
