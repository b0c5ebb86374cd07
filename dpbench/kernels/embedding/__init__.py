"""The embedding net and its derivative by its one input, fast.

``blocks`` does any activation on any device; ``cpu`` holds the compiled elementwise
parts of a tanh layer. The reference is ``layers.embed_reference``.
"""

from dpbench.kernels.embedding.blocks import embed

__all__ = ["embed"]
