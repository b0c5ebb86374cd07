"""kill -9 amid real labels, then the same again: every label is paid for once."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.spread import Resources, spread
from dpbench.frames import concatenate
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import READERS

pytestmark = [pytest.mark.external, pytest.mark.slow]

LOOP = """
import pickle, sys
from dpbench.explore.labels.labelling import label
from dpbench.explore.spread import Resources, spread

if __name__ == "__main__":
    tasks = pickle.load(open(sys.argv[1], "rb"))
    for number, result in spread(label, tasks, resources=Resources(workers=2)):
        print(result.status, flush=True)
"""
"""What a loop does in its labelling stage, as a process that can be killed."""


@pytest.fixture
def five(alloys):
    """Five frames to label."""
    shift = np.random.default_rng(2).normal(0, 0.05, alloys.coord.shape)
    more = concatenate([alloys, alloys])
    more.coord[len(alloys.coord) :] += shift
    return more.select(range(5))


def test_labels_of_a_killed_loop_are_not_paid_for_twice(
    qe, program, five, tmp_path, figures
):
    """A label that was being made is made again; one that was done never is."""
    log, tasks_file, loop = (tmp_path / n for n in ("log", "tasks", "loop.py"))
    script = program("pw", f'pw.x "$@" || exit 1; cd ../..; pwd >> {log}')
    tasks = label_tasks(five, qe(command=str(script)), folder=tmp_path / "labels")
    tasks_file.write_bytes(pickle.dumps(tasks))
    loop.write_text(LOOP)
    # of its own group, as a shell starts it
    child = subprocess.Popen(
        [sys.executable, str(loop), str(tasks_file)],
        stdout=subprocess.PIPE,
        process_group=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
    time.sleep(0.5)  # its workers end with it
    kept = [task for task in tasks if (task.folder / "label.json").exists()]
    assert 1 <= len(kept) < len(tasks)
    resources = Resources(workers=2)
    found = dict(spread(label, tasks, resources=resources))
    assert Counter(one.status for one in found.values()) == {"done": len(tasks)}
    assert sum(one.was_kept for one in found.values()) == len(kept)
    runs = Counter(log.read_text().split())
    figures(f"{len(kept)} of {len(tasks)} kept; {sum(runs.values())} runs ended")
    assert [runs[str(task.folder)] for task in kept] == [1] * len(kept)
    assert sum(runs.values()) <= len(tasks) + 2  # two were under way
    assert all(one.attempts == 1 for one in found.values())


def test_labels_after_a_kill_are_those_of_an_unkilled_run(qe, five, tmp_path):
    def energies(name):
        tasks = label_tasks(five.select([3, 4]), qe(), folder=tmp_path / name)
        if name == "broken":  # as a kill leaves them: a done one, and half a run
            label(tasks[0])
            half = tasks[1].folder / "attempt.0"
            half.mkdir(parents=True)
            (half / "pw.out").write_text("Program PWSCF v.6.7 starts\n")
        found = [label(task) for task in tasks]
        sources = [SourceFiles(format="qe", paths=one.outputs) for one in found]
        return [READERS["qe"].read(source).frames.energy[0] for source in sources]

    assert energies("whole") == energies("broken")
