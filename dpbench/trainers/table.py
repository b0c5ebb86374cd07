"""The table of foreign trainers."""

from dpbench.errors import ConfigError
from dpbench.trainers.deepmd import DeepmdTrainer
from dpbench.trainers.foreign import AbstractTrainer
from dpbench.trainers.mace import MaceTrainer
from dpbench.trainers.nequip import NequipTrainer

TRAINERS: dict[str, AbstractTrainer] = {
    trainer.name: trainer
    for trainer in (
        DeepmdTrainer("pytorch"),
        DeepmdTrainer("tensorflow"),
        MaceTrainer(),
        NequipTrainer(),
    )
}
"""As ``--trainer`` names them."""


def trainer_of(name: str) -> AbstractTrainer:
    """Return a trainer; ConfigError if there is none of that name."""
    if name not in TRAINERS:
        raise ConfigError(
            f"--trainer {name}: is unknown; expected one of {', '.join(TRAINERS)}."
        )
    return TRAINERS[name]
