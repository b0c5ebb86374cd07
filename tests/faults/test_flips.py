"""One flipped bit in any kind of file, a missing file, a cut file: found and named.

One of each kind by default; ``DPBENCH_FLIPS=20`` (make test-full) tries more places.
"""

import os
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli

REPOSITORY = Path(__file__).resolve().parents[2]
FLIPS = int(os.environ.get("DPBENCH_FLIPS", "1"))
HEX = re.compile(r"[0-9a-f]{32,}")


def dpbench(workspace, *arguments):
    return CliRunner().invoke(cli, ["--workspace", str(workspace), *arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A workspace with every kind of file of the data layer."""
    root = tmp_path_factory.mktemp("w") / "ws"
    demo = REPOSITORY / "dpbench" / "_demo"
    runs = [str(demo / f"si8_a5{name}.out.gz") for name in ("25_900K", "55_900K")]
    for arguments in (
        ["ingest", "qe", runs[0], "--dataset", "d"],
        ["ingest", "qe", runs[1], "--dataset", "d"],
        ["dataset", "split", "d", "--strategy", "block"],
        ["dataset", "rename", "d", "e"],
        ["dataset", "retract", "e-v1", "--reason", "a test"],
    ):
        done = dpbench(root, *arguments)
        assert done.exit_code == 0, (arguments, done.output)
    assert dpbench(root, "dataset", "verify", "--all").exit_code == 0
    return root


def kind_of(root, path):
    """What a file is, whatever it is called here: ``stores/ID/facts.npy``."""
    return HEX.sub("ID", str(path.relative_to(root)))


def files_by_kind(root):
    kinds = {}
    for folder in ("stores", "objects"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                kinds.setdefault(kind_of(root, path), []).append(path)
    return kinds


def places(root):
    """(file, byte, bit): FLIPS places in files of every kind."""
    drawn = random.Random(0)
    for paths in files_by_kind(root).values():
        for _ in range(FLIPS):
            path = drawn.choice(paths)
            yield path, drawn.randrange(path.stat().st_size), drawn.randrange(8)


def test_every_kind_of_file_is_there(root):
    kinds = files_by_kind(root)
    parts = ("segment.json", "facts.npy", "zarr.json", "coord/c/0/0", "hash/c/0/0")
    folders = ("version", "split", "theory", "refs", "event")
    for wanted in (*parts, *(f"objects/{name}/" for name in folders)):
        assert any(wanted in kind for kind in kinds), wanted


def test_one_flipped_bit_is_found_and_named(root, figures):
    seen = []
    for path, position, bit in places(root):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            done = dpbench(root, "dataset", "verify", "--all")
        finally:
            path.write_bytes(whole)
        where = f"{kind_of(root, path)}: byte {position}, bit {bit}"
        assert done.exit_code == 1, (where, done.output)
        assert path.name in done.output, (where, done.output)
        if "/c/" in where:
            array = re.search(r"(\w+)/c/", where)[1]
            assert array in done.output, (where, done.output)
            assert "chunk 0" in done.output, (where, done.output)
        seen.append(where)
    n_kinds = len(files_by_kind(root))
    figures(f"{len(seen)} flips in {n_kinds} kinds of files, all found")
    assert dpbench(root, "dataset", "verify", "--all").exit_code == 0


@pytest.mark.parametrize("fault", ["missing", "cut", "empty"])
def test_a_missing_or_cut_file_is_found_and_named(root, fault):
    for kind, paths in files_by_kind(root).items():
        path = paths[0]
        whole = path.read_bytes()
        if fault == "missing":
            path.unlink()
        else:
            path.write_bytes(whole[: len(whole) // 2] if fault == "cut" else b"")
        try:
            done = dpbench(root, "dataset", "verify", "--all")
        finally:
            path.write_bytes(whole)
        assert done.exit_code == 1, (kind, fault, done.output)
        assert path.name in done.output, (kind, fault, done.output)
    assert dpbench(root, "dataset", "verify", "--all").exit_code == 0
