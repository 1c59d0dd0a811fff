"""Checkpoints: bit for bit on any devices, damage found, the right ones kept, full disks told."""

import errno
import random
import shutil
import signal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from defect_jax.distributed.sharding import make_mesh, place_state, state_sharding
from defect_jax.runtime import signals
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import checkpoints, saved_checkpoints
from defect_jax.workdir.fingerprints import fingerprints, weighted_sum


@flax.struct.dataclass
class State:
    step: jax.Array
    kernel: jax.Array
    moment: jax.Array


SHAPES = {"kernel": (3, 3, 64, 64), "moment": (64,)}


def state_of(step, mesh):
    rng = np.random.default_rng(step)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    host = State(step=np.int32(step), **arrays)
    shardings = state_sharding(mesh, host)
    return place_state(host, shardings), shardings


def assert_same(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def trees(state):
    """A state, or its shardings, as a checkpoint holds them: the average is a tree of its own."""
    return {"state": state, "ema": {"kernel": state.kernel}}


def save(checkpointer, state, unlogged=(), scores=None):
    step = int(state.step)
    checkpoints.save(checkpointer, step, trees(state), list(unlogged), scores or {})


def restore_newest(checkpointer, like, shardings):
    return checkpoints.restore_newest(checkpointer, trees(like), trees(shardings))


def saved(folder, *steps, scores=None):
    """A folder of checkpoints; returns the last state and its shardings."""
    mesh = make_mesh(8, 1)
    with checkpoints.open_checkpoints(folder) as checkpointer:
        for step in steps:
            state, shardings = state_of(step, mesh)
            save(checkpointer, state, [{"loss": step / 3}], scores)
    return state, shardings


@pytest.mark.parametrize("before", [(8, 1), (2, 4)])
@pytest.mark.parametrize("after", [(8, 1), (2, 4), (1, 8)])
def test_what_is_saved_on_one_mesh_is_restored_on_another_bit_for_bit(before, after, tmp_path):
    state, _ = state_of(5, make_mesh(*before))
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        save(checkpointer, state)
    like, shardings = state_of(0, make_mesh(*after))
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        back = restore_newest(checkpointer, like, shardings)
    assert back.trees["state"].kernel.sharding == shardings.kernel
    assert_same(back.trees["state"], state)


def test_numbers_that_no_line_holds_yet_come_back_exactly(tmp_path):
    state, shardings = saved(tmp_path, 7)
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        back = restore_newest(checkpointer, state, shardings)
    assert back.unlogged == [{"loss": 7 / 3}]


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    scores = {2: 0.9, 4: 0.5, 6: 0.7}  # 8 and 10 are not validated yet
    saved(tmp_path, 2, 4, 6, 8, 10, scores=scores)
    with checkpoints.open_checkpoints(tmp_path, scores) as checkpointer:
        assert checkpoints.steps(checkpointer) == [2, 8, 10]
    folder = tmp_path / "checkpoints"
    assert saved_checkpoints.best_first(folder, scores) == [2]
    assert saved_checkpoints.best_first(folder, {2: 0.9, 8: 0.9, 10: 0.1}) == [8, 2, 10]


def damage(folder, step, seed):
    """Changes one byte that matters, or cuts a file off."""
    rng = random.Random(seed)
    names = ("d/*", "_METADATA", "ocdbt.process_0/d/*")
    kept = [f"{tree}/{name}" for tree in ("state", "ema") for name in names]
    files = [f for name in kept for f in sorted((folder / str(step)).glob(name))]
    file = rng.choice([*files, folder / str(step) / "_CHECKPOINT_METADATA"])
    data = bytearray(file.read_bytes())
    if rng.random() < 0.3:
        data = data[: len(data) // 2]
    else:
        place = rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return file


# Orbax's tasks for the other arrays are thrown away unfinished.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(12))
def test_what_comes_back_from_a_damaged_folder_is_always_something_saved(seed, tmp_path):
    _, shardings = saved(tmp_path, 4, 8)
    like, _ = state_of(0, make_mesh(8, 1))
    damage(tmp_path / "checkpoints", 8, seed)
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        back = restore_newest(checkpointer, like, shardings)
    assert_same(back.trees["state"], state_of(int(back.trees["state"].step), make_mesh(8, 1))[0])


@pytest.mark.parametrize("text", ["[]", "1"])
def test_what_orbax_cannot_open_is_one_line(text, tmp_path):
    saved(tmp_path, 4, 8)
    (tmp_path / "checkpoints" / "8" / "_CHECKPOINT_METADATA").write_text(text)
    with (
        pytest.raises(UserError, match="a _CHECKPOINT_METADATA there is none"),
        checkpoints.open_checkpoints(tmp_path),
    ):
        pass


def break_arrays(folder):
    for file in (folder / "state" / "ocdbt.process_0" / "d").iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 16
        file.write_bytes(data)


def test_a_flipped_bit_is_told_and_the_one_before_is_used(tmp_path, capsys):
    _, shardings = saved(tmp_path, 4, 8)
    like, _ = state_of(0, make_mesh(8, 1))
    break_arrays(tmp_path / "checkpoints" / "8")
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        back = restore_newest(checkpointer, like, shardings)
        assert int(back.trees["state"].step) == 4
        told = capsys.readouterr().err
        assert "checkpoints/8 is damaged" in told and "going on from the one before" in told
        assert (tmp_path / "damaged_checkpoints" / "8").is_dir()
        again, _ = state_of(8, make_mesh(8, 1))
        save(checkpointer, again)  # the step is made again
        assert checkpoints.steps(checkpointer) == [4, 8]


def test_the_average_is_read_without_the_state_and_the_other_way_round(tmp_path):
    state, shardings = saved(tmp_path, 4)
    break_arrays(tmp_path / "checkpoints" / "4")  # of the state alone
    folder = tmp_path / "checkpoints"
    wanted = {"ema": trees(state)["ema"]}, {"ema": trees(shardings)["ema"]}
    back = saved_checkpoints.restore(folder, 4, *wanted)
    assert list(back.trees) == ["ema"]
    assert_same(back.trees["ema"], {"kernel": state.kernel})
    with pytest.raises(saved_checkpoints.Damaged):
        saved_checkpoints.restore(folder, 4, {"state": state}, {"state": shardings})


def test_nothing_but_damage_is_no_fresh_start(tmp_path):
    _, shardings = saved(tmp_path, 4)
    like, _ = state_of(0, make_mesh(8, 1))
    break_arrays(tmp_path / "checkpoints" / "4")
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        with pytest.raises(UserError, match="no whole checkpoint is left"):
            restore_newest(checkpointer, like, shardings)


def test_a_signal_while_restoring_is_not_taken_for_damage(tmp_path, monkeypatch):
    state, shardings = saved(tmp_path, 4)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signals._Process, "came", None)
    signals.watch()
    try:
        with checkpoints.open_checkpoints(tmp_path) as checkpointer:
            load = saved_checkpoints.ocp.load_checkpointables

            def interrupted(*arguments, **options):
                try:
                    signal.raise_signal(signal.SIGTERM)
                except BaseException as error:  # as Orbax does
                    raise ValueError("incompatible handler") from error
                return load(*arguments, **options)

            monkeypatch.setattr(saved_checkpoints.ocp, "load_checkpointables", interrupted)
            with pytest.raises(signals.Stopped):
                restore_newest(checkpointer, state, shardings)
            assert checkpoints.steps(checkpointer) == [4]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_network_is_refused_and_its_checkpoints_stay(tmp_path):
    state, shardings = saved(tmp_path, 4)
    like = state.replace(moment=jnp.zeros(32))
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        with pytest.raises(UserError, match=r"moment is float32\[64\], .* needs float32\[32\]"):
            restore_newest(checkpointer, like, shardings)
        assert checkpoints.steps(checkpointer) == [4]


def test_no_checkpoint_is_none(tmp_path):
    like, shardings = state_of(0, make_mesh(8, 1))
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        assert restore_newest(checkpointer, like, shardings) is None


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints_before(tmp_path, monkeypatch):
    state, shardings = saved(tmp_path, 4)
    newer, _ = state_of(8, make_mesh(8, 1))
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        remains = checkpointer.orbax.directory / "8.orbax-checkpoint-tmp"

        def full(*arguments, **options):
            remains.mkdir()
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(type(checkpointer.orbax), "save_checkpointables_async", full)
            with pytest.raises(UserError, match="checkpoints before are whole: make room"):
                save(checkpointer, newer)
        assert not remains.exists()
        assert int(restore_newest(checkpointer, state, shardings).trees["state"].step) == 4


def test_an_unfinished_save_is_never_seen(tmp_path):
    state, shardings = saved(tmp_path, 4)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "4", folder / "8.orbax-checkpoint-tmp")
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        assert checkpoints.steps(checkpointer) == [4]


@given(
    hnp.arrays(st.sampled_from(["f4", "i4", "u1", "f2"]), hnp.array_shapes(max_dims=3)),
    st.data(),
)
def test_the_sum_of_the_blocks_is_that_of_the_whole_and_sees_every_bit(array, data):
    zero = (0,) * array.ndim
    whole = weighted_sum(array, zero, array.shape)
    cut = data.draw(st.integers(0, array.shape[0]))
    first = weighted_sum(array[:cut], zero, array.shape)
    second = weighted_sum(array[cut:], (cut, *zero[1:]), array.shape)
    assert np.array([first, second]).sum(dtype=np.uint64) == whole
    bits = array.copy().view(f"u{array.dtype.itemsize}").reshape(-1)
    place = data.draw(st.integers(0, bits.size - 1))
    bits[place] ^= 1 << data.draw(st.integers(0, 8 * array.dtype.itemsize - 1))
    changed = bits.view(array.dtype).reshape(array.shape)
    assert weighted_sum(changed, zero, array.shape) != whole


def test_fingerprints_do_not_depend_on_the_devices():
    prints = [fingerprints(state_of(3, make_mesh(*shape))[0]) for shape in [(8, 1), (2, 4), (1, 8)]]
    assert prints[0] == prints[1] == prints[2]
    assert prints[0]["step"] == "int32[] 0000000000000003"


@pytest.mark.parametrize("mesh", [(8, 1), (2, 4)])
def test_a_checkpoint_whose_weights_are_no_numbers_is_not_used(mesh, tmp_path):
    state, shardings = state_of(4, make_mesh(*mesh))
    with checkpoints.open_checkpoints(tmp_path) as checkpointer:
        save(checkpointer, state)
        kernel = state.kernel.at[2, 2, 63, 63].set(jnp.nan)
        save(checkpointer, state.replace(step=jnp.int32(8), kernel=kernel))
        back = restore_newest(checkpointer, state, shardings)
    assert_same(back.trees["state"], state)
    assert (tmp_path / "damaged_checkpoints" / "8").is_dir()
