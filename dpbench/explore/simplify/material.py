"""What is chosen from, what errors are measured on, and the split that comes of it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.config import to_mapping
from dpbench.errors import DatasetError
from dpbench.explore.simplify.settings import SimplifySettings
from dpbench.io.leakage.split import checked_default_split, with_leakage
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import parse_reference
from dpbench.store.splits.filed import (
    Split,
    find_split,
    in_order,
    list_splits,
    named_split,
    save_split,
)
from dpbench.store.splits.making import split_digest
from dpbench.store.workspace import Workspace

STRATEGY = "simplify"
"""What the record of the split says."""

TRAIN = "train"

MEASURED = ("test", "validation")
"""Parts that errors are measured on, the first that there is."""

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """A version, what is chosen from, and what is measured on."""

    version: DatasetVersion
    """The version."""
    split: Split
    """Its split that the parts are of."""
    pool: str
    """Part that is chosen from."""
    test: str
    """Part that errors are measured on."""

    @property
    def pool_frames(self) -> Index:
        """(frame), indices in the version, rising."""
        return self.split.part(self.pool)

    @property
    def test_frames(self) -> Index:
        """(frame), indices in the version, rising."""
        return self.split.part(self.test)


def find_material(
    workspace: Workspace,
    text: str,
    *,
    split: str | None = None,
    test: str | None = None,
) -> Material:
    """Find what the user means by ``NAME[-vN][:PART]``.

    Args:
        workspace: Where the dataset is.
        text: The part is what is chosen from; ``train`` by default.
        split: Name or digest of the split; None = the only one beside those that
            simplifying made, or the default one.
        test: Part that errors are measured on; None = ``test``, else ``validation``.

    Raises:
        ConfigError: If the text is no reference.
        DatasetError: If there is no such dataset, split or part, or the parts are one.
    """
    reference = parse_reference(text)
    version = open_dataset(workspace, reference, with_part=True)
    found = _own_split(version) if split is None else named_split(version, split)
    pool = reference.part or TRAIN
    known = [name for name in MEASURED if name in found.parts and name != pool]
    if test is None and not known:
        raise DatasetError(
            f"split {found.label} of {version.label}: has the parts "
            f"{', '.join(found.parts)}; expected one to measure errors on. Name it "
            "with --test, or make a split with 'dpbench dataset split'."
        )
    measured = known[0] if test is None else test
    if measured == pool:
        raise DatasetError(
            f"--test {measured}: is the part that is chosen from; expected another, "
            "for errors on frames that are trained on say little."
        )
    material = Material(version=version, split=found, pool=pool, test=measured)
    for part in (material.pool_frames, material.test_frames):
        if not len(part):
            raise DatasetError(f"{text}: a part has no frame; expected some.")
    return material


def _own_split(version: DatasetVersion) -> Split:
    """Return the only split there is but those that simplifying made, or make one."""
    own = [split for split in list_splits(version) if split.strategy != STRATEGY]
    if len(own) == 1:
        return own[0]
    return find_split(version) or checked_default_split(version)


def check_name(material: Material, name: str, settings: SimplifySettings) -> None:
    """Refuse a name that another split has, before anything is trained.

    Raises:
        DatasetError: If it is taken.
    """
    for split in list_splits(material.version):
        if name in split.names and split.parameters.get("settings") != to_mapping(
            settings
        ):
            raise DatasetError(
                f"--name {name}: is the name of another split of "
                f"{material.version.label} ({split.digest[:17]}); names are never "
                "given twice. Choose another."
            )


def file_subset(
    material: Material, subset: Index, settings: SimplifySettings, *, name: str
) -> Split:
    """File the split whose part ``train`` is the subset; the other parts stay.

    Frames of the pool that were not chosen belong to no part.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    version = material.version
    parts = {
        part: frames
        for part, frames in material.split.parts.items()
        if part not in (material.pool, TRAIN)
    }
    parts[TRAIN] = np.sort(subset)
    split = Split(
        digest=split_digest(version, parts),
        dataset_digest=version.digest,
        strategy=STRATEGY,
        seed=settings.seed,
        parameters={
            "of": material.split.digest,
            "pool": material.pool,
            "left_out": len(material.pool_frames) - len(subset),
            "settings": to_mapping(settings),
        },
        parts=in_order(parts),
    )
    split = replace(with_leakage(version, split), names=(name,))
    save_split(version, split)
    return split
