"""The four tasks of the race: which frames train, which are scored, which net."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpbench.frames import Frames, concatenate, uniform
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig

NUMBERS = {"H": 1, "O": 8, "Mg": 12, "Al": 13, "Si": 14, "Mo": 42}

MOST = {"Si": 44, "Mo": 72, "Al": 80, "Mg": 80}
"""Neighbour slots: a little above the most that occur; they only scale the net."""

KBAR = 0.0006241509125883258
"""eV/Å^3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Frames and net of one task; the scored frames take no part in training."""

    name: str
    """Its name."""
    train: Frames
    """Frames to learn from."""
    test: Frames
    """Frames that are scored once, at the end."""
    config: ModelConfig
    """The net."""
    has_virial: bool
    """Whether virials are trained."""


def load_task(name: str, data: Path) -> Task:
    """Read a task from the folder of shared data."""
    if name == "water":
        return water(data)
    if name in ("Si", "Mo"):
        return mlearn(name, data)
    if name == "AlMg":
        return aluminium_magnesium(data)
    raise SystemExit(f"task {name}: unknown; expected water, Si, Mo or AlMg")


def water(data: Path) -> Task:
    """Liquid water; train data_0 to data_2, score data_3; the net of the peer's run."""
    root = data / "thirdparty/deepmd_water/data"
    return Task(
        name="water",
        train=concatenate([deepmd_system(root / f"data_{i}") for i in range(3)]),
        test=deepmd_system(root / "data_3"),
        config=large_net(("O", "H"), sel=(46, 92), rcut=6.0),
        has_virial=False,
    )


def mlearn(element: str, data: Path) -> Task:
    """Silicon or molybdenum of the mlearn set, with its own train and test files."""
    root = data / "thirdparty/mlearn" / element
    train, test = (
        concatenate([mlearn_frame(entry) for entry in json.loads(path.read_text())])
        for path in (root / "training.json", root / "test.json")
    )
    config = default_net((element,), sel=(MOST[element],), rcut=5.5)
    return Task(name=element, train=train, test=test, config=config, has_virial=True)


def aluminium_magnesium(data: Path) -> Task:
    """Al-Mg cells of four atoms; the 900 K runs of two compositions are scored."""
    root = data / "generated/npy/almg_qe_lda"
    held = ("Al2Mg2_fcc_900K", "Al3Mg1_fcc_900K")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    train, test = (
        concatenate([deepmd_system(p) for p in folders if (p.name in held) == is_test])
        for is_test in (False, True)
    )
    sel = (MOST["Al"], MOST["Mg"])
    config = default_net(("Al", "Mg"), sel=sel, rcut=6.0)
    return Task(name="AlMg", train=train, test=test, config=config, has_virial=True)


def large_net(
    type_map: tuple[str, ...], *, sel: tuple[int, ...], rcut: float
) -> ModelConfig:
    """The net of the peer's examples, in float32."""
    return ModelConfig(
        type_map=type_map,
        descriptor=SeE2AConfig(
            rcut=rcut, rcut_smth=0.5, sel=sel, neuron=(25, 50, 100), axis_neuron=16
        ),
        fitting=EnergyFittingConfig(neuron=(240, 240, 240)),
        precision="float32",
    )


def default_net(
    type_map: tuple[str, ...], *, sel: tuple[int, ...], rcut: float
) -> ModelConfig:
    """The net that training takes where none is stated, in float32."""
    return ModelConfig(
        type_map=type_map,
        descriptor=SeE2AConfig(
            rcut=rcut, rcut_smth=0.5, sel=sel, neuron=(16, 32, 64), axis_neuron=8
        ),
        fitting=EnergyFittingConfig(neuron=(64, 64, 64)),
        precision="float32",
    )


def deepmd_system(folder: Path) -> Frames:
    """Read all frames of a deepmd/npy system."""
    kinds = np.loadtxt(folder / "type.raw", dtype=int, ndmin=1)
    symbols = (folder / "type_map.raw").read_text().split()
    arrays = {
        path.stem: np.load(path).astype(np.float64)
        for path in (folder / "set.000").glob("*.npy")
    }
    count = len(arrays["coord"])
    virial = arrays.get("virial")
    return uniform(
        z=np.array([NUMBERS[symbols[kind]] for kind in kinds]),
        coord=arrays["coord"].reshape(count, -1, 3),
        box=arrays["box"].reshape(count, 3, 3),
        energy=arrays["energy"].ravel(),
        force=arrays["force"].reshape(count, -1, 3),
        virial=None if virial is None else virial.reshape(count, 3, 3),
    )


def mlearn_frame(entry: dict) -> Frames:
    """Turn one entry of an mlearn file into a frame."""
    structure, outputs = entry["structure"], entry["outputs"]
    box = np.array(structure["lattice"]["matrix"])
    symbols = [site["species"][0]["element"] for site in structure["sites"]]
    xx, yy, zz, xy, yz, zx = np.array(outputs["virial_stress"])
    stress = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
    return uniform(
        z=np.array([NUMBERS[symbol] for symbol in symbols]),
        coord=np.array([[site["xyz"] for site in structure["sites"]]]),
        box=box[np.newaxis],
        energy=np.array([outputs["energy"]]),
        force=np.array([outputs["forces"]]),
        virial=(stress * KBAR * abs(np.linalg.det(box)))[np.newaxis],
    )
