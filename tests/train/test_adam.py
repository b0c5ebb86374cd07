import pytest
import torch

from dpbench.errors import ConfigError, TrainingError
from dpbench.train.optimisers.adam import Adam
from dpbench.train.optimisers.config import OptimiserConfig

SAME = 1e-14


def gradients(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(count)
    ]


def test_adam_is_that_of_torch():
    ours = torch.ones(7, dtype=torch.float64)
    theirs = torch.ones(7, dtype=torch.float64, requires_grad=True)
    adam = Adam(ours, OptimiserConfig())
    peer = torch.optim.Adam([theirs], lr=1e-2)
    for gradient in gradients(50):
        adam.step(gradient, learning_rate=1e-2)
        theirs.grad = gradient.clone()
        peer.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=SAME, atol=SAME)


def test_first_step_has_the_length_of_the_learning_rate():
    parameters = torch.zeros(7, dtype=torch.float64)
    Adam(parameters, OptimiserConfig()).step(gradients(1)[0], learning_rate=0.5)
    torch.testing.assert_close(
        parameters.abs(), torch.full_like(parameters, 0.5), rtol=1e-6, atol=0
    )


def test_restored_state_goes_on_bitwise():
    straight = torch.zeros(7, dtype=torch.float64)
    adam = Adam(straight, OptimiserConfig())
    for gradient in gradients(10)[:5]:
        adam.step(gradient, learning_rate=0.1)
    state, resumed = adam.state(), straight.clone()
    again = Adam(resumed, OptimiserConfig())
    again.restore(state)
    for gradient in gradients(10)[5:]:
        adam.step(gradient, learning_rate=0.1)
        again.step(gradient, learning_rate=0.1)
    assert torch.equal(straight, resumed)


def test_state_of_another_model_is_refused():
    adam = Adam(torch.zeros(7), OptimiserConfig())
    with pytest.raises(TrainingError, match="does not fit"):
        adam.restore(Adam(torch.zeros(8), OptimiserConfig()).state())


def test_long_gradients_are_shortened():
    first, second = (torch.zeros(7, dtype=torch.float64) for _ in range(2))
    clipped = Adam(first, OptimiserConfig(gradient_max_norm=1.0, epsilon=1.0))
    plain = Adam(second, OptimiserConfig(epsilon=1.0))
    gradient = gradients(1)[0] * 100
    clipped.step(gradient, learning_rate=0.1)
    plain.step(gradient / gradient.norm(), learning_rate=0.1)
    torch.testing.assert_close(first, second, rtol=1e-12, atol=0)


def test_constants_outside_adam_are_refused():
    for options in ({"beta1": 1.0}, {"epsilon": 0.0}, {"gradient_max_norm": -1.0}):
        with pytest.raises(ConfigError):
            OptimiserConfig(**options)
