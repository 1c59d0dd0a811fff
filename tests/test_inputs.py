"""What is an input, what is left out of it, and that ids are those of an evaluation."""

import shutil

import pytest
import raw_data

from defect_jax.data.sources.data_sets import data_set
from defect_jax.deploy.input_names import RESULTS
from defect_jax.deploy.inputs import open_input
from defect_jax.runtime.errors import UserError

IMAGE = raw_data.encoded(raw_data.defect_mask())


def write(root, *names, data=IMAGE):
    for name in names:
        raw_data.write(root / name, data)
    return root


def ids(path, output=None):
    return [image.id for image in open_input(str(path), output).images]


def data_root(root):
    write(root, "images/good/1.png", "images/bad/2.png", "images/3.jpg", "masks/bad/2.png")
    return root


def ids_of_records(root):
    """The ids of the data set, which are those of an evaluation."""
    config = raw_data.config("folder", root, root)
    chosen = data_set("folder")
    found = chosen.catalogue(chosen.open(config), config, ("train", "val", "test"))
    return sorted(record.id for record in found.records)


def test_ids_of_a_data_root_and_of_its_images_are_those_of_an_evaluation(tmp_path):
    root = data_root(tmp_path / "parts")
    expected = ["images/3", "images/bad/2", "images/good/1"]
    assert ids_of_records(root) == ids(root) == ids(root / "images") == expected
    assert open_input(str(root)).notes == ["left out 1 file in masks/: the masks of images/"]


@pytest.mark.parametrize("pack", [raw_data.pack_tar, raw_data.pack_zip])
def test_a_folder_around_the_data_root_counts_no_more_than_in_an_evaluation(tmp_path, pack):
    data_root(tmp_path / "around" / "release")
    archive = pack(tmp_path / "around", tmp_path / f"parts.{pack.__name__[-3:]}")
    assert ids_of_records(archive) == ids(archive) == ids(tmp_path / "around")


def test_ids_of_fixed_splits_agree(tmp_path):
    for split in ("train", "val", "test"):
        write(tmp_path, f"{split}/images/{split}1.png", f"{split}/masks/{split}1.png")
    assert (
        ids_of_records(tmp_path)
        == ids(tmp_path)
        == sorted(f"{split}/images/{split}1" for split in ("train", "val", "test"))
    )
    assert ids(tmp_path / "test" / "images") == ["test/images/test1"]
    shutil.move(tmp_path / "test" / "images", tmp_path / "images" / "test")
    assert ids(tmp_path / "images" / "test") == ["images/test/test1"]


def test_elsewhere_an_id_is_the_path_below_the_input(tmp_path):
    write(tmp_path / "images" / "monday", "1.png", "a/2.png")
    assert ids(tmp_path / "images" / "monday") == ["1", "a/2"]
    assert ids(tmp_path / "images" / "monday" / "1.png") == ["1"]
    write(tmp_path / "lines", "a/images/1.png", "b/images/1.png")
    assert ids(tmp_path / "lines") == ["a/images/1", "b/images/1"]
    write(tmp_path / "mixed", "around/images/1.png", "1.png")
    assert ids(tmp_path / "mixed") == ["1", "around/images/1"]


def test_results_are_no_inputs_wherever_they_are(tmp_path):
    write(tmp_path, "1.png", "2.png", "masks/3.png")  # masks of nobody: they have no images/
    for top in ("decided", "old/decided", "run/eval/test"):
        write(tmp_path, f"{top}/predictions.csv", data=b"id\n")
        write(tmp_path, *(f"{top}/{kind}/1.png" for kind in RESULTS))
        write(tmp_path, f"{top}/mine.png")
    inputs = open_input(str(tmp_path), tmp_path / "decided")
    assert [image.id for image in inputs.images] == [
        "1", "2", "masks/3", "old/decided/mine", "run/eval/test/mine"
    ]  # fmt: skip
    assert "left out 6 files in decided/: results" in inputs.notes
    assert "left out 1 file in old/decided/masks/: results" in inputs.notes
    (tmp_path / "old" / "decided" / "mine.png").unlink()
    with pytest.raises(UserError, match=r"holds no \.png .*left out 1 file in masks/: results"):
        open_input(str(tmp_path / "old" / "decided"))


def test_an_output_that_is_the_input_is_refused_also_through_a_link(tmp_path):
    write(tmp_path / "today", "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "today")
    for output in (tmp_path / "today", tmp_path / "link", tmp_path / "today" / "x" / ".."):
        with pytest.raises(UserError, match="is the input itself: name another folder"):
            open_input(str(tmp_path / "today"), output)


@pytest.mark.parametrize("name", ["a.gif", "a.WebP", "b/c.heic", "a.jp2", "a.dng", "a.png.avif"])
def test_pictures_of_other_kinds_are_faults_by_name(tmp_path, name):
    write(tmp_path, "1.png", name)
    images = {image.name: image for image in open_input(str(tmp_path)).images}
    assert images["1.png"].fault == ""
    assert "is no picture of a kind that is read" in images[name].fault
    assert images[name].id == name


def test_other_files_are_counted_by_kind(tmp_path):
    write(tmp_path, "1.png", "notes.txt", "a/b.TXT", "list.csv", "groups.csv", "x/README")
    assert open_input(str(tmp_path)).notes == [
        "left out 4 files of other kinds: 2 .txt, 1 .csv, 1 without suffix"
    ]


def test_an_input_of_nothing_but_other_kinds_is_refused_with_its_counts(tmp_path):
    write(tmp_path, "a.gif", "b.webp", "c.txt")
    says = r"holds no .* files \(2 pictures of other kinds, such as a.gif; left out 1 file"
    with pytest.raises(UserError, match=says):
        open_input(str(tmp_path))
    with pytest.raises(UserError, match="a.gif is no picture of a kind that is read"):
        open_input(str(tmp_path / "a.gif"))
