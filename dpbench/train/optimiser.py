"""Former home of Adam; see ``dpbench.train.optimisers``."""

from dpbench.train.optimisers.adam import Adam

__all__ = ["Adam"]
