"""Work folders of DP-GEN for tests, put together from real labelling folders."""

import json
import shutil
from pathlib import Path

QE = "out_data_post_fp_pwscf"
VASP = "out_data_post_fp_vasp"
CP2K = "out_data_post_fp_cp2k"
ABACUS = "out_data_post_fp_abacus"

DEVIATIONS = """\
#       step         max_devi_v  min_devi_v  avg_devi_v  max_devi_f  min_devi_f  avg
           0       1.0e-03 1.0e-04 5.0e-04 3.0e-02 1.0e-03 1.0e-02
          40       2.0e-03 1.0e-04 5.0e-04 1.7e-01 1.0e-03 1.0e-02
"""


def tree(shared_data: Path, name: str) -> Path:
    """One of DP-GEN's own labelling folders."""
    return shared_data / "thirdparty" / "fp_trees" / name


def copy_writable(source: Path, target: Path) -> None:
    """Copy files; those of the shared data cannot be written."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def write_work(root: Path, shared_data: Path, *, last: str = "1 8\n") -> Path:
    """Write a work folder of two iterations: QE labels in the first, none in the other.

    The first task has its links to the walk, which was removed but for its deviations.
    """
    labels = root / "iter.000000" / "02.fp"
    labels.parent.mkdir(parents=True)
    copy_writable(tree(shared_data, QE) / "02.fp", labels)
    walk = root / "iter.000000" / "01.model_devi" / "task.000.000003"
    walk.mkdir(parents=True)
    (walk / "model_devi.out").write_text(DEVIATIONS)
    (walk / "job.json").write_text(json.dumps({"temps": 330.0, "press": 1.0}))
    task = labels / "task.000.000000"
    to_walk = f"../../01.model_devi/{walk.name}"
    (task / "conf.dump").symlink_to(f"{to_walk}/traj/40.lammpstrj")
    (task / "job.json").symlink_to(f"{to_walk}/job.json")
    (labels / "candidate.shuffled.000.out").write_text("a 40\nb 20\nc 20\n")
    (labels / "rest_accurate.shuffled.000.out").write_text("a 0\n")
    (root / "iter.000001" / "02.fp" / "task.000.000000").mkdir(parents=True)
    (root / "record.dpgen").write_text("0 0\n0 8\n" + last)
    (root / "param.json").write_text(
        json.dumps({"init_data_sys": ["init/a"], "ratio_failed": 0.01})
    )
    copy_writable(tree(shared_data, ABACUS) / "orig", root / "init" / "a")
    return root
