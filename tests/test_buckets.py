"""Workdirs and raw data in a bucket, with buckets in memory."""

import os

import fake_buckets
import numpy as np
import pytest
import raw_data
from tensorboardX.proto import event_pb2

from defect_jax.ablation import __main__ as ablation
from defect_jax.data.files.raw_files import RawFiles, open_root
from defect_jax.data.prepare.check import find_faults
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.decision import DecisionRule
from defect_jax.evaluation import compare
from defect_jax.evaluation.result_files import ResultFolder, image_loader
from defect_jax.metrics.images import read_predictions
from defect_jax.runtime import paths, scratch
from defect_jax.runtime.atomic_files import LineFile
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path
from defect_jax.workdir import checkpoint_mirror
from defect_jax.workdir.tensorboard import open_tensorboard


@pytest.fixture(autouse=True)
def buckets(monkeypatch, tmp_path):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path / "scratch"))
    with fake_buckets.fake_buckets(monkeypatch) as buckets:
        yield buckets
    scratch.clear()
    checkpoint_mirror._copy_of.cache_clear()
    checkpoint_mirror._originals.cache_clear()
    assert list((tmp_path / "scratch").glob("defect_jax-*")) == []


def put(folder, url):
    """Copies a local folder, or a file, into a bucket."""
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if path.is_file():
            target = as_path(url) if path == folder else as_path(url) / path.relative_to(folder)
            target.write_bytes(path.read_bytes())
    return url


# Raw data.


@pytest.fixture(params=["folder", "tar", "zip"])
def root(request, tmp_path):
    folder = raw_data.folder_data(tmp_path / "raw", good=6, defective=6)
    raw_data.write(folder / ".hidden", b"junk")
    if request.param == "tar":
        return put(raw_data.pack_tar(folder, tmp_path / "raw.tar"), "gs://bucket/raw.tar")
    if request.param == "zip":
        return put(raw_data.pack_zip(folder, tmp_path / "raw.zip"), "s3://bucket/raw.zip")
    return put(folder, "s3://bucket/deep/raw")


def test_raw_data_are_read_as_from_a_disk(root, tmp_path):
    raw, local = open_root(root), open_root(str(tmp_path / "raw"))
    assert isinstance(raw, RawFiles)
    assert raw.names() == local.names() and len(raw.names()) == 18
    assert {n: raw.read(n) for n in raw.names()} == {n: local.read(n) for n in local.names()}
    assert raw.where("images/1.png").startswith(root)
    assert raw.where("images/1.png").endswith("images/1.png")


def test_what_a_system_keeps_is_skipped_in_buckets_too(tmp_path):
    folder = raw_data.folder_data(tmp_path / "raw", good=2, defective=2)
    for name in ("images/@eaDir/1.png", "$RECYCLE.BIN/1.png", "images/.DS_Store"):
        raw_data.write(folder / name, b"junk")
    packed = raw_data.pack_tar(folder, tmp_path / "raw.tar")
    for root in (put(folder, "s3://bucket/raw"), put(packed, "gs://bucket/raw.tar")):
        raw = open_root(root)
        assert len(raw.names()) == 6 and raw.lost() == {}
        assert raw.skipped() == {"@eaDir": 1, "$RECYCLE.BIN": 1, ".DS_Store": 1}
        assert raw.size(raw.names()[0]) == len(raw.read(raw.names()[0]))


def test_an_object_that_is_too_large_is_not_fetched(monkeypatch):
    as_path("s3://bucket/raw/images/1.png").write_bytes(bytes(24_777_217))
    monkeypatch.setattr("defect_jax.runtime.buckets.read", None)
    with pytest.raises(OSError, match="more than the 24.8 MB that 1 megapixels can take"):
        open_root("s3://bucket/raw", max_megapixels=1.0).read("images/1.png")


def test_the_stamp_changes_with_the_objects_and_copies_nothing(root, tmp_path):
    before = open_root(root).stamp()
    assert open_root(root).stamp() == before
    assert list((tmp_path / "scratch").glob("defect_jax-*")) == []
    path = as_path(root) if root[-4:] in (".tar", ".zip") else as_path(root) / "images/new.png"
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\0")
    assert open_root(root).stamp() != before


def test_a_set_is_prepared_from_a_bucket_once_and_used_when_the_bucket_is_out_of_reach(
    root, tmp_path, buckets, capsys
):
    data = raw_data.config("folder", root, tmp_path)
    assert find_faults(data) == []
    first = prepare(data)
    assert sum(len(split.rows) for split in first.splits.values()) == 12
    again = prepare(data)
    assert again.info.fingerprint == first.info.fingerprint
    buckets.fails.append(RuntimeError("no network"))
    assert prepare(data).info.fingerprint == first.info.fingerprint
    assert "is gone; using what was prepared" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data, message",
    [
        (None, "gs://bucket/raw.tar: not there: give the folder"),
        (b"text", "gs://bucket/raw.tar is no folder, no plain .tar and no .zip"),
    ],
)
def test_a_root_that_is_not_there_or_no_archive(data, message):
    if data is not None:
        as_path("gs://bucket/raw.tar").write_bytes(data)
    with pytest.raises(UserError, match=message):
        open_root("gs://bucket/raw.tar")


def test_a_damaged_archive_is_called_by_its_url(tmp_path):
    raw_data.write(tmp_path / "raw/1.bin", b"x" * 5000)
    path = raw_data.pack_tar(tmp_path / "raw", tmp_path / "raw.tar")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="gs://bucket/a.tar is damaged"):
        open_root(put(path, "gs://bucket/a.tar")).names()


def test_an_image_that_cannot_be_read_is_named(tmp_path, buckets):
    raw = open_root(put(raw_data.folder_data(tmp_path / "raw"), "s3://bucket/raw"))
    buckets.fails.append(RuntimeError("reset by peer"))
    with pytest.raises(OSError) as error:
        raw.read(raw.names()[0])
    assert error.value.strerror == "RuntimeError: reset by peer"


# Lines and the board.


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_lines_are_kept_added_and_synced(tmp_path, place):
    path = tmp_path / "a/m.jsonl" if place == "disk" else as_path("gs://bucket/a/m.jsonl")
    first = LineFile(path)
    assert paths.read_text(path) == ""
    first.write("one")
    first.sync()
    first.write("zwö")
    assert paths.read_text(path).splitlines()[0] == "one"
    first.close()
    first.close()
    assert paths.read_text(path) == "one\nzwö\n"
    second = LineFile(path, ["one"])
    assert paths.read_text(path) == "one\n"
    second.write("three")
    second.close()
    assert paths.read_text(path) == "one\nthree\n"


def test_on_a_disk_a_line_is_there_at_once(tmp_path):
    lines = LineFile(tmp_path / "m.jsonl", ["kept"])
    lines.write("new")
    assert (tmp_path / "m.jsonl").read_text() == "kept\nnew\n"
    lines.close()


def test_in_a_bucket_a_file_is_put_once_a_sync_and_not_for_nothing(buckets):
    lines = LineFile(as_path("s3://bucket/m.jsonl"), ["kept"])
    for number in range(5):
        lines.write(str(number))
    lines.sync()
    lines.sync()
    lines.close()
    assert buckets.log == ["put /bucket/m.jsonl"] * 2


def scalars(data):
    """Tags and steps of an event file: records of length, checksum, bytes, checksum."""
    found = []
    while data:
        length = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        found += [(value.tag, event.step) for value in event.summary.value]
        data = data[16 + length :]
    return found


def test_the_board_is_put_into_the_bucket(buckets):
    board = open_tensorboard(as_path("gs://bucket/run/tensorboard"), 1)
    for step in range(1, 4):
        board.add_scalar("loss", 1.0 / step, step)
    board.close()
    (name,) = buckets.names()
    assert name.startswith("bucket/run/tensorboard/events.out.tfevents.")
    found = scalars(as_path(f"gs://{name}").read_bytes())
    assert found == [("loss", 1), ("loss", 2), ("loss", 3)]


def test_a_bucket_out_of_reach_stops_no_scalar(buckets, capsys):
    board = open_tensorboard(as_path("s3://bucket/run/tensorboard"), 1)
    buckets.fails.append(RuntimeError("no network"))
    for step in range(1, 40):
        board.add_scalar("loss", 1.0, step)
    board.flush()
    buckets.fails.clear()
    board.close()
    assert len(scalars(as_path(f"s3://{buckets.names()[0]}").read_bytes())) == 39
    assert capsys.readouterr().err.count("no network") == 1


# Results.


def files(folder, *names):
    for name in names:
        raw_data.write(folder / name, name.encode())


def test_results_replace_old_ones_and_metrics_come_last(buckets):
    final = as_path("s3://bucket/run/eval/test")
    with ResultFolder(final) as results:
        files(results.folder, "metrics.json", "old.csv", "masks/a/1.png")
    buckets.log.clear()
    with ResultFolder(final) as results:
        files(results.folder, "metrics.json", "new.csv", "masks/a/1.png")
        assert (final / "old.csv").exists()
    assert buckets.names() == [
        f"bucket/run/eval/test/{name}" for name in ("masks/a/1.png", "metrics.json", "new.csv")
    ]
    assert buckets.log[0] == "delete /bucket/run/eval/test/metrics.json"
    assert buckets.log[-1] == "put /bucket/run/eval/test/metrics.json"


def test_an_evaluation_that_fails_leaves_the_old_results(buckets):
    final = as_path("gs://bucket/eval/test")
    with ResultFolder(final) as results:
        files(results.folder, "metrics.json")
    with pytest.raises(ZeroDivisionError), ResultFolder(final) as results:
        files(results.folder, "half.csv")
        raise ZeroDivisionError
    assert buckets.names() == ["bucket/eval/test/metrics.json"]


def test_results_that_cannot_be_copied_up_are_not_whole(buckets):
    final = as_path("gs://bucket/eval/test")
    with pytest.raises(UserError, match="gs://bucket/eval/test: cannot be written: .*full"):
        with ResultFolder(final) as results:
            files(results.folder, "metrics.json", "a.csv")
            buckets.fails.append(RuntimeError("full"))
    assert buckets.names() == []


def test_masks_are_read_back_for_the_gallery(tmp_path):
    row = SplitRow("cast/part_1/shot_2", "part_1", "pit", 1, 3, 3, 3)
    encoded = raw_data.encoded(np.zeros((3, 3), np.uint8))
    split = Split([{"image": encoded, "mask": encoded}], [row])
    final = as_path("s3://bucket/test")
    with ResultFolder(final) as results:
        results.mask_of(split)(0, np.eye(3, dtype=bool))
    decided = image_loader(split, final)(row.id)[2]
    np.testing.assert_array_equal(decided > 0, np.eye(3, dtype=bool))


def test_workdirs_in_buckets_are_compared_by_name(tmp_path):
    workdirs = [as_path("s3://bucket/a/run"), as_path("gs://bucket/b/run"), tmp_path / "run"]
    assert compare._names(workdirs)[:2] == ["a/run", "b/run"]
    with pytest.raises(UserError, match="s3://bucket/a/run/eval/test/predictions.csv: not there"):
        compare._evaluated(workdirs[0], "test")


def test_tables_and_decisions_in_a_bucket_that_are_wrong_are_named(buckets):
    for name, read in (("p.csv", read_predictions), ("decision.json", DecisionRule.from_json)):
        path = as_path("gs://bucket") / name
        with pytest.raises(UserError, match=f"gs://bucket/{name}: cannot be read"):
            read(path)
        path.write_bytes(b"\xff")
        with pytest.raises(UserError, match=f"gs://bucket/{name}: "):
            read(path)


def test_an_ablation_needs_a_disk(monkeypatch):
    monkeypatch.setattr(ablation, "given_config", lambda example: None)
    monkeypatch.setattr(ablation, "chosen_workdir", lambda: as_path("s3://bucket/ablation"))
    with pytest.raises(UserError, match="--workdir s3://bucket/ablation: .*give a local folder"):
        ablation.run()


# Checkpoints at s3://.

STEPS = "s3://bucket/run/checkpoints"


def save(folder, step, text="state"):
    files(folder / str(step), "state/d/1", "state/manifest", "commit_success.txt")
    raw_data.write(folder / str(step) / "state/d/1", text.encode())


def forget():
    """What a new process knows."""
    checkpoint_mirror._copy_of.cache_clear()
    checkpoint_mirror._originals.cache_clear()


def test_disks_and_gs_need_no_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = checkpoint_mirror.local(paths.as_path("run/checkpoints"))
    assert local == tmp_path / "run/checkpoints"
    folder = as_path("gs://bucket/run/checkpoints")
    assert checkpoint_mirror.local(folder) is folder
    assert checkpoint_mirror.shown(folder) is folder
    checkpoint_mirror.publish(local)
    checkpoint_mirror.publish(folder)


def test_steps_go_up_whole_come_back_and_go_away(buckets):
    here = checkpoint_mirror.local(as_path(STEPS))
    save(here, 5)
    checkpoint_mirror.publish(here)
    assert buckets.log[-1] == "put /bucket/run/checkpoints/5/commit_success.txt"
    save(here, 10)
    files(here / "15.orbax-checkpoint-tmp", "state/d/1")  # a save that is under way
    checkpoint_mirror.publish(here)
    os.rename(here / "5", here.parent / "deleted")
    buckets.log.clear()
    checkpoint_mirror.publish(here)
    assert buckets.log[0] == "delete /bucket/run/checkpoints/5/commit_success.txt"
    kept = ["commit_success.txt", "state/d/1", "state/manifest"]
    assert buckets.names() == [f"bucket/run/checkpoints/10/{name}" for name in kept]
    forget()
    there = checkpoint_mirror.local(as_path(STEPS))
    assert there != here and checkpoint_mirror.local(as_path(STEPS)) == there
    assert [path.name for path in there.iterdir()] == ["10"]
    assert (there / "10/state/d/1").read_bytes() == b"state"
    assert str(checkpoint_mirror.shown(there)) == STEPS


def test_a_half_copied_step_is_never_seen_and_later_replaced(buckets):
    for name in ("state/d/torn", "state/manifest"):
        (as_path(STEPS) / "5" / name).write_bytes(b"torn")
    here = checkpoint_mirror.local(as_path(STEPS))
    assert list(here.iterdir()) == []
    save(here, 5)
    checkpoint_mirror.publish(here)
    assert "bucket/run/checkpoints/5/state/d/torn" not in buckets.names()
    assert (as_path(STEPS) / "5/state/manifest").read_bytes() == b"state/manifest"


@pytest.mark.parametrize("workdir", ["s3://bucket/run", "gs://bucket/run", "disk"])
def test_a_damaged_step_is_put_aside(tmp_path, workdir):
    run = tmp_path / "run" if workdir == "disk" else as_path(workdir)
    here = checkpoint_mirror.local(run / "checkpoints")
    for text in ("first", "second"):  # the second takes the place of the first
        if str(here).startswith("gs://"):
            for name in ("state/d/1", "commit_success.txt"):
                (here / "5" / name).write_bytes(text.encode())
        else:
            save(here, 5, text)
            checkpoint_mirror.publish(here)
        checkpoint_mirror.put_aside(here, 5)
        assert not (run / "checkpoints/5/commit_success.txt").exists()
        aside = run / "damaged_checkpoints/5/state/d/1"
        assert aside.read_bytes().decode() == text
    checkpoint_mirror.publish(here)
    assert aside.exists()


def test_several_processes_cannot_share_s3(monkeypatch):
    monkeypatch.setattr(checkpoint_mirror.jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="cannot be at s3://: choose a --workdir at gs:// or on"):
        checkpoint_mirror.local(as_path(STEPS))
