"""The elementwise parts of a fitting net's passes, compiled by numba: one pass each.

Arrays are (atom, n) of the layer's output width, contiguous. ``one`` is a one of the
arrays' type: a literal would turn float32 into float64. The shortcut adds ``x``, whose
width divides n, to each of n's parts; ``x`` of no columns means no shortcut.
"""

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def tanh_layer(values, idt, x, outs, one):  # type: ignore[no-untyped-def]
    """Turn sigmoid(2 a) into tanh(a) in place; write slope, bend and output."""
    slopes, bends, out = outs
    for e in range(values.shape[0]):
        v, s, b, y = values[e], slopes[e], bends[e], out[e]
        for c in range(len(idt)):
            t = v[c] + v[c] - one
            slope = one - t * t
            v[c] = t
            s[c] = slope
            b[c] = -(t + t) * slope
            y[c] = t * idt[c]
        _add_parts(y, x[e])


@njit(cache=True, nogil=True, fastmath=_FAST)
def tanh_slope(values, idt, x, slopes, one):  # type: ignore[no-untyped-def]
    """Turn sigmoid(2 a) into the layer's output in place; write slope times idt."""
    for e in range(values.shape[0]):
        v, s = values[e], slopes[e]
        for c in range(len(idt)):
            t = v[c] + v[c] - one
            s[c] = (one - t * t) * idt[c]
            v[c] = t * idt[c]
        _add_parts(v, x[e])


@njit(cache=True, nogil=True, fastmath=_FAST)
def backward(grad, slope, idt, delta):  # type: ignore[no-untyped-def]
    """Write delta = g idt f'(a)."""
    for e in range(grad.shape[0]):
        g, s, d = grad[e], slope[e], delta[e]
        for c in range(len(idt)):
            d[c] = g[c] * s[c] * idt[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def tangent(inner, slope, idt, x, out):  # type: ignore[no-untyped-def]
    """Write y' = f'(a) a' idt + shortcut(x')."""
    for e in range(inner.shape[0]):
        a, s, y = inner[e], slope[e], out[e]
        for c in range(len(idt)):
            y[c] = a[c] * s[c] * idt[c]
        _add_parts(y, x[e])


@njit(cache=True, nogil=True, fastmath=_FAST)
def tangent_backward(grad_dot, slope, bend, way, idt, delta):  # type: ignore[no-untyped-def]
    """Write delta' = (g' f'(a) + g f''(a) a') idt."""
    grad, inner = way
    for e in range(grad.shape[0]):
        h, s, b, g, a, d = grad_dot[e], slope[e], bend[e], grad[e], inner[e], delta[e]
        for c in range(len(idt)):
            d[c] = (h[c] * s[c] + g[c] * b[c] * a[c]) * idt[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def weigh(delta, delta_dot, eps, both, total):  # type: ignore[no-untyped-def]
    """Write delta' + eps delta, and its sum over atoms."""
    for c in range(len(total)):
        total[c] = 0
    for e in range(delta.shape[0]):
        d, h, b, weight = delta[e], delta_dot[e], both[e], eps[e]
        for c in range(len(total)):
            value = h[c] + weight * d[c]
            b[c] = value
            total[c] += value


@njit(cache=True, nogil=True, fastmath=_FAST)
def time_step(grads, values, slope, inner, eps, total):  # type: ignore[no-untyped-def]
    """Write the sum over atoms of (g' + eps g) f(a) + g f'(a) a'."""
    grad, grad_dot = grads
    for c in range(len(total)):
        total[c] = 0
    for e in range(grad.shape[0]):
        g, h, v, s, a = grad[e], grad_dot[e], values[e], slope[e], inner[e]
        weight = eps[e]
        for c in range(len(total)):
            total[c] += (h[c] + weight * g[c]) * v[c] + g[c] * s[c] * a[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_parts(y, x):  # type: ignore[no-untyped-def]
    n_in = len(x)
    if n_in > 0:
        for start in range(0, len(y), n_in):
            part = y[start : start + n_in]
            for c in range(n_in):
                part[c] += x[c]
