"""Sorting and merging of edges, compiled by numba; serial, without Python's lock."""

from numba import njit


@njit(cache=True, nogil=True)
def sort_frame(atype, edges, geometry, order, out):  # type: ignore[no-untyped-def]
    """Sort the edges of a frame as ``Batch`` wants them; one counting sort.

    Args:
        atype: (atom), int64.
        edges: (edge_i, edge_j (edge), shift (edge, 3)) as they were found.
        geometry: (coord (atom, 3), box (3, 3)), float64; no NaN.
        order: (atom_order (atom), row_offset (type, atom + 1), both int64, to be
            written.
        out: (edge_i, edge_j, edge_row (edge), edge_vec (edge, 3)), to be written.
    """
    edge_i, edge_j, shift = edges
    coord, box = geometry
    atom_order, row_offset = order
    out_i, out_j, out_row, out_vec = out
    natoms, ntypes = len(atype), len(row_offset)
    row = _rank_atoms(atype, ntypes, atom_order)
    row_offset[:] = 0
    for e in range(len(edge_i)):
        row_offset[atype[edge_j[e]], row[edge_i[e]] + 1] += 1
    total = 0
    for t in range(ntypes):
        row_offset[t, 0] = total
        for a in range(natoms):
            total += row_offset[t, a + 1]
            row_offset[t, a + 1] = total
    # Next free place of each row; ``row_offset`` itself is what the caller keeps.
    cursor = row_offset.copy()
    for e in range(len(edge_i)):
        i, j = edge_i[e], edge_j[e]
        t, a = atype[j], row[i]
        place = cursor[t, a]
        cursor[t, a] = place + 1
        out_i[place], out_j[place], out_row[place] = i, j, a
        x, y, z = shift[e, 0], shift[e, 1], shift[e, 2]
        for k in range(3):
            image = x * box[0, k] + y * box[1, k] + z * box[2, k]
            out_vec[place, k] = coord[j, k] - coord[i, k] + image


@njit(cache=True, nogil=True, forceinline=True)
def _rank_atoms(atype, ntypes, atom_order):  # type: ignore[no-untyped-def]
    """Write the atoms sorted by type to ``atom_order``; return each atom's row."""
    natoms = len(atype)
    at = 0
    row = atom_order.copy()
    for t in range(ntypes):
        for atom in range(natoms):
            if atype[atom] == t:
                atom_order[at] = atom
                row[atom] = at
                at += 1
    return row


@njit(cache=True, nogil=True)
def copy_part(part, place, out):  # type: ignore[no-untyped-def]
    """Copy one sorted batch to its places in the merged one.

    Args:
        part: (edge_i, edge_j, edge_row, edge_vec, row_offset, atom_order).
        place: first (type + 1), rows of each type in the part; row_start (type), where
            they begin in the whole; block (type, type), where the edges of each
            neighbour and centre type begin in the whole; atom_start, first atom.
        out: The same arrays of the whole, to be written.
    """
    edge_i, edge_j, edge_row, edge_vec, row_offset, atom_order = part
    first, row_start, block, atom_start = place
    out_i, out_j, out_row, out_vec, out_offset, out_order = out
    ntypes = len(row_start)
    flat, flat_to = edge_vec.reshape(-1), out_vec.reshape(-1)
    # Kept as int32: an int64 in a sum would widen every edge.
    shift = edge_i.dtype.type(atom_start)
    for c in range(ntypes):
        for a in range(first[c], first[c + 1]):
            out_order[a - first[c] + row_start[c]] = atom_order[a] + atom_start
    for t in range(ntypes):
        for c in range(ntypes):
            begin, end = row_offset[t, first[c]], row_offset[t, first[c + 1]]
            moved = edge_i.dtype.type(row_start[c] - first[c])
            to = block[t, c]
            size = end - begin
            # Slices, because an index that is a sum is not vectorised.
            _add(edge_i[begin:end], shift, out_i[to : to + size])
            _add(edge_j[begin:end], shift, out_j[to : to + size])
            _add(edge_row[begin:end], moved, out_row[to : to + size])
            _copy(flat[3 * begin : 3 * end], flat_to[3 * to : 3 * (to + size)])
            for a in range(first[c], first[c + 1]):
                here = a - first[c] + row_start[c]
                out_offset[t, here] = row_offset[t, a] - begin + to


@njit(cache=True, nogil=True, forceinline=True)
def _add(source, number, target):  # type: ignore[no-untyped-def]
    for k in range(len(source)):
        target[k] = source[k] + number


@njit(cache=True, nogil=True, forceinline=True)
def _copy(source, target):  # type: ignore[no-untyped-def]
    for k in range(len(source)):
        target[k] = source[k]
