"""The input.json of each seed, the same for both sides."""

import json
from pathlib import Path

SEEDS = [1000, 2000, 3000, 4000, 5000]
"""Far apart: DeePMD-kit's TensorFlow backend numbers its layers from the seed, so that
neighbouring seeds share most of their draws."""

HERE = Path(__file__).resolve().parent


def write_input(folder: Path, data: Path, seed: int) -> None:
    """Write ``input.json`` of a seed into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (HERE / "input.json").read_text()
    config = json.loads(text.replace("DATA", str(data.resolve())))
    for section in (config["model"]["descriptor"], config["model"]["fitting_net"]):
        section["seed"] = seed
    config["training"]["seed"] = seed
    (folder / "input.json").write_text(json.dumps(config, indent=1))
