"""Make the models that all sides share: trained, frozen and compressed by DeePMD-kit.

TensorFlow trains shortly, because only what it trained itself can it compress; the
frozen graph becomes a ``.dp`` file, which dpbench reads: the same model on all sides.
"""

import json
import os
import subprocess
from pathlib import Path

from benchmarks.turns.process import ROOT

SETTINGS = ROOT / "benchmarks" / "water_parity" / "input.json"

PLAIN, COMPRESSED, NEUTRAL, OURS = "plain.pb", "compressed.pb", "plain.dp", "m.pth"


def make_models(
    folder: Path, *, data: Path, dp: Path, precision: str, steps: int
) -> None:
    """Train, freeze, compress and convert; what is there already stays.

    Args:
        folder: Where the models go.
        data: Holds ``data_0`` and on.
        dp: Folder of DeePMD-kit's programs.
        precision: Of the nets.
        steps: Of the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / COMPRESSED).exists():
        config = json.loads(SETTINGS.read_text().replace("DATA", str(data.resolve())))
        for section in (config["model"]["descriptor"], config["model"]["fitting_net"]):
            section["precision"] = precision
        config["training"] |= {"numb_steps": steps, "save_freq": steps}
        (folder / "input.json").write_text(json.dumps(config, indent=1))
        run(dp, folder, "--tf", "train", "input.json")
        run(dp, folder, "--tf", "freeze", "-o", PLAIN)
        run(dp, folder, "--tf", "compress", "-i", PLAIN, "-o", COMPRESSED)
    if not (folder / NEUTRAL).exists():
        run(dp, folder, "convert-backend", PLAIN, NEUTRAL)
    if not (folder / OURS).exists():
        from dpbench.models.checkpoint import save_model
        from dpbench.models.deepmd_file import read_deepmd

        save_model(folder / OURS, read_deepmd(folder / NEUTRAL), {})


def run(dp: Path, folder: Path, *command: str) -> None:
    """Run ``dp``; its output goes to a log beside the models."""
    done = subprocess.run(
        [str(dp / "dp"), *command],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (folder / f"{command[1]}.log").write_text(done.stdout)
    if done.returncode:
        raise SystemExit(f"dp {' '.join(command)}: {done.stdout[-2000:]}")
