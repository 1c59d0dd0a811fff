"""Trained on one state of the data, evaluated on another: no image that was learnt is judged."""

import json
import pickle
import shutil

import numpy as np
import pytest
import raw_data
from ml_collections import ConfigDict
from programs import SMALL

from defect_jax.data.files.images import decode_image
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.prepare import set_folder
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources import folder
from defect_jax.metrics.images import read_predictions
from defect_jax.runtime.errors import UserError
from defect_jax.training.begin import data_to_train_on
from defect_jax.workdir import kept_split, run_config
from defect_jax.workdir.trained_data import data_to_go_on_with, data_to_judge_on

FOLDER = "--config=configs/folder.py:debug"


@pytest.fixture(scope="module")
def trained(forked, tmp_path_factory):
    """The folder, the workdir and the flags of a run on 90 good and 30 defective images."""
    home = tmp_path_factory.mktemp("trained")
    root = raw_data.folder_data(home / "raw", good=90, defective=30)
    flags = (FOLDER, f"--config.data.data_dir={home / 'data'}", *SMALL)
    result = forked.run(*flags, f"--config.data.root={root}", f"--workdir={home / 'workdir'}")
    assert result.returncode == 0, result.stderr
    return root, home / "workdir", flags


def copied(trained, tmp_path):
    """Copies of the folder and the workdir, and the flags that evaluate one on the other."""
    root, workdir, flags = trained
    shutil.copytree(root, tmp_path / "raw")
    shutil.copytree(workdir, tmp_path / "workdir")
    places = f"--config.data.root={tmp_path / 'raw'}", f"--workdir={tmp_path / 'workdir'}"
    return tmp_path / "raw", tmp_path / "workdir", (*flags, *places)


def kept(workdir, split):
    return {row.id: row for row in kept_split.read(workdir) if row.split == split}


def judged(workdir, split="test"):
    return {row.id: row for row in read_predictions(workdir / "eval" / split / "predictions.csv")}


def add_parts(root, good=10, defective=2):
    """More parts, as they come in while a network is in use."""
    for number in range(good + defective):
        name = f"later/part_{number:03d}.png"
        raw_data.write(root / "images" / name, raw_data.noise(5000 + number))
        if number >= good:
            raw_data.write(root / "masks" / name, raw_data.defect_mask())


def test_a_run_keeps_its_split(trained):
    root, workdir, _ = trained
    prepared = prepare(run_config.of_workdir(workdir, None).data)
    rows = kept_split.read(workdir)
    assert rows == kept_split.rows_of(prepared) and len(rows) == 120
    assert judged(workdir).keys() == kept(workdir, "test").keys()
    report = (workdir / "eval/report.html").read_text()
    fingerprint = run_config.load(workdir).data_info.fingerprint
    assert f"judged on the data of training (fingerprint {fingerprint[:12]})" in report


def test_parts_that_came_later_are_reported_and_not_counted(forked, trained, tmp_path):
    root, workdir, flags = copied(trained, tmp_path)
    before = json.loads((workdir / "eval/test/metrics.json").read_text())
    add_parts(root)
    result = forked.run(*flags, "--mode=evaluate")
    assert result.returncode == 0, result.stderr
    assert judged(workdir).keys() == kept(workdir, "test").keys()
    assert json.loads((workdir / "eval/test/metrics.json").read_text()) == before
    told = "12 images added (images/later/part_000, images/later/part_001, images/later/part_002"
    assert told in result.stderr and told in (workdir / "eval/report.html").read_text()
    result = forked.run(*flags)  # nor does the run go on with them
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "the data changed since this run began: 12 images added" in result.stderr


def test_the_decision_is_made_anew_on_the_validation_images_of_training(forked, trained, tmp_path):
    """With a groups.csv that came later, a corrected mask, a renamed file and one that is gone."""
    root, workdir, flags = copied(trained, tmp_path)
    (workdir / "decision.json").unlink()
    val, test = kept(workdir, "val"), kept(workdir, "test")
    gone, renamed, corrected = [id for id in test if "good" in id][:3]
    (root / f"{gone}.png").unlink()
    (root / f"{renamed}.png").rename(root / "images/renamed.png")
    raw_data.write(root / f"{corrected.replace('images', 'masks')}.png", raw_data.defect_mask())
    add_parts(root)
    paths = sorted(path.relative_to(root) for path in (root / "images").rglob("*.png"))
    ids = [str(path.with_suffix("")) for path in paths]
    groups = [f"{id},part {number // 2}" for number, id in enumerate(ids)]
    (root / "groups.csv").write_text("\n".join(["id,group", *groups]))
    result = forked.run(*flags, "--mode=evaluate")
    assert result.returncode == 0, result.stderr
    assert judged(workdir).keys() == test.keys() - {gone, renamed} | {"images/renamed"}
    assert judged(workdir)[corrected].label == 1 and test[corrected].label == 0
    decision = json.loads((workdir / "decision.json").read_text())
    assert (decision["pictures"], decision["defective"]) == (
        len(val), sum(row.label for row in val.values())
    )  # fmt: skip
    for told in (
        f"1 image removed ({gone})",
        "1 image renamed (images/renamed)",
        f"1 image with another mask file ({corrected})",
        f"1 image with another label ({corrected})",
        "leaking: by their groups of today",
    ):
        assert told in result.stderr, told
    assert json.loads((workdir / "eval/test/metrics.json").read_text())["leaking"] == 1


@pytest.fixture
def begun(tmp_path):
    """A folder of raw data, the config of a run on it, and its workdir."""
    root = raw_data.folder_data(tmp_path / "raw", good=30, defective=15)
    return root, *run_on(raw_data.config("folder", root, tmp_path), tmp_path / "workdir")


def run_on(data, workdir):
    """The config of a run and its workdir, without a network."""
    prepared = prepare(data)
    kept_split.keep(workdir, prepared, anew=True)
    return ConfigDict(
        {"data": data, "data_info": {"fingerprint": prepared.info.fingerprint}}
    ), workdir


def ids_of(prepared, split="test"):
    return [row.id for row in prepared.splits[split].rows]


def words_of(prepared):
    return " ".join(prepared.info.notes)


def rename_all(root, test):
    (root / "images/good").rename(root / "images/fine")
    return {id.replace("/good/", "/fine/") for id in test}, "renamed"


def swap_two(root, test):
    """Two files change names; one is of the test split, the other of training."""
    other = next(
        p for p in sorted((root / "images/good").glob("*")) if f"images/good/{p.stem}" not in test
    )
    one = root / f"{next(id for id in test if 'good' in id)}.png"
    other.rename(root / "x"), one.rename(other), (root / "x").rename(one)
    here, there = (f"images/good/{path.stem}" for path in (one, other))
    return test - {here} | {there}, "2 images renamed"


def replace_one(root, test):
    id = next(id for id in test if "good" in id)
    raw_data.write(root / f"{id}.png", raw_data.noise(777))
    return test - {id}, f"1 image replaced by another image of the same name ({id})"


def replace_by_a_learnt_one(root, test):
    """A file of the test split is overwritten with a copy of one that was trained on."""
    id = next(id for id in test if "good" in id)
    learnt = next(
        p for p in (root / "images/good").glob("*") if f"images/good/{p.stem}" not in test
    )
    shutil.copy(learnt, root / f"{id}.png")
    return test - {id}, "1 image replaced"


def copy_one(root, test):
    shutil.copy(root / f"{min(test)}.png", root / "images/copy.png")
    if (mask := root / f"{min(test).replace('images', 'masks')}.png").exists():
        shutil.copy(mask, root / "masks/copy.png")
    return test, "13 images added (images/copy, "


def copy_one_instead(root, test):
    (root / f"{max(test)}.png").rename(root / "images/copy.png")
    if (mask := root / f"{max(test).replace('images', 'masks')}.png").exists():
        mask.rename(root / "masks/copy.png")
    return test - {max(test)} | {"images/copy"}, "1 image renamed (images/copy)"


def group_all(root, test):
    paths = sorted(path.relative_to(root) for path in (root / "images").rglob("*.png"))
    lines = [f"{path.with_suffix('')},part {number // 3}" for number, path in enumerate(paths)]
    (root / "groups.csv").write_text("\n".join(["id,group", *lines]))
    return test, "leaking: by their groups of today"


def empty_a_mask(root, test):
    id = next(id for id in test if "bad" in id)
    (root / f"{id.replace('images', 'masks')}.png").unlink()
    return test, f"1 image with another label ({id})"


def remove_a_learnt_one(root, test):
    learnt = next(
        p for p in (root / "images/good").glob("*") if f"images/good/{p.stem}" not in test
    )
    learnt.unlink()
    return test, "1 image removed"


def keep_all(root, test):
    return test, "judged on the data of training"


CHANGES = (
    keep_all, rename_all, swap_two, replace_one, replace_by_a_learnt_one, copy_one,
    copy_one_instead, group_all, empty_a_mask, remove_a_learnt_one,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_the_split_is_that_of_training_by_content(begun, change, capsys):
    root, config, workdir = begun
    if change is not keep_all:
        add_parts(root)
    expected, words = change(root, set(kept(workdir, "test")))
    prepared = data_to_judge_on(config, workdir, {"test"})
    assert set(ids_of(prepared)) == expected and ids_of(prepared) == sorted(expected)
    assert words in words_of(prepared)
    assert prepared.info.leaking == (change is group_all)
    said = capsys.readouterr().err
    assert ("the data changed since training" in said) == (change is not keep_all)
    split = prepared.splits["test"]
    assert [one["id"].decode() for one in split.source] == ids_of(prepared)
    for row, one in zip(split.rows, split.source, strict=True):
        assert one["label"] == row.label == (decode_classes(one["mask"]).any())
        np.testing.assert_array_equal(
            decode_image(one["image"]), decode_image((root / f"{row.id}.png").read_bytes())
        )
    copy = pickle.loads(pickle.dumps(split))
    assert len(copy.source) == len(split.rows) and copy.source[1] == split.source[1]


def remove(root, ids):
    for id in ids:
        (root / f"{id}.png").unlink()
        (root / f"{id.replace('images', 'masks')}.png").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "chosen, reason",
    [
        (lambda id: "good" in id, "(gone|none of its good images is left)"),
        (lambda id: "bad" in id, "(gone|none of its defective images is left)"),
        (lambda id: True, "10 of its 10 images are gone"),
    ],
)
def test_too_little_is_left_of_a_split(begun, chosen, reason):
    root, config, workdir = begun
    remove(root, filter(chosen, kept(workdir, "test")))
    with pytest.raises(
        UserError, match=rf"{workdir}: the test split .* no more: .*{reason}.*removed"
    ):
        data_to_judge_on(config, workdir, {"test"})
    assert ids_of(data_to_judge_on(config, workdir, {"val"}), "val") == sorted(kept(workdir, "val"))


def test_other_data_are_not_judged_at_all(begun, tmp_path):
    _, config, workdir = begun
    config.data.root = str(tmp_path / "other")
    for number in range(45):
        name = f"{'bad' if number < 15 else 'good'}/part_{number:03d}.png"
        raw_data.write(tmp_path / "other/images" / name, raw_data.noise(900 + number))
        if number < 15:
            raw_data.write(tmp_path / "other/masks" / name, raw_data.defect_mask())
    with pytest.raises(
        UserError, match="images are gone; .*for other images there is --mode=predict"
    ):
        data_to_judge_on(config, workdir, {"test"})


@pytest.mark.parametrize("is_mounted_on", [False, True])
def test_where_the_raw_files_are_gone_the_set_of_the_run_is_used(begun, is_mounted_on, capsys):
    root, config, workdir = begun
    expected = kept(workdir, "test")
    add_parts(root)
    newest = prepare(config.data)
    shutil.rmtree(root)
    root.mkdir() if is_mounted_on else None
    prepared = data_to_judge_on(config, workdir, {"test"})
    assert ids_of(prepared) == sorted(expected) and prepared.directory != newest.directory
    assert "is gone; using what was prepared before" in capsys.readouterr().err
    fingerprint = config.data_info.fingerprint
    going_on = data_to_go_on_with(config, workdir, fingerprint)
    assert going_on.directory == prepared.directory
    shutil.rmtree(root, ignore_errors=True)
    assert prepare(config.data).directory == newest.directory, "no run that has begun: the newest"


@pytest.mark.parametrize("elsewhere", ["moved away", ""])
def test_the_set_of_the_run_is_known_whatever_its_root_was(begun, elsewhere, tmp_path):
    root, config, workdir = begun
    shutil.rmtree(root)
    config.data.root = elsewhere and str(tmp_path / elsewhere)
    assert ids_of(data_to_judge_on(config, workdir, {"test"})) == sorted(kept(workdir, "test"))
    config.data.seed = 1  # another split of the same files: another set
    with pytest.raises(UserError, match="config.data.root"):
        data_to_judge_on(config, workdir, {"test"})


def test_the_newest_set_where_that_of_the_run_is_gone_too(begun):
    root, config, workdir = begun
    shutil.rmtree(prepare(config.data).directory)
    add_parts(root)
    prepare(config.data)
    shutil.rmtree(root)
    prepared = data_to_judge_on(config, workdir, {"test"})
    assert ids_of(prepared) == sorted(kept(workdir, "test"))
    assert "12 images added" in words_of(prepared)


def test_the_same_images_in_an_archive_and_in_a_copied_workdir(begun, tmp_path):
    root, config, workdir = begun
    shutil.copytree(workdir, tmp_path / "copy")
    config.data.root = str(raw_data.pack_tar(root, tmp_path / "raw.tar", top="parts"))
    prepared = data_to_judge_on(config, tmp_path / "copy", {"test"})
    assert {id.rpartition("images/")[2] for id in ids_of(prepared)} == {
        id.removeprefix("images/") for id in kept(workdir, "test")
    }
    assert "added" not in words_of(prepared) and "removed" not in words_of(prepared)


def test_a_folder_without_the_training_images(tmp_path):
    """The test folder of a release is enough, as before; what was moved there stays training's."""
    root = raw_data.ksdd2_release(tmp_path / "raw", scale=0.1)
    config, workdir = run_on(raw_data.config("ksdd2", root, tmp_path), tmp_path / "workdir")
    learnt = next(id for id in kept(workdir, "train"))
    for ending in ("", "_GT"):
        (root / f"{learnt}{ending}.png").rename(root / f"test/30000{ending}.png")
    shutil.rmtree(root / "train")
    prepared = data_to_judge_on(config, workdir, {"test"})
    assert ids_of(prepared) == sorted(kept(workdir, "test")) and len(ids_of(prepared)) == 10
    assert "test/30000" in {row.id for row in prepare(config.data, {"test"}).splits["test"].rows}
    told = words_of(prepared)
    assert "the images of train and val were not looked at: split 'train': holds no image" in told
    assert "1 image renamed (test/30000)" in told and "removed" not in told
    with pytest.raises(UserError, match="split 'val'|split 'train'"):
        data_to_judge_on(config, workdir, {"val"})


def test_a_damaged_training_image_does_not_keep_the_test_from_being_judged(tmp_path):
    root = raw_data.ksdd2_release(tmp_path / "raw", scale=0.1)
    config, workdir = run_on(raw_data.config("ksdd2", root, tmp_path), tmp_path / "workdir")
    (root / f"{min(kept(workdir, 'train'))}.png").write_bytes(b"")
    prepared = data_to_judge_on(config, workdir, {"test"})
    assert ids_of(prepared) == sorted(kept(workdir, "test"))
    assert "train and val were not looked at" in words_of(prepared)


def test_images_of_several_classes_and_another_class_in_a_mask(tmp_path):
    root = raw_data.class_data(tmp_path / "raw", good=30, of_each=12)
    data = raw_data.config("folder", root, tmp_path, classes=("dent", "scratch", "stain"))
    config, workdir = run_on(data, tmp_path / "workdir")
    id = next(id for id in kept(workdir, "test") if "/1/" in id)
    raw_data.write(root / f"{id.replace('images', 'masks')}.png", raw_data.class_mask(3))
    prepared = data_to_judge_on(config, workdir, {"test"})
    assert f"1 image with another label ({id})" in words_of(prepared)
    (row,) = [row for row in prepared.splits["test"].rows if row.id == id]
    assert row.class_name == "stain"


@pytest.fixture
def older(begun, monkeypatch):
    """A run of a version that kept no split in the workdir, and split otherwise."""
    root, config, workdir = begun
    shutil.rmtree(prepare(config.data).directory)
    monkeypatch.setattr(set_folder, "LAYOUT", 2)
    monkeypatch.setattr(
        folder, "grouped_split", lambda members, shares, seed: reversed_split(members)
    )
    before = prepare(config.data)
    monkeypatch.undo()
    origin = json.loads((before.directory / "info.json").read_text())["origin"]
    assert origin["options"].keys() == {"seed", "mask_threshold", "root"}  # as 8125334 wrote them
    table = before.directory / "split.csv"  # it had no such column
    table.write_text(
        "".join(f"{line.rpartition(',')[0]}\n" for line in table.read_text().splitlines())
    )
    with config.unlocked():  # options that it did not have either
        config.data.update(mask_alpha=False, trust_masks=False)
    (workdir / "split.csv").unlink()
    return root, config, workdir, before


def reversed_split(members):
    """Tell every third image to be tested, as no hash does."""
    return {one.id: ("test", "train", "val")[i % 3] for i, one in enumerate(members)}


def test_a_run_of_an_older_version_is_judged_by_the_split_of_then(older):
    _, config, workdir, before = older
    prepared = data_to_judge_on(config, workdir, {"test"})
    assert ids_of(prepared) == ids_of(before) != ids_of(prepare(config.data))
    fingerprint = config.data_info.fingerprint
    going_on = data_to_go_on_with(config, workdir, fingerprint)
    assert ids_of(going_on, "train") == ids_of(before, "train")


def test_a_run_of_an_older_version_on_other_data(older):
    root, config, workdir, _ = older
    add_parts(root)
    with pytest.raises(
        UserError, match="earlier version trained it, and the data changed since: 12 im"
    ):
        data_to_judge_on(config, workdir, {"test"})


@pytest.mark.parametrize("rest", [None, "", "split,id\ntest,a", "\0"])
def test_a_run_of_an_older_version_whose_split_is_not_known(older, rest):
    _, config, workdir, before = older
    if rest is None:
        shutil.rmtree(before.directory)
    else:
        (before.directory / "split.csv").write_text(rest)
    for judge in (
        lambda: data_to_judge_on(config, workdir, {"test"}),
        lambda: data_to_go_on_with(config, workdir, config.data_info.fingerprint),
    ):
        with pytest.raises(UserError, match=f"{workdir}: holds no split.csv: .*, or train anew"):
            judge()


def change_a_mask(root, kept):
    id = next(id for id in kept if "bad" in id)
    raw_data.write(root / f"{id.replace('images', 'masks')}.png", raw_data.defect_mask()[::-1])
    return f"1 image with another mask file ({id})"


@pytest.mark.parametrize(
    "change",
    [
        change_a_mask,
        lambda root, kept: (add_parts(root, 1, 0), "1 image added (images/later/part_000)")[1],
        lambda root, kept: (remove(root, [min(kept)]), f"1 image removed ({min(kept)})")[1],
    ],
)
def test_a_run_does_not_go_on_with_other_data(begun, change):
    root, config, workdir = begun
    words = change(root, kept(workdir, "train"))
    with pytest.raises(UserError) as refusal:
        data_to_go_on_with(config, workdir, config.data_info.fingerprint)
    assert str(refusal.value) == (
        f"{workdir}: the data changed since this run began: {words}: "
        "undo that to go on, or choose another --workdir to train anew"
    )


def test_a_run_goes_on_with_its_split_when_groups_are_given(begun, capsys):
    root, config, workdir = begun
    group_all(root, set())
    prepared = data_to_go_on_with(config, workdir, config.data_info.fingerprint)
    for split in ("train", "val", "test"):
        assert ids_of(prepared, split) == sorted(kept(workdir, split))
    assert "45 images are in other groups than in training" in capsys.readouterr().err


def test_a_run_that_saved_nothing_yet_begins_with_the_data_of_today(older):
    root, config, workdir, _ = older
    add_parts(root)
    prepared = data_to_train_on(config, workdir, saved=False)
    assert sum(len(split.rows) for split in prepared.splits.values()) == 57
    kept_split.keep(workdir, prepared, anew=True)
    assert len(kept_split.read(workdir)) == 57


def test_where_images_were_not_looked_at_the_refusal_says_why(begun):
    """Regrouped, so most test images are in training today, where one cannot be read."""
    root, config, workdir = begun
    group_all(root, set())
    today = prepare(config.data)
    (root / f"{next(id for id in ids_of(today, 'train') if 'good' in id)}.png").write_bytes(b"")
    told = "can be judged no more: .* train and val were not looked at: .* is empty: copy it again"
    with pytest.raises(UserError, match=told):
        data_to_judge_on(config, workdir, {"test"})
