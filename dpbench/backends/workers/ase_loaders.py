"""Potentials of the field whose calculators need more than a call of their class.

Imported by ``ase_calculator.py`` in the environment of the package. A loader takes the
file of weights (None: what the package ships), and returns the calculator with what it
tells of itself. No argument of a loader names a file or an address: whatever is opened
is the file that was checked.
"""

import contextlib
import io
import json
import typing
from pathlib import Path
from typing import Any, Callable

from serve import Refused

FLOATS = ("float32", "float64")


def load(name: str, asked: dict, weights: Any) -> dict:
    """Make the calculator of a package.

    Args:
        name: A key of ``LOADERS``.
        asked: ``arguments``, ``device`` and ``precision``.
        weights: The file, or None.

    Raises:
        Refused: If the package, the arguments or the file do not allow it.
    """
    if name not in LOADERS:
        raise Refused(f"unknown loader {name!r}; expected one of {sorted(LOADERS)}")
    loader, allowed = LOADERS[name]
    arguments = asked.get("arguments", {})
    unknown = sorted(set(arguments) - set(allowed))
    if unknown:
        raise Refused(
            f"{name}: unknown argument {unknown[0]!r}; expected one of {list(allowed)}"
        )
    precision = asked.get("precision")
    if precision not in (None, *FLOATS):
        raise Refused(f"precision = {precision!r}; expected one of {list(FLOATS)}")
    with contextlib.redirect_stdout(io.StringIO()):  # greetings
        try:
            opened = loader(
                None if weights is None else str(weights),
                device=asked.get("device", "cpu"),
                precision=precision,
                arguments=arguments,
            )
        except ImportError as error:
            raise Refused(f"{name} does not import: {error}") from error
    what = "what the package ships" if weights is None else Path(weights).name
    shown = f" {json.dumps(arguments, sort_keys=True)}" if arguments else ""
    return {"backend": name, "description": f"{name}: {what}{shown}", **opened}


def _mace(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Files of whole models, ``torch.save``d; e3nn 0.4.4 unpickles a table of its own.

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 must be set before torch is imported.
    """
    from mace.calculators import MACECalculator

    calculator = MACECalculator(
        model_paths=_needed("mace", weights),
        device=device,
        default_dtype=precision or "",
        **arguments,
    )
    return {
        "calculator": calculator,
        "type_map": _symbols(calculator.z_table.zs),
        "rcut": float(calculator.r_max),
        "precision": str(calculator.default_dtype),
        "packages": ("mace-torch", "e3nn", "torch"),
    }


def _nequip(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Compiled models, packages and checkpoints, of NequIP and of its Allegro."""
    from nequip.integrations.ase import NequIPCalculator

    _no_choice("nequip", precision)
    path = _needed("nequip", weights)
    if path.endswith((".nequip.pth", ".nequip.pt2")):
        calculator = NequIPCalculator.from_compiled_model(path, device=device)
    elif path.endswith((".nequip.zip", ".ckpt")):
        calculator = NequIPCalculator._from_saved_model(path, device=device)
    else:
        raise Refused(
            f"{Path(path).name}: expected .nequip.pth or .nequip.pt2 (compiled), "
            ".nequip.zip (packaged) or .ckpt (checkpoint)"
        )
    names = _first(calculator.transforms, "model_type_names")
    rcut = _first(calculator.transforms, "r_max")
    return {
        "calculator": calculator,
        "type_map": [] if names is None else list(names),
        "rcut": None if rcut is None else float(rcut),
        "precision": _dtype(calculator.model),  # frozen TorchScript does not tell
        "packages": ("nequip", "nequip-allegro", "e3nn", "torch"),
    }


def _sevennet(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Checkpoints; four pretrained ones ship with the package."""
    from sevenn.calculator import SevenNetCalculator

    _no_choice("sevennet", precision)
    ships = ("7net-0", "7net-0_22may2024", "7net-l3i5", "7net-mf-0")
    name = arguments.get("model", "7net-0")
    if weights is not None and "model" in arguments:
        raise Refused("sevennet: expected a file or the name of a model, not both")
    if name not in ships:
        raise Refused(f"sevennet: the package ships {list(ships)}, not {name!r}")
    calculator = SevenNetCalculator(
        model=weights or name, device=device, modal=arguments.get("modal")
    )
    return {
        "calculator": calculator,
        "type_map": _symbols(sorted(calculator.type_map)),
        "rcut": float(calculator.cutoff),
        "precision": "float32",
        "packages": ("sevenn", "e3nn", "torch"),
    }


def _chgnet(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Checkpoints; three pretrained ones ship with the package."""
    from chgnet.model import CHGNet
    from chgnet.model.dynamics import CHGNetCalculator

    _no_choice("chgnet", precision)
    ships = ("0.3.0", "0.2.0", "r2scan")
    name = arguments.get("model", "0.3.0")
    if weights is not None and "model" in arguments:
        raise Refused("chgnet: expected a file or the name of a model, not both")
    if name not in ships:
        raise Refused(f"chgnet: the package ships {list(ships)}, not {name!r}")
    model = (
        CHGNet.from_file(weights)
        if weights is not None
        else CHGNet.load(model_name=name, use_device=device, verbose=False)
    )
    calculator = CHGNetCalculator(
        model=model, use_device=device, return_site_energies=True
    )
    return {
        "calculator": calculator,
        "type_map": _symbols(range(1, 95)),
        "rcut": float(model.graph_converter.atom_graph_cutoff),
        "precision": "float32",
        "packages": ("chgnet", "pymatgen", "torch"),
        "only_periodic": True,  # pymatgen's Structure repeats whatever it is given
    }


def _orb(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Weights of one of the architectures that the package names, e.g. orb_v3_..."""
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.calculator import ORBCalculator

    path = _needed("orb", weights)
    name = str(arguments.get("architecture", "")).replace("-", "_")
    if not name.startswith("orb_v") or not hasattr(pretrained, name):
        known = [
            n for n in dir(pretrained) if n.startswith("orb_v") and "arch" not in n
        ]
        raise Refused(f"orb: architecture = {name!r}; expected one of {known}")
    model = getattr(pretrained, name)(
        weights_path=path,
        device=device,
        precision="float64" if precision == "float64" else "float32-highest",
        compile=False,
    )
    calculator = ORBCalculator(model, device=device)
    return {
        "calculator": calculator,
        "type_map": _symbols(range(1, 119)),
        "rcut": float(calculator.system_config.radius),
        "precision": precision or "float32",
        "packages": ("orb-models", "torch"),
    }


def _mattersim(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Checkpoints of its M3GNet."""
    from mattersim.forcefield import MatterSimCalculator, Potential

    _no_choice("mattersim", precision)
    potential = Potential.from_checkpoint(
        _needed("mattersim", weights), device=device, load_training_state=False
    )
    calculator = MatterSimCalculator(potential=potential, device=device)
    sizes = potential.model.model_args
    return {
        "calculator": calculator,
        "type_map": _symbols(range(1, int(sizes["max_z"]) + 1)),
        "rcut": float(sizes["cutoff"]),
        "precision": "float32",
        "packages": ("mattersim", "torch"),
    }


def _schnetpack(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Whole models, ``torch.save``d; they do not tell their elements and units."""
    import torch
    import torch.utils.data.dataloader as loading

    if not hasattr(loading, "T_co"):  # SchNetPack 2.1.1 imports it; torch 2.11 lost it
        loading.T_co = typing.TypeVar("T_co", covariant=True)
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import ASENeighborList

    path = _needed("schnetpack", weights)
    units = {key: arguments.get(key) for key in ("energy_unit", "position_unit")}
    for key, unit in units.items():
        if not unit:
            raise Refused(
                f"schnetpack: expected the argument {key!r}, e.g. 'eV', 'Ang'"
            )
    model = torch.load(path, map_location="cpu", weights_only=False)
    rcut = float(model.representation.cutoff)
    calculator = SpkCalculator(
        path,
        neighbor_list=ASENeighborList(cutoff=rcut),
        stress_key="stress",
        energy_key=arguments.get("energy_key", "energy"),
        force_key=arguments.get("force_key", "forces"),
        device=device,
        dtype=getattr(torch, precision or "float64"),
        **units,
    )
    return {
        "calculator": calculator,
        "rcut": rcut,
        "precision": precision or "float64",
        "packages": ("schnetpack", "torch"),
    }


def _torchani(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Whole models, ``torch.save``d; energies are Hartree inside, eV outside."""
    import torch

    path = _needed("torchani", weights)
    model = torch.load(path, map_location=device, weights_only=False)
    if not hasattr(model, "ase"):
        raise Refused(f"torchani: {Path(path).name} holds a {type(model).__name__}")
    if precision is not None:
        model = model.to(getattr(torch, precision))
    return {
        "calculator": model.ase(**arguments),
        "type_map": list(model.symbols),
        "rcut": float(model.cutoff),
        "precision": _dtype(model),
        "packages": ("torchani", "torch"),
    }


def _nep(weights: Any, *, device: str, precision: Any, arguments: dict) -> dict:
    """Text files of GPUMD's neuroevolution potentials, by calorine's CPU code."""
    from calorine.calculators import CPUNEP

    _no_choice("nep", precision)
    path = _needed("nep", weights)
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    head = {line.split()[0]: line.split()[1:] for line in lines[:3] if line.split()}
    try:
        types = lines[0].split()[2:]
        rcut = float(head["cutoff"][0])
        calculator = CPUNEP(path)
    except (ValueError, OSError, LookupError) as error:
        raise Refused(f"{Path(path).name}: {error}") from error
    return {
        "calculator": calculator,
        "type_map": types,
        "rcut": rcut,
        "precision": "float64",
        "device": "cpu",
        "packages": ("calorine",),
        "only_periodic": True,  # nep_cpu repeats whatever it is given
    }


Loader = Callable[..., dict]

LOADERS: dict[str, tuple[Loader, tuple[str, ...]]] = {
    "mace": (_mace, ("head",)),
    "nequip": (_nequip, ()),
    "sevennet": (_sevennet, ("model", "modal")),
    "chgnet": (_chgnet, ("model",)),
    "orb": (_orb, ("architecture",)),
    "mattersim": (_mattersim, ()),
    "schnetpack": (
        _schnetpack,
        ("energy_unit", "position_unit", "energy_key", "force_key"),
    ),
    "torchani": (_torchani, ("stress_kind",)),
    "nep": (_nep, ()),
}
"""Loader and names of its arguments, by name."""


def _first(transforms: Any, name: str) -> Any:
    """Return the attribute of the first of NequIP's transforms that has it."""
    return next((getattr(one, name) for one in transforms if hasattr(one, name)), None)


def _dtype(model: Any) -> Any:
    """Return the kind of numbers that a model's parameters are; None without any."""
    first = next(iter(model.parameters()), None)
    return None if first is None else str(first.dtype).replace("torch.", "")


def _needed(name: str, weights: Any) -> str:
    if weights is None:
        raise Refused(f"{name}: ships no model; expected a file of weights")
    return str(weights)


def _no_choice(name: str, precision: Any) -> None:
    if precision is not None:
        raise Refused(f"{name}: the precision is the model's; leave 'precision' out")


def _symbols(numbers: Any) -> list:
    from ase.data import chemical_symbols

    return [chemical_symbols[int(number)] for number in numbers]
