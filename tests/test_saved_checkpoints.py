"""Reading checkpoints beside a training: nothing is deleted, and what vanishes is no fault."""

import json
import shutil

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny_predictor import tiny_config

from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import best_weights, checkpoints, saved_checkpoints

MESH = one_device_mesh()
HERE = NamedSharding(MESH, PartitionSpec())


NETWORK = SegmentationNetwork(**tiny_config().model)


@pytest.fixture(autouse=True)
def one_kernel(monkeypatch):
    """Have the weights of a network be one kernel."""
    shapes = {"params": {"kernel": jax.ShapeDtypeStruct((3,), np.float32)}, "batch_stats": {}}
    monkeypatch.setattr(best_weights, "ema_shapes", lambda network, shape: shapes)


def saved(workdir, **scores):
    """Checkpoints whose kernels hold their step, and the lines of their scores."""
    with checkpoints.open_checkpoints(workdir) as checkpointer:
        for step in (int(name[1:]) for name in scores):
            kernel = jax.device_put(np.full(3, step, np.float32), HERE)
            trees = {"ema": {"params": {"kernel": kernel}, "batch_stats": {}}}
            checkpoints.save(checkpointer, step, trees, [], {})
    lines = [{"step": int(n[1:]), "split": "val", "selection": s} for n, s in scores.items()]
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return best_weights.selection_scores(lines)


def restored(workdir, scores):
    step, ema = best_weights.restore_best(NETWORK, (1, 8, 8, 1), workdir, scores, MESH)
    np.testing.assert_array_equal(ema["params"]["kernel"], np.full(3, step, np.float32))
    return step


def test_a_save_that_is_under_way_is_left_alone(tmp_path):
    scores = saved(tmp_path, s4=0.5, s8=0.7)
    half = tmp_path / "checkpoints" / "12.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "8", half)
    before = sorted(tmp_path.rglob("*"))
    assert restored(tmp_path, scores) == 8
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["[]", "{}", "", "null", "1", '{"custom_metadata": []}'])
def test_one_that_says_nothing_of_itself_costs_itself_alone(text, tmp_path, capsys):
    scores = saved(tmp_path, s4=0.5, s8=0.7)
    (tmp_path / "checkpoints" / "8" / "_CHECKPOINT_METADATA").write_text(text)
    assert restored(tmp_path, scores) == 4
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "checkpoints/8 is damaged" in told.err, told


def test_one_under_the_name_of_another_is_not_used(tmp_path, capsys):
    scores = saved(tmp_path, s4=0.5, s8=0.7)
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder / "8")
    shutil.copytree(folder / "4", folder / "8")
    assert restored(tmp_path, scores) == 4
    assert (
        "checkpoints/8 holds the checkpoint of step 4; taking the next" in capsys.readouterr().err
    )


def test_a_best_one_that_was_deleted_before_it_is_read_leads_to_the_newer_best(tmp_path):
    scores = saved(tmp_path, s4=0.9, s8=0.5)
    shutil.rmtree(tmp_path / "checkpoints" / "8")
    saved(tmp_path, s12=0.95)
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    assert restored(tmp_path, scores) == 12  # though the caller's scores do not know it


@pytest.mark.parametrize("left", [(), ("_CHECKPOINT_METADATA",)])
def test_one_that_vanishes_while_it_is_read_leads_to_the_newer_best(left, tmp_path, monkeypatch):
    scores = saved(tmp_path, s4=0.9, s8=0.5)
    load, loaded = saved_checkpoints.ocp.load_checkpointables, []

    def vanishing(folder, abstract):
        loaded.append(folder.name)
        if folder.name == "4":  # as a training beside does it, with what is better
            (tmp_path / "metrics.jsonl").write_text("")
            shutil.rmtree(tmp_path / "checkpoints" / "8")
            saved(tmp_path, s12=0.95)
            for path in (tmp_path / "checkpoints" / "4").iterdir():
                if path.name not in left:
                    path.unlink() if path.is_file() else shutil.rmtree(path)
            if not left:
                (tmp_path / "checkpoints" / "4").rmdir()
        return load(folder, abstract)

    monkeypatch.setattr(saved_checkpoints.ocp, "load_checkpointables", vanishing)
    assert restored(tmp_path, scores) == 12
    assert loaded == ["4", "12"]


def test_those_that_vanish_again_and_again_are_told_in_one_line(tmp_path, monkeypatch):
    scores = saved(tmp_path, s4=0.9)

    def gone(folder, *rest):
        raise saved_checkpoints.Gone(f"{folder}/4: was deleted while it was read; start again")

    monkeypatch.setattr(saved_checkpoints, "restore", gone)
    with pytest.raises(UserError, match="checkpoints/4: was deleted while it was read"):
        restored(tmp_path, scores)


@pytest.mark.parametrize("remains", [None, "", "4.orbax-checkpoint-tmp/state"])
def test_a_run_killed_before_its_first_checkpoint_is_one_line(remains, tmp_path):
    if remains is not None:
        (tmp_path / "checkpoints" / remains).mkdir(parents=True)
    with pytest.raises(UserError, match="train"):
        restored(tmp_path, {})
