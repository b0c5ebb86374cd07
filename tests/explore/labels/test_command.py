"""A command of the user: its files, facts of the frame, and what makes it fail."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.labels.command_options import CommandOptions
from dpbench.explore.labels.driver import Trouble
from dpbench.explore.labels.frame_facts import FACTS, filled
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.frames import uniform
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import READERS
from tests.explore.labels.conftest import PYTHON

PW = """
&control
 calculation='scf', prefix='pw', outdir='./out', disk_io='none'
 pseudo_dir='/usr/share/espresso/pseudo', tprnfor=.true., tstress=.true.
/
&system
 ibrav=0, nat={{natoms}}, ntyp={{ntypes}}, ecutwfc=10, nosym=.true.
 occupations='smearing', smearing='mp', degauss=0.05
/
&electrons
 conv_thr=1d-8, mixing_beta=0.7
/
ATOMIC_SPECIES
Mg 24.305 Mg.pz-n-vbc.UPF
Al 26.9815 Al.pz-vbc.UPF
K_POINTS automatic
2 2 2 1 1 1
CELL_PARAMETERS angstrom
{{cell}}
ATOMIC_POSITIONS crystal
{{ fractional }}
"""
"""An input of pw.x as a user's template."""


def run_one(frames, settings, folder):
    return label(label_tasks(frames.select([0]), settings, folder=folder)[0])


def test_facts_are_those_of_the_frame():
    frame = uniform(
        z=[13, 12, 13],
        coord=np.array([[[0, 0, 0], [1, 2, 3], [0.5, 0, 0]]], float),
        box=np.diag([2.0, 4.0, 8.0])[None],
    )
    text = "{{natoms}} {{ntypes}} {{elements}} {{counts}} {{ unknown }}"
    found = filled(text.replace("{{ unknown }}", ""), frame).split()
    assert found == ["3", "2", "Mg", "Al", "1", "2"]
    rows = [line.split() for line in filled("{{fractional}}", frame).splitlines()]
    assert [row[0] for row in rows] == ["Al", "Mg", "Al"]
    np.testing.assert_allclose(np.array(rows[1][1:], float), [0.5, 0.5, 0.375])
    rows = [line.split() for line in filled("{{positions}}", frame).splitlines()]
    np.testing.assert_allclose(np.array(rows[1][1:], float), [1, 2, 3])
    assert filled("{{cell}}", frame).splitlines()[2].split()[2] == "8.0000000000"


@pytest.mark.external
def test_a_users_template_gives_the_label_of_the_driver(qe, alloys, tmp_path):
    """pw.x by a plain command and by its own driver."""
    template = tmp_path / "pw.in"
    template.write_text(PW)
    options = CommandOptions(
        command="pw.x -in pw.in",
        code="qe",
        files=(template,),
        outputs=("job.out",),
        done="JOB DONE",
    )
    settings = LabelSettings(driver="command", command=options)
    one = run_one(alloys, settings, tmp_path / "command")
    other = run_one(alloys, qe(), tmp_path / "qe")
    frames = [
        READERS["qe"].read(SourceFiles(format="qe", paths=found.outputs)).frames
        for found in (one, other)
    ]
    np.testing.assert_allclose(frames[0].energy, frames[1].energy, rtol=0, atol=1e-5)
    np.testing.assert_allclose(frames[0].force, frames[1].force, rtol=0, atol=2e-4)


@pytest.mark.external
def test_label_of_another_theory_than_declared_is_unreadable(pw_x, alloys, tmp_path):
    """The file says PBE, pw.x used LDA: found in the first label."""
    del pw_x
    template, theory = tmp_path / "pw.in", tmp_path / "theory.toml"
    template.write_text(PW)
    theory.write_text('code = "qe"\nfunctional = "PBE"\n')
    options = CommandOptions(
        command="pw.x -in pw.in",
        code="qe",
        files=(template,),
        outputs=("job.out",),
        theory=theory,
    )
    settings = LabelSettings(driver="command", command=options)
    assert driver_of(settings).foretold()["functional"] == "PBE"
    found = run_one(alloys, settings, tmp_path / "l")
    assert found.trouble is Trouble.UNREADABLE
    assert "declares functional = LDA-PZ where --theory says PBE" in found.reason


def test_unknown_fact_is_named_before_anything_runs(springs, tmp_path):
    bad = tmp_path / "in.txt"
    bad.write_text("{{natom}}")
    with pytest.raises(ConfigError, match=r"unknown fact '\{\{natom\}\}'.*natoms"):
        driver_of(springs(files=(bad,)))


def test_missing_file_and_unknown_reader_are_named(springs, tmp_path):
    with pytest.raises(ConfigError, match="is no file"):
        driver_of(springs(files=(tmp_path / "none",)))
    with pytest.raises(ConfigError, match=r"code = 'gauss': no reader"):
        driver_of(springs(code="gauss"))
    with pytest.raises(ConfigError, match=r"label\.command: missing"):
        driver_of(LabelSettings(driver="command"))
    with pytest.raises(ConfigError, match="No closing quotation"):
        label_tasks(
            uniform(z=[1], coord=np.zeros((1, 1, 3))),
            springs(command="x 'y"),
            folder=tmp_path,
        )


def test_a_script_is_named_by_its_content_and_sought_from_the_configuration(
    program, tmp_path
):
    script = program("label.sh", "exit 0")
    options = from_mapping(
        CommandOptions,
        {
            "command": "./label.sh -x",
            "code": "extxyz",
            "outputs": ["o"],
            "files": ["label.sh"],
            "theory": "theory.toml",
        },
        where="label.command",
    ).resolved(tmp_path)
    assert options.command == f"{script} -x"
    assert options.files == (script,)
    assert options.theory == tmp_path / "theory.toml"
    plain = replace(options, files=(), theory=None)
    driver = driver_of(LabelSettings(driver="command", command=plain))
    before = driver.identity()
    script.write_text("#!/bin/sh\nexit 1\n")
    assert driver.identity() != before


def test_binary_files_are_copied_as_they_are(springs, alloys, tmp_path):
    binary = tmp_path / "table.bin"
    binary.write_bytes(bytes(range(256)))
    settings = springs(files=(tmp_path / "springs.py", binary))
    found = run_one(alloys, settings, tmp_path / "l")
    copy = found.outputs[0].parent / "table.bin"
    assert copy.read_bytes() == binary.read_bytes()


def test_poscar_is_written_where_it_was_asked_for(springs, alloys, tmp_path):
    settings = springs(
        command=f"{PYTHON} --version",
        structure="POSCAR",
        format="poscar",
        outputs=("job.out",),
    )
    run_one(alloys, settings, tmp_path / "l")
    poscar = next((tmp_path / "l").rglob("POSCAR")).read_text().splitlines()
    assert poscar[5:7] == ["Mg Al", "1 1"]
    molecule = uniform(z=[1], coord=np.zeros((1, 1, 3)))
    with pytest.raises(ConfigError, match="1 of 1 frames have no cell"):
        driver_of(settings).check_frames(molecule)


@pytest.mark.parametrize(
    ("keys", "trouble", "words"),
    [
        ({"done": "SCF converged"}, Trouble.UNCONVERGED, "no 'SCF converged' in"),
        ({"outputs": ("energy.dat",)}, Trouble.BROKEN, "left no energy.dat"),
        ({"command": f"{PYTHON} none.py"}, Trouble.DIED, "exit status 2"),
        ({"outputs": ("springs.py",), "files": ()}, Trouble.DIED, "last words"),
    ],
)
def test_each_failure_is_told_apart(springs, alloys, tmp_path, keys, trouble, words):
    found = run_one(alloys, springs(**keys), tmp_path / "l")
    assert (found.status, found.trouble) == ("quarantined", trouble)
    assert words in found.reason


def test_remedies_of_the_user_run_in_their_order(springs, alloys, tmp_path):
    fails = f"{PYTHON} -c 'raise SystemExit(3)'"
    settings = springs(
        command=fails,
        remedies={"second": fails, "third": f"{PYTHON} springs.py"},
    )
    found = run_one(alloys, settings, tmp_path / "l")
    assert found.status == "done"
    assert found.remedies == ("again", "second", "third")


def test_output_that_no_reader_understands_is_unreadable(
    springs, program, alloys, tmp_path
):
    script = program("nonsense", "echo 'no label here' > label.extxyz")
    found = run_one(alloys, springs(command=str(script)), tmp_path / "l")
    assert found.trouble is Trouble.UNREADABLE


def test_every_fact_is_in_the_documentation():
    text = (Path(__file__).parents[3] / "docs" / "explore-labels.md").read_text()
    assert [name for name in FACTS if f"{{{{{name}}}}}" not in text] == []
