"""Recording work once, and the benchmark that a GPU will run."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dpbench.kernels.gpu.graph import WARM_UPS, Captured

REPOSITORY = Path(__file__).resolve().parents[3]


class FakeGraph:
    """Stands for torch's: a replay does again what ran while it was recorded."""

    work = None

    def replay(self):
        self.work()


def test_work_simply_runs_where_there_is_no_cuda():
    count = torch.zeros(())
    captured = Captured(lambda: count.add_(1), device=torch.device("cpu"))
    captured()
    captured()
    assert count == 2
    assert not captured.is_captured


def test_warming_up_and_recording_leave_what_changes_as_it_was(monkeypatch):
    count, scratch = torch.zeros(()), torch.zeros(())
    runs = []

    def work():
        runs.append(float(count))
        count.add_(1)
        scratch.add_(1)

    class Stream:
        def __init__(self, *_):
            pass

        def wait_stream(self, _):
            pass

    FakeGraph.work = staticmethod(work)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: contextlib.nullcontext())
    captured = Captured(work, device=torch.device("cuda"), changed=[count])
    captured()
    assert count == 1
    assert captured.is_captured
    captured()
    assert count == 2
    # Recording does not run the work on a GPU; here it does, once.
    assert len(runs) == WARM_UPS + 1 + 2
    assert scratch == len(runs)


@pytest.mark.slow
def test_the_benchmark_runs_in_the_interpreter(tmp_path):
    out = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--interpret", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(out.read_text())
    parts = ("checks", "train", "md", "nve", "sweep")
    assert not [record[part] for part in parts if "failed" in record[part]]
    assert record["checks"]["gradient_off_torch.float64"] < 1e-10
    assert record["checks"]["graph_repeats_bitwise"]
