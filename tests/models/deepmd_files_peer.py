"""Runs inside DeePMD-kit's own environment: converts files, and changes a bias.

python deepmd_files_peer.py convert SOURCE TARGET [SOURCE TARGET ...]
python deepmd_files_peer.py change-bias MODEL.pth SYSTEM TARGET.dp
"""

import sys
from pathlib import Path

from deepmd.entrypoints.convert_backend import convert_backend


def change_bias(model: str, system: str, target: str) -> None:
    """Refit the output bias on a system, by DeePMD-kit's own command."""
    from deepmd.pt.entrypoints.main import change_bias

    changed = Path(target).with_suffix(".changed.pth")
    change_bias(
        input_file=model,
        mode="change",
        system=system,
        output=str(changed),
    )
    convert_backend(INPUT=str(changed), OUTPUT=target)


if __name__ == "__main__":
    _, task, *names = sys.argv
    if task == "change-bias":
        change_bias(*names)
    else:
        for source, target in zip(names[::2], names[1::2], strict=True):
            convert_backend(INPUT=source, OUTPUT=target)
