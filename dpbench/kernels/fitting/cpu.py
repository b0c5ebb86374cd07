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
def time_step(grad_dot, values, grad, inner, total, one):  # type: ignore[no-untyped-def]
    """Write the sum over atoms of h f(a) + g f'(a) a', for tanh."""
    for c in range(len(total)):
        total[c] = 0
    for e in range(grad.shape[0]):
        g, h, v, a = grad[e], grad_dot[e], values[e], inner[e]
        for c in range(len(total)):
            total[c] += h[c] * v[c] + g[c] * (one - v[c] * v[c]) * a[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_parts(y, x):  # type: ignore[no-untyped-def]
    n_in = len(x)
    if n_in > 0:
        for start in range(0, len(y), n_in):
            part = y[start : start + n_in]
            for c in range(n_in):
                part[c] += x[c]
