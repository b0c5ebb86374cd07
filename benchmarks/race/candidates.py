"""What races: optimiser, schedule, loss and batch of each candidate."""

from dataclasses import dataclass, field, replace

from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.schedule import LearningRateConfig, LossConfig

DEEPMD_LOSS = LossConfig(
    course="rate",
    start_pref_e=0.02,
    limit_pref_e=1.0,
    start_pref_f=1000.0,
    limit_pref_f=1.0,
    start_pref_v=0.02,
    limit_pref_v=1.0,
)
"""Of DeePMD-kit's examples; the virial's apply where it is labelled."""

PEER = LearningRateConfig(type="exp", start_lr=1e-3, stop_lr=1e-5, smooth=False)
"""The peer's schedule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One way to train; the net, the data and the start weights are the task's."""

    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(type="adam")
    )
    """Method and constants."""
    learning_rate: LearningRateConfig = PEER
    """Schedule over the steps that fit into the budget; what is left open follows
    method and steps as in training."""
    loss: LossConfig = DEEPMD_LOSS
    """Prefactors."""
    batch: float = 1
    """Frames of a batch, times those of the task."""


def cosine(start_lr: float, *, stop: float = 1e-3, warmup: float = 0.02):
    """Warm-up, then half a cosine to ``stop`` times the start."""
    return LearningRateConfig(
        type="cosine", start_lr=start_lr, stop_lr_ratio=stop, warmup_ratio=warmup
    )


def with_(name: str, **options) -> OptimiserConfig:
    return replace(OptimiserConfig(type=name), **options)


SOAP = OptimiserConfig(type="soap", beta1=0.95, beta2=0.95)
"""With the decays of its paper."""

FORCE_LOSS = LossConfig(
    course="geometric",
    start_pref_e=0.02,
    limit_pref_e=20.0,
    start_pref_f=1000.0,
    limit_pref_f=1000.0,
    start_pref_v=0.02,
    limit_pref_v=20.0,
)
"""Forces weigh the same throughout, and energies come late."""

DEFAULT_LOSS = LossConfig()
"""What training takes where nothing is stated."""


def default_loss(name: str, start_lr: float) -> Candidate:
    """A method with the loss of training, and a cosine from ``start_lr``."""
    rates = cosine(start_lr)
    return Candidate(optimiser=with_(name), learning_rate=rates, loss=DEFAULT_LOSS)


CANDIDATES = {
    "soap-default": Candidate(
        optimiser=with_("soap"), learning_rate=LearningRateConfig(), loss=DEFAULT_LOSS
    ),
    "soap-1e-2-default-loss": default_loss("soap", 1e-2),
    "soap-3e-3-default-loss": default_loss("soap", 3e-3),
    "soap-5e-3-default-loss": default_loss("soap", 5e-3),
    "adam-4e-3-default-loss": default_loss("adam", 4e-3),
    "muon-2e-3-default-loss": default_loss("muon", 2e-3),
    "adam-exp": Candidate(),
    "adam-exp-average": Candidate(optimiser=with_("adam", average=0.999)),
    "adam-cosine-1e-3": Candidate(learning_rate=cosine(1e-3)),
    "adam-cosine-2e-3": Candidate(learning_rate=cosine(2e-3)),
    "adam-cosine-4e-3": Candidate(learning_rate=cosine(4e-3)),
    "soap-cosine-1e-3": Candidate(optimiser=SOAP, learning_rate=cosine(1e-3)),
    "soap-cosine-3e-3": Candidate(optimiser=SOAP, learning_rate=cosine(3e-3)),
    "soap-cosine-1e-2": Candidate(optimiser=SOAP, learning_rate=cosine(1e-2)),
    "soap-cosine-2e-2": Candidate(optimiser=SOAP, learning_rate=cosine(2e-2)),
    "soap-refresh-10": Candidate(
        optimiser=replace(SOAP, soap_refresh=10), learning_rate=cosine(1e-2)
    ),
    "soap-refresh-50": Candidate(
        optimiser=replace(SOAP, soap_refresh=50), learning_rate=cosine(1e-2)
    ),
    "soap-beta2-0.99": Candidate(
        optimiser=replace(SOAP, beta2=0.99), learning_rate=cosine(1e-2)
    ),
    "soap-beta1-0.9": Candidate(
        optimiser=replace(SOAP, beta1=0.9), learning_rate=cosine(1e-2)
    ),
    "soap-average": Candidate(
        optimiser=replace(SOAP, average=0.99), learning_rate=cosine(1e-2)
    ),
    "soap-batch-2": Candidate(optimiser=SOAP, learning_rate=cosine(3e-3), batch=2),
    "soap-force": Candidate(
        optimiser=SOAP, learning_rate=cosine(1e-2), loss=FORCE_LOSS
    ),
    "soap-wsd": Candidate(
        optimiser=SOAP,
        learning_rate=LearningRateConfig(
            type="wsd",
            start_lr=1e-2,
            stop_lr_ratio=1e-2,
            warmup_ratio=0.02,
            decay_phase_ratio=0.5,
            decay_type="linear",
        ),
    ),
    "muon-cosine-2e-3": Candidate(optimiser=with_("muon"), learning_rate=cosine(2e-3)),
    "kalman": Candidate(optimiser=OptimiserConfig(type="kalman", kalman_block=64)),
    "schedule-free-2e-3": Candidate(
        optimiser=with_("schedule-free", beta1=0.95),
        learning_rate=LearningRateConfig(
            type="cosine", start_lr=2e-3, stop_lr_ratio=1.0, warmup_ratio=0.05
        ),
    ),
}
"""By name."""
