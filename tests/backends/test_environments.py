"""Environments: whole or not at all, remade when the card changes, one at a time."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpbench.backends import adopt as adopting
from dpbench.backends import environments, installers
from dpbench.backends import install as installing
from dpbench.backends.environments import MANIFEST, launch_of, read_environment
from dpbench.backends.evidence import evidence_of
from dpbench.backends.install import Wishes, install
from dpbench.errors import BackendError, ConfigError
from tests.backends.tiny_package import make_wheel, write_card

BROKEN = "raise ImportError('libtiny.so.1: cannot open shared object file')\n"

INSTALL = """
import sys
from pathlib import Path
from dpbench.backends.install import Wishes, install
folder, cards, wheels = map(Path, sys.argv[1:])
print("begins", flush=True)
done = install("tinypot", Wishes(wheelhouse=wheels), own_cards=cards, folder=folder)
print(done.is_new, done.environment.python)
"""


@pytest.fixture
def place(tmp_path):
    """A card, its wheel, and a folder for environments."""
    write_card(tmp_path / "cards")
    make_wheel(tmp_path / "wheels")
    return tmp_path


def made(place: Path, **wishes):
    return install(
        "tinypot",
        Wishes(wheelhouse=place / "wheels", **wishes),
        own_cards=place / "cards",
        folder=place / "envs",
    )


def launched(place: Path):
    return launch_of("tinypot", own_cards=place / "cards", folder=place / "envs")


def inner(place: Path) -> list[str]:
    """Name what lies in the environment's folder."""
    return sorted(path.name for path in (place / "envs" / "tinypot").iterdir())


def adopted(place: Path, **words):
    keywords = {"own_cards": place / "cards", "folder": place / "envs"} | words
    return adopting.adopt("tinypot", Path(sys.executable), **keywords)


def test_install_brings_exactly_what_the_card_names(place):
    done = made(place)
    launch = launched(place)
    assert done.is_new
    assert launch.adapter == place / "cards" / "tiny_adapter.py"
    assert launch.python.parts[: len(place.parts)] == place.parts
    fingerprint = done.environment.fingerprint
    assert fingerprint.packages["tinypot"] == "1.2.3"
    assert fingerprint.facts["tinypot:BUILD"] == {"compiler": "none", "threads": 1}
    assert fingerprint.facts["tinypot:flags"] == ["-O2"]
    assert fingerprint.facts["tinypot:nothing"].startswith("not found: AttributeError")
    assert launch.env["TINY_FOLDER"] == f"{fingerprint.site}/tinypot"
    assert launch.env["TINY_PATH"] == f"{fingerprint.prefix}/lib"
    found = evidence_of("tinypot", own_cards=place / "cards", folder=place / "envs")
    assert (found["version"], found["licence"], found["changes"]) == (
        "1.2.3",
        "MIT",
        [],
    )
    assert str(place) not in json.dumps(found)  # a record names no folder of ours
    again = made(place)
    assert (again.is_new, again.environment) == (False, done.environment)


def test_changed_card_asks_for_another_install_which_replaces_the_first(place):
    first = made(place).environment
    make_wheel(place / "wheels", "2.0")
    write_card(place / "cards", requirement="tinypot==2.0")
    with pytest.raises(BackendError, match=r"made from an older card.*install tinypot"):
        launched(place)
    second = made(place).environment
    assert second.fingerprint.packages["tinypot"] == "2.0"
    assert second.python != first.python
    assert inner(place) == sorted([MANIFEST, Path(second.python).parts[0]])
    assert launched(place).python.is_file()


def test_install_that_fails_leaves_the_former_environment_at_work(place):
    made(place)
    before = inner(place)
    write_card(place / "cards", requirement="tinypot==9.9")
    with pytest.raises(BackendError, match=r"tinypot: installing tinypot==9.9: failed"):
        made(place)
    assert inner(place) == before
    write_card(place / "cards")
    assert launched(place).python.is_file()


def test_package_that_does_not_import_is_no_environment(place):
    make_wheel(place / "wheels", module=BROKEN)
    with pytest.raises(BackendError, match=r"'tinypot': ImportError: libtiny\.so\.1"):
        made(place)
    assert inner(place) == []
    with pytest.raises(BackendError, match="is not installed"):
        launched(place)


def test_half_made_environment_is_none_and_is_cleared_away(place):
    half = place / "envs" / "tinypot" / "0123456789ab-000000" / "bin"
    half.mkdir(parents=True)
    (half / "python").symlink_to(sys.executable)
    assert read_environment("tinypot", place / "envs") is None
    made(place)
    assert not half.exists()


def test_two_installs_at_once_make_one_environment(place):
    command = [sys.executable, "-c", INSTALL, "envs", "cards", "wheels"]
    pair = [
        subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0].split() for process in pair]
    assert sorted(answer[1] for answer in answers) == ["False", "True"]
    assert answers[0][2] == answers[1][2]
    assert len(inner(place)) == 2


def test_killed_install_is_waited_for_and_cleared_away(place, monkeypatch):
    """Its installer lives on for a while and holds the lock."""
    real = shutil.which("uv")
    (place / "bin").mkdir()
    slow = place / "bin" / "uv"
    slow.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "  --version) echo uv 0.0 ;;\n"
        '  venv) for last; do :; done; mkdir -p "$last/bin" ;;\n'
        "  pip) echo $$ > started; sleep 2; touch ended ;;\n"
        "esac\n"
    )
    slow.chmod(0o755)
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-c", INSTALL, "envs", "cards", "wheels"]
    process = subprocess.Popen(
        command, cwd=place, stdout=subprocess.DEVNULL, env={**os.environ, "PATH": path}
    )
    patience = time.monotonic() + 60
    while not (place / "started").exists() and time.monotonic() < patience:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(inner(place)) == 1
    assert read_environment("tinypot", place / "envs") is None
    assert shutil.which("uv") == real
    made(place)
    assert (place / "ended").exists()
    assert len(inner(place)) == 2


def test_missing_python_says_which_bound_it_needs(place):
    write_card(place / "cards", python=">=3.98,<3.99")
    with pytest.raises(BackendError, match=r"needs Python >=3\.98,<3\.99; found 3\.1"):
        made(place, python=Path(sys.executable))


def test_python_that_is_named_must_be_within_the_bound(place):
    with pytest.raises(BackendError, match="found none that runs"):
        made(place, python=place / "no-such-python")


def test_missing_wheelhouse_is_named(place):
    shutil.rmtree(place / "wheels")
    with pytest.raises(BackendError, match="wheels: is no folder"):
        made(place)


def test_card_without_requirements_is_for_own_builds(place):
    card = place / "cards" / "tinypot.toml"
    card.write_text(card.read_text().replace('["tinypot==1.2.3"]', "[]"))
    with pytest.raises(BackendError, match="backends add tinypot --python"):
        made(place)


@pytest.mark.slow
def test_pip_does_where_there_is_no_uv(place, monkeypatch):
    monkeypatch.setattr(installers.shutil, "which", lambda _: None)
    done = made(place)
    assert done.environment.by == "pip"
    assert done.environment.fingerprint.packages["tinypot"] == "1.2.3"


def test_adopted_installation_keeps_its_variables_and_its_files(place, monkeypatch):
    """PYTHONPATH reaches a worker that is started with -I."""
    monkeypatch.delenv("TINY_PATH", raising=False)
    library = place / "own" / "tinypot"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("BUILD = 'own'\nflags = 1\n")
    env_file = place / "own.env"
    env_file.write_text(
        f"# from a module\n\nPYTHONPATH={place / 'own'}\nexport TINY_PATH=/opt/a=b\n"
    )
    found = adopted(place, env_file=env_file)
    assert found.is_adopted
    assert found.fingerprint.facts["tinypot:BUILD"] == "own"
    launch = launched(place)
    assert launch.python == Path(sys.executable)
    assert launch.env["TINY_PATH"].endswith("/lib:/opt/a=b")
    assert launch.env["DPBENCH_PYTHONPATH"] == str(place / "own")
    assert "PYTHONPATH" not in launch.env
    evidence = evidence_of("tinypot", own_cards=place / "cards", folder=place / "envs")
    assert evidence["variables"] == ["PYTHONPATH", "TINY_PATH"]
    write_card(place / "cards", requirement="tinypot==2.0")
    launched(place)  # an adopted one owes the card nothing
    with pytest.raises(BackendError, match="an installation of yours was adopted"):
        made(place)
    assert environments.remove_environment("tinypot", place / "envs")
    assert library.is_dir()


def test_adoption_says_what_the_installation_lacks(place):
    with pytest.raises(BackendError, match="does not import 'tinypot': ModuleNot"):
        adopted(place)
    assert read_environment("tinypot", place / "envs") is None
    with pytest.raises(BackendError, match="is no interpreter of Python that runs"):
        adopting.adopt("tinypot", place / "cards", own_cards=place / "cards")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("module load deepmd", "is not NAME=VALUE"),
        ("BASH_FUNC_ml%%=() {  eval", "is not NAME=VALUE"),
        ("A='b c'", "stands in quotes"),
        ("PATH=/opt/bin:$PATH", "nothing is expanded"),
        ("AWS_SECRET_ACCESS_KEY=x", "sounds like a credential"),
        ("HOME=/root\nHOME=/", r"own\.env:2: HOME is given twice"),
    ],
)
def test_other_lines_of_an_env_file_are_named(tmp_path, line, message):
    path = tmp_path / "own.env"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=message):
        adopting.read_env_file(path)


def test_env_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        adopting.read_env_file(tmp_path / "own.env")
    (tmp_path / "own.env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        adopting.read_env_file(tmp_path / "own.env")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"format": 1}', "missing key"),
        ("interpreter", "is gone"),
        ("format", "has format 2; expected 1"),
    ],
)
def test_damaged_environment_says_so_and_is_mended_by_an_install(
    place, content, message
):
    write_card(place / "cards", imports="json", more="")
    card = place / "cards" / "tinypot.toml"
    card.write_text(card.read_text().replace("facts =", "# facts ="))
    found = adopted(place)
    path = place / "envs" / "tinypot" / MANIFEST
    data = json.loads(path.read_text())
    if content == "interpreter":
        content = json.dumps(data | {"python": str(place / "gone")})
    elif content == "format":
        content = json.dumps(data | {"format": 2})
    path.write_text(content)
    with pytest.raises(BackendError, match=message):
        launched(place)
    assert adopted(place).fingerprint == found.fingerprint


def test_packages_that_changed_since_are_told(place):
    card = place / "cards" / "tinypot.toml"
    card.write_text(card.read_text().replace("facts =", "# facts ="))
    write_card(place / "cards", imports="json")
    adopted(place)
    path = place / "envs" / "tinypot" / MANIFEST
    data = json.loads(path.read_text())
    data["fingerprint"]["packages"]["numpy"] = "0.1"
    path.write_text(json.dumps(data))
    found = evidence_of("tinypot", own_cards=place / "cards", folder=place / "envs")
    assert len(found["changes"]) == 1
    assert found["changes"][0].startswith("numpy 0.1 -> ")
    assert found["packages"]["numpy"] != "0.1"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DPBENCH_BACKENDS": "/a", "XDG_DATA_HOME": "/b"}, "/a"),
        ({"XDG_DATA_HOME": "/b"}, "/b/dpbench/backends"),
        ({}, "~/.local/share/dpbench/backends"),
    ],
)
def test_folder_of_environments_is_named_by_the_environment(environ, expected):
    found = environments.backends_folder(environ)
    assert found == Path(expected).expanduser()


def test_folder_that_cannot_be_written_is_named(place):
    (place / "envs").write_text("a file")
    with pytest.raises(BackendError, match=r"cannot be written.*DPBENCH_BACKENDS"):
        made(place)


def test_lock_that_is_held_is_told_and_not_waited_for_without_end(place, monkeypatch):
    monkeypatch.setattr(environments, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(environments, "LOOK", 0.02)
    said = []
    with (
        environments.locked("tinypot", place / "envs"),
        pytest.raises(BackendError, match=r"\.tinypot\.lock: has been held for 0\.1 s"),
        environments.locked("tinypot", place / "envs", say=said.append),
    ):
        pass
    assert said == ["tinypot: another install of it is under way; waiting for it"]


def test_environment_that_cannot_be_removed_says_so(place, monkeypatch):
    (place / "envs" / "tinypot").mkdir(parents=True)
    monkeypatch.setattr(environments, "remove_tree", lambda _: None)
    with pytest.raises(BackendError, match="cannot be removed whole"):
        environments.remove_environment("tinypot", place / "envs")


def test_full_disk_is_one_line_and_leaves_nothing(place, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/envs/x")

    monkeypatch.setattr(installing, "write_environment", full)
    with pytest.raises(BackendError, match=r"/envs/x: No space left.*Free the disk"):
        made(place)
    assert inner(place) == []


def test_nothing_is_removed_where_nothing_is(place):
    assert not environments.remove_environment("tinypot", place / "envs")
