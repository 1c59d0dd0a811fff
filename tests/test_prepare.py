"""Prepared once, whole or not at all, exactly as the raw files are."""

import csv
import dataclasses
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import raw_data
from ml_collections import ConfigDict

from defect_jax.data.files.images import decode_image
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.prepare import prepare as preparing
from defect_jax.data.prepare import set_folder
from defect_jax.data.prepare.examine import Facts
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.data.prepare.summarise import summarise
from defect_jax.data.sources.records import Catalogue, Record
from defect_jax.runtime.errors import UserError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def root(tmp_path):
    return raw_data.folder_data(tmp_path / "raw")


@pytest.fixture
def data(root, tmp_path):
    return raw_data.config("folder", root, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> tuple[ConfigDict, Prepared]:
    """A folder with a grey, an RGB and a 16-bit image among others, and its prepared form."""
    path = tmp_path_factory.mktemp("shared")
    root = raw_data.folder_data(path / "raw", good=10, defective=5)
    rgb = raw_data.noise(90, 20, 10, channels=3)
    raw_data.write(root / "images/good/part_000.png", rgb)
    raw_data.write(root / "images/good/part_001.png", raw_data.noise(91).astype(np.uint16) * 257)
    raw_data.write(root / "masks/good/part_002.png", np.zeros((12, 16), np.uint8))
    data = raw_data.config("folder", root, path)
    return data, prepare(data)


def prepared_folders(data: ConfigDict) -> list[Path]:
    return sorted(Path(data.data_dir, data.name).glob("[!.]*"))


def remains(data: ConfigDict) -> list[Path]:
    return sorted(Path(data.data_dir, data.name).glob(".*.partial"))


def test_elements_are_the_raw_files(shared):
    data, prepared = shared
    seen = set()
    for name, split in prepared.splits.items():
        assert len(split.source) == len(split.rows) > 0
        for row, element in zip(split.rows, split.source, strict=True):
            image = Path(data.root, f"{row.id}.png").read_bytes()
            np.testing.assert_array_equal(decode_image(element["image"]), decode_image(image))
            assert [element[key].decode() for key in ("id", "group", "class_name")] == [*row[:3]]
            assert (element["label"], element["height"], element["width"]) == row[3:6]
            assert decode_image(image).shape[:2] == row[4:6]
            mask = decode_classes(element["mask"])
            expected = raw_data.defect_mask() > 0 if "bad" in row.id else np.zeros(row[4:6], bool)
            np.testing.assert_array_equal(mask, expected.astype(np.uint8))
            assert row.defect_px == expected.sum() and row.label == expected.any()
            assert (row.class_name == "defect") == bool(row.label)
            seen.add(row.id)
        assert [row.id for row in split.rows] == sorted(row.id for row in split.rows), name
    assert len(seen) == 15


def test_a_split_can_be_pickled(shared):
    split = shared[1].splits["test"]
    copy = pickle.loads(pickle.dumps(split))
    assert copy.rows == split.rows
    assert copy.source[1] == split.source[1]


def test_the_tables(shared):
    data, prepared = shared
    with (prepared.directory / "split.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [
        "split", "id", "group", "class_name", "label", "height", "width", "defect_px", "sha256",
        "mask_sha256", "masked", "ignored_px",
    ]  # fmt: skip
    rows = [(name, row) for name, split in prepared.splits.items() for row in split.rows]
    assert [(line["split"], line["id"]) for line in lines] == [(name, row.id) for name, row in rows]
    for line in lines:
        image = Path(data.root, f"{line['id']}.png").read_bytes()
        assert line["sha256"] == hashlib.sha256(image).hexdigest()
        mask = Path(data.root, f"{line['id'].replace('images', 'masks')}.png")
        marked = mask.read_bytes() if mask.exists() else b""
        assert line["mask_sha256"] == hashlib.sha256(marked).hexdigest()
    assert [(row.sha256, row.mask_sha256) for _, row in rows] == [
        (line["sha256"], line["mask_sha256"]) for line in lines
    ]


def test_the_info(shared):
    data, prepared = shared
    info = prepared.info
    assert (info.name, info.channels, info.bit_depth, info.leaking) == ("folder", 3, 16, False)
    assert info.classes == ["defect"]
    same, *others = info.notes
    assert same.startswith("5 masks are the same, pixel for pixel, as that of another part")
    assert others == [
        "14 of 15 images are grey and used as RGB, like the others",
        "14 of 15 images have 8 bits and are scaled to 16, like the others",
        "there is no groups.csv: every image counts as a part of its own",
    ]


def test_the_fingerprint_is_that_of_the_files(shared):
    data, prepared = shared
    lines = []
    for image in Path(data.root, "images").rglob("*.png"):
        mask = Path(str(image).replace("/images/", "/masks/"))
        digests = [
            hashlib.sha256(file.read_bytes() if file.exists() else b"").hexdigest()
            for file in (image, mask)
        ]
        id = image.relative_to(data.root).with_suffix("").as_posix()
        lines.append("\0".join([id, *digests]) + "\n")
    expected = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert prepared.info.fingerprint == expected


NAMES = ("scratch", "dent", "stain")


def test_stored_masks_hold_class_ids(tmp_path):
    root = raw_data.class_data(tmp_path / "raw")
    prepared = prepare(raw_data.config("folder", root, tmp_path, classes=NAMES))
    assert prepared.info.classes == list(NAMES)
    seen = []
    for split in prepared.splits.values():
        for row, element in zip(split.rows, split.source, strict=True):
            kind = row.id.split("/")[1]
            expected = raw_data.class_mask(int(kind) if kind != "good" else 0)
            expected[8, 8] = kind == "2"  # a little of another class
            np.testing.assert_array_equal(decode_classes(element["mask"]), expected)
            assert row.defect_px == {"good": 0, "2": 13}.get(kind, 12)
            assert row.label == (kind != "good")
            seen.append((kind, row.class_name))
    called = {"good": "good", "1": "scratch", "2": "dent", "3": "stain"}
    assert set(seen) == set(called.items()) and len(seen) == 25


def test_other_classes_are_another_set(tmp_path):
    """The same files: prepared again, and with another fingerprint where ids have a meaning."""
    root = raw_data.class_data(tmp_path / "raw")
    data = raw_data.config("folder", root, tmp_path)
    before = prepare(data)
    (element,) = (e for e in before.splits["train"].source if e["id"] == b"images/3/part_000")
    assert decode_classes(element["mask"]).max() == 1, "one class: any value is defect"
    others = [NAMES, NAMES[::-1], (*NAMES, "crack")]
    sets = [before, *(prepare(ConfigDict(data.to_dict() | {"classes": one})) for one in others)]
    assert len({one.directory for one in sets}) == len({one.info.fingerprint for one in sets}) == 4


def test_a_changed_id_is_another_fingerprint():
    """One mask file, one name; only the class that the catalogue gives it differs."""
    facts = Facts(12, 16, (1,), 8, False, 12, "a", "b")
    records = [
        Record("id", "image", "mask", "id", "dent", "train", class_id) for class_id in (1, 2)
    ]
    several = Catalogue(classes=NAMES)
    prints = [summarise("x", [(one, facts)], several).fingerprint for one in records]
    assert prints[0] != prints[1]


def test_a_set_of_one_class_that_is_named(tmp_path):
    root = raw_data.class_data(tmp_path / "raw")
    shutil.rmtree(root / "masks/2"), shutil.rmtree(root / "masks/3")
    data = raw_data.config("folder", root, tmp_path)
    unnamed, named = prepare(data), prepare(ConfigDict(data.to_dict() | {"classes": ("hole",)}))
    assert named.info.classes == ["hole"] and named.directory != unnamed.directory
    assert named.info.fingerprint == unnamed.info.fingerprint


def test_a_config_of_before_the_classes_finds_the_same_set(data):
    older = prepare(data).directory
    for none in ((), []):
        assert prepare(ConfigDict(data.to_dict() | {"classes": none})).directory == older


def test_a_set_of_the_layout_before_is_not_used(data, monkeypatch):
    monkeypatch.setattr(set_folder, "LAYOUT", 1)
    older = prepare(data).directory
    monkeypatch.undo()
    assert set_folder.LAYOUT > 1 and prepare(data).directory != older
    shutil.rmtree(prepare(data).directory), shutil.rmtree(data.root)
    with pytest.raises(UserError, match="config.data.root"):
        prepare(data)


def test_prepared_once(data, monkeypatch):
    first = prepare(data)
    monkeypatch.setattr(preparing, "_build", None)
    again = prepare(data)
    assert again.directory == first.directory and again.info == first.info
    test = prepare(data, needed=("test",))
    assert test.directory == first.directory and list(test.splits) == ["test"]


@pytest.mark.parametrize("change", ["seed", "mask_threshold", "raw file", "new raw file"])
def test_prepared_again(data, root, change):
    first = prepare(data)
    if change == "raw file":
        raw_data.write(root / "images/good/part_000.png", raw_data.noise(77))
    elif change == "new raw file":
        raw_data.write(root / "images/good/part_999.png", raw_data.noise(77))
    else:
        data[change] = 7
    second = prepare(data)
    assert second.directory != first.directory and len(prepared_folders(data)) == 2
    assert (second.info.fingerprint != first.info.fingerprint) == ("raw" in change)


def test_options_of_the_pipeline_do_not_count(data):
    first = prepare(data)
    data.size, data.max_megapixels = (64, 64), 2.0
    assert prepare(data).directory == first.directory


def test_raw_files_that_are_gone(data, root, capsys):
    first = prepare(data)
    shutil.rmtree(root)
    again = prepare(data)
    assert again.directory == first.directory
    assert f"{root} is gone; using what was prepared" in capsys.readouterr().err
    data.seed = 1
    with pytest.raises(UserError, match="config.data.root: .*No such file"):
        prepare(data)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"origin": 1, "fingerprint": ""}', "null"])
def test_a_set_that_cannot_be_read_is_passed_over_where_the_raw_files_are_gone(data, root, text):
    usable = prepare(data)
    raw_data.write(Path(data.data_dir, data.name, "damaged", "info.json"), text.encode())
    shutil.rmtree(root)
    assert prepare(data).directory == usable.directory


def test_only_the_splits_that_are_needed(tmp_path):
    root = raw_data.ksdd2_release(tmp_path / "raw", scale=0.1)
    data = raw_data.config("ksdd2", root, tmp_path)
    shutil.rmtree(root / "train")
    with pytest.raises(UserError, match="split 'train': holds no image"):
        prepare(data)
    test = prepare(data, needed=("test",))
    assert list(test.splits) == ["test"] and len(test.splits["test"].rows) == 10
    assert test.info.channels == 3
    with pytest.raises(UserError, match="split 'train': holds no image"):
        prepare(data)  # what holds the test split alone never passes for whole


def test_all_data_sets(tmp_path):
    tiles = raw_data.magnetic_tile_release(tmp_path / "tiles")
    kolektor = raw_data.ksdd2_release(tmp_path / "ksdd2", scale=0.1)
    generated = dict(parts=12, shots=2, defective_fraction=0.5, picture_size=(64, 64))
    for data, images in (
        (raw_data.config("magnetic_tile", tiles, tmp_path, split="random"), 1344),
        (raw_data.config("ksdd2", kolektor, tmp_path), 40),
        (raw_data.config("synthetic", "", tmp_path, **generated), 24),
    ):
        prepared = prepare(data)
        assert prepared.directory.parent.name == data.name == prepared.info.name
        assert sum(len(split.rows) for split in prepared.splits.values()) == images
        assert prepared.info.leaking == (data.name == "magnetic_tile")
        test = prepared.splits["test"]
        assert {row.label for row in test.rows} == {0, 1}
        for row, element in zip(test.rows, test.source, strict=True):
            ids = decode_classes(element["mask"])
            assert np.count_nonzero(ids) == row.defect_px
            if row.label and row.masked:
                assert np.unique(ids[ids > 0]).tolist() == [
                    prepared.info.classes.index(row.class_name) + 1
                ]


def test_the_first_fault_and_the_number_of_others(data, root):
    raw_data.write(root / "images/good/part_001.png", b"text")
    with pytest.raises(UserError) as one:
        prepare(data)
    fault = f"{root}/images/good/part_001.png: is not an image, or its beginning is damaged"
    assert str(one.value) == fault
    raw_data.write(root / "masks/bad/part_012.png", raw_data.defect_mask(13, 16))
    raw_data.write(root / "masks/lost.png", raw_data.defect_mask())
    with pytest.raises(UserError) as three:
        prepare(data)
    assert str(three.value) == (
        f"{root}/masks/lost.png: is a mask without an image: there is no images/lost.* "
        "(and 2 more: --mode=check lists them all)"
    )
    assert not prepared_folders(data) and not remains(data)


def test_all_faults_of_images_are_counted(data, root):
    for number in (3, 7, 11):
        kind = "good" if number < 10 else "bad"
        raw_data.write(root / f"images/{kind}/part_{number:03d}.png", b"")
    with pytest.raises(UserError, match=r"is empty: copy it again \(and 2 more: --mode=check"):
        prepare(data)


def test_prepared_data_inside_the_raw_data(data):
    data.data_dir = f"{data.root}/cache"
    with pytest.raises(UserError, match="config.data.data_dir: .* is in the raw data"):
        prepare(data)


def test_a_data_dir_that_cannot_be_written(data, tmp_path):
    data.data_dir = str(raw_data.write(tmp_path / "file", b"") / "below")
    with pytest.raises(UserError, match="config.data.data_dir: cannot write to"):
        prepare(data)


def test_the_default_place_is_the_users_cache(data, tmp_path, monkeypatch):
    data.data_dir = ""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert prepare(data).directory.parent == tmp_path / "cache/defect_jax/folder"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert prepare(data).directory.parent == tmp_path / "home/.cache/defect_jax/folder"


@pytest.mark.parametrize("name", ["info.json", "split.csv", "folder"])
def test_a_damaged_prepared_set_is_not_used(data, name):
    path = prepare(data).directory / name
    shutil.rmtree(path) if path.is_dir() else path.write_text("{")
    with pytest.raises(UserError, match="is damaged .*: delete it"):
        prepare(data)


def test_an_interruption_leaves_nothing(data, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "summarise", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(data)
    assert not prepared_folders(data) and not remains(data)


def start(data: ConfigDict, before: str = "") -> subprocess.Popen:
    """Prepares in a process of its own and prints "done"; `before` runs first."""
    code = f"""
import sys, time
from ml_collections import ConfigDict
from defect_jax.data.prepare import prepare as preparing
{before}
preparing.prepare(ConfigDict({data.to_dict()!r}))
assert "tensorflow" not in sys.modules
print("done", flush=True)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_preparation_leaves_nothing_that_passes_for_whole(data):
    # Stops when every image is stored and only the move is left.
    wait = "preparing.summarise = lambda *_: (print('stored', flush=True), time.sleep(600))"
    with start(data, wait) as process:
        assert process.stdout.readline() == "stored\n"
        process.send_signal(signal.SIGKILL)
    (remaining,) = remains(data)
    assert any(remaining.rglob("*array_record*")) and not prepared_folders(data)
    other = ConfigDict(data.to_dict() | {"seed": 1})
    assert prepare(other).directory in prepared_folders(data)
    assert not remains(data), "the next preparation clears away what the killed one left"
    assert sum(len(split.rows) for split in prepare(data).splits.values()) == 15


def test_two_processes_at_once(data):
    with start(data) as first, start(data) as second:
        assert first.stdout.read() == second.stdout.read() == "done\n"
    assert len(prepared_folders(data)) == 1 and not remains(data)


def test_a_preparation_under_way_is_not_cleared_away(data):
    wait = "preparing.summarise = lambda *_: (print('stored', flush=True), time.sleep(600))"
    with start(data, wait) as process:
        assert process.stdout.readline() == "stored\n"
        prepare(ConfigDict(data.to_dict() | {"seed": 1}))
        assert len(remains(data)) == 1
        process.kill()


def test_info_is_plain_data(shared):
    assert set(dataclasses.asdict(shared[1].info)) == {
        "name", "channels", "bit_depth", "fingerprint", "leaking", "notes", "classes", "lights"
    }  # fmt: skip


def test_nothing_stays_in_the_folder_for_temporary_files(data, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    prepare(data)
    assert os.listdir(tmp_path / "tmp") == []


def test_cells_of_the_tables_are_texts_where_they_look_like_formulas(data, root):
    (root / "images/good/part_000.png").rename(root / "images/good/=1+1.png")
    ids = [path.relative_to(root).with_suffix("") for path in root.rglob("images/*/*.png")]
    groups = "".join(f"{id},@{number}\n" for number, id in enumerate(sorted(ids)))
    raw_data.write(root / "groups.csv", f"id,group\n{groups}".encode())
    made = prepare(data)
    with (made.directory / "split.csv").open(newline="") as file:
        assert all(row["group"].startswith("'@") for row in csv.DictReader(file))
    rows = [row for split in made.splits.values() for row in split.rows]
    assert {row.group for row in rows} == {f"@{number}" for number in range(15)}
    assert "images/good/=1+1" in {row.id for row in rows}
