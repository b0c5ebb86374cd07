"""The compact neighbour list, compiled by numba: bins by type, two passes, no ghosts.

Atoms are sorted by type and then by bin, and bins run fastest along the third cell
vector, so that the atoms of one type in a row of bins are one slice of memory. A bin
is half as wide as the radius where the cell allows it; in a small cell the search
walks over several images of its bins.
"""

from numba import njit, prange

ATOMS_PER_TASK = 256
"""Atoms of one task of a parallel search."""


@njit(cache=True, nogil=True)
def sort_atoms(bins, atype, first, order):  # type: ignore[no-untyped-def]
    """Sort atoms by type, then by bin, keeping their order within a bin.

    Args:
        bins: (atom), flat bin of each atom.
        atype: (atom), type of each atom.
        first: (type, bin + 1), zeros; becomes the first slot of each bin.
        order: (atom), becomes the atoms by slot.
    """
    ntypes, nbins = first.shape[0], first.shape[1] - 1
    for i in range(len(bins)):
        first[atype[i], bins[i] + 1] += 1
    slot = 0
    for t in range(ntypes):
        first[t, 0] = slot
        for b in range(nbins):
            first[t, b + 1] += first[t, b]
        slot = first[t, nbins]
    for i in range(len(bins)):
        t, b = atype[i], bins[i]
        order[first[t, b]] = i
        first[t, b] += 1
    for t in range(ntypes):
        for b in range(nbins - 1, 0, -1):
            first[t, b] = first[t, b - 1]
        first[t, 0] = first[t - 1, nbins] if t else 0


@njit(cache=True, nogil=True, forceinline=True)
def _runs(bin3, nbins, reach, periodic, runs):  # type: ignore[no-untyped-def]
    """List the slices of bins around a bin: (first flat bin, last, image 3)."""
    found = 0
    for ox in range(-reach[0], reach[0] + 1):
        bx = bin3[0] + ox
        sx = bx // nbins[0]
        if sx != 0 and not periodic[0]:
            continue
        for oy in range(-reach[1], reach[1] + 1):
            by = bin3[1] + oy
            sy = by // nbins[1]
            if sy != 0 and not periodic[1]:
                continue
            row = ((bx - sx * nbins[0]) * nbins[1] + by - sy * nbins[1]) * nbins[2]
            low, high = bin3[2] - reach[2], bin3[2] + reach[2]
            if not periodic[2]:
                low, high = max(low, 0), min(high, nbins[2] - 1)
            for sz in range(low // nbins[2], high // nbins[2] + 1):
                start = sz * nbins[2]
                runs[found, 0] = row + max(low, start) - start
                runs[found, 1] = row + min(high, start + nbins[2] - 1) - start
                runs[found, 2] = sx
                runs[found, 3] = sy
                runs[found, 4] = sz
                found += 1
    return found


@njit(cache=True, nogil=True, forceinline=True)
def count_range(search, slots, counts, runs):  # type: ignore[no-untyped-def]
    """Count the neighbours of the atoms in ``slots`` = (first, stop)."""
    place, box, bin3, first, nbins, reach, periodic, radius2, _, _ = search
    xs, ys, zs = place[0], place[1], place[2]
    for p in range(slots[0], slots[1]):
        nruns = _runs(bin3[p], nbins, reach, periodic, runs)
        total = 0
        for n in range(nruns):
            sx, sy, sz = runs[n, 2], runs[n, 3], runs[n, 4]
            tx = sx * box[0, 0] + sy * box[1, 0] + sz * box[2, 0] - xs[p]
            ty = sx * box[0, 1] + sy * box[1, 1] + sz * box[2, 1] - ys[p]
            tz = sx * box[0, 2] + sy * box[1, 2] + sz * box[2, 2] - zs[p]
            is_home = sx == 0 and sy == 0 and sz == 0
            for t in range(first.shape[0]):
                begin, end = first[t, runs[n, 0]], first[t, runs[n, 1] + 1]
                near = 0
                for q in range(begin, end):
                    dx, dy, dz = xs[q] + tx, ys[q] + ty, zs[q] + tz
                    near += dx * dx + dy * dy + dz * dz < radius2
                if is_home and begin <= p < end:
                    near -= 1  # the atom itself
                total += near
        counts[p] = total


@njit(cache=True, nogil=True, forceinline=True)
def fill_range(search, slots, places, out, runs):  # type: ignore[no-untyped-def]
    """Write the neighbours of the atoms in ``slots``, grouped by type.

    ``places`` holds the first entry of each atom and how many it has.
    """
    start, counts = places
    place, box, bin3, first, nbins, reach, periodic, radius2, renumber, most = search
    neighbour, image = out
    xs, ys, zs = place[0], place[1], place[2]
    ntypes, nbin = first.shape[0], first.shape[1] - 1
    for p in range(slots[0], slots[1]):
        nruns = _runs(bin3[p], nbins, reach, periodic, runs)
        edge, stop = start[p], start[p] + counts[p]
        for t in range(ntypes):
            # Slots of a type are shifted by what other replicas put before them.
            ahead = renumber[t] - first[t, 0]
            if first[t, nbin] == first[t, 0]:
                continue
            for n in range(nruns):
                begin, end = first[t, runs[n, 0]], first[t, runs[n, 1] + 1]
                if begin == end:
                    continue
                sx, sy, sz = runs[n, 2], runs[n, 3], runs[n, 4]
                tx = sx * box[0, 0] + sy * box[1, 0] + sz * box[2, 0] - xs[p]
                ty = sx * box[0, 1] + sy * box[1, 1] + sz * box[2, 1] - ys[p]
                tz = sx * box[0, 2] + sy * box[1, 2] + sz * box[2, 2] - zs[p]
                is_home = sx == 0 and sy == 0 and sz == 0
                code = (sx + most[0]) * (2 * most[1] + 1) + sy + most[1]
                code = code * (2 * most[2] + 1) + sz + most[2]
                skip = p if is_home else -1
                before = edge
                for q in range(begin, end):
                    dx, dy, dz = xs[q] + tx, ys[q] + ty, zs[q] + tz
                    # Written always, kept by moving on: whether a pair is near cannot
                    # be predicted. The last place is never passed.
                    if edge < stop:
                        neighbour[edge] = q + ahead
                    edge += (dx * dx + dy * dy + dz * dz < radius2) & (q != skip)
                image[before:edge] = code


@njit(cache=True, parallel=True, forceinline=True)
def count_all(search, counts, runs):  # type: ignore[no-untyped-def]
    """Count the neighbours of all atoms, in parallel tasks."""
    natoms = len(counts)
    for task in prange((natoms + ATOMS_PER_TASK - 1) // ATOMS_PER_TASK):
        low = task * ATOMS_PER_TASK
        slots = (low, min(low + ATOMS_PER_TASK, natoms))
        count_range(search, slots, counts, runs.copy())


@njit(cache=True, parallel=True, forceinline=True)
def fill_all(search, places, out, runs):  # type: ignore[no-untyped-def]
    """Write the neighbours of all atoms, in parallel tasks."""
    natoms = len(places[0])
    for task in prange((natoms + ATOMS_PER_TASK - 1) // ATOMS_PER_TASK):
        low = task * ATOMS_PER_TASK
        slots = (low, min(low + ATOMS_PER_TASK, natoms))
        fill_range(search, slots, places, out, runs.copy())


@njit(cache=True, nogil=True)
def largest_move(coord, then, affine, natoms):  # type: ignore[no-untyped-def]
    """Return the largest squared distance of coord from then @ affine, per replica.

    NaN positions make it NaN, so that no comparison lets them pass.
    """
    largest = 0.0
    for i in range(len(coord)):
        a = affine[i // natoms]
        x, y, z = then[i, 0], then[i, 1], then[i, 2]
        dx = coord[i, 0] - (x * a[0, 0] + y * a[1, 0] + z * a[2, 0])
        dy = coord[i, 1] - (x * a[0, 1] + y * a[1, 1] + z * a[2, 1])
        dz = coord[i, 2] - (x * a[0, 2] + y * a[1, 2] + z * a[2, 2])
        moved = dx * dx + dy * dy + dz * dz
        if not moved <= largest:
            largest = moved
            if moved != moved:
                break
    return largest
