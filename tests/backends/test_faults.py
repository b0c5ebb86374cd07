"""Whatever a worker does ends in one line; the run goes on; nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends import client, keeper, sandbox
from dpbench.backends.client import run_task
from dpbench.errors import (
    BackendCrashed,
    BackendError,
    BackendRefused,
    BackendTimeout,
)
from tests.backends.small_workers import (
    argon,
    expected_energy,
    opened,
)

STOPPED = {
    "die": (BackendCrashed, "killed by SIGKILL.*last words: 'Segmentation fault is"),
    "half a message": (BackendCrashed, "ended with exit status 7"),
    "long message": (BackendError, "a message of 4294967295 bytes"),
    "no JSON": (BackendError, "a message that is no JSON"),
    "other number": (BackendError, "a reply to request 99, not 2"),
    "other shape": (BackendError, r"force of shape \[1, 3\]; expected \[2, 8, 3\]"),
    "beyond": (BackendError, "energy of shape|energy at bytes 1099511627776"),
}
"""Faults that end the worker: the error, and what it says."""

GOES_ON = {
    "NaN": (BackendError, "frame 1 of 2: force is NaN"),
    "infinite energy": (BackendError, "frame 0 of 2: energy is NaN or infinite"),
    "wrong shape": (BackendError, r"force of shape \(2, 7, 3\); expected \(2, 8, 3\)"),
    "wrong dtype": (BackendError, "energy of dtype <U"),
    "no force": (BackendError, "returned no force"),
    "raise": (BackendError, r"RuntimeError: out of \[31m memory on device 0"),
    "refuse": (BackendRefused, "lj: virial of a slab is not implemented"),
}
"""Faults of one call: the worker answers the next."""


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text.startswith("lj: ")
    assert text.isprintable()
    assert len(text) < 900
    return text


def assert_right(model) -> None:
    frames = argon(2)
    found = model.evaluate(frames).predictions.energy
    assert found[1] == pytest.approx(expected_energy(frames, 1), rel=1e-12)


@pytest.mark.parametrize("fault", STOPPED)
def test_fault_that_ends_a_worker_is_one_line(fault, tmp_path):
    kind, words = STOPPED[fault]
    with opened(tmp_path, fault=fault) as model:
        with pytest.raises(kind, match=words) as caught:
            model.evaluate(argon(2))
        one_line(caught.value)
        assert not model.is_alive
        with pytest.raises(BackendCrashed, match=r"Start another with restart"):
            model.evaluate(argon(2))


def test_restarted_worker_serves_the_rest_of_the_run(tmp_path):
    with opened(tmp_path, fault="die", at=1) as model:
        assert_right(model)
        with pytest.raises(BackendCrashed):
            model.evaluate(argon(2))
        model.restart()
        assert_right(model)


def test_faults_of_one_call_leave_the_worker(tmp_path):
    faults = dict(zip(range(0, 99, 2), GOES_ON, strict=False))
    with opened(tmp_path, options={"faults": faults}) as model:
        for kind, words in GOES_ON.values():
            with pytest.raises(kind, match=words) as caught:
                model.evaluate(argon(2))
            one_line(caught.value)
            assert model.is_alive
            assert_right(model)


def test_garbage_on_both_outputs_does_no_harm(tmp_path):
    with opened(tmp_path, fault="garbage") as model:
        assert_right(model)
        assert_right(model)


@pytest.mark.parametrize("fault", ["hang", "hang in C", "closes"])
def test_worker_that_hangs_is_stopped(fault, tmp_path):
    with opened(tmp_path, fault=fault, timeout_s=0.3) as model:
        with pytest.raises((BackendTimeout, BackendCrashed)) as caught:
            model.evaluate(argon(2))
        if fault == "hang":
            assert "last words: 'waiting for a lock'" in one_line(caught.value)
        one_line(caught.value)
        assert not model.is_alive


@pytest.mark.parametrize("fault", ["leak", "leak in a child"])
def test_worker_that_leaks_is_stopped(fault, tmp_path):
    with opened(tmp_path, fault=fault, memory_limit=300_000_000) as model:
        with pytest.raises(BackendCrashed, match=r"GB of memory, more than the 0.3"):
            model.evaluate(argon(2))
        assert not model.is_alive


def test_worker_that_is_slow_to_start_is_stopped(tmp_path):
    with pytest.raises(
        BackendTimeout, match=r"no answer .* (started|opened argon.txt);"
    ):
        opened(tmp_path, fault="slow start", start_timeout_s=1.5)


def test_worker_that_ends_while_it_opens_gives_its_last_words(tmp_path):
    with pytest.raises(BackendCrashed, match=r"status 3.*words: 'no such device'"):
        opened(tmp_path, fault="exit at open")


def test_missing_interpreter_is_one_line(tmp_path):
    launch = client.Launch(
        name="lj", python=tmp_path / "python", adapter=tmp_path / "x.py", env={}
    )
    with pytest.raises(BackendError, match=r"lj: .*No such file"):
        run_task(launch, "echo", {})


def test_adapter_that_does_not_import_says_why(tmp_path):
    adapter = tmp_path / "adapter.py"
    adapter.write_text("import a_module_that_nobody_has\n")
    launch = client.Launch(
        name="lj", python=Path(sys.executable), adapter=adapter, env={}
    )
    with pytest.raises(BackendError, match="No module named 'a_module_that"):
        run_task(launch, "echo", {})


def test_interrupt_ends_the_worker(tmp_path):
    with opened(tmp_path, fault="hang") as model:
        pid = os.getpid()
        timer = threading.Timer(0.3, os.kill, (pid, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            model.evaluate(argon(2))
        assert not model.is_alive


def test_worker_outlives_the_thread_that_opened_it(tmp_path):
    models = []
    thread = threading.Thread(target=lambda: models.append(opened(tmp_path)))
    thread.start()
    thread.join()
    with models[0] as model:
        time.sleep(0.1)
        assert_right(model)


def test_last_words_are_short_and_printable():
    process = keeper.Keeper(
        [sys.executable, "-c", "print('\\x1b[2J' + 'é' * 100_000 + 'end')"],
        env={"PYTHONIOENCODING": "utf-8"},
        fds=(),
        memory_limit=10**9,
    )
    process.start()
    assert process.wait(20)
    words = process.last_words()
    assert words.isprintable()
    assert words.endswith("éend")
    assert len(words) <= keeper.WORDS


class TestNothingIsLeftBehind:
    """Of what a worker starts, whichever way it or dpbench ends."""

    @pytest.fixture(params=["sandbox", "none"])
    def confinement(self, request, monkeypatch):
        if request.param == "none":
            monkeypatch.setattr(sandbox, "sandbox_kind", lambda: "none: for a test")
        elif sandbox.sandbox_kind().startswith("none"):
            pytest.skip(sandbox.sandbox_kind())
        return request.param

    def test_close_ends_all(self, confinement, tmp_path):
        with opened(tmp_path, fault="daemon", at=99) as model:
            family = family_of(model)
            assert len(family) >= 3
        assert_gone(family)

    def test_crash_ends_all(self, confinement, tmp_path):
        with opened(tmp_path, fault="daemon", at=99) as model:
            family = family_of(model)
            worker = [one for one in family if b"serve.py" in command_of(one)][-1]
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(BackendCrashed, match="SIGKILL"):
                model.evaluate(argon(2))
            assert_gone(family)

    @pytest.mark.parametrize("how", [signal.SIGKILL, "exit"])
    def test_end_of_dpbench_ends_all(self, confinement, how, tmp_path):
        script = f"""
            import os, sys, time
            from pathlib import Path
            from dpbench.backends import sandbox
            from tests.backends.small_workers import opened
            from tests.backends.test_faults import family_of
            if {confinement == "none"}:
                sandbox.sandbox_kind = lambda: "none: for a test"
            model = opened(Path({str(tmp_path)!r}), fault="daemon", at=99)
            print(*family_of(model), flush=True)
            if {how == "exit"}:
                os._exit(0)
            time.sleep(60)
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            family = [int(word) for word in process.stdout.readline().split()]
            if how != "exit":
                process.send_signal(how)
        assert len(family) >= 3
        assert_gone(family)


def family_of(model) -> list[int]:
    """Every process of a worker, its daemon too."""
    for _ in range(100):
        found = keeper.descendants(model._worker._keeper._process.pid)
        if any(b"os.setsid" in command_of(one) for one in found):
            return found
        time.sleep(0.02)
    raise AssertionError("the worker started no daemon")


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def assert_gone(family: list[int]) -> None:
    left = family
    for _ in range(250):
        left = [one for one in left if command_of(one)]
        if not left:
            return
        time.sleep(0.02)
    raise AssertionError(f"still there: {[command_of(one) for one in left]}")


def test_predictions_of_a_crashed_call_are_never_returned(tmp_path):
    """Two calls, the second dies: the first one's numbers are not half an answer."""
    with opened(tmp_path, fault="die", at=1, atoms_per_call=8) as model:
        with pytest.raises(BackendCrashed):
            model.evaluate(argon(2))
        model.restart()
        assert np.isfinite(model.evaluate(argon(1)).predictions.force).all()
