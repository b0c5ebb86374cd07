"""Files made to harm: refused in one line, in little memory, and the rest is read."""

import bz2
import gzip
import lzma
import shutil
from itertools import pairwise

import h5py
import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.limits import ReaderLimits
from dpbench.io.readers.vasp.xml import read_vasprun
from dpbench.store.workspace import Workspace
from tests.io.vasp_texts import made_up_steps, outcar, vasprun

LIMITS = ReaderLimits(memory=500_000_000, seconds=60, ratio=20)
BOMB_BYTES = 120_000_000
SLOW = pytest.mark.slow
OPENERS = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghij"))
    + "]>"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY j SYSTEM "file:///etc/passwd">]>'


@pytest.fixture
def hostile(tmp_path):
    """Ingest a folder with one good OUTCAR and something else; return the reason."""
    folder = tmp_path / "runs"
    good = folder / "good"
    good.mkdir(parents=True)
    (good / "OUTCAR").write_text(outcar(made_up_steps(2)))

    def run(code="auto", limits=LIMITS):
        workspace = Workspace.find(tmp_path / "ws", create=True)
        options = IngestOptions(limits=limits, allow_mixed_theory=True)
        report = ingest(workspace, code, [folder], dataset="d", options=options)
        assert report.n_kept == 2
        (failed,) = report.failed
        assert "\n" not in failed.reason
        assert len(failed.reason) < 600
        return failed.reason

    run.folder = folder / "bad"
    run.folder.mkdir()
    return run


@pytest.mark.parametrize(
    "ending",
    ["gz", pytest.param("bz2", marks=SLOW), pytest.param("xz", marks=SLOW)],
)
def test_compression_bomb_is_refused(hostile, ending):
    with OPENERS[ending](hostile.folder / f"OUTCAR.{ending}", "wb") as file:
        file.write(outcar(made_up_steps(2)).encode())
        blank = (b" " * 99 + b"\n") * 100_000
        for _ in range(BOMB_BYTES // len(blank)):
            file.write(blank)
    assert "not a bomb" in hostile()


def test_bomb_of_one_line_of_extxyz_is_refused(hostile):
    with gzip.open(hostile.folder / "md.extxyz.gz", "wb", compresslevel=1) as file:
        file.write(b'1\nProperties=species:S:1:pos:R:3 energy=1 Lattice="')
        for _ in range(BOMB_BYTES // 10_000_000):
            file.write(b"1" * 10_000_000)
    assert "not a bomb" in hostile()


def test_what_unpacks_to_much_is_read_where_the_limit_allows(tmp_path):
    path = tmp_path / "OUTCAR.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(outcar(made_up_steps(2)).encode())
        for _ in range(7):
            file.write((b" " * 9_999 + b"\n") * 1000)
    for ratio, kept in ((20, 0), (5000, 2)):
        workspace = Workspace.find(tmp_path / f"ws{ratio}", create=True)
        options = IngestOptions(limits=ReaderLimits(ratio=ratio))
        if not kept:
            with pytest.raises(SourceError, match="--limit ratio"):
                ingest(workspace, "vasp", [path], dataset="d", options=options)
            continue
        report = ingest(workspace, "vasp", [path], dataset="d", options=options)
        assert report.n_kept == kept


@pytest.mark.parametrize("declared", [LAUGHS, OUTSIDE])
def test_entities_in_vasprun_are_refused(hostile, declared):
    text = vasprun(made_up_steps(2))
    head, mark, rest = text.partition("<modeling>")
    rest = rest.replace("</generator>", "<i>&j;</i></generator>", 1)
    (hostile.folder / "vasprun.xml").write_text(head + declared + mark + rest)
    assert "unknown file" in hostile()
    with pytest.raises(SourceError, match="declares XML entities"):
        read_vasprun(hostile.folder / "vasprun.xml")


@pytest.mark.parametrize("declared", [LAUGHS, OUTSIDE])
def test_entities_in_xml_of_pw_x_are_refused(hostile, shared_data, declared):
    source = shared_data / "thirdparty/qe_samples/relax_success"
    shutil.copy(source / "aiida.out", hostile.folder)
    text = (source / "data-file-schema.xml").read_text()
    at = text.index("<qes:espresso")
    target = hostile.folder / "data-file-schema.xml"
    target.write_text(
        text[:at] + declared + text[at:].replace("<creator", "&j;<creator")
    )
    reason = hostile()
    assert "declares XML entities" in reason or "no frame" in reason


def test_npy_header_of_a_giant_shape_is_refused(hostile):
    system = hostile.folder
    (system / "type.raw").write_text("0 0")
    (system / "type_map.raw").write_text("H")
    (system / "set.000").mkdir()
    for name, shape in (("coord", "(100000000000, 6)"), ("box", "(1, 9)")):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
        header = header.ljust(117) + "\n"
        size = len(header).to_bytes(2, "little")
        content = b"\x93NUMPY\x01\x00" + size + header.encode() + bytes(800)
        (system / "set.000" / f"{name}.npy").write_bytes(content)
    assert "takes 4800000000128 bytes" in hostile()


def system_in(path, *, coord=None, link=None):
    with h5py.File(path, "w") as file:
        file["type.raw"] = np.zeros(2, dtype=np.int64)
        file["type_map.raw"] = ["H"]
        group = file.create_group("set.000")
        group["box.npy"] = np.eye(3).reshape(1, 9) * 9
        if coord is not None:
            group.create_dataset("coord.npy", **coord)
        if link is not None:
            group["coord.npy"] = link


@pytest.mark.parametrize(
    "coord",
    [
        {"shape": (10**11, 6), "dtype": "f8", "chunks": (1000, 6)},
        {"shape": (10**12, 6), "dtype": "f8", "chunks": (10, 6)},
        {
            "shape": (2 * 10**7, 6),
            "dtype": "f8",
            "chunks": (10**6, 6),
            "compression": 9,
        },
    ],
)
def test_hdf5_dataset_of_a_giant_shape_is_refused(hostile, coord):
    system_in(hostile.folder / "water.hdf5", coord=coord)
    assert "no bomb" in hostile()


@pytest.mark.parametrize("target", ["../../secret.hdf5", "/etc/secret.hdf5"])
def test_hdf5_link_to_another_file_is_refused(hostile, target):
    with h5py.File(hostile.folder.parent.parent / "secret.hdf5", "w") as file:
        file["x"] = np.zeros((1, 6))
    system_in(hostile.folder / "water.hdf5", link=h5py.ExternalLink(target, "/x"))
    reason = hostile()
    assert "no dataset of this file" in reason or "no readable HDF5" in reason


def test_member_with_dots_leads_nowhere(hostile, tmp_path):
    path = hostile.folder / "water.hdf5"
    system_in(path, coord={"data": np.zeros((1, 6))})
    workspace = Workspace.find(tmp_path / "ws", create=True)
    with pytest.raises(SourceError, match="no such group"):
        ingest(workspace, "deepmd", [f"{path}#/../../etc/passwd"], dataset="d")


def test_deep_nesting_costs_the_source_that_has_it(tmp_path):
    deep = "<a>" * 200_000
    text = vasprun(made_up_steps(2)).replace("<calculation>", f"<calculation>{deep}", 1)
    path = tmp_path / "vasprun.xml"
    path.write_text(text)
    workspace = Workspace.find(tmp_path / "ws", create=True)
    report = ingest(workspace, "vasp", [path], dataset="d")
    assert (report.n_kept, report.quarantined) == (1, {"truncated": 1})
