"""The split that the members of an ensemble share, stable as the dataset grows.

A frame is held out by its own digest: u < share, where u in [0, 1) are the digest's
first eight bytes. So a frame that validated the models of one iteration is never
trained on in a later one, whatever frames came between. Frames of one walk may still
lie on both sides; the distances that selection keeps between them are what parts them.
"""

import numpy as np
from numpy.typing import NDArray

from dpbench.io.leakage.split import with_leakage
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import (
    Split,
    find_split,
    in_order,
    save_split,
    split_digest,
)

STRATEGY = "digest"
"""What the record of such a split says."""


def training_split(version: DatasetVersion, *, validation: float) -> str:
    """File the split of a version for training, unless it is; return its digest.

    Args:
        version: The version.
        validation: Share of the frames that are held out. Where it is not 0, one frame
            is at least, if there are two.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    is_held = held_out(version.frame_digests, share=validation)
    parts = {"train": np.flatnonzero(np.logical_not(is_held))}
    if is_held.any():
        parts["validation"] = np.flatnonzero(is_held)
    split = Split(
        digest=split_digest(version, parts),
        dataset_digest=version.digest,
        strategy=STRATEGY,
        seed=0,
        parameters={"fractions": {"validation": validation}},
        parts=in_order(parts),
    )
    if find_split(version, split.digest) is None:
        save_split(version, with_leakage(version, split))
    return split.digest


def held_out(digests: NDArray[np.uint8], *, share: float) -> NDArray[np.bool_]:
    """Say which frames are held out.

    Args:
        digests: (frame, 32), of the frames.
        share: About how many of them, from 0 to below 1.

    Returns:
        (frame); of two frames or more one is held out at least, and one is not, unless
        ``share`` is 0.
    """
    if len(digests) < 2 or share == 0:
        return np.zeros(len(digests), dtype=np.bool_)
    first = np.ascontiguousarray(digests[:, :8]).view(">u8")[:, 0]
    place = first / 2.0**64
    is_held: NDArray[np.bool_] = place < share
    is_held[np.argmin(place)] = True
    is_held[np.argmax(place)] = False
    return is_held
