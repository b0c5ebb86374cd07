"""A package, its wheel and its card: all that an install needs, without a network."""

import shutil
import zipfile
from pathlib import Path

ADAPTER = Path(__file__).with_name("lennard_jones_worker.py")

CARD = """
name = "{name}"
title = "Tiny potential"
licence = "MIT"
homepage = "https://example.org/tinypot"
python = "{python}"
requirements = ["{requirement}"]
adapter = "tiny_adapter.py"
suffixes = [".tiny"]
imports = "{imports}"
facts = ["tinypot:BUILD", "tinypot:flags", "tinypot:nothing"]
{more}
[env]
TINY_FOLDER = "{{site}}/tinypot"
TINY_PATH = "{{prefix}}/lib:{{old}}"
"""

MODULE = """
BUILD = {"compiler": "none", "threads": 1}
def flags():
    print("what a package prints does no harm")
    return ["-O2"]
"""


def make_wheel(folder: Path, version: str = "1.2.3", *, module: str = MODULE) -> None:
    """Write a wheel of ``tinypot`` by hand: no build tool is asked."""
    folder.mkdir(exist_ok=True)
    info = f"tinypot-{version}.dist-info"
    files = {
        "tinypot/__init__.py": module,
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: tinypot\nVersion: {version}\n"
        ),
        f"{info}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n"
        ),
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"tinypot-{version}-py3-none-any.whl", "w") as wheel:
        for name, content in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, content)


def write_card(folder: Path, name: str = "tinypot", **words: str) -> Path:
    """Write the card of ``tinypot`` and its adapter; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {
        "name": name,
        "python": ">=3.9",
        "requirement": "tinypot==1.2.3",
        "imports": "tinypot",
        "more": "",
    }
    text = CARD.format(**known | words)
    (folder / f"{name}.toml").write_text(text)
    shutil.copy(ADAPTER, folder / "tiny_adapter.py")
    return folder
