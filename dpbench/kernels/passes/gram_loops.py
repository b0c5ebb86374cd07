"""The loops between moments and descriptor, compiled by numba."""

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def gram(x, y, axis, out):  # type: ignore[no-untyped-def]
    """Write sum_i x[i, c] y[i, k] of each row to ``out`` (row, channels * axis)."""
    channels = out.shape[1] // axis
    for a in range(len(x)):
        y0, y1, y2, y3 = y[a, 0], y[a, 1], y[a, 2], y[a, 3]
        for c in range(channels):
            x0, x1, x2, x3 = x[a, 0, c], x[a, 1, c], x[a, 2, c], x[a, 3, c]
            target = out[a, c * axis : (c + 1) * axis]
            for k in range(axis):
                target[k] = x0 * y0[k] + x1 * y1[k] + x2 * y2[k] + x3 * y3[k]


@njit(cache=True, nogil=True, fastmath=_FAST)
def gram_adjoint(grad, x, axis, out):  # type: ignore[no-untyped-def]
    """Write the gradient by X of sum grad * gram(X, X) to ``out`` (row, 4, width)."""
    channels = grad.shape[1] // axis
    for a in range(len(x)):
        x0, x1, x2, x3 = x[a, 0], x[a, 1], x[a, 2], x[a, 3]
        z0, z1, z2, z3 = out[a, 0], out[a, 1], out[a, 2], out[a, 3]
        out[a] = 0
        for c in range(channels):
            to_d = grad[a, c * axis : (c + 1) * axis]
            s0, s1, s2, s3 = z0[c], z1[c], z2[c], z3[c]
            for k in range(axis):
                s0 += to_d[k] * x0[k]
                s1 += to_d[k] * x1[k]
                s2 += to_d[k] * x2[k]
                s3 += to_d[k] * x3[k]
            z0[c], z1[c], z2[c], z3[c] = s0, s1, s2, s3
            v0, v1, v2, v3 = x0[c], x1[c], x2[c], x3[c]
            for k in range(axis):
                z0[k] += to_d[k] * v0
                z1[k] += to_d[k] * v1
                z2[k] += to_d[k] * v2
                z3[k] += to_d[k] * v3


@njit(cache=True, nogil=True, fastmath=_FAST)
def gram_tangent(x, y, axis, out):  # type: ignore[no-untyped-def]
    """Write sum_i y[i, c] x[i, k] + x[i, c] y[i, k] of each row to ``out``."""
    channels = out.shape[1] // axis
    for a in range(len(x)):
        x0, x1, x2, x3 = x[a, 0], x[a, 1], x[a, 2], x[a, 3]
        y0, y1, y2, y3 = y[a, 0], y[a, 1], y[a, 2], y[a, 3]
        for c in range(channels):
            v0, v1, v2, v3 = x0[c], x1[c], x2[c], x3[c]
            w0, w1, w2, w3 = y0[c], y1[c], y2[c], y3[c]
            target = out[a, c * axis : (c + 1) * axis]
            for k in range(axis):
                here = w0 * x0[k] + w1 * x1[k] + w2 * x2[k] + w3 * x3[k]
                target[k] = here + v0 * y0[k] + v1 * y1[k] + v2 * y2[k] + v3 * y3[k]


@njit(cache=True, nogil=True, fastmath=_FAST)
def gram_adjoint_tangent(grads, moments, eps, base, axis, out):  # type: ignore[no-untyped-def]
    """Write the change of ``gram_adjoint``, plus eps times ``base``, to ``out``.

    Args:
        grads: The gradient by D and its change, (row, channels * axis).
        moments: X and its change, (row, 4, width).
        eps: By row.
        base: (row, 4, width).
        axis: Columns of the second factor.
        out: (row, 4, width).
    """
    (grad, grad_dot), (x, y) = grads, moments
    shape = (grad.shape[1] // axis, axis)
    for a in range(len(x)):
        to_d, dot = grad[a].reshape(shape), grad_dot[a].reshape(shape)
        for i in range(4):
            z, b = out[a, i], base[a, i]
            for c in range(len(z)):
                z[c] = eps[a] * b[c]
            _add_rows(dot, to_d, x[a, i], y[a, i], z)
            _add_columns(dot, to_d, x[a, i], y[a, i], z)


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _add_rows(p, q, v, w, z):  # type: ignore[no-untyped-def]
    """Add sum_k p[c, k] v[k] + q[c, k] w[k] to z[c]."""
    for c in range(p.shape[0]):
        one, two, total = p[c], q[c], z[c]
        for k in range(p.shape[1]):
            total += one[k] * v[k] + two[k] * w[k]
        z[c] = total


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _add_columns(p, q, v, w, z):  # type: ignore[no-untyped-def]
    """Add sum_c p[c, k] v[c] + q[c, k] w[c] to z[k].

    Four rows at a time: each addition to z waits for the one before.
    """
    fours = p.shape[0] // 4 * 4
    for c in range(0, fours, 4):
        p0, p1, p2, p3 = p[c], p[c + 1], p[c + 2], p[c + 3]
        q0, q1, q2, q3 = q[c], q[c + 1], q[c + 2], q[c + 3]
        v0, v1, v2, v3 = v[c], v[c + 1], v[c + 2], v[c + 3]
        w0, w1, w2, w3 = w[c], w[c + 1], w[c + 2], w[c + 3]
        for k in range(p.shape[1]):
            here = p0[k] * v0 + p1[k] * v1 + p2[k] * v2 + p3[k] * v3
            z[k] += here + q0[k] * w0 + q1[k] * w1 + q2[k] * w2 + q3[k] * w3
    for c in range(fours, p.shape[0]):
        one, two, here, there = p[c], q[c], v[c], w[c]
        for k in range(p.shape[1]):
            z[k] += one[k] * here + two[k] * there
