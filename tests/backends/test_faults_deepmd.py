"""DeePMD-kit itself in a worker: killed amid a batch, and asked again."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends import keeper, worker_process
from dpbench.backends.client import Launch, open_backend
from dpbench.backends.consistency_cases import cases
from dpbench.backends.trust import Trust
from dpbench.errors import BackendCrashed
from dpbench.frames import uniform
from dpbench.models.deepmd_file import write_deepmd

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]

ADAPTER = worker_process.SERVER.with_name("deepmd_kit.py")
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def waters(nframes: int):
    """Frames of 81 atoms of oxygen and hydrogen on a shaken lattice."""
    rng = np.random.default_rng(0)
    coord = 2.1 * np.indices((3, 3, 9)).reshape(3, -1).T
    coord = coord + rng.normal(scale=0.1, size=(nframes, len(coord), 3))
    box = np.tile(np.diag([6.3, 6.3, 18.9]), (nframes, 1, 1))
    return uniform(z=[8, 1, 1] * 27, coord=coord, box=box)


def kill_worker(model) -> None:
    """End the process that computes, once it has begun."""
    time.sleep(1.0)
    python = str(model.launch.python).encode()
    for one in keeper.descendants(model._worker._keeper._process.pid):
        # What makes the sandbox has the same words behind its own.
        if Path(f"/proc/{one}/cmdline").read_bytes().startswith(python + b"\0"):
            os.kill(one, signal.SIGKILL)


def evaluate_often(model) -> None:
    for _ in range(40):
        model.evaluate(waters(20))


def test_deepmd_killed_amid_a_batch_is_one_line_and_the_run_goes_on(
    deepmd_python, tmp_path
):
    path = tmp_path / "m.dp"
    (plain,) = [case for case in cases() if case.name == "se_e2_a, float64"]
    write_deepmd(path, plain.model)
    launch = Launch(
        name="deepmd-pt",
        python=Path(deepmd_python),
        adapter=ADAPTER,
        env=dict.fromkeys(THREADS, "1"),
        options={"backend": "pytorch"},
        takes_suffix=True,
    )
    with open_backend(launch, path, trust=Trust(), timeout_s=300) as model:
        before = model.evaluate(waters(3)).predictions
        killer = threading.Thread(target=kill_worker, args=[model])
        killer.start()
        with pytest.raises(BackendCrashed, match=r"deepmd-pt: the worker died") as told:
            evaluate_often(model)
        killer.join()
        assert "killed by SIGKILL" in str(told.value)
        assert "evaluated" in str(told.value)
        model.restart()
        after = model.evaluate(waters(3)).predictions
    np.testing.assert_allclose(after.force, before.force, rtol=0, atol=1e-12)
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-13)
