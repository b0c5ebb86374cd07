"""DeePMD-kit's real environment, adopted and checked."""

import json

import pytest
from click.testing import CliRunner

from dpbench.backends.evidence import evidence_of
from dpbench.cli.main import cli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def adopted(deepmd_python, tmp_path_factory):
    """A folder of environments that has DeePMD-kit's, and LAMMPS of the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        patch.setenv("DPBENCH_BACKENDS", str(tmp_path_factory.mktemp("envs")))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("deepmd", "lammps"):
            words = ["backends", "add", name, "--python", deepmd_python]
            result = CliRunner().invoke(cli, words)
            assert result.exit_code == 0, result.output
        yield


def test_backends_of_one_environment_calculate_what_dpbench_does():
    """The energy on the cards is that of dpbench's own kernels."""
    names = ("deepmd-pt", "deepmd-tf", "lammps")
    result = CliRunner().invoke(cli, ["backends", "check", *names, "--json"])
    rows = json.loads(result.stdout)
    assert [row["state"] for row in rows] == ["works"] * 3, rows
    assert rows[0]["version"] == rows[1]["version"] == "3.2.0"


def test_fingerprint_holds_the_flags_of_the_build():
    found = evidence_of("deepmd-pt")
    build = found["facts"]["deepmd.env:GLOBAL_CONFIG"]
    assert build["pt_version"] == found["packages"]["torch"] == "2.11.0"
    assert build["git_summ"] == "v3.2.0"
    assert found["packages"]["deepmd-kit"] == "3.2.0"
    assert found["licence"] == "LGPL-3.0-or-later"
