"""The types' share in an embedding, compiled by numba: one pass each way."""

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def forward(features, weights, share, centre, out, one):  # type: ignore[no-untyped-def]
    """Write G (1 + w T) and G' (1 + w T) + G T b to ``out``, each (edge, M)."""
    g, dg = features
    weight, slope = weights
    value, dvalue = out
    for e in range(len(centre)):
        w, b = weight[e], slope[e]
        t, x, dx, y, dy = share[centre[e]], g[e], dg[e], value[e], dvalue[e]
        for c in range(len(t)):
            factor = one + w * t[c]
            y[c] = x[c] * factor
            dy[c] = dx[c] * factor + x[c] * t[c] * b


@njit(cache=True, nogil=True, fastmath=_FAST)
def backward(features, weights, share, centre, grads, out, one):  # type: ignore[no-untyped-def]
    """Write the gradients by G and G', add that by T to the last of ``out``."""
    g, dg = features
    weight, slope = weights
    grad_value, grad_slope = grads
    to_g, to_dg, to_share = out
    for e in range(len(centre)):
        w, b, k = weight[e], slope[e], centre[e]
        t, x, dx, total = share[k], g[e], dg[e], to_share[k]
        u, v, p, q = grad_value[e], grad_slope[e], to_g[e], to_dg[e]
        for c in range(len(t)):
            factor = one + w * t[c]
            p[c] = u[c] * factor + v[c] * t[c] * b
            q[c] = v[c] * factor
            total[c] += u[c] * x[c] * w + v[c] * (dx[c] * w + x[c] * b)
