"""Tiny models of the packages of the field, and their calculators called directly.

    python field_models.py make NAME FOLDER       writes a model; prints its file's name
    python field_models.py ask NAME MODEL IN OUT  energies, forces, stresses of frames

Run by the interpreter of each package's environment; knows nothing of dpbench.
"""

import json
import os
import sys
import typing
from pathlib import Path

import numpy as np

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # read when torch is imported

ELEMENTS = ("Al", "Cu")


def make_mace(folder: Path) -> str:
    import torch
    from e3nn import o3
    from mace import modules

    torch.set_default_dtype(torch.float64)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=4.5,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=1,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=2,
        hidden_irreps=o3.Irreps("4x0e + 4x1o"),
        MLP_irreps=o3.Irreps("4x0e"),
        atomic_energies=np.array([[-1.0, -2.0]]),
        avg_num_neighbors=10.0,
        atomic_numbers=[13, 29],
        correlation=2,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=[1.0],
        atomic_inter_shift=[0.0],
    )
    torch.save(model, folder / "mace.model")
    return "mace.model"


def ask_mace(path: str):
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=path, device="cpu", default_dtype="float64")


NEQUIP = """
run: [train]
model_type_names: [Al, Cu]
data:
  _target_: nequip.data.datamodule.ASEDataModule
  seed: 1
  split_dataset: {{file_path: {folder}/data.xyz, train: 0.8, val: 0.2}}
  transforms:
    - _target_: nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper
      model_type_names: ${{model_type_names}}
    - {{_target_: nequip.data.transforms.NeighborListTransform, r_max: 4.0}}
  train_dataloader: {{_target_: torch.utils.data.DataLoader, batch_size: 4}}
  val_dataloader: {{_target_: torch.utils.data.DataLoader, batch_size: 4}}
trainer:
  _target_: lightning.Trainer
  accelerator: cpu
  max_epochs: 1
  logger: false
  enable_progress_bar: false
  callbacks:
    - _target_: lightning.pytorch.callbacks.ModelCheckpoint
      dirpath: {folder}
      save_last: true
training_module:
  _target_: nequip.train.EMALightningModule
  loss: {{_target_: nequip.train.EnergyForceLoss, per_atom_energy: true}}
  val_metrics: {{_target_: nequip.train.EnergyForceMetrics}}
  optimizer: {{_target_: torch.optim.Adam, lr: 0.01}}
  model:
    _target_: {target}
    seed: 1
    model_dtype: float64
    type_names: ${{model_type_names}}
    r_max: 4.0
    l_max: 1
    avg_num_neighbors: 12.0
    per_type_energy_shifts: 0.1
    per_type_energy_scales: 1.0
    {sizes}
global_options: {{allow_tf32: false}}
"""


def _train_nequip(folder: Path, target: str, sizes: str) -> str:
    import subprocess

    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.io import write

    rng, frames = np.random.default_rng(0), []
    for _ in range(5):
        atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
        atoms.symbols[1] = "Al"
        atoms.positions += 0.1 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    write(folder / "data.xyz", frames)
    text = NEQUIP.format(folder=folder, target=target, sizes=sizes)
    (folder / "train.yaml").write_text(text)
    command = [str(Path(sys.executable).with_name("nequip-train"))]
    command += ["-cp", str(folder), "-cn", "train", f"hydra.run.dir={folder}/run"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return "last.ckpt"


def make_nequip(folder: Path) -> str:
    sizes = "\n    ".join(
        ("num_bessels: 4", "num_layers: 1", "parity: true", "num_features: 4")
    )
    return _train_nequip(folder, "nequip.model.NequIPGNNModel", sizes)


def make_allegro(folder: Path) -> str:
    sizes = "\n    ".join(
        (
            "num_layers: 1",
            "num_scalar_features: 4",
            "num_tensor_features: 4",
            "allegro_mlp_hidden_layers_depth: 1",
            "allegro_mlp_hidden_layers_width: 8",
            "radial_chemical_embed: {_target_: allegro.nn.TwoBodyBesselScalarEmbed}",
        )
    )
    return _train_nequip(folder, "allegro.model.AllegroModel", sizes)


def ask_nequip(path: str):
    from nequip.integrations.ase import NequIPCalculator

    return NequIPCalculator._from_saved_model(path, device="cpu")


def ask_sevennet(path: str):
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


def ask_chgnet(path: str):
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def make_orb(folder: Path) -> str:
    import torch
    from orb_models.forcefield import pretrained

    model = pretrained.orb_v3_conservative_architecture(device="cpu")
    torch.save(model.state_dict(), folder / "orb.ckpt")
    return "orb.ckpt"


def ask_orb(path: str):
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.calculator import ORBCalculator

    model = pretrained.orb_v3_conservative_inf_omat(
        weights_path=path, device="cpu", precision="float64", compile=False
    )
    return ORBCalculator(model, device="cpu")


def make_mattersim(folder: Path) -> str:
    from mattersim.forcefield import Potential
    from mattersim.forcefield.m3gnet.m3gnet import M3Gnet

    model = M3Gnet(num_blocks=2, units=16, max_l=2, max_n=2, device="cpu")
    Potential(model, device="cpu").save(str(folder / "mattersim.pth"))
    return "mattersim.pth"


def ask_mattersim(path: str):
    from mattersim.forcefield import MatterSimCalculator

    return MatterSimCalculator.from_checkpoint(path, device="cpu")


def _mend_torch() -> None:
    """SchNetPack 2.1.1 imports a name that torch 2.11 and newer no longer have."""
    import torch.utils.data.dataloader as loading

    loading.T_co = typing.TypeVar("T_co", covariant=True)


def make_schnetpack(folder: Path) -> str:
    _mend_torch()
    import schnetpack as spk
    import torch
    from schnetpack.transform import CastTo64

    model = spk.model.NeuralNetworkPotential(
        representation=spk.representation.PaiNN(
            n_atom_basis=8,
            n_interactions=2,
            radial_basis=spk.nn.GaussianRBF(n_rbf=8, cutoff=4.5),
            cutoff_fn=spk.nn.CosineCutoff(4.5),
        ),
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(n_in=8, output_key="energy"),
            spk.atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
        postprocessors=[CastTo64()],
    )
    torch.save(model, folder / "spk.model")
    return "spk.model"


def ask_schnetpack(path: str):
    _mend_torch()
    import torch
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import ASENeighborList

    return SpkCalculator(
        path,
        neighbor_list=ASENeighborList(cutoff=4.5),
        stress_key="stress",
        energy_unit="kcal/mol",
        position_unit="Ang",
        dtype=torch.float64,
    )


def make_torchani(folder: Path) -> str:
    import torch
    from torchani.arch import simple_ani

    model = simple_ani(("H", "O"), lot="wb97x-631gd", self_energies="zero").double()
    torch.save(model, folder / "ani.pt")
    return "ani.pt"


def ask_torchani(path: str):
    import torch

    return torch.load(path, weights_only=False).ase()


def make_nep(folder: Path) -> str:
    rng = np.random.default_rng(0)
    types, n_max, basis, l_max, neurons = 2, (3, 2), (4, 4), 4, 4
    size = n_max[0] + 1 + (n_max[1] + 1) * l_max
    radial = [(n_max[i] + 1) * (basis[i] + 1) for i in (0, 1)]
    count = types * neurons * (size + 2) + 1 + types**2 * sum(radial)
    numbers = [*0.3 * rng.normal(size=count), *np.full(size, 0.1)]
    head = [
        f"nep4 2 {' '.join(ELEMENTS)}",
        "cutoff 5 4 120 80",
        f"n_max {n_max[0]} {n_max[1]}",
        f"basis_size {basis[0]} {basis[1]}",
        f"l_max {l_max} 0 0",
        f"ANN {neurons} 0",
    ]
    lines = head + [f"{number:.6e}" for number in numbers]
    (folder / "nep.txt").write_text("\n".join(lines) + "\n")
    return "nep.txt"


def ask_nep(path: str):
    from calorine.calculators import CPUNEP

    return CPUNEP(path)


def ask(name: str, path: str, given: str, out: str) -> None:
    """Evaluate the frames of one file by ASE's own calls; write another."""
    from ase import Atoms

    frames = np.load(given)
    found: dict = {"energy": [], "force": [], "stress": []}
    calculator = globals()[f"ask_{'nequip' if name == 'allegro' else name}"](path)
    for coord, box in zip(frames["coord"], frames["box"]):  # noqa: B905 -- Python 3.9
        atoms = Atoms(numbers=frames["z"], positions=coord, cell=box, pbc=True)
        atoms.calc = calculator
        found["energy"].append(float(np.ravel(atoms.get_potential_energy())[0]))
        found["force"].append(np.array(atoms.get_forces()))
        found["stress"].append(np.array(atoms.get_stress(voigt=False)))
    np.savez(out, **{key: np.array(value) for key, value in found.items()})


if __name__ == "__main__":
    if sys.argv[1] == "make":
        maker = globals().get(f"make_{sys.argv[2]}")
        if maker is not None and "torch" not in sys.modules and sys.argv[2] != "nep":
            import torch

            torch.manual_seed(0)
        print(json.dumps(maker(Path(sys.argv[3])) if maker is not None else None))
    else:
        ask(*sys.argv[2:6])
