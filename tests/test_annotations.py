"""Annotations of other programs: every mask comes back, and what cannot be used is named."""

import base64
import io
import json
import shlex
import shutil
from collections import Counter
from pathlib import Path

import annotation_files
import cv2
import numpy as np
import pytest
import raw_data
from annotation_files import Part
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from defect_jax.data.annotations import import_parts as story
from defect_jax.data.annotations.brush import brush_values
from defect_jax.data.annotations.entries import BadAnnotation, Entry
from defect_jax.data.annotations.finding import find_pictures
from defect_jax.data.annotations.import_parts import import_parts
from defect_jax.data.annotations.mask_files import palette
from defect_jax.data.annotations.opened import open_input
from defect_jax.data.annotations.recognise import FORMATS, only_format
from defect_jax.data.annotations.run_lengths import Runs, unpacked, whole_numbers
from defect_jax.data.annotations.shapes import Ellipse, Polygon, paint, rectangle
from defect_jax.data.annotations.splits import decide
from defect_jax.data.prepare.check import find_faults, inspect
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError

HEIGHT, WIDTH = 24, 32
MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
COORDINATES = st.lists(
    st.tuples(*[st.floats(-3, 15, width=32)] * 2), min_size=3, max_size=8, unique=True
)


def filled(area, height=HEIGHT, width=WIDTH):
    canvas = np.zeros((height, width), bool)
    paint(canvas, area.patch(height, width))
    return canvas


# Shapes


@given(MASKS)
def test_outlines_along_the_edges_of_pixels_give_their_mask_back(mask):
    if mask.any():
        together = Polygon(tuple(annotation_files.outlines(mask)))
        assert (filled(together, *mask.shape) == mask).all()


@given(MASKS)
def test_outlines_by_pixels_give_their_mask_back(mask):
    mask = np.kron(mask, np.ones((3, 3), bool))  # a line of pixels has no inside and no outside
    if mask.any():
        canvas = np.zeros_like(mask)
        for ring in annotation_files.pixels(mask):
            paint(canvas, Polygon((ring,), touched=True).patch(*mask.shape))
        assert (canvas == mask).all()


@given(COORDINATES)
def test_a_pixel_is_inside_if_a_line_from_its_centre_crosses_an_odd_number_of_edges(points):
    ring = np.array(points)
    inside = np.zeros((12, 12), bool)
    for row in range(12):
        for column in range(12):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if (y0 <= y) != (y1 <= y):
                    inside[row, column] ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    found = filled(Polygon((ring,)), 12, 12)
    if inside.any():
        assert np.count_nonzero(found != inside) <= 1  # a centre on an edge, rounded either way


def test_a_shape_without_a_centre_is_a_line_and_one_outside_is_nothing():
    hair = Polygon((np.array([[2.0, 3.2], [20.0, 3.2], [20.0, 3.3]]),))
    assert np.argwhere(filled(hair)).tolist() == [[3, x] for x in range(2, 21)]
    away = Polygon((np.array([[-9.0, -9.0], [-5.0, -9.0], [-5.0, -5.0]]),))
    assert not filled(away).any()


def test_a_polygon_of_labelmes_example_has_the_area_and_the_box_that_labelme_noted():
    points = [[425.94, 82.56], [404.94, 109.56], [400.94, 114.56], [437.94, 114.56]]
    ring = np.array([*points, [448.94, 102.56], [446.94, 91.56]])
    touched = Polygon((ring,), touched=True).patch(375, 500).inside
    centres = Polygon((ring,)).patch(375, 500).inside
    assert touched.sum() == 996 and touched.any(0).sum() == 49 and touched.any(1).sum() == 33
    assert abs(centres.sum() - abs(annotation_files.area(ring))) < 15


def test_ellipses_and_turned_rectangles():
    circle = filled(Ellipse(10.0, 12.0, 6.0, 6.0))
    assert abs(np.count_nonzero(circle) - 36 * np.pi) < 4 and circle[11, 15] and not circle[11, 16]
    upright, turned = Ellipse(10.0, 12.0, 3.0, 8.0), Ellipse(10.0, 12.0, 8.0, 3.0, 90.0)
    assert (filled(upright) == filled(turned)).all()
    slanted = np.argwhere(filled(Ellipse(12.0, 12.0, 9.0, 1.5, 45.0)))
    assert np.corrcoef(slanted.T)[0, 1] > 0.9  # clockwise: down to the right
    around_middle = filled(Polygon((rectangle(4.0, 6.0, 12.0, 10.0, 90.0),)))
    assert around_middle.sum() == 32 and around_middle[4:12, 6:10].all()
    around_corner = filled(Polygon((rectangle(10.0, 6.0, 18.0, 10.0, 90.0, about_corner=True),)))
    assert around_corner.sum() == 32 and around_corner[6:14, 6:10].all()


@given(MASKS)
def test_run_lengths(mask):
    height, width = mask.shape
    down = annotation_files.run_lengths(mask.T.ravel())
    assert unpacked(annotation_files.packed(down)).tolist() == down
    runs = Runs(whole_numbers(down), height, width, by_columns=True)
    assert (filled(runs, height, width) == mask).all()
    along = whole_numbers(annotation_files.run_lengths(mask.ravel()))
    shifted = Runs(along, height, width, top=2, left=-1)
    canvas = np.zeros((height + 2, width), bool)
    canvas[2:, : width - 1] = mask[:, 1:]
    assert (filled(shifted, height + 2, width) == canvas).all()


def test_run_lengths_as_pycocotools_packs_them():
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:9], mask[4, 5] = True, False
    runs = Runs(unpacked("m05400MM0330000i0"), 9, 12, by_columns=True)
    assert (filled(runs, 9, 12) == mask).all()


PACKED = [0, 0, 0, 18, 57, 27, 252, 96, 32, 1, 0, 6, 0, 40, 0, 192, 3, 128, 17, 56, 32]  # fmt: skip
VALUES = [1, 1, 1, 1, 2, 3, 5, 6, 7, 8, 4, 4, 4, 4, 4, 4, 4, 4]


def test_a_brush_stroke_as_label_studio_packs_it():
    assert brush_values(PACKED, 18).tolist() == VALUES
    assert brush_values(PACKED, 18, 4, 3).tolist() == VALUES[3::4]
    with pytest.raises(BadAnnotation, match="cut off"):
        brush_values(PACKED[:-2], 18)
    with pytest.raises(BadAnnotation, match="another size than its image"):
        brush_values(PACKED, 20)


@given(hnp.arrays(np.uint8, st.integers(1, 300), elements=st.sampled_from([0, 128, 255])))
def test_brush_strokes(values):
    data = annotation_files.brushed(values.astype(int))
    assert (brush_values(data, len(values)) == values).all()
    assert (brush_values(data, len(values), 4, 3) == values[3::4]).all()


# Every format, from images to images


def part(number, *labels, folder="line 1/"):
    """An image of its own, and a mask for each label: a region with a hole, and a hair crack."""
    masks = {}
    for place, label in enumerate(labels):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        top, left = 2 + number % 5 + 9 * place, 3 + number % 7
        mask[top : top + 7, left : left + 12] = True
        mask[top + 2, left + 3 : left + 6] = False
        mask[top + 3, left + 15] = mask[top + 4, left + 16] = True
        masks[label] = mask
    image = raw_data.encoded(raw_data.noise(number, HEIGHT, WIDTH), "JPEG")
    return Part(f"{folder}part_{number:02}.jpg", image, (HEIGHT, WIDTH), masks)


@pytest.fixture(scope="module")
def parts():
    return [part(number, *["crack"] * (number % 2)) for number in range(12)]


WAYS = {
    "coco": lambda root, parts: annotation_files.coco(root, parts),
    "coco_rle": lambda root, parts: annotation_files.coco(root, parts, "rle"),
    "coco_packed": lambda root, parts: annotation_files.coco(root, parts, "packed"),
    "labelme": lambda root, parts: annotation_files.labelme(root, parts),
    "labelme_mask": lambda root, parts: annotation_files.labelme(root, parts, "mask"),
    "labelme_embedded": lambda root, parts: annotation_files.labelme(root, parts, embedded=True),
    "yolo": lambda root, parts: annotation_files.yolo(root, parts),
    "cvat": lambda root, parts: annotation_files.cvat(root, parts),
    "cvat_mask": lambda root, parts: annotation_files.cvat(root, parts, "mask"),
    "label_studio": lambda root, parts: annotation_files.label_studio(root, parts),
    "label_studio_brush": lambda root, parts: annotation_files.label_studio(root, parts, "brush"),
    "label_studio_upload": lambda r, parts: annotation_files.label_studio(r, parts, uploaded=True),
    "via": lambda root, parts: annotation_files.via(root, parts),
}  # fmt: skip


def mask_of(root, name):
    path = (root / "masks" / name).with_suffix(".png")
    return np.asarray(Image.open(path)) > 0 if path.exists() else None


def splits_of(root, tmp_path):
    inspected = inspect(raw_data.config("folder", root, tmp_path))
    assert inspected.faults == []
    return {record.id: (record.split, record.class_name) for record in inspected.found.records}


@pytest.mark.parametrize("way", WAYS)
def test_images_masks_and_splits_come_back(tmp_path, parts, way, capsys):
    source, own, output = tmp_path / "source", tmp_path / "own", tmp_path / "out"
    annotation_files.folder(own, parts)
    WAYS[way](source, parts)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    import_parts(str(source), str(output))
    for one in parts:
        assert (output / "images" / one.name).read_bytes() == one.image
        assert (mask_of(output, one.name) is None) == (not one.masks)
        for mask in one.masks.values():
            assert (mask_of(output, one.name) == mask).all()
    assert len([path for path in output.rglob("*") if path.is_file()]) == 12 + 6
    assert splits_of(output, tmp_path) == splits_of(own, tmp_path)
    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    said = capsys.readouterr().out.splitlines()
    assert f"wrote {output}: 12 images, 6 defective, 6 good (those " in said[0]
    assert said[-2].endswith(f" check --config=folder --config.data.root={output}")
    assert said[-1].endswith(f" train --config=folder --config.data.root={output}")


def test_mvtec_splits_are_pooled(tmp_path, parts, capsys):
    annotation_files.mvtec(tmp_path / "tile", parts)
    import_parts(str(tmp_path / "tile"), str(tmp_path / "out"))
    for one in parts:
        name = f"{'crack' if one.masks else 'good'}/{Path(one.name).name}"
        assert (tmp_path / "out/images" / name).read_bytes() == one.image
        for mask in one.masks.values():
            assert (mask_of(tmp_path / "out", name) == mask).all()
    said = capsys.readouterr().out
    assert "splits: those of the source are not kept (train holds no defective image)" in said


def test_names_that_a_split_told_apart_stay_apart(tmp_path):
    parts = [part(number, folder="") for number in range(2)]
    for folder in ("train/good", "test/good"):
        raw_data.write(tmp_path / "tile" / folder / "000.jpg", parts[folder < "train"].image)
    one = part(3, "crack", folder="")
    annotation_files.mvtec(tmp_path / "tile", [one])
    import_parts(str(tmp_path / "tile"), str(tmp_path / "out"))
    names = {str(p.relative_to(tmp_path / "out/images")) for p in (tmp_path / "out").rglob("*.jpg")}
    assert names == {
        "from_train/good/000.jpg",
        "from_test/good/000.jpg",
        "from_test/crack/part_03.jpg",
    }


def test_several_classes_are_read_with_and_without_their_names(tmp_path, capsys):
    labels = [(), ("scratch",), ("dent",), ("scratch", "dent")]
    parts = [part(number, *labels[number % 4]) for number in range(24)]
    annotation_files.cvat(tmp_path / "source", parts)
    import_parts(str(tmp_path / "source"), str(tmp_path / "out"))
    said = capsys.readouterr().out.splitlines()
    _, _, flags = said[-1].partition("to tell the classes apart, add ")
    expected = ["--config.data.classes=('dent', 'scratch')", "--config.model.num_classes=2"]
    assert shlex.split(flags) == expected
    data = raw_data.config("folder", tmp_path / "out", tmp_path)
    assert find_faults(data) == []
    data.classes = ("dent", "scratch")
    inspected = inspect(data)
    assert inspected.faults == []
    kinds = Counter(record.class_name for record in inspected.found.records)
    assert kinds.keys() == {"good", "dent", "scratch"} and kinds["good"] == 6
    ids = np.asarray(Image.open(tmp_path / "out/masks/line 1/part_03.png"))
    for id, label in enumerate(("dent", "scratch"), 1):
        assert ((ids == id) == parts[3].masks[label]).all()


def test_every_class_has_a_colour_of_its_own():
    colours = palette()
    assert len(set(colours)) == 256 and colours[0] == (0, 0, 0)
    assert min(max(colour) for colour in colours[1:]) > 25


# Splits


@pytest.mark.parametrize(
    "splits, homes",
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("train", "valid"), ("train", "test")),
        (("train", "test"), ("train", "test")),
    ],
)
def test_splits_of_the_source_are_kept(tmp_path, splits, homes, capsys):
    parts = [part(number, *["crack"] * (number // 3 % 2)) for number in range(24)]
    annotation_files.yolo(tmp_path / "source", parts, splits)
    import_parts(str(tmp_path / "source"), str(tmp_path / "out"))
    for number, one in enumerate(parts):
        home = homes[number % len(splits)]
        assert (tmp_path / "out/images" / home / one.name).read_bytes() == one.image
        for mask in one.masks.values():
            assert (mask_of(tmp_path / "out", f"{home}/{one.name}") == mask).all()
    assert "splits: kept" in capsys.readouterr().out
    inspected = inspect(raw_data.config("folder", tmp_path / "out", tmp_path))
    assert inspected.faults == []


def test_the_subsets_of_cvat_and_the_files_of_coco_are_splits(tmp_path):
    parts = [part(number, *["crack"] * (number // 3 % 2)) for number in range(24)]
    annotation_files.cvat(tmp_path / "cvat", parts, subsets=("Train", "Validation", "Test"))
    import_parts(str(tmp_path / "cvat"), str(tmp_path / "cvat_out"))
    for place, split in enumerate(("train", "val", "test")):
        name = f"annotations/instances_{split}2017.json"
        annotation_files.coco(tmp_path / "coco", parts[place::3], name=name)
    import_parts(str(tmp_path / "coco"), str(tmp_path / "coco_out"))
    for number, one in enumerate(parts):
        home = ("train", "val", "test")[number % 3]
        for output in ("cvat_out", "coco_out"):
            assert (tmp_path / output / "images" / home / one.name).exists()


@pytest.mark.parametrize(
    "kinds, says",
    [
        ([("", 0), ("", 1)], ""),
        ([("train", 0), ("train", 1)], "not kept (there is train alone)"),
        ([("train", 0), ("test", 0), ("test", 1)], "not kept (train holds no defective image)"),
        ([("train", 0), ("train", 1), ("", 0)], "not kept (some images are in none)"),
        ([("val", 0), ("val", 1), ("test", 0), ("test", 1)], "not kept (there is test, val alone)"),
    ],
)
def test_splits_that_are_pooled(kinds, says):
    decided = decide(kinds)
    assert not decided.names and says in decided.note


# Files as the programs write them


def image_at(path, height=HEIGHT, width=WIDTH, seed=0):
    raw_data.write(path, raw_data.noise(seed, height, width))
    return path


def imported(tmp_path, source=None):
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    import_parts(str(source or tmp_path / "source"), str(tmp_path / "out"))
    return tmp_path / "out"


def write_json(path, fields):
    raw_data.write(path, json.dumps(fields).encode())


def test_labelme_primitives(tmp_path):
    root = tmp_path / "source"
    shape = {"group_id": None, "flags": {}, "label": "dent"}
    shapes = [
        shape | {"points": [[2.0, 3.0], [9.0, 6.0]], "shape_type": "rectangle"},
        shape | {"points": [[20.0, 12.0], [20.0, 17.0]], "shape_type": "circle"},
        {"label": "dent", "points": [[2, 10], [2, 14], [6, 14]], "line_color": None},  # version 3
    ]
    fields = {"version": "4.0.0", "flags": {}, "shapes": shapes, "imageData": None}
    fields |= {"imagePath": "..\\raw\\1.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write_json(root / "labels/1.json", fields)
    image_at(root / "raw/1.png")
    write_json(root / "labels/other.json", {"about": "nothing"})
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:7, 2:10] = 1
    cv2.fillPoly(expected, [np.array([[2, 10], [2, 14], [6, 14]])], 1)
    mask = mask_of(imported(tmp_path), "raw/1.png")
    circle = mask & ~(expected > 0)
    assert mask[expected > 0].all() and abs(circle.sum() - 25 * np.pi) < 5


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>segmentation</name></task></meta>
  <image id="0" name="filename000.png" width="32" height="24">
    <box label="plate" xtl="1.00" ytl="2.00" xbr="5.00" ybr="4.00" occluded="0" z_order="4"></box>
    <polygon label="car" points="10.00,2.00;10.00,6.00;20.00,6.00;20.00,2.00" z_order="1"></polygon>
    <tag label="good_frame" source="manual"></tag>
    <mask label="car" source="manual" occluded="0" rle="3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1,
      12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3" left="15" top="8" width="13" height="15">
    </mask>
    <ellipse label="car" cx="4.0" cy="15.0" rx="3.0" ry="2.0" rotation="0.0"></ellipse>
  </image>
  <image id="1" name="filename001.png" width="32" height="24"></image>
</annotations>"""


def test_the_example_of_cvats_manual(tmp_path):
    raw_data.write(tmp_path / "source/annotations.xml", CVAT.encode())
    for number in range(2):
        image_at(tmp_path / f"source/images/filename00{number}.png", seed=number)
    output = imported(tmp_path, tmp_path / "source/annotations.xml")
    ids = np.asarray(Image.open(output / "masks/filename000.png"))  # car is 1, plate is 2
    assert (ids[2:4, 1:5] == 2).all() and (ids == 2).sum() == 8
    assert (ids[2:6, 10:20] == 1).all()
    assert ids[8, 15:28].tolist() == [0] * 3 + [1] * 5 + [0] * 5 and not ids[23].any()
    assert ids[15, 3] == 1 and not (output / "masks/filename001.png").exists()


def test_a_task_of_label_studio(tmp_path):
    points = [[25, 25], [75, 25], [75, 75], [25, 75]]
    shared = {"image_rotation": 0, "original_width": WIDTH, "original_height": HEIGHT}
    box = {"x": 0, "y": 0, "width": 10, "height": 25, "rotation": 0}
    result = [
        shared | {"id": "a", "type": "polygonlabels",
                  "value": {"points": points, "polygonlabels": ["Airplane"]}},
        shared | {"id": "a", "type": "choices",
                  "value": {"points": points, "choices": ["uncertain"]}},
        shared | {"id": "b", "type": "rectangle", "value": box},
        shared | {"id": "b", "type": "labels", "value": box | {"labels": ["Airplane"]}},
        {"id": "c", "type": "textarea", "value": {"text": ["a note"]}},
    ]  # fmt: skip
    annotation = {"id": 211797, "completed_by": 1, "result": result, "was_cancelled": False}
    skipped = {"id": 2, "result": [], "was_cancelled": True}
    task = {"id": 68501, "annotations": [skipped, annotation], "data": {"image": "/image2"}}
    task["file_upload"] = "e97d4735-000000000025.png"
    write_json(tmp_path / "source/export.json", [task])
    image_at(tmp_path / "source/000000000025.png")
    mask = mask_of(imported(tmp_path), "000000000025.png")
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[6:18, 8:24] = expected[:6, :3] = True
    assert (mask == expected).all()


@pytest.mark.parametrize("version", ["1", "2", "csv"])
def test_exports_of_via(tmp_path, version):
    drawn = [
        {"name": "rect", "x": 1, "y": 2, "width": 4, "height": 3},
        {"name": "circle", "cx": 20, "cy": 12, "r": 5},
        {"name": "polygon", "all_points_x": [1, 7, 7, 1], "all_points_y": [10, 10, 14, 14]},
    ]
    regions = [{"shape_attributes": s, "region_attributes": {"name": "Plato"}} for s in drawn]
    if version == "csv":
        rows = [
            f'a.png,9,"{{}}",3,{n},{json.dumps(json.dumps(s)).replace(chr(92), chr(34))},'
            '"{""name"":""Plato""}"'
            for n, s in enumerate(drawn)
        ]
        head = "#filename,file_size,file_attributes,region_count,region_id,"
        head += "region_shape_attributes,region_attributes"
        text = "\n".join([head, *rows, 'b.png,9,"{}",0,0,"{}","{}"', ""])
        raw_data.write(tmp_path / "source/via.csv", text.encode())
    else:
        by_number = {str(n): region for n, region in enumerate(regions)}
        fields = {"filename": "a.png", "size": 9, "file_attributes": {}}
        fields |= {"regions": by_number if version == "1" else regions}
        good = {"filename": "b.png", "size": 9, "regions": {} if version == "1" else []}
        write_json(tmp_path / "source/via.json", {"a.png9": fields, "b.png9": good})
    for seed, name in enumerate("ab"):
        image_at(tmp_path / f"source/{name}.png", seed=seed)
    output = imported(tmp_path)
    mask = mask_of(output, "a.png")
    assert mask[2:5, 1:5].all() and mask[10:14, 1:7].all() and mask[12, 20]
    assert abs(mask.sum() - 12 - 24 - 25 * np.pi) < 5 and mask_of(output, "b.png") is None


def test_coco_in_the_folders_of_roboflow(tmp_path, capsys):
    for place, split in enumerate(("train", "valid", "test")):
        folder = tmp_path / "source" / split
        names = [f"{n}_png.rf.{n:04x}.png" for n in range(4 * place, 4 * place + 4)]
        for number, name in enumerate(names):
            image_at(folder / name, seed=10 * place + number)
        images = [
            {"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for n, name in enumerate(names)
        ]
        drawn = [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 3, 8, 6], "iscrowd": 0,
             "segmentation": [[2, 3, 10, 3, 10, 9, 2, 9], [12, 3, 14, 3, 14, 5]]}
            for n in range(2)
        ]  # fmt: skip
        classes = [{"id": 0, "name": "defects", "supercategory": "none"}]
        classes += [{"id": 1, "name": "crack", "supercategory": "defects"}]
        fields = {"info": {}, "images": images, "annotations": drawn, "categories": classes}
        write_json(folder / "_annotations.coco.json", fields)
    output = imported(tmp_path)
    assert "classes: crack (6)\nsplits: kept" in capsys.readouterr().out
    mask = mask_of(output, "val/4_png.rf.0004.png")
    assert mask[3:9, 2:10].all() and mask[3, 13] and mask.sum() == 48 + 3


@pytest.mark.parametrize("names", ["names: ['dent', 'no']", "names:\n  0: dent\n  1: no", ""])
def test_yolo_with_and_without_names(tmp_path, names, capsys):
    root = tmp_path / "source"
    raw_data.write(root / "data.yaml", f"path: ../datasets/x\nnc: 2\n{names}\n".encode())
    square = "0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"
    raw_data.write(root / "train/labels/1.txt", f"0 {square}\n1 {square}\n".encode())
    raw_data.write(root / "train/labels/2.txt", b"")
    for number in (1, 2, 3):
        image_at(root / f"train/images/{number}.png", seed=number)
    output = imported(tmp_path)
    said = capsys.readouterr().out
    assert ("classes: dent (1), no (1)" if names else "class 0 (1), class 1 (1)") in said
    assert "3 images, 1 defective, 2 good (those without a text file" in said
    assert {path.name for path in (output / "masks").iterdir()} == {"1.png"}


def test_mvtec_loco_joins_the_masks_of_an_image(tmp_path):
    root = tmp_path / "source/splicing"
    for number, (top, value) in enumerate([(2, 255), (12, 254)]):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[top : top + 4, 5:9] = value
        raw_data.write(root / f"ground_truth/logical_anomalies/007/00{number}.png", mask)
    image_at(root / "test/logical_anomalies/007.png")
    image_at(root / "train/good/001.png", seed=1)
    output = imported(tmp_path)
    mask = mask_of(output, "splicing/logical_anomalies/007.png")
    assert mask[2:6, 5:9].all() and mask[12:16, 5:9].all() and mask.sum() == 32


def test_an_archive_is_read_as_a_folder(tmp_path, parts):
    annotation_files.cvat(tmp_path / "source", parts)
    raw_data.pack_zip(tmp_path / "source", tmp_path / "task.zip", "job_1/")
    output = imported(tmp_path, tmp_path / "task.zip")
    assert (output / "images" / parts[0].name).read_bytes() == parts[0].image


# What is left out, and what is refused


def test_pictures_that_nobody_annotated(tmp_path, parts, capsys):
    annotation_files.labelme(tmp_path / "source", parts)
    for name in ("new/1.png", "new/2.png", "good/3.png"):
        image_at(tmp_path / "source" / name, seed=len(name) + int(name[-5]))
    output = imported(tmp_path)
    said = capsys.readouterr().out
    assert "13 images, 6 defective, 7 good" in said and (output / "images/good/3.png").exists()
    assert "left out 2, new/1.png, new/2.png: no annotation names it, so nobody said" in said


def test_a_file_that_is_named_says_nothing_of_other_folders(tmp_path, parts, capsys):
    annotation_files.coco(tmp_path / "source", parts)
    image_at(tmp_path / "source/holiday/good/1.png")
    image_at(tmp_path / "source/images/line 1/new.png", seed=1)
    imported(tmp_path, tmp_path / "source/annotations.json")
    said = capsys.readouterr().out
    assert "12 images" in said and "left out 1, images/line 1/new.png: no annotation" in said


def change_coco(change):
    """Returns a writer of a COCO file with a change to the entry of its first defective image."""

    def write(root, parts):
        annotation_files.coco(root, parts)
        fields = json.loads((root / "annotations.json").read_text())
        change(fields, fields["annotations"][0])
        (root / "annotations.json").write_text(json.dumps(fields))

    return write


def change_text(way, name, old, new):
    """Returns a writer that replaces a text in a file."""

    def write(root, parts):
        WAYS[way](root, parts)
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return write


def turned(root, parts):
    annotation_files.coco(root, parts)
    image, file = Image.open(io.BytesIO(parts[1].image)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(file, "JPEG", exif=exif)
    (root / "images" / parts[1].name).write_bytes(file.getvalue())


def cut(root, parts):
    annotation_files.coco(root, parts)
    (root / "images" / parts[1].name).write_bytes(parts[1].image[:200])


def webp(root, parts):
    change_coco(lambda fields, _: fields["images"][1].update(file_name="1.webp"))(root, parts)
    (root / "images" / parts[1].name).unlink()
    raw_data.write(root / "images/1.webp", b"RIFF\0\0\0\0WEBPVP8 ")


def twice(root, parts):
    annotation_files.coco(root, parts)
    shutil.copytree(root / "images", root / "backup")


def call_ok(root, parts):
    def change(fields, annotation):
        annotation["category_id"] = 7
        fields["categories"].append({"id": 7, "name": "OK"})

    change_coco(change)(root, parts)


def change_tasks(old, new):
    return change_text("label_studio", "project-1.json", old, new)


LABELME, GOOD_LABELME = "line 1/part_01.json", "line 1/part_00.json"
LEFT_OUT = [
    ("box", change_coco(lambda f, a: a.update(segmentation=[], bbox=[1, 2, 3, 4])),
     "has a bounding box without a segmentation, which marks no pixels"),
    ("odd", change_coco(lambda f, a: a["segmentation"][0].pop()),
     "has an annotation that cannot be read (ValueError: zip() argument 2 is shorter"),
    ("nan", change_coco(lambda f, a: a.update(segmentation=[[1, 2, 3, 4, "x", 6]])),
     "has a shape whose points are no pairs of numbers"),
    ("orphan", change_coco(lambda f, a: (f["images"].pop(1), f["images"])),
     "annotations.json: has 1 annotations of images that it does not list"),
    ("size", change_coco(lambda f, a: f["images"][1].update(width=64)),
     "was annotated with 64x24 px, and has 32x24 px"),
    ("outside", change_coco(lambda f, a: a.update(segmentation=[[90, 90, 95, 90, 95, 95]])),
     "has a polygon that marks no pixel of it"),
    ("ok", call_ok, 
     "has a shape called 'OK', which is no defect"),
    ("rle", change_coco(lambda f, a: a.update(segmentation={"size": [24, 32], "counts": [9999]})),
     "has a mask with more pixels than its size"),
    ("rle size", change_coco(lambda f, a: a.update(segmentation={"size": [9, 9], "counts": [5]})),
     "has a mask of another size than its image"),
    ("no size", change_coco(lambda f, a: (f["images"][1].pop("width"),
                                          a.update(segmentation={"size": [9, 9], "counts": [5]}))),
     "was annotated with 9x9 px, and has 32x24 px"),
    ("packed", change_coco(lambda f, a: a.update(segmentation={"size": [24, 32], "counts": "P"})),
     "has a mask whose run lengths are cut off"),
    ("gone", change_coco(lambda f, a: f["images"][1].update(file_name="other.jpg")),
     "other.jpg: no such picture is below the input"),
    ("exif", turned, "is turned by its EXIF orientation"),
    ("webp", webp, "is WebP, whatever its name says: save it as PNG"),
    ("cut", cut, "is a JPEG that is damaged"),
    ("line", change_text("labelme", LABELME, '"polygon"', '"linestrip"'), "which marks no area"),
    ("flag", change_text("labelme", GOOD_LABELME, '"flags": {', '"flags": {"scratch": true'),
     "is called scratch as a whole, and no shape marks where"),
    ("json", change_text("labelme", LABELME, "{", "["), "it is not JSON"),
    ("yolo box", change_text("yolo", "labels/line 1/part_01.txt", "0 ", "0 0.5 0.5 0.1 0.1\n0 "),
     "has a box (a class and four numbers), which marks no pixels"),
    ("yolo word", change_text("yolo", "labels/line 1/part_01.txt", "0 ", "crack "),
     "has 'crack' where a number belongs"),
    ("polyline", change_text("cvat", "annotations.xml", "<polygon", "<polyline"),
     "has a polyline, which marks no area"),
    ("two", change_tasks('"annotations": [',
                         '"annotations": [{"id": 0, "result": []}, '),
     "has 2 annotations: mark one as ground truth"),
    ("skipped", change_tasks('"was_cancelled": false', '"was_cancelled": true'),
     "has no annotation that was submitted"),
    ("rotation", change_tasks('"image_rotation": 0', '"image_rotation": 90'),
     "was turned in Label Studio"),
    ("keypoint", change_tasks('"polygonlabels", "value"', '"keypointlabels", "value"'),
     "has a keypoint region, which is not read"),
    ("point", change_text("via", "via_project.json", '"name": "polygon"', '"name": "point"'),
     "has a point, which marks no area"),
]  # fmt: skip


@pytest.mark.parametrize("name, write, says", LEFT_OUT, ids=[row[0] for row in LEFT_OUT])
def test_what_cannot_be_used_is_left_out_and_named(tmp_path, parts, name, write, says, capsys):
    write(tmp_path / "source", parts)
    output = imported(tmp_path)
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("left out 1, ")]
    assert says in lines[0] and len(list((output / "images").rglob("*.jpg"))) == 11


def test_all_left_out_is_a_refusal_that_says_why(tmp_path, parts):
    annotation_files.coco(tmp_path / "source", parts)
    path = tmp_path / "source/annotations.json"
    fields = json.loads(path.read_text())
    for annotation in fields["annotations"]:
        annotation["segmentation"] = []
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError) as error:
        imported(tmp_path)
    assert str(error.value) == (
        f"--input: {tmp_path}/source: no defective image can be used; 6 of 12, as "
        "line 1/part_01.jpg: has a bounding box without a segmentation, which marks no pixels: "
        "outline the defect, or export masks"
    )
    assert not (tmp_path / "out").exists()


def only_good(root, parts):
    annotation_files.coco(root, [one for one in parts if not one.masks])


def both(root, parts):
    annotation_files.via(root, parts)
    annotation_files.cvat(root, parts)


def good_and_bad(root, parts):
    for one in parts:
        annotation_files.write_image(root / ("bad" if one.masks else "good"), one.name, one)


DOCTYPE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotations>'
REFUSED = [
    (lambda root, parts: image_at(root / "1.png"), "{0} holds no annotations that are read (COCO"),
    (annotation_files.folder, "{0} holds images/ and masks/ already: use it as it is"),
    (only_good, "{0}: none of 6 images has a shape: outline some"),
    (both, "{0} holds annotations of several kinds, VGG Image Annotator (via_project.json), CVAT"),
    (good_and_bad, "{0} holds good/ and bad/ without masks: call good/ images/, and train"),
    (change_text("cvat", "annotations.xml", "<annotations>", DOCTYPE),
     "annotations.xml: declares a document type: export it again"),
    (change_text("cvat", "annotations.xml", "</annotations>", ""), "annotations.xml: is not XML"),
    (change_text("cvat", "annotations.xml", "<version>1.1</version>", '<track id="0"></track>'),
     "annotations.xml: holds tracks of a video: export it as 'CVAT for images 1.1'"),
    (change_text("coco", "annotations.json", "[", "[" * 20), "more than 16 brackets inside each"),
    (change_text("coco", "annotations.json", "}", "}]"), "annotations.json: it is not JSON"),
    (change_coco(lambda f, a: f.update(categories=7)), "is no COCO json (TypeError: 'int'"),
    (change_coco(lambda f, a: a.pop("image_id")), "is no COCO json (KeyError: 'image_id'"),
    (change_text("via", "via_project.json", '"filename"', '"file"'), "is no export of VIA (KeyE"),
    (change_tasks('"data"', '"datum"'), "is no list of tasks with 'data'"),
    (twice, "may be backup/line 1/part_00.jpg, images/line 1/part_00.jpg: give the folder that"),
]  # fmt: skip


@pytest.mark.parametrize("write, says", REFUSED)
def test_what_is_refused(tmp_path, parts, write, says):
    write(tmp_path / "source", parts[:2] if write in (twice,) else parts)
    with pytest.raises(UserError) as error:
        imported(tmp_path)
    line = str(error.value)
    assert says.format(tmp_path / "source") in line and "\n" not in line
    assert line.startswith((f"--input: {tmp_path}/source", f"{tmp_path}/source"))
    assert not list(tmp_path.glob("*out*"))


def test_a_bomb_costs_its_image(tmp_path, parts, capsys):
    annotation_files.coco(tmp_path / "source", parts)
    import_parts(str(tmp_path / "source"), str(tmp_path / "out"), max_megapixels=1e-3)
    assert "12 images" in capsys.readouterr().out
    with pytest.raises(UserError, match="is larger than 0.0001 megapixels: make it smaller"):
        import_parts(str(tmp_path / "source"), str(tmp_path / "out2"), max_megapixels=1e-4)


def test_a_mask_in_a_text_is_read_within_the_size_of_its_image(tmp_path, parts):
    large = io.BytesIO()
    Image.new("1", (9000, 9000)).save(large, "PNG")
    annotation_files.labelme(tmp_path / "source", parts[:2], "mask")
    path = tmp_path / "source" / LABELME
    fields = json.loads(path.read_text())
    fields["shapes"][0]["mask"] = base64.b64encode(large.getvalue()).decode()
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match="has a mask that is larger than"):
        imported(tmp_path)


def test_the_output_is_there_whole_or_not_at_all(tmp_path, parts, monkeypatch):
    annotation_files.coco(tmp_path / "source", parts)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"--output: .*out is there already: name a new folder"):
        import_parts(str(tmp_path / "source"), str(tmp_path / "out"))
    monkeypatch.setattr(story, "encode_mask", lambda mask: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_parts(str(tmp_path / "source"), str(tmp_path / "new"))
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}


# Which picture is meant


@pytest.mark.parametrize(
    "written, found",
    [
        ("a/1.png", "data/a/1.png"),
        (r"C:\Users\me\b\1.PNG", "data/b/1.png"),
        ("file:///home/me/b/1.png", "data/b/1.png"),
        ("https://host:8080/b/1.png?token=a/1.png", "data/b/1.png"),
        ("s3://bucket/a/1.png", "data/a/1.png"),
        ("/data/local-files/?d=some%5Ca%5C1.png", "data/a/1.png"),
        ("/data/upload/7/0123abcd-my%20part.png", "data/my part.png"),
        ("../../../etc/2.png", "data/2.png"),
        ("data/notes/../b/./1.png", "data/b/1.png"),
        ("1.png", "may be data/a/1.png, data/b/1.png: give the folder that holds one"),
        ("c/1.png", "may be data/a/1.png, data/b/1.png: give the folder that holds one"),
        ("3.png", "no such picture is below the input"),
        ("", "no such picture is below the input"),
    ],
)
def test_paths_of_other_machines(written, found):
    pictures = ["data/a/1.png", "data/b/1.png", "data/2.png", "data/my part.png"]
    here, lost = find_pictures([Entry(written, "x.json")], pictures)
    assert [one.picture for one in here] == [found] or lost[0].fault.startswith(found)


def test_the_entry_that_fits_best_has_the_picture():
    entries = [Entry("train/1.png", "x.json"), Entry("test/1.png", "x.json")]
    here, lost = find_pictures(entries, ["data/test/1.png"])
    assert [one.entry.written for one in here] == ["test/1.png"]
    assert [entry.written for entry in lost] == ["train/1.png"]
    here, lost = find_pictures([entries[1]] * 2, ["data/test/1.png"])
    assert not here and lost[0].fault.startswith("is annotated 2 times: keep one")


# What check says of data that are not imported yet


@pytest.mark.parametrize("way", [*WAYS, "mvtec"])
def test_check_prints_the_command(tmp_path, parts, way):
    write = WAYS.get(way, annotation_files.mvtec)
    write(tmp_path / "my set", parts)
    (fault,) = find_faults(raw_data.config("folder", tmp_path / "my set", tmp_path))
    assert fault.where == "config.data.root"
    format = only_format(open_input(str(tmp_path / "my set")), "").format
    assert f"; it looks like {format.name} (" in fault.what
    command = f" import --input='{tmp_path}/my set' --output='my set_parts'"
    assert fault.what.endswith(command)


def test_training_prints_the_command_too(tmp_path, parts):
    annotation_files.coco(tmp_path / "source", parts)
    with pytest.raises(UserError, match="^config.data.root: .*; it looks like COCO json"):
        prepare(raw_data.config("folder", tmp_path / "source", tmp_path))


def test_check_says_what_good_and_bad_lack(tmp_path, parts):
    good_and_bad(tmp_path / "source", parts)
    (fault,) = find_faults(raw_data.config("folder", tmp_path / "source", tmp_path))
    assert "(images of good parts belong there); it holds good/ and bad/ without" in fault.what


def test_every_format_is_named_once():
    assert len({format.name for format in FORMATS}) == len(FORMATS) == 7


def test_the_program(tmp_path, parts, forked):
    annotation_files.label_studio(tmp_path / "source", parts, "brush")
    checked = forked.run("check", "--config=folder", f"--config.data.root={tmp_path}/source")
    command = f"import --input={tmp_path}/source --output=source_parts\n"
    assert checked.returncode == 2 and checked.stdout.endswith(command), checked.stderr
    assert checked.stdout.startswith("config.data.root: ") and checked.stdout.count("\n") == 1
    flags = f"--input={tmp_path}/source/project-1.json", f"--output={tmp_path}/out"
    result = forked.run("import", *flags)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[0] == "reading Label Studio json: project-1.json"
    assert "Importing images: 12/12" in result.stderr
    again = forked.run("import", *flags)
    assert again.returncode == 2 and len(again.stderr.splitlines()) == 1
    assert "is there already: name a new folder" in again.stderr
    lacking = forked.run("import", flags[0])
    assert lacking.returncode == 2 and "--output is missing: --mode=import" in lacking.stderr
