"""Student's t distribution: tail probability and quantile."""

import math
from functools import lru_cache

_TINY = 1e-300
_ROUNDS = 300
"""Most terms of the continued fraction; a hundred do for any argument here."""


def two_sided_p(t: float, dof: float) -> float:
    """Give P(|T| >= |t|) of Student's t with ``dof`` degrees of freedom.

    Source:
        Abramowitz and Stegun, 26.7.1 and 26.5.8: the regularised incomplete beta
        function I_x(dof/2, 1/2) at x = dof/(dof + t^2), by its continued fraction.
    """
    if not math.isfinite(t):
        return 0.0
    return _incomplete_beta(dof / (dof + t * t), dof / 2, 0.5)


@lru_cache(maxsize=4096)
def two_sided_quantile(alpha: float, dof: float) -> float:
    """Give t with P(|T| >= t) = ``alpha``; 12.7 for 0.05 and one degree of freedom."""
    high = 1.0
    while two_sided_p(high, dof) > alpha:
        high *= 2
    low = high / 2 if high > 1 else 0.0
    for _ in range(100):
        middle = (low + high) / 2
        if two_sided_p(middle, dof) > alpha:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges on the other side only
        return 1 - _incomplete_beta(1 - x, b, a)
    log_front = (
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        + a * math.log(x)
        + b * math.log1p(-x)
    )
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _away(1 + even * d), _away(1 + even / c)
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _away(1 + odd * d), _away(1 + odd / c)
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return math.exp(log_front) * fraction / a


def _away(value: float) -> float:
    """Keep a divisor off zero."""
    return value if abs(value) > _TINY else _TINY
