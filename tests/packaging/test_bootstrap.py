"""The set-up script says what it found and what to do."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "tools" / "bootstrap.sh"


def fake_python(folder, name, version, *, has_venv=True):
    """A command that answers the script's questions as a Python would."""
    is_old = tuple(map(int, version.split("."))) < (3, 11)
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        f"  *print*) echo {version} ;;\n"
        f"  *ensurepip*) exit {0 if has_venv else 1} ;;\n"
        f"  *version_info*) exit {1 if is_old else 0} ;;\n"
        "  *) echo made; exit 3 ;;\n"
        "esac\n"
    )
    path.chmod(0o755)


def bootstrap(folder, **environment):
    """Run the script where only the commands in ``folder`` exist."""
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), "runtime"],
        cwd=folder,
        env={"PATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_old_pythons_are_named(tmp_path):
    fake_python(tmp_path, "python3", "3.9")
    fake_python(tmp_path, "python3.11", "3.10")  # a lying name is not believed
    done = bootstrap(tmp_path)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "python3=3.9 python3.11=3.10" in done.stderr


def test_no_python_at_all_is_said(tmp_path):
    assert "found: none" in bootstrap(tmp_path).stderr


def test_newer_python_under_its_own_name_is_found(tmp_path):
    fake_python(tmp_path, "python3", "3.9")
    fake_python(tmp_path, "python3.12", "3.12")
    assert "making .venv with python3.12 (3.12)" in bootstrap(tmp_path).stdout


def test_named_python_comes_first(tmp_path):
    fake_python(tmp_path, "python3", "3.11")
    fake_python(tmp_path, "mine", "3.13")
    done = bootstrap(tmp_path, DPBENCH_PYTHON="mine")
    assert "making .venv with mine (3.13)" in done.stdout


def test_missing_venv_module_names_the_package(tmp_path):
    fake_python(tmp_path, "python3", "3.11", has_venv=False)
    done = bootstrap(tmp_path)
    assert done.returncode == 1
    assert "apt-get install python3.11-venv" in done.stderr


def test_unknown_kind_is_refused():
    done = subprocess.run(
        ["sh", str(SCRIPT), "all"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "unknown kind 'all'" in done.stderr


def constraints():
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition(";")[0] for line in lines if not line.startswith("#")]
    pairs = [pin.strip().split("==") for pin in pins if pin]
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def test_every_requirement_is_pinned_at_or_above_its_bound():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pinned = constraints()
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(r for extra in extras for r in extra)]
    for requirement in wanted:
        if requirement.startswith("dpbench["):
            continue  # other extras, which stand here too
        form = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement)
        name, bound = form.groups()
        version = pinned[name.lower()]
        assert key(version) >= key(bound), f"{name} {version} is below {bound}"


def key(version):
    return [int(part) for part in re.findall(r"\d+", version)]


def test_torch_is_pinned_without_a_local_tag():
    assert constraints()["torch"] == "2.13.0"


@pytest.mark.parametrize("target", ["demo", "test", "lint", "docs", "clean"])
def test_make_knows_the_target(target):
    done = subprocess.run(
        ["make", "--dry-run", target],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
