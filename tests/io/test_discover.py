import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from dpbench.errors import ConfigError, SourceError
from dpbench.io.discover import find_sources
from dpbench.io.grouping import natural_key
from dpbench.io.sniff import Kind, sniff

OUTCAR = " vasp.5.4.4.18Apr17 (build Jan 01 2020) complex\n"
VASPRUN = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'
QE_OUT = "\n     Program PWSCF v.6.7MaX starts on  1Jan2020 at  0: 0: 0 \n"
QE_IN = "&control\n calculation='scf'\n/\n"
EXTXYZ = (
    '1\nLattice="1 0 0 0 1 0 0 0 1" energy=-1.0 Properties=species:S:1:pos:R:3\n'
    "H 0 0 0\n"
)
TRAJECTORY = "1\n i =        0, time =        0.000, E = -1\nH 0 0 0\n"


def cp2k_log(project: str, given: str = "in.inp") -> str:
    return (
        " DBCSR| CPU Multiplication driver  BLAS (U)\n" * 20
        + " CP2K| version string:          CP2K version 2023.1\n"
        + f" CP2K| Input file name    {given}\n GLOBAL| Project name    {project}\n"
    )


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif name.endswith(".gz"):
            path.write_bytes(gzip.compress(content.encode()))
        else:
            path.write_text(content)
    return root


def names(found, root: Path) -> list[tuple[str, list[str]]]:
    return [
        (s.format, [str(path.relative_to(root)) for path in s.paths])
        for s in found.sources
    ]


@pytest.fixture
def tree(tmp_path):
    npy = tmp_path / "npy/set.000"
    npy.mkdir(parents=True)
    np.save(npy / "coord.npy", np.zeros((1, 3)))
    return write(
        tmp_path,
        {
            "npy/type.raw": "0\n",
            "npy/type_map.raw": "H\n",
            "vasp/run2/OUTCAR": OUTCAR,
            "vasp/run2/vasprun.xml": VASPRUN,
            "vasp/run2/INCAR": "NELM = 60\n",
            "vasp/run10/OUTCAR.gz": OUTCAR,
            "vasp/run10/WAVECAR": b"\0\1\2" * 100,
            "vasp/flat/OUTCAR.a": OUTCAR,
            "vasp/flat/OUTCAR.b": OUTCAR,
            "vasp/flat/vasprun.b.xml": VASPRUN,
            "qe/x.out": QE_OUT,
            "qe/x.in": QE_IN,
            "qe/y.out": QE_OUT + "     Reading input from pw_y.in\n",
            "qe/pw_y.in": QE_IN,
            "qe/one/output": QE_OUT,
            "qe/one/input": QE_IN,
            "qe/one/data-file-schema.xml": '<?xml version="1.0"?>\n<qes:espresso>\n',
            "qe/one/run.sh": "#!/bin/sh\n",
            "cp2k/log": cp2k_log("w8", "w8.inp"),
            "cp2k/w8.inp": "&GLOBAL\n",
            "cp2k/w8-pos-1.xyz": TRAJECTORY,
            "cp2k/w8-frc-1.xyz": TRAJECTORY,
            "cp2k/w8-1.cell": "# Step\n",
            "cp2k/w8_hot-pos-1.xyz": TRAJECTORY,
            "cp2k/w8-vel-1.xyz": TRAJECTORY,
            "xyz/a.xyz": EXTXYZ,
            "xyz/structure.xyz": EXTXYZ.replace("energy=-1.0 ", ""),
            ".hidden/OUTCAR": OUTCAR,
            "notes.txt": "nothing\n",
        },
    )


def test_auto_finds_every_calculation_of_a_mixed_tree(tree):
    found = find_sources("auto", [tree])
    assert names(found, tree) == [
        ("cp2k", ["cp2k/log", "cp2k/w8.inp", "cp2k/w8-1.cell",
                  "cp2k/w8-frc-1.xyz", "cp2k/w8-pos-1.xyz"]),
        ("deepmd/npy", ["npy"]),
        ("qe", ["qe/one/output", "qe/one/input", "qe/one/data-file-schema.xml"]),
        ("qe", ["qe/x.out", "qe/x.in"]),
        ("qe", ["qe/y.out", "qe/pw_y.in"]),
        ("vasp", ["vasp/flat/OUTCAR.a"]),
        ("vasp", ["vasp/flat/OUTCAR.b", "vasp/flat/vasprun.b.xml"]),
        ("vasp", ["vasp/run2/OUTCAR", "vasp/run2/vasprun.xml", "vasp/run2/INCAR"]),
        ("vasp", ["vasp/run10/OUTCAR.gz"]),
        ("extxyz", ["xyz/a.xyz"]),
    ]  # fmt: skip
    assert found.skipped == ()


@pytest.mark.parametrize(
    ("code", "count"),
    [("vasp", 4), ("qe", 3), ("cp2k", 1), ("deepmd", 1), ("extxyz", 1)],
)
def test_a_code_finds_its_own_alone(tree, code, count):
    found = find_sources(code, [tree])
    assert len(found.sources) == count
    assert {s.format.partition("/")[0] for s in found.sources} == {code}


def test_the_order_depends_on_neither_arguments_nor_repeats(tree):
    once = find_sources("auto", [tree])
    parts = [
        tree / "xyz",
        tree / "vasp",
        tree,
        tree / "cp2k",
        tree / "vasp/run2/OUTCAR",
    ]
    again = find_sources("auto", parts)
    assert [s.main for s in again.sources] == [s.main for s in once.sources]


def test_a_named_file_brings_the_files_of_its_calculation(tree):
    found = find_sources("vasp", [tree / "vasp/run2/vasprun.xml"])
    assert names(found, tree)[0][1][0] == "vasp/run2/OUTCAR"
    assert len(found.sources) == 1


def test_a_glob_over_inputs_and_outputs_skips_nothing(tree):
    found = find_sources("qe", [f"{tree}/qe/*.*"])
    assert [s.main.name for s in found.sources] == ["x.out", "y.out"]
    assert found.skipped == ()


def test_a_recursive_glob_is_resolved(tree):
    found = find_sources("vasp", [f"{tree}/**/OUTCAR*"])
    assert len(found.sources) == 4


def test_named_files_that_fit_nothing_are_skipped_with_the_reason(tree):
    found = find_sources(
        "vasp", [tree / "vasp", tree / "notes.txt", tree / "qe/x.out", tree / "qe/x.in"]
    )
    assert len(found.sources) == 4
    reasons = {path.name: reason for path, reason in found.skipped}
    assert reasons["notes.txt"] == "is an unknown file; expected 'vasp' output."
    assert (
        "is a pw.x output; expected 'vasp' output. Ingest it with 'qe'"
        in (reasons["x.out"])
    )
    assert reasons["x.in"] == "is a pw.x input; expected 'vasp' output."


def test_broken_outputs_met_in_folders_are_named(tmp_path):
    write(
        tmp_path,
        {
            "a/OUTCAR": "",
            "b/OUTCAR": b"\0\0\0\0",
            "c/OUTCAR": "killed\n",
            "d/OUTCAR": OUTCAR,
            "e/vasprun.xml.gz": b"\x1f\x8bno gzip",
            "f/x.out": "a script wrote this\n",
            "f/slurm-17.out": "",
        },
    )
    found = find_sources("vasp", [tmp_path])
    assert [s.main.parent.name for s in found.sources] == ["d"]
    assert [path.parent.name for path, _ in found.skipped] == ["a", "b", "c", "e"]
    assert "empty file" in found.skipped[0][1]
    assert "binary file" in found.skipped[1][1]


def test_an_empty_log_is_a_fault_beside_its_input_alone(tmp_path):
    write(
        tmp_path,
        {"a.in": QE_IN, "a.out": "", "slurm-1.out": "", "b.in": QE_IN, "b.out": QE_OUT},
    )
    for code in ("qe", "auto"):
        found = find_sources(code, [tmp_path])
        assert [s.main.name for s in found.sources] == ["b.out"]
        assert [path.name for path, _ in found.skipped] == ["a.out"]


def test_a_folder_that_cannot_be_listed_is_skipped_with_the_reason(tree, monkeypatch):
    listing = os.scandir

    def refuse(path):
        if Path(path).name == "run2":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_sources("vasp", [tree])
    assert len(found.sources) == 3
    assert [reason for _, reason in found.skipped] == [
        "cannot be listed (Permission denied)."
    ]


def test_symbolic_links_that_loop_end(tree):
    (tree / "vasp/loop").symlink_to(tree)
    assert len(find_sources("auto", [tree]).sources) == 10


def test_a_linked_file_is_one_source(tree):
    (tree / "link").mkdir()
    (tree / "link/a.xyz").symlink_to(tree / "xyz/a.xyz")
    assert len(find_sources("extxyz", [tree]).sources) == 1


@pytest.mark.parametrize("code", ["vasp", "auto"])
def test_an_empty_folder_is_one_clear_error(tmp_path, code):
    with pytest.raises(SourceError, match="no source found: no output"):
        find_sources(code, [tmp_path])


def test_a_binary_file_is_one_clear_error(tmp_path):
    write(tmp_path, {"junk": b"\0\1\2\3"})
    with pytest.raises(SourceError, match="junk: no source found: is a binary file"):
        find_sources("auto", [tmp_path / "junk"])


def test_a_path_that_does_not_exist_is_an_error(tree):
    with pytest.raises(SourceError, match=r"nowhere: does not exist"):
        find_sources("auto", [tree, tree / "nowhere"])


def test_a_glob_that_matches_nothing_is_an_error(tree):
    with pytest.raises(SourceError, match="the pattern matches nothing"):
        find_sources("auto", [tree, f"{tree}/*.nothing"])


def test_a_path_with_brackets_is_taken_literally(tmp_path):
    write(tmp_path, {"run[1]/OUTCAR": OUTCAR})
    assert len(find_sources("vasp", [tmp_path / "run[1]"]).sources) == 1


def test_an_unknown_code_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'vasp'"):
        find_sources("vaps", ["."])


def test_two_outputs_share_no_input_that_names_neither(tmp_path):
    write(tmp_path, {"a.out": QE_OUT, "b.out": QE_OUT, "pw.in": QE_IN})
    found = find_sources("qe", [tmp_path])
    assert [len(s.paths) for s in found.sources] == [1, 1]


def test_content_and_not_the_name_decides(tmp_path):
    write(tmp_path, {"result.txt": OUTCAR, "OUTCAR": QE_OUT})
    assert sniff(tmp_path / "OUTCAR") is Kind.QE_OUTPUT
    assert [s.main.name for s in find_sources("vasp", [tmp_path]).sources] == [
        "result.txt"
    ]


def test_an_outcar_that_echoes_other_codes_is_an_outcar(tmp_path):
    write(tmp_path, {"x": OUTCAR + " SYSTEM = Program PWSCF v.7\n&control\n"})
    assert sniff(tmp_path / "x") is Kind.OUTCAR


def test_natural_order_counts_digits():
    paths = [Path(p) for p in ("run10", "run2", "run1/b", "run", "Run3")]
    assert [str(p) for p in sorted(paths, key=natural_key)] == [
        "Run3", "run", "run1/b", "run2", "run10",
    ]  # fmt: skip


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("code", "folder", "count", "files"),
    [
        ("qe", "generated/water8_qe_pbe", 159, 2),
        ("qe", "generated/si8_qe_lda", 6, 2),
        ("qe", "generated/almg_qe_lda", 17, 2),
        ("vasp", "thirdparty/vasp_ch4", 12, 4),
        ("cp2k", "generated/water8_xtb_cp2k", 2, 7),
        ("deepmd", "thirdparty/deepmd_water/data", 4, 1),
        ("extxyz", "thirdparty/acac", 3, 1),
        ("auto", "thirdparty/fp_trees/out_data_post_fp_vasp", 4, 1),
    ],
)
def test_shared_folders_are_grouped(shared_data, code, folder, count, files):
    found = find_sources(code, [shared_data / folder])
    assert len(found.sources) == count
    assert {len(s.paths) for s in found.sources} == {files}
    assert found.skipped == ()


@pytest.mark.shared_data
def test_auto_knows_abacus_tasks_and_plain_codes(shared_data):
    found = find_sources("auto", [shared_data / "thirdparty"])
    formats = {s.format for s in found.sources}
    assert {
        "dpdata:abacus/scf",
        "dpdata:abacus/md",
        "dpdata:siesta/output",
        "dpdata:fhi_aims/output",
        "dpdata:gaussian/md",
    } <= formats
