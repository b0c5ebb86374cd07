"""Runs inside DeePMD-kit's own environment: what our model is compared with.

    python deepmd_peer.py predict    MODEL.dp FRAMES.npz OUT.npz
    python deepmd_peer.py statistics MODEL.dp FRAMES.npz OUT.npz
    python deepmd_peer.py train      MODEL.dp FRAMES.npz OUT.npz

FRAMES.npz holds coord (frame, atom * 3), box (frame, 9) or none, atype (atom), labels
energy, force, virial, and for ``train`` the schedule as JSON and perhaps aparam.
Nothing of dpbench is imported: the two sides meet in files.
"""

import json
import sys

import numpy as np
import torch
from deepmd.dpmodel.utils.serialization import load_dp_model
from deepmd.entrypoints.convert_backend import convert_backend
from deepmd.infer import DeepPot
from deepmd.pt.loss.ener import EnergyStdLoss
from deepmd.pt.model.model import get_model
from deepmd.pt.model.model.model import BaseModel
from deepmd.pt.utils.learning_rate import LearningRateExp


def tensors(frames) -> dict[str, torch.Tensor]:
    """Frames as the PyTorch backend takes them."""
    count = len(frames["coord"])
    atype = torch.tensor(frames["atype"], dtype=torch.int32)
    found = {
        "coord": torch.tensor(frames["coord"]).view(count, -1, 3),
        "atype": atype.unsqueeze(0).expand(count, -1).contiguous(),
        "box": torch.tensor(frames["box"]).view(count, 9),
    }
    for name, shape in (("energy", (-1, 1)), ("force", (count, -1, 3))):
        found[name] = torch.tensor(frames[name]).view(*shape)
    found["virial"] = torch.tensor(frames["virial"]).view(count, 9)
    return found


def predict(model: str, frames) -> dict[str, np.ndarray]:
    """Energy, force and virial of the model converted to PyTorch."""
    frozen = model.replace(".dp", ".pth")
    convert_backend(INPUT=model, OUTPUT=frozen)
    box = frames["box"] if frames["box"].size else None
    energy, force, virial = DeepPot(frozen).eval(frames["coord"], box, frames["atype"])
    return {"energy": energy, "force": force, "virial": virial}


def statistics(model: str, frames) -> dict[str, np.ndarray]:
    """Mean, deviation and energy bias as a training run would compute them."""
    script = load_dp_model(model)["model_def_script"]
    fresh = get_model(script)
    sample = tensors(frames)
    count, natoms = sample["atype"].shape
    kinds = torch.bincount(sample["atype"][0].long(), minlength=2)
    row = torch.cat([torch.tensor([natoms, natoms]), kinds])
    sample["natoms"] = row.unsqueeze(0).expand(count, -1).to(torch.int32)
    sample |= {"find_energy": np.float32(1), "find_force": np.float32(1)}
    fresh.compute_or_load_stat(lambda: [sample])
    data = fresh.serialize()
    variables = data["descriptor"]["@variables"]
    bias = data["@variables"]["out_bias"].reshape(-1)
    bias = bias + data["fitting"]["@variables"]["bias_atom_e"].reshape(-1)
    return {"davg": variables["davg"], "dstd": variables["dstd"], "bias": bias}


def train(model: str, frames) -> dict[str, np.ndarray]:
    """Loss before each Adam step, and all parameters after the last."""
    setting = json.loads(str(frames["setting"]))
    learner = BaseModel.deserialize(load_dp_model(model)["model"])
    rates = LearningRateExp(
        start_lr=setting["start_lr"],
        stop_lr=setting["stop_lr"],
        decay_steps=setting["decay_steps"],
        num_steps=setting["steps"],
    )
    loss_function = EnergyStdLoss(
        starter_learning_rate=setting["start_lr"], **setting["prefactors"]
    )
    batch = tensors(frames)
    inputs = {name: batch[name] for name in ("coord", "atype", "box")}
    if learner.get_dim_aparam():
        shape = (*batch["atype"].shape, -1)
        inputs["aparam"] = torch.tensor(frames["aparam"]).view(*shape)
    labels = {name: batch[name] for name in ("energy", "force", "virial")}
    labels |= {f"find_{name}": 1.0 for name in ("energy", "force", "virial")}
    adam = torch.optim.Adam(learner.parameters(), lr=setting["start_lr"])
    losses = []
    for step in range(setting["steps"]):
        rate = float(rates.value(step))
        for group in adam.param_groups:
            group["lr"] = rate
        adam.zero_grad()
        _, loss, _ = loss_function(
            inputs, learner, labels, natoms=batch["atype"].shape[1], learning_rate=rate
        )
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    return {"losses": np.array(losses), **flat(learner.serialize())}


def flat(data: dict) -> dict[str, np.ndarray]:
    """Every parameter under the name that dpbench gives it."""
    nets = {
        "embedding": data["descriptor"]["embeddings"]["networks"],
        "fitting": data["fitting"]["nets"]["networks"],
    }
    return {
        f"{kind}.{index}.{position}.{name}": value
        for kind, networks in nets.items()
        for index, net in enumerate(networks)
        for position, layer in enumerate(net["layers"])
        for name, value in layer["@variables"].items()
        if value is not None
    }


if __name__ == "__main__":
    _, task, model_file, frames_file, out_file = sys.argv
    work = {"predict": predict, "statistics": statistics, "train": train}[task]
    np.savez(out_file, **work(model_file, np.load(frames_file)))
