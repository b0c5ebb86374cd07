"""Which side of the benchmark of MD steps is the peer."""

from benchmarks.md_step.__main__ import best_peers


def side(ms, skin=None):
    clocks = {"wall": {"median_ms": ms}, "cpu": {"median_ms": ms / 2}}
    return clocks if skin is None else clocks | {"skin": skin}


def test_the_peer_is_the_fastest_whatever_its_skin():
    found = {
        "dpbench float64": side(2.0, 1.0),
        "dpbench-exact float64": side(5.0, 1.0),
        "lammps-compressed float64 skin 2": side(9.0, 2.0),
        "lammps-compressed float64 skin 1": side(8.0, 1.0),
        "lammps-plain float64 skin 2": side(30.0, 2.0),
        "gemm-floor float64": side(0.5),
        "dpbench float32": side(1.0, 1.0),
        "lammps-compressed float32 skin 2": side(6.0, 2.0),
        "lammps-compressed float32 skin 1": side(7.0, 1.0),
    }
    best = best_peers(found)
    assert best["float64"]["side"] == "lammps-compressed float64 skin 1"
    assert best["float64"]["skin_angstrom"] == 1.0
    assert best["float64"]["ratios"] == {
        "dpbench float64": {"wall": 4.0, "cpu": 4.0},
        "dpbench-exact float64": {"wall": 1.6, "cpu": 1.6},
    }
    assert best["float32"]["skin_angstrom"] == 2.0
    assert best["float32"]["ratios"]["dpbench float32"]["wall"] == 6.0


def test_without_a_peer_there_is_none():
    assert best_peers({"dpbench float64": side(2.0, 1.0)}) == {}
