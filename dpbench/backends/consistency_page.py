"""The matrix of consistency as a page of the documentation."""

from collections.abc import Mapping
from typing import Any

from dpbench.backends.consistency import (
    BACKENDS,
    RELEASE,
    WRONG_THERE,
    matrix_file,
    outcome,
    read_matrix,
)

_INTRODUCTION = f"""\
Whether dpbench and DeePMD-kit {RELEASE} give the same energies, forces and virials.
Small models of every kind are drawn here, written as `.dp`, converted by DeePMD-kit to
each of its backends and evaluated there; what comes back is compared with dpbench's
reference mathematics on every structure. The cells are kept in
`registry/consistency/deepmd-kit-{RELEASE}.json`, and a test asserts them again.

Largest differences that count as agreement, in float64: energy 1e-12 |E| + 1e-10 eV,
force 1e-10 eV/Å, virial 1e-10 (max |virial| + 1) eV. In float32: 1e-5 of |E|, of the
largest |force| + 1 eV/Å and of the largest |virial| + 1 eV.

```sh
# The whole matrix again, with the interpreter of an environment that has DeePMD-kit:
python tools/consistency.py --python ENVIRONMENT/bin/python
# One backend, from an environment of its own:
python tools/consistency.py --python PADDLE/bin/python .pd .json
```"""


_FINDINGS = """\
- Paddle (paddlepaddle 3.3.1 of PyPI, on CPU): imports `setuptools` without declaring
  it. Of DeePMD-kit's own conversion to `.json` its `DeepPot` says `'PirTranslatedLayer'
  object has no attribute 'get_buffer_rcut'`: cutoff and type map are not in the file.
  dpbench's worker writes a checkpoint, `.pd`, and freezes that. Paddle's files cannot
  be converted back (`Paddle do not support jit.export yet.`), and paddlepaddle 3.1.1
  does not work at all (`module 'paddle.device' has no attribute 'device_count'`).
- PyTorch-exportable: `dp convert-backend` writes a DPA-1 without attention as a graph
  of edges to `.pt2`. That form leaves out the share of empty neighbour slots, which is
  not zero where `davg` is not (`set_davg_zero: false`, the rule for `se_atten_v2`):
  energies are off by 1e-2 eV here, even for a lone atom, without a message. dpbench's
  worker asks for the form with neighbour lists (`lower_kind="nlist"`), which agrees.
- JAX: `.jax` is written and read, but not evaluated (`Unsupported file extension`);
  dpbench's worker goes by `.hlo`, which JAX compiles anew, for some seconds of a core,
  for every number of atoms and images. Such backends are asked for four structures.
- `dp compress` of a `.pb` that was converted wants a whole input.json; dpbench goes
  through `.pth`.
- Models that `dp train` made with the TensorFlow and the PyTorch backend are converted
  to `.dp` and evaluated here within the same tolerances (`tests/backends`), and
  `dp test` and `dpbench evaluate` print the same numbers to 1e-6."""


def consistency_page(matrix: Mapping[str, Any] | None = None) -> str:
    """Return the page in Markdown, without its title.

    Args:
        matrix: As ``read_matrix`` returns it; by default that of the registry.
    """
    known = read_matrix(matrix_file()) if matrix is None else matrix
    cells = known["cells"]
    messages: list[str] = []
    suffixes = list(cells)
    head = [f"{BACKENDS[suffix]}<br>`{suffix}`" for suffix in suffixes]
    rows = [
        f"| {model} | "
        + " | ".join(_word(cells[s].get(model, {}), messages) for s in suffixes)
        + " |"
        for model in _models(cells)
    ]
    first = next(iter(cells.values()))
    structures = list(next(iter(first.values())))
    return "\n".join(
        [
            _INTRODUCTION,
            "",
            "## Models and backends",
            "",
            "`agrees`: on all structures; the figures are the largest differences of "
            "energy (eV), force (eV/Å) and virial (eV).",
            "",
            f"| model | {' | '.join(head)} |",
            f"| --- |{' --- |' * len(head)}",
            *rows,
            "",
            *(f"{number}. {text}" for number, text in enumerate(messages, start=1)),
            "",
            "## Structures",
            "",
            *(f"- {name}" for name in structures),
            "",
            "## What is wrong in DeePMD-kit there",
            "",
            *(f"- {text}" for text in dict.fromkeys(WRONG_THERE.values())),
            "",
            "`dpbench convert` compares energies and forces after every conversion and "
            "keeps no file that differs.",
            "",
            "## What else was found",
            "",
            _FINDINGS,
            "",
            "## Versions",
            "",
            "| file | programs |",
            "| --- | --- |",
            *(
                f"| `{suffix}` | {_versions(known['versions'][suffix])} |"
                for suffix in suffixes
            ),
            "",
        ]
    )


def _models(cells: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of all models, in the order of the first backend."""
    return list(dict.fromkeys(model for column in cells.values() for model in column))


def _word(cells: Mapping[str, str], messages: list[str]) -> str:
    """Word the cells of a model in a backend; collect what needs a sentence."""
    if not cells:
        return "not tried"
    by_outcome: dict[str, list[str]] = {}
    for name, cell in cells.items():
        by_outcome.setdefault(outcome(cell), []).append(name)
    if list(by_outcome) == ["agrees"]:
        return f"agrees<br>{_largest(list(cells.values()))}"
    words = []
    for kind, names in by_outcome.items():
        text = kind
        if not kind.startswith("refused"):
            figures = _largest([cells[name] for name in names])
            text = f"{kind}: {figures}"
        if len(by_outcome) > 1:
            text += f" ({', '.join(names)})"
        if kind == "agrees":
            words.append(f"agrees on {len(names)} of {len(cells)}")
            continue
        if text not in messages:
            messages.append(text)
        words.append(f"{kind.split()[0]} [{messages.index(text) + 1}]")
    return ", ".join(words)


def _largest(cells: list[str]) -> str:
    """Return the largest differences of energy, force and virial."""
    rows = [
        [float(part.split()[0]) for part in cell.rpartition(": ")[2].split(", ")]
        for cell in cells
    ]
    return ", ".join(f"{max(column):.0e}" for column in zip(*rows, strict=True))


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
