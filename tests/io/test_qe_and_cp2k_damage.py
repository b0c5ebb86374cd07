"""Damaged files: a reader yields judged frames or a SourceError, nothing else."""

import random

import pytest

from dpbench.config import canonical_json
from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers.cp2k import reader as cp2k
from dpbench.io.readers.qe import reader as qe

FIXTURES = "generated/qe_fixtures"
SAMPLES = "thirdparty/qe_samples/vcrelax_success"
MEDIUM = "generated/other_codes/cp2k_xtb_medium_log"
SETS = {
    "relax": (qe, f"{FIXTURES}/si8_relax.out", f"{FIXTURES}/si8_relax.in"),
    "vc-relax": (qe, f"{SAMPLES}/aiida.out", f"{SAMPLES}/data-file-schema.xml"),
    "md": (
        cp2k,
        f"{MEDIUM}/cp2k.log",
        f"{MEDIUM}/w8-1.cell",
        f"{MEDIUM}/w8-pos-1.xyz",
        f"{MEDIUM}/w8-frc-1.xyz",
        f"{MEDIUM}/input.inp",
    ),
    "old": (
        cp2k,
        "thirdparty/fp_trees/out_data_post_fp_cp2k/02.fp/task.000.000000/output",
    ),
}


def damaged(text, rng):
    """Overwrite, cut out, repeat or swap some of a text."""
    lines = text.splitlines(keepends=True)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        letters = list(text)
        for _ in range(rng.randrange(1, 30)):
            letters[rng.randrange(len(letters))] = rng.choice("0129.-+eE *\nx#&=()[]|,")
        return "".join(letters)
    if kind == 1:
        del lines[i : i + rng.randrange(1, 40)]
    elif kind == 2:
        lines[i:i] = lines[j : j + rng.randrange(1, 200)]
    elif kind == 3:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines = lines[i:]
    return "".join(lines)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.filterwarnings("ignore:unclosed file")  # dpdata's, when it gives up
def test_damage_gives_judged_frames_or_a_source_error(shared_data, tmp_path, name):
    module, *names = SETS[name]
    rng = random.Random(3)
    texts = {file: (shared_data / file).read_text() for file in names}
    read = 0
    for _ in range(12 if name == "old" else 60):
        victim = rng.choice(names)
        paths = []
        for file, text in texts.items():
            path = tmp_path / file.rpartition("/")[2]
            path.write_text(damaged(text, rng) if file == victim else text)
            paths.append(path)
        try:
            source = module.read(SourceFiles(format="any", paths=tuple(paths)))
        except SourceError:
            continue
        read += 1
        canonical_json(source.theory)
        good = [i for i, reason in enumerate(source.quarantine) if not reason]
        kept = source.frames.select(good)
        assert kept.has_energy.all()
        assert kept.has_force.all()
        assert all(isinstance(reason, Quarantine) for reason in source.quarantine)
    assert read > 0


def test_a_doubled_row_of_the_stress_costs_the_virial(shared_data, tmp_path):
    text = (shared_data / FIXTURES / "si8_relax.out").read_text()
    lines = text.splitlines(keepends=True)
    table = next(i for i, line in enumerate(lines) if "total   stress" in line)
    lines[table + 2 : table + 2] = lines[table + 1 : table + 3]
    (tmp_path / "a.out").write_text("".join(lines))
    source = qe.read(SourceFiles(format="qe", paths=(tmp_path / "a.out",)))
    assert not source.frames.has_virial[0]
    assert source.frames.has_virial[1]


def test_more_positions_than_atoms_are_refused(shared_data, tmp_path):
    text = (shared_data / FIXTURES / "si8_relax.out").read_text()
    fewer = text.replace(
        "atoms/cell      =            8", "atoms/cell      =            3"
    )
    assert fewer != text
    (tmp_path / "a.out").write_text(fewer)
    with pytest.raises(SourceError, match="goes on after the 3 atoms"):
        qe.read(SourceFiles(format="qe", paths=(tmp_path / "a.out",)))
