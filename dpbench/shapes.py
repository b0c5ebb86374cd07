"""Array annotations with shapes, without making jaxtyping a run-time need.

``kernels``, ``models`` and the training loop must import on a GPU machine that has
numpy, torch, numba and h5py alone. There the annotations below mean nothing; where
jaxtyping is installed (always in the tests) they are jaxtyping's own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int, Int32, Int64, UInt8
else:
    try:
        from jaxtyping import Bool, Float, Float64, Int, Int32, Int64, UInt8
    except ModuleNotFoundError:

        class _Unchecked:
            """Stands for a jaxtyping class where the package is missing."""

            def __class_getitem__(cls, item: Any) -> Any:
                """Return the plain array type of ``Float[Array, "..."]``."""
                return item[0]

        Bool = Float = Float64 = Int = Int32 = Int64 = UInt8 = _Unchecked

__all__ = ["Bool", "Float", "Float64", "Int", "Int32", "Int64", "UInt8"]
