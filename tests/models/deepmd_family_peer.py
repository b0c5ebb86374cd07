"""Runs inside DeePMD-kit's own environment: predicts, writes and measures models.

    python deepmd_family_peer.py TASK FOLDER

``predict``: FOLDER/*.dp on FOLDER/frames.npz to FOLDER/*.npz, and each model written
again by the PyTorch backend, as FOLDER/*.back.dp.
``fresh``: a new model of FOLDER/*.json (the section ``model`` of an input.json) with
statistics of FOLDER/frames.npz, to FOLDER/*.fresh.dp, and its predictions.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from deepmd.dpmodel.utils.serialization import save_dp_model
from deepmd.entrypoints.convert_backend import convert_backend
from deepmd.infer import DeepPot
from deepmd.pt.model.model import get_model


def evaluate(frozen: Path, frames) -> dict[str, np.ndarray]:
    """Energy, force and virial by DeepPot."""
    pot = DeepPot(str(frozen))
    extra = {}
    if pot.get_dim_fparam():
        extra["fparam"] = frames["fparam"]
    if pot.get_dim_aparam():
        extra["aparam"] = frames["aparam"]
    found = pot.eval(frames["coord"], frames["box"], frames["atype"], **extra)
    return dict(zip(("energy", "force", "virial"), found, strict=False))


def predict(folder: Path, frames) -> None:
    for path in sorted(folder.glob("*.dp")):
        frozen = path.with_suffix(".pth")
        convert_backend(INPUT=str(path), OUTPUT=str(frozen))
        np.savez(path.with_suffix(".npz"), **evaluate(frozen, frames))
        if not path.name.startswith("pair_table"):  # that needs the table's file
            back = path.with_suffix(".back.dp")
            convert_backend(INPUT=str(frozen), OUTPUT=str(back))


def samples(frames) -> dict[str, torch.Tensor]:
    """Frames as the statistics take them."""
    count = len(frames["coord"])
    atype = torch.tensor(frames["atype"], dtype=torch.int32)
    atype = atype.unsqueeze(0).expand(count, -1).contiguous()
    natoms = atype.shape[1]
    kinds = torch.bincount(atype[0].long(), minlength=2)
    row = torch.cat([torch.tensor([natoms, natoms]), kinds])
    return {
        "coord": torch.tensor(frames["coord"]).view(count, -1, 3),
        "atype": atype,
        "box": torch.tensor(frames["box"]).view(count, 9),
        "energy": torch.tensor(frames["energy"]).view(-1, 1),
        "natoms": row.unsqueeze(0).expand(count, -1).to(torch.int32),
        "find_energy": np.float32(1),
        "fparam": torch.tensor(frames["fparam"]),
        "find_fparam": np.float32(1),
        "aparam": torch.tensor(frames["aparam"]).view(count, natoms, -1),
        "find_aparam": np.float32(1),
    }


def fresh(folder: Path, frames) -> None:
    for path in sorted(folder.glob("*.json")):
        script = json.loads(path.read_text())
        torch.manual_seed(3)
        model = get_model(json.loads(path.read_text()))
        model.compute_or_load_stat(lambda: [samples(frames)])
        written = path.with_suffix(".fresh.dp")
        save_dp_model(
            str(written),
            {"model": model.serialize(), "model_def_script": script, "backend": "pt"},
        )
        frozen = path.with_suffix(".pth")
        convert_backend(INPUT=str(written), OUTPUT=str(frozen))
        np.savez(path.with_suffix(".npz"), **evaluate(frozen, frames))


if __name__ == "__main__":
    _, task, where = sys.argv
    work = {"predict": predict, "fresh": fresh}[task]
    work(Path(where), np.load(Path(where) / "frames.npz"))
