"""``python -m deepmd``: trains nothing, and writes what DeePMD-kit would."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

MODE = os.environ["FAKE_MODE"]
HEAD = (
    "# step rmse_val rmse_trn rmse_e_val rmse_e_trn rmse_f_val rmse_f_trn rmse_v_val "
    "rmse_v_trn lr\n# If there is no available reference data, nan\n"
)


def train() -> None:
    """Read all frames it is given, write a curve and a checkpoint."""
    config = json.loads(Path("input.json").read_text())
    training = config["training"]
    frames = {}
    for part in ("training_data", "validation_data"):
        systems = training.get(part, {}).get("systems", [])
        frames[part] = sum(len(np.load(f"{s}/set.000/energy.npy")) for s in systems)
    Path("seen.json").write_text(json.dumps(frames))
    devices = {k: v for k, v in os.environ.items() if k.endswith("_VISIBLE_DEVICES")}
    Path("devices.json").write_text(json.dumps(devices))
    steps = training["numb_steps"]
    with Path("lcurve.out").open("w") as curve:
        curve.write(HEAD)
        for step in range(0, steps + 1, 5):
            if MODE == "crash" and step == 10:
                raise FloatingPointError("the well ran dry")
            total = "nan" if MODE == "nan" and step >= 10 else "1.0"
            curve.write(f"{step} {total} {total} 2e-2 1e-2 4e-1 3e-1 6e-2 5e-2 1e-3\n")
            curve.flush()
            if MODE in ("hang", "nan") and step == 10:
                Path("model.ckpt-10.pt").write_bytes(b"weights")
                print("hanging", flush=True)
                time.sleep(600)
    Path("model.ckpt.pt").write_bytes(b"weights")
    time.sleep(0.5)  # long enough to be seen


def main(words: list) -> int:
    """Do as ``dp`` does."""
    words = [word for word in words if word not in ("--pt", "--tf")]
    print("DEEPMD INFO", *words, flush=True)
    if words[0] == "train":
        train()
    elif words[0] == "freeze":
        if MODE == "lazy":
            return 0
        Path(words[2]).write_bytes(b"frozen " + Path("model.ckpt.pt").read_bytes())
    elif words[0] == "convert-backend":
        if MODE == "stubborn":
            raise NotImplementedError("DescrptHybrid has no serialize")
        import h5py

        with h5py.File(words[2], "w") as file:
            file["0"], file["1"] = np.ones((3, 4)), np.ones(7)
            tree = {"net": [{"@variables": {"w": "0", "davg": "1"}}]}
            file.attrs["json"] = json.dumps({"model": tree})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
