"""The inference kernels for CPUs, compiled by numba: one atom after the other.

Nothing is stored per edge but what one block of atoms needs on its way back. Lengths
and switches are formed in float64; the loops over channels run in the tables' type.
Reordering sums is allowed (``reassoc``); nothing that would hide a NaN is.
"""

import math

from numba import njit, prange

from dpbench.kernels.inference.lanes import add_moments, row_gradients

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _near(view, a, bounds, edges, e):  # type: ignore[no-untyped-def]
    """Keep the neighbours of slot a that are within the cutoff; return the next edge.

    Writes vector and squared length (float64), neighbour, and where each type starts.
    """
    place, start, neighbour, image, shift, stops = view
    rcut2, first = bounds
    vec, _, other, _ = edges
    xa, ya, za = place[a, 0], place[a, 1], place[a, 2]
    n, end = start[a], start[a + 1]
    for t in range(len(stops)):
        first[t] = e
        stop = stops[t]
        while n < end:
            j = neighbour[n]
            if j >= stop:
                break
            s = shift[image[n]]
            dx = place[j, 0] + s[0] - xa
            dy = place[j, 1] + s[1] - ya
            dz = place[j, 2] + s[2] - za
            r2 = dx * dx + dy * dy + dz * dz
            # Written always, kept by moving on: a branch would be mispredicted.
            vec[0, e] = dx
            vec[1, e] = dy
            vec[2, e] = dz
            vec[3, e] = r2
            other[e] = j
            e += r2 < rcut2
            n += 1
    first[len(stops)] = e
    return e


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _prepare(edges, span, normal, cut, piece):  # type: ignore[no-untyped-def]
    """Form environment rows and table places of the edges in ``span``.

    Overwrites the squared length by h and adds f'/r and h'/r; returns how many edges
    lie above the table.
    """
    vec, rows, _, place = edges
    rcut_smth, inverse_width, protection = cut[0], cut[1], cut[2]
    a0, a1, a2, a3 = normal[0], normal[1], normal[2], normal[3]
    i0, i1, i2, i3 = normal[4], normal[5], normal[6], normal[7]
    lower, inverse_step, count, begin, line = piece
    above = 0
    for e in range(span[0], span[1]):
        dx, dy, dz = vec[0, e], vec[1, e], vec[2, e]
        r = math.sqrt(vec[3, e])
        u = min(max((r - rcut_smth) * inverse_width, 0.0), 1.0)
        v = u * (1 - u)
        w = u * u * u * ((15 - 6 * u) * u - 10) + 1
        q = 1 / (r + protection)
        f = w * q
        h = f * q
        df = -30 * inverse_width * v * v * q - h
        dh = (df - h) * q
        inverse = 1 / r
        vec[3, e] = h
        vec[4, e] = df * inverse
        vec[5, e] = dh * inverse
        s = (f - a0) * i0
        rows[0, e] = s
        rows[1, e] = (h * dx - a1) * i1
        rows[2, e] = (h * dy - a2) * i2
        rows[3, e] = (h * dz - a3) * i3
        position = (s - lower) * inverse_step
        whole = math.floor(position)
        row = begin + int(whole)
        if not position >= 0:
            whole = 0.0
            row = line
        if position >= count:
            whole = count
            row = line + 1
            above += position > count
        rows[4, e] = position - whole
        place[e] = row
    return above


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _contract(moment, channels, axis, out):  # type: ignore[no-untyped-def]
    """Write D_ac = X_a . X_c for a < axis, c >= a, row by row: D is symmetric there."""
    at = 0
    for a in range(axis):
        m0, m1, m2, m3 = moment[0, a], moment[1, a], moment[2, a], moment[3, a]
        row = out[at : at + channels - a]
        x0, x1 = moment[0, a:channels], moment[1, a:channels]
        x2, x3 = moment[2, a:channels], moment[3, a:channels]
        for k in range(channels - a):
            row[k] = m0 * x0[k] + m1 * x1[k] + m2 * x2[k] + m3 * x3[k]
        at += channels - a


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _contract_adjoint(moment, channels, axis, grad, out):  # type: ignore[no-untyped-def]
    """Write dE/dX to ``out`` from dE/dD, both as ``_contract`` has them."""
    zero = out.dtype.type(0)
    out[:] = zero
    at = 0
    for a in range(axis):
        g = grad[at : at + channels - a]
        # One of the four rows at a time: few arrays, so that the compiler can see that
        # they do not overlap.
        for n in range(4):
            m = moment[n, a]
            x, y = moment[n, a:channels], out[n, a:channels]
            p = zero
            for k in range(channels - a):
                p += g[k] * x[k]
                y[k] += g[k] * m
            out[n, a] += p
        at += channels - a


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _forward_atom(b, centre, model, edges, out):  # type: ignore[no-untyped-def]
    """Turn the kept edges of atom b of a block into its moments and descriptor."""
    coefficients, sel, is_seen, padding, normal, cut, pieces, scale, axis = model
    first, moment, descriptor, counters, channels = out
    _, rows, _, place = edges
    m = moment[b]
    m[:] = scale.dtype.type(0)
    is_crowded = False
    for t in range(len(sel)):
        span = (first[b, t], first[b, t + 1])
        missing = sel[t] - (span[1] - span[0])
        is_crowded |= missing < 0
        if is_seen[centre, t] and span[1] > span[0]:
            p = pieces[t]
            piece = (p[0], p[1], p[2], int(p[3]), int(p[4]))
            counters[0] += _prepare(edges, span, normal, cut, piece)
            add_moments(coefficients, rows, place, span, m)
        if len(padding) and missing != 0:
            weight = scale.dtype.type(missing)
            empty = padding[t]
            for n in range(4):
                row, more = m[n], empty[n]
                for k in range(len(row)):
                    row[k] += weight * more[k]
    counters[1] += is_crowded
    for n in range(4):
        for k in range(channels):
            m[n, k] *= scale[0]
    _contract(m, channels, axis, descriptor[b])


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def forward_listed(view, slots, model, edges, out):  # type: ignore[no-untyped-def]
    """Write moments and descriptors of the atoms in ``slots`` from a neighbour list.

    ``slots`` is (first of the block, first, stop, centre type); edge buffers have room
    for all entries of the block.
    """
    place, start, neighbour, image, shift, stops, frame, rcut2 = view
    block, low, high, centre = slots
    first = out[0]
    for a in range(low, high):
        b = a - block
        listed = (place, start, neighbour, image, shift[frame[a]], stops)
        _near(listed, a, (rcut2, first[b]), edges, start[a] - start[block])
        _forward_atom(b, centre, model, edges, out)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def forward_given(view, slots, model, edges, out):  # type: ignore[no-untyped-def]
    """Write moments and descriptors of the atoms in ``slots`` from edge vectors."""
    edge_vec, neighbour, row_offset = view
    block, low, high, centre = slots
    first = out[0]
    vec, _, other, _ = edges
    ntypes = len(row_offset)
    e = 0
    for t in range(ntypes):
        e += row_offset[t, low] - row_offset[t, block]
    for a in range(low, high):
        b = a - block
        for t in range(ntypes):
            first[b, t] = e
            for n in range(row_offset[t, a], row_offset[t, a + 1]):
                r2 = 0.0
                for k in range(3):
                    d = float(edge_vec[n, k])
                    vec[k, e] = d
                    r2 += d * d
                vec[3, e] = r2
                other[e] = neighbour[n]
                e += 1
        first[b, ntypes] = e
        _forward_atom(b, centre, model, edges, out)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _edge_forces(edges, span, normal, inverse_step, virial):  # type: ignore[no-untyped-def]
    """Overwrite h, f'/r, h'/r by dE/dd = J^T dE/dR; subtract d (x) dE/dd."""
    vec, rows, _, _ = edges
    i0, i1, i2, i3 = normal[4], normal[5], normal[6], normal[7]
    vxx, vxy, vxz = 0.0, 0.0, 0.0
    vyx, vyy, vyz = 0.0, 0.0, 0.0
    vzx, vzy, vzz = 0.0, 0.0, 0.0
    low, high = span
    xs, ys, zs = vec[0, low:high], vec[1, low:high], vec[2, low:high]
    hs, dfs, dhs = vec[3, low:high], vec[4, low:high], vec[5, low:high]
    p0, p1, p2 = rows[0, low:high], rows[1, low:high], rows[2, low:high]
    p3, q = rows[3, low:high], rows[4, low:high]
    for e in range(high - low):
        dx, dy, dz = xs[e], ys[e], zs[e]
        s0 = (float(p0[e]) + inverse_step * float(q[e])) * i0
        s1, s2, s3 = float(p1[e]) * i1, float(p2[e]) * i2, float(p3[e]) * i3
        radial = s0 * dfs[e] + (s1 * dx + s2 * dy + s3 * dz) * dhs[e]
        h = hs[e]
        gx = s1 * h + radial * dx
        gy = s2 * h + radial * dy
        gz = s3 * h + radial * dz
        hs[e] = gx
        dfs[e] = gy
        dhs[e] = gz
        vxx += dx * gx
        vxy += dx * gy
        vxz += dx * gz
        vyx += dy * gx
        vyy += dy * gy
        vyz += dy * gz
        vzx += dz * gx
        vzy += dz * gy
        vzz += dz * gz
    virial[0, 0] -= vxx
    virial[0, 1] -= vxy
    virial[0, 2] -= vxz
    virial[1, 0] -= vyx
    virial[1, 1] -= vyy
    virial[1, 2] -= vyz
    virial[2, 0] -= vzx
    virial[2, 1] -= vzy
    virial[2, 2] -= vzz


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def backward(slots, model, edges, state, out):  # type: ignore[no-untyped-def]
    """Add forces and virials of the atoms in ``slots`` from dE/dD.

    A pair's force goes to both of its atoms at once, Newton's third law.
    """
    coefficients, sel, is_seen, _, normal, _, pieces, scale, axis = model
    first, moment, grad, channels, x = state
    force, virial, frame = out
    vec, rows, other, place = edges
    block, low, high, centre = slots
    for a in range(low, high):
        b = a - block
        _contract_adjoint(moment[b], channels, axis, grad[b], x)
        for n in range(4):
            for k in range(channels):
                x[n, k] *= scale[0]
        fx, fy, fz = 0.0, 0.0, 0.0
        for t in range(len(sel)):
            if not is_seen[centre, t]:
                continue
            span = (first[b, t], first[b, t + 1])
            row_gradients(coefficients, rows, place, span, x)
            _edge_forces(edges, span, normal, pieces[t, 1], virial[frame[a]])
            for e in range(span[0], span[1]):
                gx, gy, gz = vec[3, e], vec[4, e], vec[5, e]
                j = other[e]
                force[j, 0] -= gx
                force[j, 1] -= gy
                force[j, 2] -= gz
                fx += gx
                fy += gy
                fz += gz
        force[a, 0] += fx
        force[a, 1] += fy
        force[a, 2] += fz


@njit(cache=True, parallel=True, forceinline=True)
def forward_parallel(view, slots, model, edges, out):  # type: ignore[no-untyped-def]
    """Share the atoms of a block among workers: ``forward_listed`` of each share."""
    block, low, high, centre = slots
    first, moment, descriptor, counters, channels = out
    nworkers = len(counters)
    for w in prange(nworkers):
        begin = low + (high - low) * w // nworkers
        end = low + (high - low) * (w + 1) // nworkers
        share = (first, moment, descriptor, counters[w], channels)
        forward_listed(view, (block, begin, end, centre), model, edges, share)


@njit(cache=True, parallel=True, forceinline=True)
def backward_parallel(slots, model, edges, state, out):  # type: ignore[no-untyped-def]
    """Share the atoms of a block among workers, each with buffers of its own."""
    block, low, high, centre = slots
    first, moment, grad, channels, x = state
    force, virial, frame = out
    nworkers = len(force)
    for w in prange(nworkers):
        begin = low + (high - low) * w // nworkers
        end = low + (high - low) * (w + 1) // nworkers
        mine = (first, moment, grad, channels, x[w])
        backward(
            (block, begin, end, centre),
            model,
            edges,
            mine,
            (force[w], virial[w], frame),
        )
