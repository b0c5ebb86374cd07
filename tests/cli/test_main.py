"""The command group: exit codes, lazy imports, thread counts, help."""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from dpbench.cli.__main__ import main, set_threads, threads_asked
from dpbench.cli.context import Context, pass_context
from dpbench.cli.lazy import LazyGroup
from dpbench.cli.main import COMMANDS, COMPUTING, RootGroup, cli
from dpbench.cores import THREAD_VARIABLES
from dpbench.errors import DatasetError


def dpbench(*arguments, **options):
    """Run the command line in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "dpbench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def command_paths():
    """Every command that is there, subcommands included: (path, command)."""
    paths = []
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        paths.append((name, command))
        if isinstance(command, click.Group):
            inside = click.Context(command)
            paths += [
                (f"{name} {sub}", command.get_command(inside, sub))
                for sub in command.list_commands(inside)
            ]
    return paths


def failing_group(error):
    """A group whose one command raises ``error``."""

    @click.command("fail")
    @pass_context
    def fail(context):
        raise error

    class Failing(RootGroup):
        def get_command(self, ctx, cmd_name):
            return fail

    return Failing("dpbench", table={})


def test_help_imports_no_numerical_package():
    heavy = "numpy torch numba zarr pandas dask dask.distributed sqlalchemy ase"
    code = (
        "import sys\n"
        "from dpbench.cli.__main__ import main\n"
        "code = main(['--help'])\n"
        f"print('heavy:', [m for m in {heavy.split()} if m in sys.modules])\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "heavy: []" in done.stdout


def test_unknown_command_is_wrong_usage():
    done = dpbench("ingset")
    assert done.returncode == 2
    assert "No such command 'ingset'" in done.stderr
    assert not done.stdout


def test_version_is_the_package_version():
    assert dpbench("--version").stdout.startswith("dpbench, version 0.")


def test_dpbench_error_is_one_line_and_exit_1():
    runner = CliRunner()
    result = runner.invoke(failing_group(DatasetError("water: not\nfound.")), ["fail"])
    assert result.exit_code == 1
    assert result.stderr == "Error: water: not found.\n"
    assert result.stdout == ""


def test_full_disk_is_one_line_and_exit_1():
    error = OSError(28, "No space left on device", "store/segment")
    result = CliRunner().invoke(failing_group(error), ["fail"])
    assert result.exit_code == 1
    assert result.stderr == "Error: store/segment: No space left on device.\n"


def test_a_bug_rises_with_its_traceback():
    result = CliRunner().invoke(failing_group(ZeroDivisionError("bug")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_interrupt_ends_with_130(monkeypatch):
    group = failing_group(KeyboardInterrupt())
    monkeypatch.setattr("dpbench.cli.main.cli", group)
    assert main(["fail"]) == 130


def test_closed_pipe_is_quiet():
    script = f"{shlex.quote(sys.executable)} -m dpbench --help | true"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--threads", "3", "train"], "3"),
        (["train", "--threads=4"], "4"),
        (["--threads", "none"], None),
        (["--threads", "0"], None),
        (["--", "--threads", "3"], None),
        (["--threads"], None),
        ([], None),
    ],
)
def test_threads_are_found_anywhere_in_argv(arguments, expected):
    assert threads_asked(arguments) == expected


def test_threads_option_wins_over_the_environment():
    environment = {"OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "7"}
    set_threads(["train", "--threads", "2"], environment)
    assert {environment[name] for name in THREAD_VARIABLES} == {"2"}
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_users_own_settings_stay():
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"}
    set_threads([], environment)
    assert environment["NUMBA_NUM_THREADS"] == "1"
    assert environment["OMP_WAIT_POLICY"] == "ACTIVE"


def test_without_any_setting_all_cores_are_used():
    environment = {}
    set_threads([], environment)
    assert int(environment["OMP_NUM_THREADS"]) == len(os.sched_getaffinity(0))


def test_global_options_work_before_and_after_the_command(tmp_path, monkeypatch):
    seen = []

    @click.command("show")
    @pass_context
    def show(context):
        seen.append(context)

    monkeypatch.setattr(LazyGroup, "_is_there", lambda *_: True)
    monkeypatch.setattr("importlib.import_module", lambda name: _Module(show))
    monkeypatch.setitem(COMMANDS, "show", ("m:show", "Show."))
    for arguments in (
        ["--workspace", str(tmp_path), "-v", "show"],
        ["show", "--workspace", str(tmp_path), "-v"],
    ):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
    assert seen == [Context(workspace_dir=tmp_path, verbosity=1)] * 2


class _Module:
    def __init__(self, show):
        self.show = show


def test_every_command_of_the_table_exists():
    missing = [
        name
        for name, (target, _) in COMMANDS.items()
        if importlib.util.find_spec(target.split(":")[0]) is None
    ]
    assert not missing


@pytest.mark.parametrize(
    ("path", "command"), command_paths(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_help_ends_in_an_example(path, command):
    assert command.help, f"{path} is missing its help"
    last = command.help.strip().split("\n\n")[-1]
    assert "Example:" in last
    assert f"dpbench {path.split()[0]}" in last


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_overview_is_the_commands_own(name):
    command = cli.get_command(click.Context(cli), name)
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1]


@pytest.mark.parametrize("name", sorted(COMPUTING))
def test_wrong_choice_of_kernels_stops_a_command_at_once(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DPBENCH_KERNELS", "passes=fortran")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["--workspace", "ws", name, "anything"])
    assert result.exit_code == 1
    assert "'fortran' is unknown" in result.stderr
    assert not list(tmp_path.iterdir())


def test_doctor_runs_whatever_kernels_are_wished(monkeypatch):
    monkeypatch.setenv("DPBENCH_KERNELS", "passes=fortran")
    assert CliRunner().invoke(cli, ["doctor", "--json"]).exit_code == 0


def test_doctor_names_python_and_torch():
    done = dpbench("doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert '"torch"' in done.stdout


def test_sigint_stops_a_running_command(tmp_path):
    code = (
        "import time, click, dpbench.cli.main as m\n"
        "from dpbench.cli.__main__ import main\n"
        "@click.command('wait')\n"
        "def wait():\n"
        "    print('ready', flush=True); time.sleep(30)\n"
        "m.RootGroup.get_command = lambda self, ctx, name: wait\n"
        "import sys; sys.exit(main(['wait']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.decode().strip() == "Stopped."
