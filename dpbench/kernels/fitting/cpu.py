"""The elementwise parts of a fitting net's passes, compiled by numba: one pass each.

Arrays are (atom, n) of the layer's output width, contiguous. ``one`` is a one of the
arrays' type: a literal would turn float32 into float64. The shortcut adds ``x``, whose
width divides n, to each of n's parts; ``x`` of no columns means no shortcut.
"""

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def tanh_layer(values, idt, x, slope, bend, out, one):  # type: ignore[no-untyped-def]
    """Turn sigmoid(2 a) into tanh(a) in place; write the rest of a layer's state.

    Writes f'(a) idt and f''(a) idt to ``slope`` and ``bend``, and the layer's output.
    """
    for e in range(values.shape[0]):
        v, s, b, y = values[e], slope[e], bend[e], out[e]
        for c in range(len(idt)):
            t = v[c] + v[c] - one
            rise = (one - t * t) * idt[c]
            v[c] = t
            s[c] = rise
            b[c] = -(t + t) * rise
            y[c] = t * idt[c]
        _add_parts(y, x[e])


@njit(cache=True, nogil=True, fastmath=_FAST)
def tanh_slope(values, idt, x, slope, one):  # type: ignore[no-untyped-def]
    """Turn sigmoid(2 a) into the layer's output in place; write f'(a) idt."""
    for e in range(values.shape[0]):
        v, s = values[e], slope[e]
        for c in range(len(idt)):
            t = v[c] + v[c] - one
            s[c] = (one - t * t) * idt[c]
            v[c] = t * idt[c]
        _add_parts(v, x[e])


@njit(cache=True, nogil=True, fastmath=_FAST)
def weigh(delta, delta_dot, eps, both, bias):  # type: ignore[no-untyped-def]
    """Write delta' + eps delta, and its sum over atoms to ``bias``."""
    for c in range(len(bias)):
        bias[c] = 0
    for e in range(delta.shape[0]):
        d, h, y, weight = delta[e], delta_dot[e], both[e], eps[e]
        for c in range(len(bias)):
            y[c] = h[c] + weight * d[c]
            bias[c] += y[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def time_step(grads, values, inner, eps, total, one):  # type: ignore[no-untyped-def]
    """Write the sum over atoms of (g' + eps g) f(a) + g f'(a) a', for tanh.

    ``grads`` are g and g'.
    """
    for c in range(len(total)):
        total[c] = 0
    for e in range(values.shape[0]):
        g, h, weight = grads[0][e], grads[1][e], eps[e]
        v, a = values[e], inner[e]
        for c in range(len(total)):
            h_both = h[c] + weight * g[c]
            total[c] += h_both * v[c] + g[c] * (one - v[c] * v[c]) * a[c]


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _add_parts(y, x):  # type: ignore[no-untyped-def]
    n_in = len(x)
    if n_in > 0:
        for start in range(0, len(y), n_in):
            part = y[start : start + n_in]
            for c in range(n_in):
                part[c] += x[c]
