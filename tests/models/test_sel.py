"""More neighbours than slots: what stops, and what DeePMD-kit would keep."""

import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpbench.errors import ModelError
from dpbench.frames import concatenate
from dpbench.models.config import ModelConfig, SeAttenConfig
from dpbench.models.deepmd_file import write_deepmd
from dpbench.models.geometry import atom_types, edge_vectors
from dpbench.models.potential import DeepPotential
from dpbench.models.sel import nearest_neighbours, within_sel
from tests.models.structures import (
    batch_of,
    config,
    model,
    neighbours_of,
    statistics,
    water,
)

PEER = """
import sys
import numpy as np
from deepmd.entrypoints.convert_backend import convert_backend
from deepmd.infer import DeepPot

source, frozen, frames, out = sys.argv[1:]
convert_backend(INPUT=source, OUTPUT=frozen)
read = np.load(frames)
energy, force, virial = DeepPot(frozen).eval(read["coord"], read["box"], read["atype"])
np.savez(out, energy=energy, force=force, virial=virial)
"""

ROOM = {"sel": (200, 200)}


def counts_of(batch) -> torch.Tensor:
    return batch.row_offset.diff(dim=1)


def test_a_batch_that_fits_is_returned_itself():
    potential = model(**ROOM)
    batch = batch_of(water(1), potential)
    assert within_sel(batch, potential.config) is batch


def test_exactly_full_slots_are_no_overflow():
    potential = model(**ROOM)
    batch = batch_of(water(1), potential)
    full = tuple(int(n) for n in counts_of(batch).max(dim=1).values)
    assert within_sel(batch, config(sel=full)) is batch
    one_less = (full[0], full[1] - 1)
    with pytest.raises(ModelError, match=f"has {full[1]} H"):
        within_sel(batch, config(sel=one_less))


def test_the_error_names_frame_atom_types_and_count():
    potential = model(**ROOM)
    frames = concatenate([water(2, natoms=2, box=None), water(1)])
    batch = batch_of(frames, potential)
    counts = counts_of(batch)
    kind, row = divmod(int((counts - 3).argmax()), counts.shape[1])
    atom = int(batch.atom_order[row])
    assert atom >= 2  # the crowded frame is the second one
    symbol = "OH"[int(batch.atype[atom])]
    words = (
        rf"frame 1, atom {atom - 2} \({symbol}\): has {int(counts.max())} "
        rf"{'OH'[kind]} within 4 Å; the model's sel expects at most 3"
    )
    with pytest.raises(ModelError, match=words):
        within_sel(batch, config(sel=(3, 3)))
    with pytest.raises(ModelError, match="water-v2 frame 17, atom"):
        within_sel(batch, config(sel=(3, 3)), names=["a", "water-v2 frame 17"])


def farthest_kept(batch, sel, rule) -> set[tuple[int, ...]]:
    """What the rule says, written out atom by atom."""
    kept = set()
    kinds = batch.atype[batch.edge_j.long()].tolist()
    squared = (batch.edge_vec**2).sum(dim=1).tolist()
    for atom in range(len(batch.atype)):
        mine = torch.nonzero(batch.edge_i == atom).squeeze(1).tolist()
        mine.sort(key=squared.__getitem__)
        if rule == "deepmd":
            mine = mine[: sum(sel)]
        for kind in range(len(sel)):
            kept.update([e for e in mine if kinds[e] == kind][: sel[kind]])
    return kept


@pytest.mark.parametrize("rule", ["deepmd", "deepmd-tf"])
@pytest.mark.parametrize("sel", [(5, 40), (40, 7), (3, 4), (0, 6)])
def test_the_nearest_stay(rule, sel):
    potential = model(**ROOM)
    batch = batch_of(concatenate([water(1), water(5, natoms=14)]), potential)
    found = within_sel(batch, config(sel=sel), overflow=rule)
    expected = sorted(farthest_kept(batch, sel, rule))
    assert len(expected) < len(batch.edge_i)
    for name in ("edge_i", "edge_j", "edge_row", "edge_vec"):
        assert torch.equal(getattr(found, name), getattr(batch, name)[expected]), name
    bounds = torch.tensor(sel).unsqueeze(1)
    assert (counts_of(found) <= bounds).all()
    assert int(counts_of(found).sum()) == len(expected)
    assert found.most_neighbours == tuple(counts_of(found).max(dim=1).values.tolist())
    within_sel(found, config(sel=sel))


def test_rules_differ_where_all_slots_are_full():
    potential = model(**ROOM)
    batch = batch_of(water(5, natoms=14), potential)
    kept = [
        len(within_sel(batch, config(sel=(9, 4)), overflow=rule).edge_i)
        for rule in ("deepmd", "deepmd-tf")
    ]
    assert kept[0] < kept[1]


def test_mixed_slots_hold_any_type():
    mixed = ModelConfig(
        type_map=("O", "H"),
        descriptor=SeAttenConfig(rcut=4.0, sel=(6,), neuron=(4, 8), axis_neuron=2),
        fitting=config().fitting,
    )
    batch = batch_of(water(1), model(**ROOM))
    with pytest.raises(ModelError, match="neighbours within 4 Å"):
        within_sel(batch, mixed)
    found = within_sel(batch, mixed, overflow="deepmd")
    squared = (batch.edge_vec**2).sum(dim=1)
    for atom in range(len(batch.atype)):
        here = found.edge_i == atom
        nearest = torch.sort(squared[batch.edge_i == atom]).values[:6]
        kept = torch.sort((found.edge_vec[here] ** 2).sum(dim=1)).values
        assert torch.equal(kept, nearest)


def test_lists_and_batches_are_cut_alike():
    potential, frames = model(**ROOM), water(5, natoms=14)
    (found,) = neighbours_of(frames, potential.rcut)
    vectors = edge_vectors(frames.coord, frames.box[0], found)
    atype = atom_types(frames.z, potential.type_map)
    few = config(sel=(4, 6))
    cut = nearest_neighbours(found, vectors, atype, few.descriptor, overflow="deepmd")
    batch = within_sel(batch_of(frames, potential), few, overflow="deepmd")
    pairs = sorted(zip(cut.edge_i.tolist(), cut.edge_j.tolist(), strict=True))
    assert pairs == sorted(
        zip(batch.edge_i.tolist(), batch.edge_j.tolist(), strict=True)
    )


def test_a_lone_atom_has_nothing_too_much():
    potential = model(sel=(1, 1))
    batch = batch_of(water(4, natoms=1, box=None), potential)
    assert within_sel(batch, potential.config, overflow="deepmd") is batch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sel", "rule", "suffix"),
    [
        ((12, 6), "deepmd", "pth"),
        ((9, 4), "deepmd", "pth"),
        ((9, 4), "deepmd-tf", "pb"),
    ],
)
def test_truncated_predictions_are_those_of_deepmd_kit(
    deepmd_python, sel, rule, suffix, tmp_path
):
    # TensorFlow has no shortcut where a layer of the fitting net doubles its width.
    plain = config(sel=sel)
    plain = replace(plain, fitting=replace(plain.fitting, neuron=(10, 10)))
    potential = DeepPotential.initialise(plain, statistics(), 5)
    frames = concatenate([water(seed, natoms=14) for seed in range(3)])
    batch = batch_of(frames, potential)
    limited = within_sel(batch, potential.config, overflow=rule)
    assert len(limited.edge_i) < len(batch.edge_i)
    write_deepmd(tmp_path / "m.dp", potential)
    np.savez(
        tmp_path / "frames.npz",
        coord=frames.coord.reshape(3, -1),
        box=frames.box.reshape(3, 9),
        atype=atom_types(frames.z, potential.type_map)[:14],
    )
    files = ("m.dp", f"m.{suffix}", "frames.npz", "out.npz")
    done = subprocess.run(
        [deepmd_python, "-c", PEER, *(str(tmp_path / name) for name in files)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "DP_INTERFACE_PREC": "high"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = np.load(tmp_path / "out.npz")
    ours = potential.energy_and_forces(limited)
    np.testing.assert_allclose(ours.energy, theirs["energy"].ravel(), 1e-12, 1e-10)
    np.testing.assert_allclose(ours.force, theirs["force"].reshape(-1, 3), 0, 1e-10)
    virial = theirs["virial"].reshape(-1, 3, 3)
    np.testing.assert_allclose(
        ours.virial, virial, 0, 1e-10 * (np.abs(virial).max() + 1)
    )
