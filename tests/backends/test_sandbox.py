"""A foreign program reaches no network, writes a scratch folder alone, sees nobody."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dpbench.backends import sandbox
from dpbench.backends.tasks import sweep
from dpbench.errors import BackendError

KINDS = ("bubblewrap", "namespaces", "namespaces, kernel before 5.12")

PROBE = """
    import ctypes, json, os, socket
    from pathlib import Path

    def tried(does):
        try:
            does()
        except OSError as error:
            return error.strerror or str(error)
        return "done"

    def connect():
        with socket.create_connection((HOST, PORT), timeout=2):
            pass

    def connect_unix():
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(UNIX)

    def remount():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(None, b"/", None, ctypes.c_ulong(32 | 4096), None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    status = Path("/proc/self/status").read_text().splitlines()
    print(json.dumps({
        "scratch": tried(lambda: Path("mine").write_text("x")),
        "beside": tried(lambda: Path(OUTSIDE, "planted").write_text("x")),
        "covered": tried(lambda: Path("/var/tmp/planted").write_text("x")),
        "private": tried(lambda: Path("/tmp/planted").write_text("x")),
        "system": tried(lambda: Path(SYSTEM, "planted").write_text("x")),
        "readable": tried(lambda: Path(READABLE).read_text()),
        "overwrite": tried(lambda: Path(READABLE).write_text("x")),
        "network": tried(connect),
        "unix": tried(connect_unix),
        "remount": tried(remount),
        # Opened and left alone: should the sandbox fail, nothing has been changed.
        "kernel": tried(lambda: open("/proc/sys/kernel/core_pattern", "r+").close()),
        "kill": tried(lambda: os.kill(PARENT, 0)),
        "secret": os.path.exists(SECRET) and bool(os.listdir(SECRET)),
        "processes": len([n for n in os.listdir("/proc") if n.isdigit()]),
        "rights": [w.split()[1] for w in status if w.startswith(("CapEff", "CapBnd"))],
        "shm": tried(lambda: Path("/dev/shm/x").write_text("x")),
        "null": tried(lambda: Path("/dev/null").write_text("x")),
        "disks": [n for n in os.listdir("/dev") if n.startswith(("sd", "vd", "nvme"))],
        "folder": os.getcwd(),
    }))
"""


def kind_or_skip(kind: str, monkeypatch, folder: Path) -> None:
    """Use one kind of sandbox, where this machine has it."""
    kind, _, is_old = kind.partition(",")
    if is_old:
        text = sandbox.CHILD.read_text(encoding="utf-8")
        assert "MOUNT_SETATTR = 442" in text
        old = folder / "sandbox_child.py"  # calls what its kernel does not have
        old.write_text(text.replace("MOUNT_SETATTR = 442", "MOUNT_SETATTR = 9999"))
        monkeypatch.setattr(sandbox, "CHILD", old)
    if kind == "namespaces":
        which = shutil.which
        monkeypatch.setattr(
            shutil, "which", lambda name: None if name == "bwrap" else which(name)
        )
    sandbox.sandbox_kind.cache_clear()
    if sandbox.sandbox_kind() != kind:
        pytest.skip(f"this machine has {sandbox.sandbox_kind()}")


@pytest.fixture(autouse=True)
def forget_the_kind():
    yield
    sandbox.sandbox_kind.cache_clear()


@pytest.fixture(params=KINDS)
def findings(request, tmp_path, monkeypatch):
    """What a program finds out in the sandbox."""
    kind_or_skip(request.param, monkeypatch, tmp_path)
    scratch, outside, home = (tmp_path / name for name in ("in", "out", "home"))
    for folder in (scratch, outside, home / ".ssh"):
        folder.mkdir(parents=True)
    (home / ".ssh" / "id").write_text("key")
    monkeypatch.setenv("HOME", str(home))
    readable = outside / "model"
    readable.write_text("weights")
    server = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(outside / "socket"))
    unix.listen()
    with server, unix:
        host, port = server.getsockname()
        names = {
            "HOST": host,
            "PORT": port,
            "UNIX": str(outside / "socket"),
            "OUTSIDE": str(outside),
            "SYSTEM": str(Path(__file__).parent),
            "READABLE": str(readable),
            "PARENT": os.getpid(),
            "SECRET": str(home / ".ssh"),
        }
        told = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        script = [sys.executable, "-I", "-c", told + textwrap.dedent(PROBE)]
        command = sandbox.sandboxed(
            script,
            readable=[readable, Path(sys.prefix), Path(sys.base_prefix)],
            scratch=scratch,
        )
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return {**json.loads(done.stdout), "tmp_path": tmp_path}


def test_sandbox_lets_a_program_compute_and_nothing_else(findings):
    tmp_path = findings.pop("tmp_path")
    done = {key for key, value in findings.items() if value == "done"}
    if str(tmp_path).startswith("/tmp/"):
        done -= {"beside"}  # in its own /tmp; the real one is looked at below
    assert done == {"scratch", "readable", "private", "shm", "null"}, findings
    assert findings["folder"] == str(tmp_path / "in")
    assert not findings["secret"]
    assert findings["processes"] <= 4
    assert not findings["disks"]
    assert set(findings["rights"]) == {"0" * 16}
    assert not (tmp_path / "out" / "planted").exists()
    assert (tmp_path / "out" / "model").read_text() == "weights"
    assert not Path("/tmp/planted").exists()  # the sandbox has a /tmp of its own
    assert not Path(__file__).with_name("planted").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variable", ["HOME", "XDG_DATA_HOME"])
def test_key_that_vouches_for_models_is_hidden(kind, variable, tmp_path, monkeypatch):
    kind_or_skip(kind, monkeypatch, tmp_path)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "own"))
    data = "own/.local/share" if variable == "HOME" else "own"
    key = tmp_path / data / "dpbench" / "trust.key"
    key.parent.mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    key.write_text("signs all")
    key.with_name("beside").write_text("visible")
    script = "cat -- *; true"
    command = sandbox.sandboxed(
        ["/bin/sh", "-c", f"cd {key.parent}; {script}"],
        readable=[tmp_path / "own"],
        scratch=tmp_path / "scratch",
    )
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.stdout == b"visible", done.stderr.decode()


def test_machine_without_a_sandbox_says_why(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(sandbox, "_tried", lambda _: "namespaces: Not permitted")
    sandbox.sandbox_kind.cache_clear()
    wanted = "none: no bubblewrap; namespaces: Not permitted"
    assert sandbox.sandbox_kind() == wanted
    with pytest.raises(BackendError, match=r"no bubblewrap; namespaces: Not permitted"):
        sandbox.sandboxed(["/bin/true"], readable=[], scratch=Path("/tmp"))


def test_sandbox_that_cannot_be_made_runs_nothing(tmp_path):
    planted = tmp_path / "planted"
    command = sandbox._through_child(
        "namespaces",
        ["/bin/touch", str(planted)],
        readable=["/tmp/there-is-no-such-file"],
        scratch=tmp_path,
    )
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 125
    assert done.stderr.startswith(b"sandbox: ")
    assert not planted.exists()


@pytest.mark.parametrize(
    ("command", "status"),
    [(["/bin/true"], 0), (["/bin/false"], 1), (["/bin/sh", "-c", "kill -9 $$"], 137)],
)
@pytest.mark.parametrize("kind", ["namespaces", "none"])
def test_exit_status_is_the_commands(kind, command, status, tmp_path):
    if kind == "namespaces" and sandbox.sandbox_kind().startswith("none"):
        pytest.skip(sandbox.sandbox_kind())
    through = sandbox._through_child(kind, command, readable=[], scratch=tmp_path)
    assert subprocess.run(through, timeout=60, check=False).returncode == status


def test_files_beside_a_model_are_shown_with_it(tmp_path):
    model = tmp_path / "m.json"
    model.touch()
    assert sandbox.companions(model) == [tmp_path.resolve()]


def test_model_right_in_tmp_shows_its_own_files_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "COVERED", (str(tmp_path.resolve()),))
    for name in ("m.json", "m.pdiparams", "n.json"):
        (tmp_path / name).touch()
    (tmp_path / "m.folder").mkdir()
    shown = {path.name for path in sandbox.companions(tmp_path / "m.json")}
    assert shown == {"m.json", "m.pdiparams"}


def test_links_and_pipes_that_lead_astray_are_removed(tmp_path, caplog):
    folder, secret = tmp_path / "scratch", tmp_path / "secret"
    (folder / "sub").mkdir(parents=True)
    secret.write_text("key")
    (folder / "model.ckpt").write_text("weights")
    (folder / "latest").symlink_to("model.ckpt")
    (folder / "sub" / "up").symlink_to("../model.ckpt")
    (folder / "result").symlink_to(secret)
    (folder / "sub" / "all").symlink_to(tmp_path)
    (folder / "loop").symlink_to("/loop")
    os.mkfifo(folder / "pipe")
    removed = {path.name for path in sweep(folder)}
    assert removed == {"result", "all", "loop", "pipe"}
    assert secret.read_text() == "key"
    assert (folder / "sub" / "up").read_text() == "weights"
    assert "leads out of its folder" in caplog.text


@pytest.mark.parametrize("kind", ["namespaces", "none"])
def test_command_may_end_by_itself_when_it_is_asked_to(kind, tmp_path):
    if kind == "namespaces" and sandbox.sandbox_kind().startswith("none"):
        pytest.skip(sandbox.sandbox_kind())
    script = "trap 'sleep 0.2; echo saved; exit 3' TERM; echo ready; sleep 60 & wait"
    command = sandbox._through_child(
        kind, ["/bin/bash", "-c", script], readable=[], scratch=tmp_path
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stdout.read() == b"saved\n"
    assert process.returncode == 3
