"""Frames to label, programs that label them, and programs that fail on purpose."""

import shlex
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dpbench.explore.labels.command_options import CommandOptions
from dpbench.explore.labels.qe_options import QEOptions
from dpbench.explore.labels.settings import LabelSettings
from dpbench.frames import Frames, concatenate, uniform
from tests.conftest import absent

PYTHON = shlex.quote(sys.executable)
"""This interpreter as a word of a command."""

SPRINGS = """
import sys
from pathlib import Path

lines = Path("structure.extxyz").read_text().splitlines()
Path("calls").write_text("called")
natoms = int(lines[0])
rows = [line.split() for line in lines[2:2 + natoms]]
energy = sum(0.5 * float(x) ** 2 for row in rows for x in row[1:4])
cell = lines[1].partition('Lattice="')[2].partition('"')[0]
out = [str(natoms), f'Lattice="{cell}" Properties=species:S:1:pos:R:3:forces:R:3 '
       f'energy={energy!r} pbc="T T T"']
for row in rows:
    force = [repr(-float(x)) for x in row[1:4]]
    out.append(" ".join(row[:4] + force))
Path("label.extxyz").write_text("\\n".join(out) + "\\n")
print("labelled", natoms, "atoms")
"""
"""Atoms on springs about the origin, as a program of a user: E = x^2 / 2, F = -x."""


@pytest.fixture(scope="session")
def alloys() -> Frames:
    """Three frames of two atoms: Al-Mg, Al-Al, Mg-Mg."""
    box = np.diag([3.2, 3.2, 3.2])[None]
    rng = np.random.default_rng(1)
    return concatenate(
        [
            uniform(
                z=z,
                coord=(
                    np.array([[0, 0, 0], [1.6, 1.6, 1.6]]) + rng.normal(0, 0.05, (2, 3))
                )[None],
                box=box,
            )
            for z in ([13, 12], [13, 13], [12, 12])
        ]
    )


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a shell script and make it a program."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return write


@pytest.fixture
def springs(tmp_path: Path) -> Callable[..., LabelSettings]:
    """Settings of a command that labels by springs; keys of it can be changed."""
    script = tmp_path / "springs.py"
    script.write_text(SPRINGS)

    def make(**more: object) -> LabelSettings:
        names = {"attempts", "timeout", "max_force", "ratio_failed", "threads"}
        outer = {key: more.pop(key) for key in list(more) if key in names}
        keys: dict[str, object] = {
            "command": f"{PYTHON} springs.py",
            "code": "extxyz",
            "outputs": ("label.extxyz",),
            "files": (script,),
            **more,
        }
        options = CommandOptions(**keys)  # type: ignore[arg-type]
        return LabelSettings(driver="command", command=options, **outer)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def pw_x() -> Path:
    """The program pw.x, with the pseudopotentials of Al and Mg."""
    found = shutil.which("pw.x")
    folder = Path("/usr/share/espresso/pseudo")
    if found is None:
        absent("external", "pw.x is not installed: apt-get install quantum-espresso")
    if not (folder / "Mg.pz-n-vbc.UPF").is_file():
        absent("external", f"{folder} is empty: apt-get install quantum-espresso-data")
    return Path(str(found))


TEMPLATE = """
&control
 calculation='md'
 nstep=50
 dt=60.0
/
&system
 ibrav=1
 celldm(1)=7.8
 nat=4
 ntyp=2
 ecutwfc=10 ! Ry
 occupations='smearing', smearing='mp', degauss=0.05
 nosym=.true.
/
&electrons
 conv_thr=1d-8
 mixing_beta=0.7
/
&ions
 tempw=300
/
ATOMIC_SPECIES
Al 26.9815 Al.pz-vbc.UPF
Mg 24.305 Mg.pz-n-vbc.UPF
K_POINTS automatic
2 2 2 1 1 1
ATOMIC_POSITIONS alat
Al 0 0 0
"""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input of pw.x for Al and Mg, cheap and converging."""
    path = tmp_path_factory.mktemp("template") / "template.in"
    path.write_text(TEMPLATE)
    return path


@pytest.fixture(scope="session")
def qe(template: Path, pw_x: Path) -> Callable[..., LabelSettings]:
    """Settings of pw.x; keys of its table can be changed."""
    del pw_x

    def make(
        *, attempts: int = 4, timeout: float = 60.0, **more: object
    ) -> LabelSettings:
        keys = {"template": template, "version": "6.7", **more}
        return LabelSettings(
            attempts=attempts,
            timeout=timeout,
            qe=QEOptions(**keys),  # type: ignore[arg-type]
        )

    return make


@pytest.fixture
def upf(tmp_path: Path) -> Path:
    """A folder with headers of UPF files of Al and Mg, for what does not run pw.x."""
    folder = tmp_path / "upf"
    folder.mkdir()
    for element in ("Al", "Mg"):
        (folder / f"{element}.UPF").write_text(
            f'<UPF version="2.0.1">\n<PP_HEADER element="{element}" '
            'functional="SLA PZ NOGX NOGC"/>\n</UPF>\n'
        )
    return folder
