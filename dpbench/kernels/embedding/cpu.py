"""The elementwise parts of a tanh layer, compiled by numba: one pass each.

In torch each of these is a dozen passes over arrays that do not fit into a core's
second-level cache. The exponential itself stays with torch, whose sigmoid is
vectorised: tanh(a) = 2 sigmoid(2 a) - 1.

``one`` is a one of the arrays' type: a literal would turn float32 into float64.
"""

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def twice_shifted(z, b):  # type: ignore[no-untyped-def]
    """Turn x W (row, n) into 2 (x W + b), in place."""
    for e in range(z.shape[0]):
        row = z[e]
        for c in range(len(b)):
            a = row[c] + b[c]
            row[c] = a + a


@njit(cache=True, nogil=True, fastmath=_FAST)
def forward(sigmoid, dz, idt, out, dout, one):  # type: ignore[no-untyped-def]
    """Write tanh(a) idt and (1 - tanh(a)^2) a' idt, each (row, n)."""
    for e in range(sigmoid.shape[0]):
        s, d, y, dy = sigmoid[e], dz[e], out[e], dout[e]
        for c in range(len(idt)):
            t = s[c] + s[c] - one
            y[c] = t * idt[c]
            dy[c] = (one - t * t) * d[c] * idt[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def backward(sigmoid, dz, idt, grads, grad_z, one):  # type: ignore[no-untyped-def]
    """Write the gradients by a and a' to ``grad_z`` (2, row, n).

    gbar_a' = g' idt f'(a);  gbar_a = g idt f'(a) + g' idt f''(a) a'
    """
    grad_y, grad_dy = grads
    for e in range(sigmoid.shape[0]):
        s, d, g, dg = sigmoid[e], dz[e], grad_y[e], grad_dy[e]
        to_a, to_da = grad_z[0, e], grad_z[1, e]
        for c in range(len(idt)):
            t = s[c] + s[c] - one
            slope = (one - t * t) * idt[c]
            inner = dg[c] * slope
            to_da[c] = inner
            to_a[c] = g[c] * slope - inner * d[c] * (t + t)


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_shortcut(out, x):  # type: ignore[no-untyped-def]
    """Add x (row, n_in) to each of the n_out / n_in parts of ``out`` (row, n_out)."""
    n_in = x.shape[1]
    for e in range(out.shape[0]):
        for start in range(0, out.shape[1], n_in):
            y, source = out[e, start : start + n_in], x[e]
            for c in range(n_in):
                y[c] += source[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_shortcut_adjoint(grad_x, grad):  # type: ignore[no-untyped-def]
    """Add each of the parts of ``grad`` (row, n_out) to ``grad_x`` (row, n_in)."""
    n_in = grad_x.shape[1]
    for e in range(grad.shape[0]):
        for start in range(0, grad.shape[1], n_in):
            total, part = grad_x[e], grad[e, start : start + n_in]
            for c in range(n_in):
                total[c] += part[c]
