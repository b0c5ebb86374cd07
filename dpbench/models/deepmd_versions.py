"""Versions of the parts of DeePMD-kit's portable dict, as far as dpbench reads them.

Source:
    DeePMD-kit 3.0 to 3.2, ``check_version_compatibility`` in the ``deserialize``
    methods of ``deepmd/dpmodel``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from dpbench.errors import ModelError

READ: dict[tuple[str, str | None], tuple[int, int]] = {
    ("Model", "standard"): (2, 2),
    ("Model", "pairtab"): (2, 2),
    ("Model", "zbl"): (2, 2),
    ("PairTab", None): (1, 1),
    ("Descriptor", "se_e2_a"): (1, 3),
    ("Descriptor", "se_a"): (1, 3),
    ("Descriptor", "se_e2_r"): (1, 3),
    ("Descriptor", "se_r"): (1, 3),
    ("Descriptor", "dpa1"): (1, 4),
    ("Descriptor", "se_atten"): (1, 4),
    ("Descriptor", "se_atten_v2"): (1, 4),
    ("Descriptor", "hybrid"): (1, 1),
    ("Fitting", "ener"): (1, 4),
    ("NetworkCollection", None): (1, 1),
    ("EmbeddingNetwork", None): (1, 2),
    ("FittingNetwork", None): (1, 1),
    ("TypeEmbedNet", None): (1, 2),
    ("NeighborGatedAttention", None): (1, 1),
    ("Layer", None): (1, 2),
}
"""Class and type of a part: first and last version that is read."""


def check_versions(data: Mapping[str, Any], where: str) -> None:
    """Raise ModelError where a part has a version that is not read.

    Args:
        data: The whole dict.
        where: The file, for messages.
    """
    writer = " ".join(str(data[k]) for k in ("software", "version") if k in data)
    for name, part in _parts(data["model"], "model"):
        kind = part["@class"]
        known = READ.get((kind, part.get("type"))) or READ.get((kind, None))
        version = part.get("@version", 1)
        if known is None:
            continue  # another kind of model is named with all its options later
        first, last = known
        if not isinstance(version, int) or not first <= version <= last:
            of = f", written by {writer}," if writer else ""
            raise ModelError(
                f"{where}: {name} ({kind}){of} has version {version!r}; this dpbench "
                f"reads {first} to {last}. Update dpbench, or write the model with a "
                "DeePMD-kit from 3.0 to 3.2."
            )


def _parts(node: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all parts that have a class, with where they are."""
    if isinstance(node, Mapping):
        if isinstance(node.get("@class"), str):
            yield name, node
        for key, value in node.items():
            yield from _parts(value, f"{name}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _parts(value, f"{name}[{index}]")
