"""Writers of annotation formats, from masks that are known: for the tests, and to try real images.

Each takes `Part`s and writes their images and annotations below a folder, as the format's own
program would; what a format cannot say (a hole) is left out.
"""

import base64
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image


class Part(NamedTuple):
    """An image, and the mask of each class of defect in it."""

    name: str  # with folders and suffix
    image: bytes
    size: tuple[int, int]  # height, width
    masks: dict[str, np.ndarray]  # class -> bool [h, w]; none for a good part


def outlines(mask):
    """Returns rings along the edges of pixels, clockwise around a region and the other way around
    its holes."""
    padded = np.pad(mask, 1)
    ends = defaultdict(list)
    for (up, along), (start, end) in {
        (-1, 0): ((0, 0), (1, 0)), (0, 1): ((1, 0), (1, 1)),
        (1, 0): ((1, 1), (0, 1)), (0, -1): ((0, 1), (0, 0)),
    }.items():  # fmt: skip
        edge = padded & ~np.roll(padded, (-up, -along), (0, 1))
        for y, x in np.argwhere(edge) - 1:
            ends[x + start[0], y + start[1]].append((x + end[0], y + end[1]))
    rings = []
    while ends:
        ring = [next(iter(ends))]
        while ring[-1] in ends:
            following = ends[ring[-1]].pop()
            if not ends[ring[-1]]:
                del ends[ring[-1]]
            ring.append(following)
        rings.append(np.array(ring[:-1], float))
    return rings


def area(ring):
    """Returns the area of a ring, negative around a hole."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2


def regions(mask):
    """Returns a ring for each region; where it has holes, a slit leads to them and back."""
    rings = outlines(mask)
    return with_slits([r for r in rings if area(r) > 0], [r for r in rings if area(r) < 0])


def pixels(mask):
    """Returns the pixels along the edge of each region, as OpenCV and most converters find them."""
    found, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [contour[:, 0].astype(float) for contour in found]
    around = [ring for ring, row in zip(rings, tree[0], strict=True) if row[3] < 0]
    holes = [ring for ring, row in zip(rings, tree[0], strict=True) if row[3] >= 0]
    around = [np.concatenate([ring] * 3)[:3] if len(ring) < 3 else ring for ring in around]
    # From the left: then the next pixel to the left of a hole is one of what it is joined to.
    return with_slits(around, sorted(holes, key=lambda hole: hole[:, 0].min()))


def with_slits(rings, holes):
    """Returns rings that enclose their holes too, as one line."""
    for hole in holes:
        inside = [
            place
            for place, ring in enumerate(rings)
            if cv2.pointPolygonTest(np.float32(ring), hole[0].tolist(), False) >= 0
        ]
        place = min(inside, key=lambda place: abs(area(rings[place])))
        ring = rings[place]
        ways = ring[:, None] - hole
        apart = np.abs(ways).sum(axis=2)
        # Along a row if there is one to the left: a slanting slit may touch pixels of a hole.
        level = (ways[..., 1] == 0) & (ways[..., 0] <= 0)
        apart = np.where(level, apart, np.inf) if level.any() else apart
        at, start = np.unravel_index(apart.argmin(), apart.shape)
        around = np.roll(hole, -start, axis=0)
        rings[place] = np.concatenate([ring[: at + 1], around, around[:1], ring[at:]])
    return rings


def write_image(root, name, part):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part.image)


def shapes_of(parts, rings_of):
    """Yields part, class and ring of all shapes."""
    for part in parts:
        for label, mask in part.masks.items():
            for ring in rings_of(mask):
                yield part, label, ring


def folder(root, parts):
    """The project's own layout."""
    for part in parts:
        write_image(root / "images", part.name, part)
        if part.masks:
            path = (root / "masks" / part.name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            together = np.any(list(part.masks.values()), axis=0)
            Image.fromarray(np.uint8(together) * 255).save(path)


def run_lengths(flat):
    """Returns lengths of runs, background first."""
    changes = np.flatnonzero(np.diff(np.concatenate([[0], np.int8(flat), [2]])))
    return np.diff(np.concatenate([[0], changes])).tolist()


def packed(counts):
    """Returns run lengths as COCO packs them into a text."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


def coco(root, parts, how="polygon", name="annotations.json"):
    """COCO json.

    Args:
        how: "polygon", "rle" or "packed".
    """
    labels = sorted({label for part in parts for label in part.masks})
    images, annotations = [], []
    for id, part in enumerate(parts, 1):
        write_image(root / "images", part.name, part)
        height, width = part.size
        images.append({"id": id, "file_name": part.name, "height": height, "width": width})
        for label, mask in part.masks.items():
            if how == "polygon":
                outline = [ring.ravel().tolist() for ring in regions(mask)]
            else:
                counts = run_lengths(mask.T.ravel())
                counts = packed(counts) if how == "packed" else counts
                outline = {"size": [height, width], "counts": counts}
            row = {"image_id": id, "category_id": labels.index(label) + 1, "segmentation": outline}
            annotations.append(row | {"id": len(annotations) + 1, "iscrowd": 0, "area": 1})
    fields = {"images": images, "annotations": annotations}
    fields["categories"] = [{"id": n, "name": label} for n, label in enumerate(labels, 1)]
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(fields))


def labelme(root, parts, how="polygon", embedded=False):
    """A JSON file beside each image.

    Args:
        how: "polygon" or "mask".
        embedded: whether the picture is in that file alone.
    """
    for part in parts:
        shapes = []
        for label, mask in part.masks.items():
            if how == "polygon":
                drawn = [{"points": r.tolist(), "shape_type": "polygon"} for r in pixels(mask)]
            else:
                rows, columns = np.nonzero(mask)
                top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
                file = io.BytesIO()
                Image.fromarray(mask[top : bottom + 1, left : right + 1]).save(file, "PNG")
                points = np.array([[left, top], [right, bottom]], float).tolist()
                text = base64.b64encode(file.getvalue()).decode()
                drawn = [{"points": points, "shape_type": "mask", "mask": text}]
            shapes += [shape | {"label": label, "group_id": None, "flags": {}} for shape in drawn]
        path = (root / part.name).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = base64.b64encode(part.image).decode() if embedded else None
        fields = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imageData": data}
        fields |= {"imagePath": Path(part.name).name}
        fields |= {"imageHeight": part.size[0], "imageWidth": part.size[1]}
        path.write_text(json.dumps(fields))
        if not embedded:
            write_image(root, part.name, part)


def yolo(root, parts, splits=("",)):
    """images/, labels/ and data.yaml; images go to the splits in turn."""
    labels = sorted({label for part in parts for label in part.masks})
    for number, part in enumerate(parts):
        split = splits[number % len(splits)]
        write_image(root / "images" / split, part.name, part)
        height, width = part.size
        lines = [
            " ".join([str(labels.index(label)), *map(str, (ring / [width, height]).ravel())])
            for _, label, ring in shapes_of([part], pixels)
        ]
        path = (root / "labels" / split / part.name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        if lines:
            path.write_text("\n".join(lines) + "\n")
    names = "".join(f"  {n}: {label}\n" for n, label in enumerate(labels))
    (root / "data.yaml").write_text(f"path: ../parts\ntrain: images/train\nnames:\n{names}")


def cvat(root, parts, how="polygon", subsets=("default",)):
    """CVAT for images 1.1.

    Args:
        how: "polygon" or "mask".
    """
    top = ElementTree.Element("annotations")
    ElementTree.SubElement(top, "version").text = "1.1"
    for id, part in enumerate(parts):
        height, width = part.size
        fields = {"id": id, "name": part.name, "subset": subsets[id % len(subsets)]}
        fields |= {"width": width, "height": height}
        image = ElementTree.SubElement(top, "image", {k: str(v) for k, v in fields.items()})
        write_image(root / "images", part.name, part)
        for label, mask in part.masks.items():
            shared = {"label": label, "source": "manual", "occluded": "0", "z_order": "0"}
            if how == "polygon":
                for ring in regions(mask):
                    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)
                    ElementTree.SubElement(image, "polygon", shared | {"points": points})
                continue
            rows, columns = np.nonzero(mask)
            box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            place = {"left": columns.min(), "top": rows.min()}
            place |= {"width": box.shape[1], "height": box.shape[0]}
            place["rle"] = ", ".join(map(str, run_lengths(box.ravel())))
            fields = shared | {key: str(value) for key, value in place.items()}
            ElementTree.SubElement(image, "mask", fields)
    ElementTree.ElementTree(top).write(root / "annotations.xml", "utf-8", xml_declaration=True)


def brushed(values):
    """Returns values as Label Studio packs them, in runs of one value."""
    sizes, word = (2, 4, 8, 16), 8
    bits = f"{len(values):032b}{word - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    place = 0
    changes = [*np.flatnonzero(np.diff(values)) + 1, len(values)]
    for change in changes:
        while place < change:
            length = min(change - place, 2 ** sizes[-1])
            which = next(n for n, size in enumerate(sizes) if length <= 2**size)
            bits += f"1{which:02b}{length - 1:0{sizes[which]}b}{values[place]:08b}"
            place += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def label_studio(root, parts, how="polygon", uploaded=False):
    """Label Studio's JSON.

    Args:
        how: "polygon" or "brush".
        uploaded: whether the images were uploaded, and not served from a folder.
    """
    tasks = []
    for id, part in enumerate(parts, 1):
        write_image(root / "images", part.name, part)
        height, width = part.size
        shared = {"original_width": width, "original_height": height, "image_rotation": 0}
        shared |= {"from_name": "label", "to_name": "image", "origin": "manual"}
        result = []
        for label, mask in part.masks.items():
            if how == "polygon":
                for ring in regions(mask):
                    points = (ring * 100 / [width, height]).tolist()
                    value = {"points": points, "closed": True, "polygonlabels": [label]}
                    result.append(shared | {"type": "polygonlabels", "value": value})
            else:
                rle = brushed(np.repeat(mask.ravel(), 4).astype(int) * 255)
                value = {"format": "rle", "rle": rle, "brushlabels": [label]}
                result.append(shared | {"type": "brushlabels", "value": value})
        path = f"/data/local-files/?d=parts/images/{part.name.replace(' ', '%20')}"
        if uploaded:
            path = f"/data/upload/1/{id:08x}-{Path(part.name).name}"
        annotation = {"id": id, "was_cancelled": False, "ground_truth": False, "result": result}
        task = {"id": id, "annotations": [annotation], "predictions": [], "data": {"image": path}}
        tasks.append(task)
    (root / "project-1.json").write_text(json.dumps(tasks))


def via(root, parts):
    """A project of VGG Image Annotator 2."""
    images = {}
    for part in parts:
        write_image(root, part.name, part)
        drawn = []
        for _, label, ring in shapes_of([part], regions):
            shape = {"name": "polygon", "all_points_x": ring[:, 0].tolist()}
            shape["all_points_y"] = ring[:, 1].tolist()
            drawn.append({"shape_attributes": shape, "region_attributes": {"class": label}})
        fields = {"filename": part.name, "size": len(part.image), "regions": drawn}
        images[f"{part.name}{len(part.image)}"] = fields | {"file_attributes": {}}
    fields = {"_via_settings": {}, "_via_img_metadata": images, "_via_attributes": {}}
    (root / "via_project.json").write_text(json.dumps(fields))


def mvtec(root, parts):
    """MVTec AD: half of the good parts train, all others test; the class is a folder."""
    good = [part.name for part in parts if not part.masks]
    for part in parts:
        kind = next(iter(part.masks), "good")
        name = Path(part.name).name
        split = "train" if part.name in good[::2] else "test"
        write_image(root / split / kind, name, part)
        if part.masks:
            path = root / "ground_truth" / kind / f"{Path(name).stem}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            together = np.any(list(part.masks.values()), axis=0)
            Image.fromarray(np.uint8(together) * 255).save(path)
