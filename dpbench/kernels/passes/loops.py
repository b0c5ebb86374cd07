"""The loops of the passes over edges, compiled by numba.

Inner loops run over channels, contiguous, and vectorise. Reordering sums is allowed
(``reassoc``); nothing that would hide a NaN is. Constants are made of the arrays'
type, since a literal would turn float32 into float64. Where rows are independent, each
thread takes one run of rows with scratch rows of its own.
"""

import numpy as np
from numba import njit, prange

from dpbench.kernels.passes.runs import (
    FEW,
    edge_of_run,
    project_edge,
    project_run,
    pull_edge,
    pull_run,
    pull_vector,
    run_end,
    weigh,
    weigh_tangent,
)
from dpbench.kernels.tables.lookup import add_powers, value, value_and_slope

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def prepare(edges, layout, normal, cutoffs, tables):  # type: ignore[no-untyped-def]
    """Fill rows, radial, interval and x; return how many edges lie outside."""
    vec, rows, radial, interval, place = edges
    row_offset, row_type, nets = layout
    davg, inverse_std, mask = normal
    rcut, rcut_smth, protection = cutoffs
    lower, step, first = tables
    width = rcut - rcut_smth
    outside = 0
    for t in range(row_offset.shape[0]):
        for a in range(row_offset.shape[1] - 1):
            centre = row_type[a]
            keep = float(mask[centre, t])
            net = nets[centre, t]
            count = first[net + 1] - first[net]
            for e in range(row_offset[t, a], row_offset[t, a + 1]):
                x, y, z = float(vec[e, 0]), float(vec[e, 1]), float(vec[e, 2])
                r = np.sqrt(x * x + y * y + z * z)
                u = min(max((r - rcut_smth) / width, 0.0), 1.0)
                w = u * u * u * ((15.0 - 6.0 * u) * u - 10.0) + 1.0
                v = u * (1.0 - u)
                dw = -30.0 / width * v * v
                q = 1.0 / (r + protection)
                f = w * q
                h = f * q
                df = dw * q - h
                dh = (df - h) * q
                s = (f - davg[centre, 0]) * inverse_std[centre, 0] * keep
                rows[e, 0] = s
                rows[e, 1] = (h * x - davg[centre, 1]) * inverse_std[centre, 1] * keep
                rows[e, 2] = (h * y - davg[centre, 2]) * inverse_std[centre, 2] * keep
                rows[e, 3] = (h * z - davg[centre, 3]) * inverse_std[centre, 3] * keep
                radial[e, 0] = h * keep
                radial[e, 1] = df / r * keep
                radial[e, 2] = dh / r * keep
                at = (s - lower[net]) / step[net]
                # A NaN compares false everywhere: it takes piece 0 and stays a NaN.
                k, begin = 0, 0
                if at > count:
                    k, begin = first[len(first) - 1] + 2 * net + 1, count
                elif at < 0.0:
                    k = first[len(first) - 1] + 2 * net
                elif at >= 0.0:
                    begin = min(int(at), count - 1)
                    k = first[net] + begin
                interval[e] = k
                place[e] = at - begin
                if at < -1e-6 or at > count + 1e-6:
                    outside += 1
    return outside


@njit(cache=True, nogil=True)
def shortest(vec, row_offset, row_type, out):  # type: ignore[no-untyped-def]
    """Lower ``out`` (centre type, neighbour type) to the shortest squared distances."""
    for t in range(row_offset.shape[0]):
        for a in range(row_offset.shape[1] - 1):
            least = out[row_type[a], t]
            for e in range(row_offset[t, a], row_offset[t, a + 1]):
                x, y, z = float(vec[e, 0]), float(vec[e, 1]), float(vec[e, 2])
                least = min(least, x * x + y * y + z * z)
            out[row_type[a], t] = least


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def moments(rows, interval, place, row_offset, coefficients, out, workers):  # type: ignore[no-untyped-def]
    """P1: write sum_e R (x) G of each row to ``out`` (row, 4, width)."""
    nrows, width = row_offset.shape[1] - 1, coefficients.shape[2]
    for worker in prange(workers):
        g = np.empty(width, out.dtype)
        for a in range(nrows * worker // workers, nrows * (worker + 1) // workers):
            x0, x1, x2, x3 = out[a, 0], out[a, 1], out[a, 2], out[a, 3]
            x0[:] = 0
            x1[:] = 0
            x2[:] = 0
            x3[:] = 0
            for t in range(row_offset.shape[0]):
                for e in range(row_offset[t, a], row_offset[t, a + 1]):
                    r0, r1, r2, r3 = rows[e, 0], rows[e, 1], rows[e, 2], rows[e, 3]
                    value(coefficients[interval[e]], place[e], g)
                    for c in range(width):
                        x0[c] += r0 * g[c]
                        x1[c] += r1 * g[c]
                        x2[c] += r2 * g[c]
                        x3[c] += r3 * g[c]


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def edge_gradient(  # type: ignore[no-untyped-def]
    edges, layout, inverse_std, inverse, coefficients, grad_x, out, workers
):
    """P2: write J^T (dX . G + e_0 (R . dX) . G') of each edge to ``out`` (edge, 3)."""
    vec, rows, radial, interval, place, order = edges
    row_offset, row_type, nets = layout
    nrows = row_offset.shape[1] - 1
    for worker in prange(workers):
        sums = np.empty((6, 4), out.dtype)
        for a in range(nrows * worker // workers, nrows * (worker + 1) // workers):
            x, std = grad_x[a], inverse_std[row_type[a]]
            for t in range(row_offset.shape[0]):
                per_step = inverse[nets[row_type[a], t]]
                slot, stop = row_offset[t, a], row_offset[t, a + 1]
                while slot < stop:
                    end = run_end(interval, place, order, slot, stop)
                    piece = coefficients[interval[order[slot]]]
                    if end - slot > 1:
                        project_run(x, piece, sums)
                        for at in range(slot, end):
                            e = order[at]
                            to_row = edge_of_run(sums, rows[e], place[e], per_step)
                            pull_vector(to_row, std, vec[e], radial[e], out[e])
                    else:
                        e = order[slot]
                        to_row = project_edge(x, rows[e], piece, place[e], per_step)
                        pull_vector(to_row, std, vec[e], radial[e], out[e])
                    slot = end


@njit(cache=True, nogil=True)
def assemble(grad, vec, edge_i, edge_j, frame_idx, force, virial, with_virial):  # type: ignore[no-untyped-def]
    """Add the edges' gradients to forces and virials, in float64 and in order."""
    for e in range(len(edge_i)):
        i, j = edge_i[e], edge_j[e]
        for k in range(3):
            force[i, k] += grad[e, k]
            force[j, k] -= grad[e, k]
        if with_virial:
            total = virial[frame_idx[i]]
            for k in range(3):
                for m in range(3):
                    total[k, m] -= float(vec[e, k]) * float(grad[e, m])


@njit(cache=True, nogil=True, fastmath=_FAST)
def tangent_rows(edges, index, atoms, inverse_std, atom_dot, strain, out):  # type: ignore[no-untyped-def]
    """Write R' = J (u_j - u_i - d S) of each edge to ``out`` (edge, 4)."""
    vec, radial = edges
    edge_i, edge_j, edge_row = index
    row_type, frame_idx = atoms
    for e in range(len(edge_i)):
        i, j = edge_i[e], edge_j[e]
        x, y, z = float(vec[e, 0]), float(vec[e, 1]), float(vec[e, 2])
        dx = atom_dot[j, 0] - atom_dot[i, 0]
        dy = atom_dot[j, 1] - atom_dot[i, 1]
        dz = atom_dot[j, 2] - atom_dot[i, 2]
        if len(strain):
            s = strain[frame_idx[i]]
            dx -= x * s[0, 0] + y * s[1, 0] + z * s[2, 0]
            dy -= x * s[0, 1] + y * s[1, 1] + z * s[2, 1]
            dz -= x * s[0, 2] + y * s[1, 2] + z * s[2, 2]
        std = inverse_std[row_type[edge_row[e]]]
        along = x * dx + y * dy + z * dz
        h, bend = float(radial[e, 0]), float(radial[e, 2]) * along
        out[e, 0] = float(radial[e, 1]) * along * std[0]
        out[e, 1] = (h * dx + bend * x) * std[1]
        out[e, 2] = (h * dy + bend * y) * std[2]
        out[e, 3] = (h * dz + bend * z) * std[3]


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def tangent_moments(edges, layout, inverse, coefficients, out, workers):  # type: ignore[no-untyped-def]
    """P3: write sum_e R' (x) G + R (x) G' s' of each row to ``out`` (row, 4, width)."""
    rows, rows_dot, interval, place = edges
    row_offset, row_type, nets = layout
    nrows, width = row_offset.shape[1] - 1, coefficients.shape[2]
    for worker in prange(workers):
        g, dg = np.empty(width, out.dtype), np.empty(width, out.dtype)
        for a in range(nrows * worker // workers, nrows * (worker + 1) // workers):
            x0, x1, x2, x3 = out[a, 0], out[a, 1], out[a, 2], out[a, 3]
            x0[:] = 0
            x1[:] = 0
            x2[:] = 0
            x3[:] = 0
            for t in range(row_offset.shape[0]):
                per_step = inverse[nets[row_type[a], t]]
                for e in range(row_offset[t, a], row_offset[t, a + 1]):
                    value_and_slope(
                        coefficients[interval[e]], place[e], per_step, g, dg
                    )
                    d = rows_dot[e, 0]
                    p0, p1, p2, p3 = d, rows_dot[e, 1], rows_dot[e, 2], rows_dot[e, 3]
                    r0, r1 = rows[e, 0] * d, rows[e, 1] * d
                    r2, r3 = rows[e, 2] * d, rows[e, 3] * d
                    for c in range(width):
                        x0[c] += p0 * g[c] + r0 * dg[c]
                        x1[c] += p1 * g[c] + r1 * dg[c]
                        x2[c] += p2 * g[c] + r2 * dg[c]
                        x3[c] += p3 * g[c] + r3 * dg[c]


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def adjoint(edges, layout, inverse, grad_x, grad_dot, out):  # type: ignore[no-untyped-def]
    """P4: add the coefficients' gradient to ``out`` (worker, interval, 6, width)."""
    rows, rows_dot, interval, place, order = edges
    row_offset, row_type, nets = layout
    nrows, workers = row_offset.shape[1] - 1, out.shape[0]
    width, kind = out.shape[3], out.dtype
    for worker in prange(workers):
        weights, tangents = np.empty((6, 4), kind), np.empty((6, 4), kind)
        pulled = np.empty((2, width), kind)
        grads = (pulled[0], pulled[1])
        for a in range(nrows * worker // workers, nrows * (worker + 1) // workers):
            x, y = grad_x[a], grad_dot[a]
            for t in range(row_offset.shape[0]):
                per_step = inverse[nets[row_type[a], t]]
                slot, stop = row_offset[t, a], row_offset[t, a + 1]
                while slot < stop:
                    end = run_end(interval, place, order, slot, stop)
                    total, run = out[worker, interval[order[slot]]], order[slot:end]
                    if len(run) > FEW:
                        weigh(run, rows, place, weights)
                        weigh_tangent(run, rows, rows_dot, place, per_step, tangents)
                        pull_run(weights, tangents, x, y, total)
                    else:
                        for e in run:
                            pull_edge(rows[e], rows_dot[e], x, y, grads)
                            add_powers(place[e], per_step, grads, total)
                    slot = end
