"""Structural fuzz of every native reader, each in a process with a time limit.

``DPBENCH_FUZZ=2000 DPBENCH_FUZZ_SEED=7 pytest -s tests/io/test_fuzz.py`` tries more,
and other, damages; ``DPBENCH_FUZZ_KEEP=FOLDER`` keeps those that were read wrongly.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.io.fuzz import SECONDS
from tests.io.fuzz_subjects import SUBJECTS

COUNT = int(os.environ.get("DPBENCH_FUZZ", "250"))
SEED = os.environ.get("DPBENCH_FUZZ_SEED", "0")
FEW = 15
QUICK = ("outcar", "vasprun", "qe-relax", "cp2k", "deepmd-npy", "extxyz")


def fuzz(name, data, count):
    command = [sys.executable, "-m", "tests.io.fuzz", name, str(data), str(count), SEED]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60 + count * SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def tell(figures, name, outcome):
    """Say how many damages there were and what came of their frames."""
    figures(f"{name}, seed {SEED}: {json.dumps(outcome)}")


@pytest.mark.parametrize("name", QUICK)
def test_few_damages_are_read_rightly(shared_data, name):
    outcome = fuzz(name, shared_data, FEW)
    assert outcome["faults"] == []
    assert outcome["mutations"] == FEW


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_every_good_frame_of_a_damaged_file_is_one_of_the_whole(
    shared_data, name, figures
):
    outcome = fuzz(name, shared_data, COUNT)
    tell(figures, name, outcome)
    assert outcome["faults"] == []
    # The fuzz itself must bite: some frames survive, some files do not. HDF5 and npy
    # files say how long they are, so that every other length is refused.
    survived = outcome.get("equal", 0) + outcome.get("equal without stress", 0)
    assert survived or SUBJECTS[name].is_binary
    assert outcome.get("quarantined", 0) + outcome.get("refused", 0) > COUNT // 20


def test_fuzz_finds_a_reader_that_believes_everything(shared_data, tmp_path):
    """A reader without its gates is caught within a few damages."""
    script = (
        "import sys\n"
        "from dpbench.io.parsed import Quarantine\n"
        "from dpbench.io.readers.vasp import reader as vasp\n"
        "true = vasp.judge\n"
        "vasp.judge = lambda frames, **_: (Quarantine.NONE,) * frames.nframes\n"
        "from tests.io.fuzz import main\n"
        "sys.exit(main(*sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "outcar-made", str(shared_data), "60", "0"]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=REPOSITORY, timeout=600
    )
    assert any("WrongFrame" in fault for fault in json.loads(done.stdout)["faults"])
