"""``--theory`` and ``--allow-mixed-theory``, as a user types them."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import SourceError
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.cp2k.reader import read as read_cp2k

EXAMPLE = Path(__file__).parents[2] / "registry/theory/si8-lda.toml"


@pytest.fixture
def run(tmp_path):
    def call(*words):
        arguments = ["--workspace", str(tmp_path / "ws"), *map(str, words)]
        return CliRunner().invoke(cli, arguments)

    return call


@pytest.mark.shared_data
def test_npy_is_declared_by_a_file_and_a_mix_is_shown(run, shared_data, tmp_path):
    npy = shared_data / "generated/npy/si8_qe_lda/si8_a540_300K"
    ingest = ("ingest", "deepmd", npy, "--dataset", "si", "--workers", "0")
    made = run(*ingest, "--theory", EXAMPLE)
    assert made.exit_code == 0, made.output
    assert "undeclared" not in made.output
    shown = run("dataset", "show", "si").output
    assert "functional         LDA-PZ" in shown
    assert "mixed theory" not in shown
    other = tmp_path / "pbe.toml"
    other.write_text('code = "qe"\nfunctional = "PBE"\n')
    refused = run(*ingest, "--theory", other)
    assert refused.exit_code == 1
    assert "functional: LDA-PZ [A] but PBE [B]" in " ".join(refused.output.split())
    assert run(*ingest, "--theory", other, "--allow-mixed-theory").exit_code == 0
    shown = run("dataset", "show", "si").output
    assert "mixed theory (--allow-mixed-theory)" in shown
    assert "PBE (sources: 1, e.g." in shown


@pytest.mark.shared_data
def test_a_file_that_is_wrong_leaves_no_workspace_behind(run, shared_data, tmp_path):
    npy = shared_data / "generated/npy/si8_qe_lda/si8_a540_300K"
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('code = "qe"\nfunctional = "PBE"\ncut_off = 3\n')
    refused = run("ingest", "deepmd", npy, "--dataset", "si", "--theory", wrong)
    assert refused.exit_code == 1
    assert not (tmp_path / "ws").exists()


@pytest.mark.shared_data
def test_a_cp2k_restart_at_another_cutoff_is_refused(shared_data, tmp_path):
    folder = shared_data / "generated/water8_cp2k_pbe"
    text = (folder / "cp2k.log").read_text()
    changed = re.sub(r"(Density cutoff .*) 120\.0", r"\1 150.0", text)
    assert changed != text
    for name, content in (("one.log", text), ("two.log", changed)):
        (tmp_path / name).write_text(content)
    paths = (tmp_path / "one.log", tmp_path / "two.log")
    files = SourceFiles(format="cp2k", paths=(*paths, *sorted(folder.glob("*-pos-*"))))
    with pytest.raises(SourceError, match=r"changes cutoff from 3265\.366 to"):
        read_cp2k(files)
