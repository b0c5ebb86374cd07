"""Record what DP-GEN's and dpgen2's own functions select; not a test.

To renew the answers: PYTHON tests/explore/select/record_dpgen.py, with a Python that
has dpgen, dpgen2 and dpdata.
"""

import itertools
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
EDGES = [0.0, 0.049999, 0.05, 0.050001, 0.1, 0.199999, 0.2, 0.200001, 0.9]
OPEN = 1e10  # DP-GEN's way to say: not looked at


def rows_of(seed, natoms):
    """Rows of a task: (step, v v v f f f, atoms), on and beside the levels."""
    draw = np.random.default_rng(seed)
    rows = []
    for step in range(0, 400, 10):
        row = draw.choice(EDGES, 6 + natoms).tolist()
        rows.append([step, *row])
    return rows


def write_tasks(root, tasks):
    """Write DP-GEN's folders; returns their names."""
    names = []
    for number, rows in enumerate(tasks):
        folder = root / f"task.000.{number:06d}"
        (folder / "traj").mkdir(parents=True)
        text = "#       step max_devi_v min_devi_v avg_devi_v max_devi_f ...\n"
        for row in rows:
            text += f"{row[0]:12d}" + "".join(f"{x:19.6e}" for x in row[1:]) + "\n"
        (folder / "model_devi.out").write_text(text)
        names.append(f"{root.name}/{folder.name}")
    return names


def letters(tasks, found, *, is_row=False, is_atom=False):
    """Write one letter a row, or an atom: a, c, f, or - for what is in no list.

    Args:
        tasks: The rows.
        found: The accurate, the candidates, the failed: (task, step or row, atom).
        is_row: Whether rows are counted, from 0.
        is_atom: Whether there is one letter an atom.
    """
    known = {}
    for letter, places in zip("acf", found, strict=True):
        for place in places:
            task = place[0]
            if isinstance(task, str):
                task = int(task.rpartition(".")[2])
            known[(int(task), *map(int, place[1:]))] = letter
    text = ""
    for task, rows in enumerate(tasks):
        for number, row in enumerate(rows):
            where = (task, number if is_row else row[0])
            atoms = [(i,) for i in range(len(row) - 7)] if is_atom else [()]
            text += "".join(known.get(where + atom, "-") for atom in atoms)
    return text


def rows_of_sets(sets):
    """Turn a set of rows for each task into (task, row)."""
    return [(task, row) for task, rows in enumerate(sets) for row in rows]


def standard(names, tasks, natoms):
    from dpgen.generator.run import _select_by_model_devi_standard

    cases = []
    for force, virial, skip, cluster in itertools.product(
        [(0.05, 0.2), (0.05, 0.05), (0.0, 0.9), (0.1, OPEN)],
        [(OPEN, OPEN), (0.05, 0.2), (0.1, 0.1)],
        [0, 95],
        [None, 3.0] if natoms else [None],
    ):
        accurate, candidate, failed, counter = _select_by_model_devi_standard(
            names, *force, *virial, cluster, "lammps", model_devi_skip=skip
        )
        cases.append(
            {
                "force": force,
                "virial": None if virial[0] == OPEN else virial,
                "skip": skip,
                "cluster": cluster,
                "verdicts": letters(
                    tasks,
                    (accurate, candidate, failed),
                    is_atom=cluster is not None,
                ),
                "counts": dict(counter),
            }
        )
    return cases


def adaptive(names, tasks):
    from dpgen.generator.run import _select_by_model_devi_adaptive_trust_low

    cases = []
    for hi, (nf, pf), v_hi, (nv, pv), skip in itertools.product(
        [0.2, 0.199999, OPEN],
        [(10, 0.0), (0, 29.0), (3, 57.0), (500, 0.0), (0, 0.0)],
        [OPEN, 0.2],
        [(0, 0.0), (5, 7.0)],
        [0, 95],
    ):
        if v_hi == OPEN and nv:
            continue
        accurate, candidate, failed, counter, low, v_low = (
            _select_by_model_devi_adaptive_trust_low(
                names, hi, nf, pf, v_hi, nv, pv, model_devi_skip=skip
            )
        )
        cases.append(
            {
                "upper": hi,
                "number": nf,
                "percent": pf,
                "upper_virial": None if v_hi == OPEN else v_hi,
                "number_virial": nv,
                "percent_virial": pv,
                "skip": skip,
                "verdicts": letters(tasks, (accurate, candidate, failed)),
                "counts": dict(counter),
                "low": low,
                "low_virial": v_low,
            }
        )
    return cases


def dump(path, step, force):
    """Write a LAMMPS dump with forces."""
    lines = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(force))]
    lines += ["ITEM: BOX BOUNDS pp pp pp", *["0.0 9.0"] * 3]
    lines += ["ITEM: ATOMS id type x y z fx fy fz"]
    for i, f in enumerate(force, 1):
        lines.append(f"{i} 1 {i}.0 0.0 0.0 " + " ".join(repr(float(x)) for x in f))
    path.write_text("\n".join(lines) + "\n")


def relative(root, tasks):
    """Deviations beside the forces of their task."""
    from dpgen.generator.run import _read_model_devi_file

    draw = np.random.default_rng(5)
    found = []
    for name, rows in zip(write_tasks(root, tasks), tasks, strict=True):
        force = np.round(draw.normal(size=(len(rows), 3, 3)), 3)
        for row, one in zip(rows, force, strict=True):
            dump(Path(name) / "traj" / f"{row[0]}.lammpstrj", row[0], one)
        answer = _read_model_devi_file(name, True, False)
        found.append({"force": force.tolist(), "max_devi_f": answer[:, 4].tolist()})
    return found


def budgets(root, tasks):
    """How many tasks DP-GEN makes of all candidates."""
    from dpgen.generator.run import _make_fp_vasp_inner

    write_tasks(root, tasks)
    for folder, rows in zip(sorted(root.iterdir()), tasks, strict=True):
        (folder / "job.json").write_text("{}")
        for row in rows:
            dump(folder / "traj" / f"{row[0]}.lammpstrj", row[0], np.zeros((3, 3)))
    cases = []
    for most, least, (soft, hard), force in itertools.product(
        [10, 7, 1000],
        [0, 6],
        [(None, None), (0.2, 0.9), (0.1, 0.5), (0.3, 0.3), (0.0, 1.0)],
        [(0.05, 0.2), (0.1, 0.2)],
    ):
        work = root.parent / f"work-{len(cases)}"
        work.mkdir()
        jdata = {"model_devi_engine": "lammps", "type_map": ["Al"]}
        if hard is not None:
            jdata |= {"fp_accurate_threshold": hard, "fp_accurate_soft_threshold": soft}
        made = _make_fp_vasp_inner(
            0,
            root.name,
            work.name,
            0,
            OPEN,
            OPEN,
            *force,
            least,
            most,
            [],
            ["Al"],
            jdata,
        )
        cases.append(
            {
                "most": most,
                "least": least,
                "thin_from": soft,
                "thin_to": hard,
                "force": force,
                "made": len(made),
            }
        )
    return cases


def dpgen2(tasks):
    """What dpgen2's reports say of the same rows."""
    from dpgen2.exploration.deviation import DeviManager, DeviManagerStd
    from dpgen2.exploration.report import (
        ExplorationReportAdaptiveLower,
        ExplorationReportTrustLevelsMax,
    )

    def record(report, part):
        devi = DeviManagerStd()
        for rows in part:
            column = np.array(rows)
            devi.add(DeviManager.MAX_DEVI_F, column[:, 4])
            devi.add(DeviManager.MAX_DEVI_V, column[:, 1])
        report.record(devi)
        return report

    fixed = []
    for force, virial, enough in itertools.product(
        [(0.05, 0.2), (0.1, 0.9)], [None, (0.05, 0.2), (0.1, 0.3)], [0.2, 0.5]
    ):
        levels = [*force, *(virial or (None, None))]
        report = record(
            ExplorationReportTrustLevelsMax(*levels, conv_accuracy=enough), tasks
        )
        fixed.append(
            {
                "force": force,
                "virial": virial,
                "conv_accuracy": enough,
                "verdicts": letters(
                    tasks,
                    [
                        rows_of_sets(sets)
                        for sets in (
                            report.traj_accu,
                            report.traj_cand,
                            report.traj_fail,
                        )
                    ],
                    is_row=True,
                ),
                "converged": bool(report.converged([])),
            }
        )
    lower = []
    for tolerance, checked in itertools.product([0.01, 0.06, 0.2], [2, 3]):
        reports, told = [], []
        for size in (40, 30, 20, 10):
            report = ExplorationReportAdaptiveLower(
                level_f_hi=0.5,
                numb_candi_f=6,
                rate_candi_f=0.0,
                n_checked_steps=checked,
                conv_tolerance=tolerance,
            )
            record(report, [rows[:size] for rows in tasks])
            told.append(
                {
                    "rows": size,
                    "level": report.level_f_lo,
                    "verdicts": letters(
                        [rows[:size] for rows in tasks],
                        (report.accur, report.candi, report.failed),
                        is_row=True,
                    ),
                    "converged": bool(report.converged(reports)),
                }
            )
            reports.append(report)
        lower.append(
            {"conv_tolerance": tolerance, "n_checked_steps": checked, "reports": told}
        )
    return {"fixed": fixed, "adaptive": lower}


def main():
    tasks = [rows_of(seed, 0) for seed in range(3)]
    atoms = [rows_of(seed, 5) for seed in (7, 8)]
    answers = {"versions": {}, "tasks": tasks, "atoms": atoms}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        root = Path("plain")
        names = write_tasks(root, tasks)
        answers["versions"]["dpgen"] = version("dpgen")
        answers["standard"] = standard(names, tasks, 0)
        answers["adaptive"] = adaptive(names, tasks)
        answers["cluster"] = standard(write_tasks(Path("atoms"), atoms), atoms, 5)
        answers["relative"] = relative(Path("relative"), [t[:10] for t in tasks])
        answers["budgets"] = budgets(Path("budget"), [t[:10] for t in tasks])
        answers["versions"]["dpgen2"] = version("dpgen2")
        answers["dpgen2"] = dpgen2(tasks)
    text = json.dumps(answers, separators=(",", ":"))
    (HERE / "dpgen_selection.json").write_text(text + "\n")
    print(len(text), "characters", file=sys.stderr)


if __name__ == "__main__":
    main()
