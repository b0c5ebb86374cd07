"""Work folders of DP-GEN become datasets, and every label knows where it is from."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import SourceError
from dpbench.io.dpgen.finder import find_work
from dpbench.io.dpgen.summary import ingest_dpgen
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import reader_of
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.explore.dpgen.trees import (
    ABACUS,
    CP2K,
    QE,
    VASP,
    copy_writable,
    tree,
    write_work,
)

HERE = IngestOptions(workers=0, allow_mixed_theory=True)


@pytest.fixture
def workspace(tmp_path):
    """An empty workspace."""
    return Workspace.find(tmp_path / "ws", create=True)


@pytest.mark.parametrize(
    ("name", "counts", "quarantined"),
    [
        # (tasks, labelled, the very files of another task)
        (VASP, (4, 2, 1), {"unconverged": 1}),
        (QE, (2, 2, 0), {}),
        (CP2K, (1, 1, 0), {}),
        (ABACUS, (3, 2, 0), {"truncated": 1}),
    ],
)
def test_trees_of_dpgen_are_read(workspace, shared_data, name, counts, quarantined):
    found = ingest_dpgen(
        workspace, [tree(shared_data, name)], dataset="d", options=HERE
    )
    (facts,) = found.iterations
    assert (facts.n_tasks, facts.labelled, facts.repeated) == counts
    assert facts.quarantined == quarantined
    assert found.report.failed == ()


def test_collection_that_repeats_outputs_is_left_out_and_compared(
    workspace, shared_data
):
    found = ingest_dpgen(
        workspace, [tree(shared_data, ABACUS)], dataset="d", options=HERE
    )
    (facts,) = found.iterations
    (line,) = found.left_out
    assert "2 frames, not read" in line
    assert "and hold all of it" in line
    assert "more than ratio_failed = 0.05" in facts.line()


def test_every_label_knows_its_iteration_task_walk_and_deviation(
    tmp_path, workspace, shared_data
):
    work = write_work(tmp_path / "run", shared_data)
    ingest_dpgen(workspace, [work], dataset="d", options=HERE)
    origins = [source.origin for source in open_dataset(workspace, "d").sources]
    by_task = {origin.get("task"): origin for origin in origins}
    assert by_task["task.000.000000"] == {
        "workflow": "dp-gen",
        "iteration": 0,
        "system": 0,
        "task": "task.000.000000",
        "walk": "task.000.000003",
        "step": 40,
        "max_devi_f": 0.17,
        "temperature": 330.0,
        "pressure": 1.0,
    }
    assert by_task[None] == {"workflow": "dp-gen", "init": "param.json"}


def test_summary_tells_of_every_iteration(tmp_path, workspace, shared_data):
    work = write_work(tmp_path / "run", shared_data)
    found = ingest_dpgen(workspace, [work], dataset="d", options=HERE)
    first, second = found.iterations
    assert first.line() == (
        "iter.000000: 2 labelled of 2 tasks; explored: 1 accurate, 3 candidate"
    )
    assert second.failed_share == 1
    assert found.n_init == 2
    assert "ends with iteration 1, stage 8 (post_fp)" in found.summary()
    assert json.dumps(found.to_json())


def test_task_without_output_is_told_as_lost_or_as_not_run_yet(tmp_path, shared_data):
    done = write_work(tmp_path / "done", shared_data)
    ((path, reason),) = find_work([done]).discovery.skipped
    assert path.name == "task.000.000000"
    assert "did not run, or its files were removed" in reason
    running = write_work(tmp_path / "running", shared_data, last="1 6\n")
    ((_, reason),) = find_work([running]).discovery.skipped
    assert (
        "not run yet: record.dpgen ends with iteration 1, stage 6 (make_fp)" in reason
    )


def test_collection_is_read_where_its_outputs_are_gone(
    tmp_path, workspace, shared_data
):
    root = tmp_path / "run" / "iter.000002"
    root.mkdir(parents=True)
    copy_writable(tree(shared_data, ABACUS) / "02.fp", root / "02.fp")
    for task in (root / "02.fp").glob("task.*"):
        shutil.rmtree(task)
    found = ingest_dpgen(workspace, [root.parent], dataset="d", options=HERE)
    assert found.iterations[0].collected == 2
    (source,) = open_dataset(workspace, "d").sources
    assert source.origin == {
        "workflow": "dp-gen",
        "iteration": 2,
        "system": 0,
        "collected": "data.000",
    }


def test_collection_with_a_label_that_no_output_has_is_told(
    tmp_path, workspace, shared_data
):
    """Planted: one force of DP-GEN's copy is not that of the output."""
    root = tmp_path / "run"
    copy_writable(tree(shared_data, ABACUS), root)
    folder = root / "02.fp" / "data.000"
    folder.rename(root / "02.fp" / "data.001")  # as DP-GEN names it: that of its tasks
    path = root / "02.fp" / "data.001" / "set.000" / "force.npy"
    force = np.load(path)
    force[1, 0] += 0.5
    np.save(path, force)
    found = ingest_dpgen(workspace, [root], dataset="d", options=HERE)
    (line,) = found.left_out
    assert "1 of them are not kept; 1 are in no output" in line


def test_init_data_that_are_gone_are_told(tmp_path, shared_data):
    work = write_work(tmp_path / "run", shared_data)
    shutil.rmtree(work / "init")
    reasons = dict(find_work([work]).discovery.skipped)
    assert "param.json names it as init data" in reasons[work / "init" / "a"]


def test_init_data_are_found_by_the_inputs_of_a_training(tmp_path, shared_data):
    work = write_work(tmp_path / "run", shared_data)
    (work / "param.json").unlink()
    member = work / "iter.000000" / "00.train" / "000"
    member.mkdir(parents=True)
    (member.parent / "data.init").symlink_to(work / "init")
    systems = ["../data.init/a", "../data.iters/iter.000000/02.fp/data.000"]
    training = {"training_data": {"systems": systems}}
    (member / "input.json").write_text(json.dumps({"training": training}))
    (entry,) = find_work([work]).works[0].init
    assert entry.path.resolve() == work / "init" / "a"
    assert entry.told_by == "iter.000000/00.train/000/input.json"


def test_ingesting_again_adds_nothing_and_counts_the_same(
    tmp_path, workspace, shared_data
):
    work = write_work(tmp_path / "run", shared_data)
    once = ingest_dpgen(workspace, [work], dataset="d", options=HERE)
    again = ingest_dpgen(workspace, [work], dataset="d", options=HERE)
    assert again.report.digest == once.report.digest
    assert again.iterations == once.iterations


def test_origin_changes_no_digest(tmp_path, workspace, shared_data):
    plain = tree(shared_data, QE)
    one = ingest(workspace, "qe", [plain], dataset="one", options=HERE)
    other = ingest(workspace, "dpgen", [plain], dataset="other", options=HERE)
    assert one.digest == other.digest


@pytest.mark.parametrize("kind", ["empty", "file", "missing"])
def test_what_is_no_work_folder_is_refused_in_one_line(tmp_path, kind):
    path = tmp_path / kind
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    with pytest.raises(SourceError, match="expected a work folder of DP-GEN"):
        find_work([path])


def test_command_prints_iterations(in_tmp, shared_data):
    write_work(in_tmp / "run", shared_data)
    arguments = ["ingest", "dpgen", "run", "--workers", "0", "--dataset", "d"]
    result = CliRunner().invoke(cli, [*arguments, "--allow-mixed-theory"])
    assert result.exit_code == 0, result.output
    assert "iter.000000: 2 labelled of 2 tasks" in result.output
    assert "init data: 2 frames" in result.output


def write_init(root, shared_data):
    """What ``dpgen init_bulk`` leaves: an OUTCAR, and DP-GEN's collection of it."""
    run = root / "02.md" / "sys-0004-0001" / "scale-1.000" / "000000"
    source = shared_data / "thirdparty" / "vasp_ch4"
    first = sorted(source.rglob("OUTCAR"))[0].parent
    copy_writable(first, run)
    (root / "01.scale_pert").mkdir()
    parsed = (
        reader_of("vasp")
        .read(SourceFiles(format="vasp", paths=(run / "OUTCAR",)))
        .frames
    )
    system = root / "02.md" / "sys-0004-0001" / "deepmd"
    (system / "set.000").mkdir(parents=True)
    order = np.argsort(parsed.z[: parsed.natoms[0]], kind="stable")[::-1]
    names = {1: "H", 6: "C"}
    (system / "type_map.raw").write_text("C\nH\n")
    kinds = [0 if names[int(parsed.z[i])] == "C" else 1 for i in order]
    (system / "type.raw").write_text("\n".join(map(str, kinds)) + "\n")
    n, natoms = parsed.nframes, len(order)
    rows = {
        "coord": parsed.coord.reshape(n, natoms, 3)[:, order].reshape(n, -1),
        "force": parsed.force.reshape(n, natoms, 3)[:, order].reshape(n, -1),
        "box": parsed.box.reshape(n, 9),
        "energy": parsed.energy,
    }
    for name, values in rows.items():
        np.save(system / "set.000" / f"{name}.npy", values.astype(np.float32))
    return n


def test_outputs_behind_init_data_are_read_and_hold_the_collection(
    tmp_path, workspace, shared_data
):
    """DP-GEN's copy has another order of atoms and single precision: it is found."""
    n = write_init(tmp_path / "CH4", shared_data)
    found = ingest_dpgen(workspace, [tmp_path / "CH4"], dataset="d", options=HERE)
    assert (found.n_init, found.report.n_sources) == (n, 1)
    (line,) = found.left_out
    assert f"{n} frames, not read" in line
    assert "hold all of it" in line
    (source,) = open_dataset(workspace, "d").sources
    assert (source.code, source.origin["init"]) == ("vasp", "02.md")


def test_frames_in_quarantine_are_told_from_lost_ones(tmp_path, workspace, shared_data):
    """Planted: an output that DP-GEN collected has not converged."""
    root = tmp_path / "run"
    copy_writable(tree(shared_data, ABACUS), root)
    (root / "02.fp" / "data.000").rename(root / "02.fp" / "data.001")
    log = root / "02.fp" / "task.001.000000" / "OUT.ABACUS" / "running_scf.log"
    text = log.read_text()
    reached = "charge density convergence is achieved"
    assert reached in text
    log.write_text(text.replace(reached, "convergence has NOT been achieved!"))
    found = ingest_dpgen(workspace, [root], dataset="d", options=HERE)
    assert found.iterations[0].quarantined["unconverged"] == 1
    (line,) = found.left_out
    assert "1 of them are not kept; 1 are in quarantine" in line
