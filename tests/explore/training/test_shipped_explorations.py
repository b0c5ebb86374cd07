"""Configurations of explorations that ship with dpbench."""

from pathlib import Path

import pytest

from dpbench.explore.config import read_config
from dpbench.explore.training import ensemble_config
from dpbench.registry_files import registry_folder

FOLDER = registry_folder() / "explorations"

SHIPPED = sorted(
    path for path in FOLDER.glob("*.toml") if not path.name.endswith(".train.toml")
)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_exploration_can_be_read_with_all_its_files(path: Path):
    config = read_config(path)
    assert ensemble_config(config.train, base=FOLDER, elements=("X",)).model.type_map
    options = config.label.resolved(FOLDER).options
    template = getattr(options, "template", None)
    assert template is None or template.is_file()


def test_the_theory_of_almg_lda_is_that_of_its_test_set(shared_data: Path):
    ours = (FOLDER / "almg-lda.pw.in").read_text().splitlines()
    theirs = (
        (shared_data / "generated/almg_qe_lda/Al2Mg2_fcc_900K.in")
        .read_text()
        .splitlines()
    )
    for key in ("ecutwfc", "occupations", "smearing", "degauss", "nosym", "conv_thr"):
        (mine,) = (line for line in ours if line.strip().startswith(key))
        assert mine in theirs
    for line in ("Al 26.9815 Al.pz-vbc.UPF", "Mg 24.305 Mg.pz-n-vbc.UPF"):
        assert line in ours
        assert line in theirs
