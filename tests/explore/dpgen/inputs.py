"""Inputs of ``dpgen run`` for tests, in a folder with what they name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.io import write

TRAINING: dict[str, Any] = {
    "model": {
        "type_map": ["Al", "Mg"],
        "descriptor": {
            "type": "se_e2_a",
            "sel": [40, 40],
            "rcut": 6.0,
            "rcut_smth": 2.0,
            "neuron": [10, 20],
            "axis_neuron": 4,
        },
        "fitting_net": {"neuron": [20, 20]},
    },
    "learning_rate": {
        "type": "exp",
        "start_lr": 1e-3,
        "stop_lr": 1e-6,
        "decay_steps": 100,
    },
    "loss": {
        "start_pref_e": 0.02,
        "limit_pref_e": 1,
        "start_pref_f": 1000,
        "limit_pref_f": 1,
    },
    "training": {"numb_steps": 3000, "disp_freq": 100, "save_freq": 1000},
}
"""Input of DeePMD-kit 2 and later, as DP-GEN takes it."""

JOBS = [
    {
        "_idx": 0,
        "sys_idx": [0],
        "temps": [300, 600],
        "press": [1.0, 10000.0],
        "trj_freq": 10,
        "nsteps": 1000,
        "ensemble": "npt",
    },
    {
        "_idx": 1,
        "sys_idx": ["0-2"],
        "temps": [900],
        "trj_freq": 20,
        "nsteps": 3000,
        "ensemble": "nvt",
    },
]

PWSCF: dict[str, Any] = {
    "fp_style": "pwscf",
    "fp_pp_path": "pp",
    "fp_pp_files": ["Al.upf", "Mg.upf"],
    "user_fp_params": {
        "_comment": "of no effect",
        "control": {"calculation": "scf", "outdir": "./OUT", "max_seconds": 100},
        "system": {"ecutwfc": 30, "occupations": "smearing", "degauss": 0.02},
        "electrons": {"conv_thr": 1e-8},
        "kspacing": 0.3,
    },
}

MACHINE: dict[str, Any] = {
    "api_version": "1.0",
    "train": {"command": "dp", "machine": {"batch_type": "Slurm"}},
    "model_devi": [{"command": "lmp", "machine": {"batch_type": "Shell"}}],
    "fp": {
        "command": "mpirun -n 4 pw.x < input",
        "machine": {"batch_type": "Slurm", "context_type": "SSH"},
        "resources": {"group_size": 10, "source_list": ["env.sh"]},
    },
}


def write_run(folder: Path, **more: Any) -> Path:
    """Write ``param.json`` and the files that it names; ``more`` are its keys.

    Returns:
        Path of ``param.json``.
    """
    for number in range(2):
        for index in range(2):
            place = folder / "confs" / f"sys{number}" / f"{index:06d}"
            place.mkdir(parents=True, exist_ok=True)
            atoms = bulk("Al", "fcc", a=4.0 + 0.1 * index, cubic=True)
            atoms.symbols[number] = "Mg"
            write(place / "POSCAR", atoms, format="vasp", sort=True)
    (folder / "pp").mkdir(exist_ok=True)
    for name in ("Al.upf", "Mg.upf"):
        header = '<UPF version="2.0.1">\n<PP_HEADER functional="PBE"/>\n</UPF>\n'
        (folder / "pp" / name).write_text(header)
    system = folder / "init" / "a" / "set.000"
    system.mkdir(parents=True, exist_ok=True)
    np.save(system / "coord.npy", np.zeros((1, 6)))
    content: dict[str, Any] = {
        "type_map": ["Al", "Mg"],
        "mass_map": [26.98, 24.3],
        "init_data_prefix": "init",
        "init_data_sys": ["a"],
        "sys_configs_prefix": "confs",
        "sys_configs": [["sys0/*/POSCAR"], ["sys1/*/POSCAR"]],
        "numb_models": 4,
        "default_training_param": TRAINING,
        "model_devi_dt": 0.002,
        "model_devi_skip": 0,
        "model_devi_f_trust_lo": 0.05,
        "model_devi_f_trust_hi": 0.2,
        "model_devi_clean_traj": True,
        "model_devi_jobs": JOBS,
        "fp_task_max": 20,
        "fp_task_min": 5,
    }
    content |= PWSCF | more
    path = folder / "param.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


def write_machine(folder: Path, **more: Any) -> Path:
    """Write ``machine.json``; ``more`` are its keys."""
    path = folder / "machine.json"
    path.write_text(json.dumps(MACHINE | more))
    return path
