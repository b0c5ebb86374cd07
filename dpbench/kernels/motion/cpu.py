"""Moves of molecular dynamics, compiled by numba: one pass over the atoms each.

Arrays are float64; atoms lie as (replica, atom, 3). Every function writes in place.
Reordering sums is allowed (``reassoc``); nothing that would hide a NaN is.
"""

import math

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def kick_drift(coord, velocity, force, kick, dt):  # type: ignore[no-untyped-def]
    """Add ``kick`` (atom) x force to velocity, then ``dt`` x velocity to coord."""
    for r in range(coord.shape[0]):
        for a in range(coord.shape[1]):
            for c in range(3):
                v = velocity[r, a, c] + kick[a] * force[r, a, c]
                velocity[r, a, c] = v
                coord[r, a, c] += dt * v


@njit(cache=True, nogil=True, fastmath=_FAST)
def kick_measure(velocity, force, kick, mass, kinetic):  # type: ignore[no-untyped-def]
    """Kick, and write sum m v (x) v of each replica to ``kinetic`` (replica, 3, 3)."""
    for r in range(velocity.shape[0]):
        xx, yy, zz, xy, xz, yz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for a in range(velocity.shape[1]):
            x = velocity[r, a, 0] + kick[a] * force[r, a, 0]
            y = velocity[r, a, 1] + kick[a] * force[r, a, 1]
            z = velocity[r, a, 2] + kick[a] * force[r, a, 2]
            velocity[r, a, 0], velocity[r, a, 1], velocity[r, a, 2] = x, y, z
            m = mass[a]
            xx += m * x * x
            yy += m * y * y
            zz += m * z * z
            xy += m * x * y
            xz += m * x * z
            yz += m * y * z
        k = kinetic[r]
        k[0, 0], k[1, 1], k[2, 2] = xx, yy, zz
        k[0, 1], k[0, 2], k[1, 2] = xy, xz, yz
        k[1, 0], k[2, 0], k[2, 1] = xy, xz, yz


@njit(cache=True, nogil=True, fastmath=_FAST)
def ornstein(velocity, noise, mass, factors, heat):  # type: ignore[no-untyped-def]
    """Make v = c v + s sqrt(1/m) noise; add the kinetic energy gained to ``heat``."""
    c, s = factors
    for r in range(velocity.shape[0]):
        gained = 0.0
        for a in range(velocity.shape[1]):
            m = mass[a]
            width = s / math.sqrt(m)
            for k in range(3):
                old = velocity[r, a, k]
                new = c * old + width * noise[r, a, k]
                velocity[r, a, k] = new
                gained += m * (new - old) * (new + old)
        heat[r] += 0.5 * gained


@njit(cache=True, nogil=True, fastmath=_FAST)
def scale_drift(coord, velocity, stretch, dt):  # type: ignore[no-untyped-def]
    """Multiply x by ``stretch`` (replica, 3), divide v by it, then drift."""
    for r in range(coord.shape[0]):
        for a in range(coord.shape[1]):
            for c in range(3):
                v = velocity[r, a, c] / stretch[r, c]
                velocity[r, a, c] = v
                coord[r, a, c] = coord[r, a, c] * stretch[r, c] + dt * v


@njit(cache=True, nogil=True, fastmath=_FAST)
def drift(coord, velocity, dt):  # type: ignore[no-untyped-def]
    """Add ``dt`` x velocity to coord."""
    for r in range(coord.shape[0]):
        for a in range(coord.shape[1]):
            for c in range(3):
                coord[r, a, c] += dt * velocity[r, a, c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def rescale(velocity, factor):  # type: ignore[no-untyped-def]
    """Multiply the velocities of each replica by ``factor`` (replica)."""
    for r in range(velocity.shape[0]):
        f = factor[r]
        for a in range(velocity.shape[1]):
            for c in range(3):
                velocity[r, a, c] *= f


@njit(cache=True, nogil=True, fastmath=_FAST)
def farthest(coord, origin, change, out):  # type: ignore[no-untyped-def]
    """Write max |x - origin @ change|^2 of each replica to ``out`` (replica)."""
    for r in range(coord.shape[0]):
        f = change[r]
        most = 0.0
        for a in range(coord.shape[1]):
            square = 0.0
            ox, oy, oz = origin[r, a, 0], origin[r, a, 1], origin[r, a, 2]
            for c in range(3):
                d = coord[r, a, c] - (ox * f[0, c] + oy * f[1, c] + oz * f[2, c])
                square += d * d
            # Written so that NaN counts as far.
            if not square <= most:
                most = square
                if square != square:
                    break
        out[r] = most


@njit(cache=True, nogil=True)
def chain_half(twice_kinetic, chain, constants, weights, factor):  # type: ignore[no-untyped-def]
    """Half a step of Nose-Hoover chains; ``factor`` (replica) scales velocities."""
    position, rate = chain
    inertia, kt, dof = constants
    last = len(inertia) - 1
    push = np.empty(last + 1)
    for r in range(len(factor)):
        twice, scale = twice_kinetic[r], 1.0
        x, v = position[r], rate[r]
        for w in weights:
            push[0] = (twice - dof * kt) / inertia[0]
            for j in range(1, last + 1):
                push[j] = (inertia[j - 1] * v[j - 1] ** 2 - kt) / inertia[j]
            v[last] += push[last] * w / 4
            for j in range(last - 1, -1, -1):
                damping = math.exp(-v[j + 1] * w / 8)
                v[j] = (v[j] * damping + push[j] * w / 4) * damping
            shrink = math.exp(-v[0] * w / 2)
            scale *= shrink
            twice *= shrink * shrink
            for j in range(last + 1):
                x[j] += v[j] * w / 2
            push[0] = (twice - dof * kt) / inertia[0]
            for j in range(last):
                damping = math.exp(-v[j + 1] * w / 8)
                v[j] = (v[j] * damping + push[j] * w / 4) * damping
                push[j + 1] = (inertia[j] * v[j] ** 2 - kt) / inertia[j + 1]
            v[last] += push[last] * w / 4
        factor[r] = scale
