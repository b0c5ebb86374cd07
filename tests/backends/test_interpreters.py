"""Finding interpreters and installers, and asking them: every way that can fail."""

import os
import select
import sys
from pathlib import Path

import pytest

from dpbench.backends import fingerprint, installers
from dpbench.backends.fingerprint import Fingerprint, describe, differences, locate
from dpbench.backends.sandbox import sandbox_kind
from dpbench.errors import BackendError


def program(folder: Path, name: str, script: str) -> Path:
    """Write a shell script that can be run."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only(tmp_path, monkeypatch):
    """A folder that alone is on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_uv_is_taken_where_it_is_and_pip_where_it_is_not(only):
    python = Path(sys.executable)
    assert installers.find_installer(python=python).kind == "pip"
    with pytest.raises(BackendError, match=r"uv: is not on PATH.*Leave out"):
        installers.find_installer("uv", python=python)
    uv = program(only, "uv", "echo uv 0.9.1 built from source")
    found = installers.find_installer(python=python)
    assert (found.kind, found.version, found.program) == ("uv", "uv 0.9.1", uv)
    assert installers.find_installer("pip", python=python).kind == "pip"
    program(only, "uv", "exit 1")
    assert installers.find_installer(python=python).kind == "pip"


def test_newest_python_within_the_bound_is_found_by_asking_it(only, monkeypatch):
    """A shim that runs nothing, and one whose name lies, are passed over."""
    monkeypatch.setattr(sys, "executable", "")
    program(only, "python3.14", "exit 127")
    program(only, "python3.13", "echo 3.9")
    right = program(only, "python3.12", "echo 3.12")
    program(only, "python3", "echo 3.10")
    assert installers.find_python(">=3.10", name="x") in (right, only / "python3")
    assert installers.find_python(">=3.11,<3.13", name="x") == right
    with pytest.raises(BackendError) as caught:
        installers.find_python(">=3.15", name="x")
    assert "x: needs Python >=3.15; found 3.10 (" in str(caught.value)
    assert "3.9 (" in str(caught.value)


def test_python_that_uv_knows_is_found(only, monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    hidden = only / "elsewhere"
    hidden.mkdir()
    python = program(hidden, "python3.12", "echo 3.12")
    program(only, "uv", f'[ "$1" = python ] && echo {python}')
    assert installers.find_python("==3.12", name="x") == python


def test_installer_that_fails_is_quoted(tmp_path):
    words = program(tmp_path, "pip", "echo no such package; exit 4")
    with pytest.raises(BackendError, match=r"trying: failed with exit code 4.*no such"):
        installers.run_installer([str(words)], what="trying")
    with pytest.raises(BackendError, match="cannot be run"):
        installers.run_installer([str(tmp_path / "none")], what="trying")


def test_installer_does_not_outlive_an_interruption(tmp_path):
    """Nor does what it started: the pipe that both hold is closed at once."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    held, mine = os.pipe()
    slow = program(tmp_path, "pip", "sleep 60 & echo begins; wait")
    with pytest.raises(KeyboardInterrupt):
        installers.run_installer([str(slow)], what="trying", say=interrupt, lock=mine)
    os.close(mine)
    ready, _, _ = select.select([held], [], [], 20)
    assert ready
    assert os.read(held, 1) == b""  # nobody holds the other end any more
    os.close(held)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo bad magic number; exit 1", "it said: bad magic number"),
        ("exit 0", "it said: nothing"),
        ("echo '[1]'", r"it said: \[1\]"),
    ],
)
def test_interpreter_that_does_not_answer_is_quoted(tmp_path, script, message):
    python = program(tmp_path, "python", script)
    with pytest.raises(BackendError, match=message):
        locate(python, name="x", env={})
    with pytest.raises(BackendError, match="could not be asked what it holds"):
        describe(python, name="x", env={})


def test_interpreter_that_hangs_or_does_not_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "TIMEOUT", 0.2)
    with pytest.raises(BackendError, match=r"did not say within 0\.2 s"):
        locate(program(tmp_path, "python", "exec sleep 5"), name="x", env={})
    with pytest.raises(BackendError, match="cannot be run"):
        locate(tmp_path / "none", name="x", env={})


def test_description_of_another_version_is_refused(tmp_path):
    """As when two versions of dpbench share a folder of environments."""
    python = program(tmp_path, "python", 'echo \'{"novel": 1}\' > "$3"')
    with pytest.raises(BackendError, match="unknown key 'novel'"):
        describe(python, name="x", env={})


def test_module_that_a_card_names_is_imported_in_the_sandbox(tmp_path, monkeypatch):
    if sandbox_kind().startswith("none"):
        pytest.skip(sandbox_kind())
    monkeypatch.setenv("SOME_TOKEN", "of the user")
    outside, home = Path(__file__).parent / "planted", str(Path.home())
    (tmp_path / "curious.py").write_text(
        "import os, pathlib\n"
        f"here = os.environ['HOME'] != {home!r}, 'SOME_TOKEN' in os.environ\n"
        "try:\n"
        f"    pathlib.Path({str(outside)!r}).write_text('x')\n"
        "except OSError as error:\n"
        "    words = error.strerror\n"
    )
    found = describe(
        Path(sys.executable),
        name="x",
        env={"DPBENCH_PYTHONPATH": str(tmp_path)},
        module="curious",
        facts=("curious:here", "curious:words"),
    )
    was_written = outside.exists()
    outside.unlink(missing_ok=True)
    assert not was_written
    assert found.facts["curious:here"] == [True, False]
    # A checkout below /tmp is not even seen.
    refusals = {"Read-only file system", "No such file or directory"}
    assert found.facts["curious:words"] in refusals


def made(python: str = "3.11.7", **packages: str) -> Fingerprint:
    return Fingerprint(
        python=python,
        implementation="CPython",
        machine="x86_64",
        prefix="/env",
        site="/env/site",
        packages=packages,
    )


def test_differences_name_what_came_went_and_changed():
    old = made(numpy="1.0", torch="2.0", ase="3.0")
    new = made("3.12.1", numpy="1.0", torch="2.1", jax="0.4")
    assert differences(old, new) == [
        "Python 3.11.7 -> 3.12.1",
        "ase 3.0 -> absent",
        "jax absent -> 0.4",
        "torch 2.0 -> 2.1",
    ]
    assert differences(old, old) == []


def test_digest_of_a_fingerprint_leaves_folders_out():
    one, other = made(numpy="1.0"), made(numpy="1.1")
    moved = Fingerprint(
        **{name: getattr(one, name) for name in one.__slots__} | {"prefix": "/other"}
    )
    assert one.digest == moved.digest != other.digest
