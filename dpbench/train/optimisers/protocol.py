"""What every optimiser offers, and how its state is stored.

An optimiser works in place on the flat parameter buffer of a model. What the loop
differentiates are the numbers in that buffer; what is validated and written is
``solution()``, which is the same for most, and an average for some.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from dpbench.errors import TrainingError
from dpbench.shapes import Float

OptimiserState = dict[str, Any]
"""Plain numbers, names and tensors on the CPU."""


class Optimiser(Protocol):
    """Turns gradients into better parameters."""

    @property
    def name(self) -> str:
        """Its name, for records and checkpoints."""

    def step(
        self, gradient: Float[Tensor, " parameter"], *, learning_rate: float
    ) -> None:
        """Move the parameters against ``gradient``."""

    def solution(self) -> Float[Tensor, " parameter"]:
        """Return the parameters of the model to validate and to write.

        The buffer itself, or an average of what it has been: never to be changed.
        """

    def state(self) -> OptimiserState:
        """All that a later ``restore`` needs to go on bit for bit; copies."""

    def restore(self, state: OptimiserState) -> None:
        """Take over a stored state; TrainingError if it is not of this optimiser."""


def clipped(
    gradient: Float[Tensor, " parameter"], max_norm: float | None
) -> Float[Tensor, " parameter"]:
    """Shorten a gradient to ``max_norm`` where it is longer; None leaves it."""
    if max_norm is None:
        return gradient
    norm = torch.linalg.vector_norm(gradient)
    shortened: Tensor = gradient * (max_norm / norm).clamp(max=1.0)
    return shortened


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def take_over(own: Mapping[str, Tensor], state: OptimiserState, *, name: str) -> None:
    """Copy stored tensors into ``own``, after all of them were found to fit.

    Args:
        own: The optimiser's tensors by the names in its state; changed in place.
        state: What was stored; may hold more than ``own``.
        name: The optimiser's name; a state without name is that of Adam.

    Raises:
        TrainingError: If the state is of another optimiser or another model.
    """
    found = state.get("name", "adam")
    if found != name:
        raise TrainingError(
            f"checkpoint: its optimiser is {found}, expected {name}. Resume with the "
            "configuration that the run was started with."
        )
    for key, tensor in own.items():
        value = state.get(key)
        if not (
            isinstance(value, Tensor)
            and value.shape == tensor.shape
            and value.dtype == tensor.dtype
        ):
            raise TrainingError(
                f"checkpoint: the optimiser state does not fit the model: {key} of "
                f"{name}. Resume with the configuration that the run was started with."
            )
    for key, tensor in own.items():
        tensor.copy_(state[key])


def stored_number(state: OptimiserState, key: str, kind: type) -> Any:
    """Return a number of a state; TrainingError if it is missing or of another kind."""
    value = state.get(key)
    if not isinstance(value, kind):
        raise TrainingError(
            f"checkpoint: the optimiser state does not fit the model: {key} is "
            f"{value!r}. Resume with the configuration that the run was started with."
        )
    return value
