"""Makers of small raw data sets, each in the layout of its release, for the tests."""

import io
import json
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from defect_jax.data.sources.magnetic_tile import FREE, protocol

# Of spots side by side: the second and the third, the fourth and the fifth of the first kind.
BSDATA_POSITIONS = (277500, 395000, 397500, 430000, 437500, 462500, 490000, 517500, 560000)
BSDATA_NUMBERED = (
    "KGT1-S-074-A02_crop_0", "KGT1-S-075-A02_crop_0", "KGT1-S-116-A03_crop_0",
    "KGT1-S-121-A04_crop_0", "KGT2-S-344-A09_crop_0", "KGT2-V-343-A09_crop_3",
    "KGT2-V-311-A08_crop_0", "KGT2-V-311-A08_crop_4",
)  # fmt: skip
EMPTY_UNEVEN = ("exp3_num_45042", "exp4_num_124690", "exp4_num_352527", "exp4_num_45057")


def config(name: str, root: Path | str, tmp_path: Path, **changes) -> ConfigDict:
    """Returns a `config.data` for a raw data set, with its prepared form under `tmp_path`."""
    fields = dict(
        name=name,
        root=str(root),
        data_dir=str(tmp_path / "prepared"),
        seed=0,
        max_megapixels=1.0,
        mask_threshold=127 if name == "magnetic_tile" else 0,
        folds=0,
    )
    if name == "magnetic_tile":
        fields |= dict(fold=0, split="grouped")
    return ConfigDict(fields | changes)


def noise(seed: int, height: int = 12, width: int = 16, channels: int = 1) -> np.ndarray:
    """Returns random uint8 pixels [h, w], or [h, w, 3] in RGB order."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def defect_mask(height: int = 12, width: int = 16) -> np.ndarray:
    """Returns a uint8 mask [h, w] with a defect of 3x4 px."""
    mask = np.zeros((height, width), np.uint8)
    mask[2:5, 3:7] = 255
    return mask


def class_mask(*ids: int) -> np.ndarray:
    """Returns a uint8 mask [12, 16] with one defect of 4x3 px after another, of these ids."""
    mask = np.zeros((12, 16), np.uint8)
    for number, class_id in enumerate(ids):
        mask[2:6, 1 + 3 * number : 4 + 3 * number] = class_id
    return mask


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    """Encodes RGB, grey or 16-bit grey pixels with Pillow."""
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def encoded_16_bit_rgb(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """Encodes uint16 RGB pixels, which Pillow cannot."""
    return cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()


def write(path: Path, data: bytes | np.ndarray) -> Path:
    """Writes bytes, or pixels as PNG, and makes the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else encoded(data))
    return path


def folder_data(root: Path, good: int = 10, defective: int = 5, channels: int = 1) -> Path:
    """Writes `images/` and `masks/`; only defective parts have a mask.

    Folders of other names hold other images: one image in two splits is a fault.
    """
    first = 1000 * zlib.crc32(root.name.encode())
    for number in range(good + defective):
        kind = "good" if number < good else "bad"
        stem = f"{kind}/part_{number:03d}"
        write(root / "images" / f"{stem}.png", noise(first + number, channels=channels))
        if kind == "bad":
            write(root / "masks" / f"{stem}.png", defect_mask())
    return root


def class_data(root: Path, good: int = 10, of_each: int = 5) -> Path:
    """Writes `images/` and `masks/` with three classes; the files of class n begin with that n.

    Each mask of class 2 also holds a little of class 1.
    """
    folder_data(root, good, defective=0)
    for class_id in (1, 2, 3):
        mask = class_mask(class_id)
        if class_id == 2:
            mask[8, 8] = 1
        for number in range(of_each):
            stem = f"{class_id}/part_{number:03d}"
            write(root / "images" / f"{stem}.png", noise(100 * class_id + number))
            write(root / "masks" / f"{stem}.png", mask)
    return root


def ksdd2_release(
    root: Path,
    train: tuple[int, int] = (20, 10),
    test: tuple[int, int] = (6, 4),
    scale: float = 1.0,
) -> Path:
    """Writes a data set in the exact layout of the KolektorSDD2 release, with its stray files.

    Args:
        root: where `train/` and `test/` are made.
        train: number of good and of defective training images.
        test: the same for the test images.
        scale: 1 gives the sizes of the release, 184 to 241 by 597 to 665 px.
    """
    random = np.random.default_rng(0)
    for folder, first, (good, defective) in (("train", 10000, train), ("test", 20000, test)):
        for number in range(good + defective):
            width = max(8, round(random.integers(184, 242) * scale))
            height = max(20, round(random.integers(597, 666) * scale))
            stem = root / folder / str(first + number)
            surface = 90 + 20 * noise(number, height, width, channels=3).astype(np.float32) / 255
            mask = np.zeros((height, width), np.uint8)
            if number >= good:
                top, left = random.integers(0, height - 10), random.integers(0, width - 6)
                mask[top : top + 10, left : left + 6] = 255
                surface[mask > 0] += 60
            write(stem.with_name(f"{stem.name}.png"), surface.astype(np.uint8))
            write(stem.with_name(f"{stem.name}_GT.png"), mask)
    for ending in ("", "_GT"):
        source = root / "train" / f"10001{ending}.png"
        shutil.copy(source, root / "train" / f"10301{ending} (copy).png")
    for images in (0, 16, 53, 126, 246):
        write(root / f"split_weakly_{images}.pyb", b"never unpickled")
    return root


def magnetic_tile_release(root: Path) -> Path:
    """Writes all 1344 images of the release by name, as tiny images of 6x8 px."""
    image = encoded(noise(0, 6, 8), "JPEG")
    empty = encoded(np.zeros((6, 8), np.uint8))
    soft = np.zeros((6, 8), np.uint8)
    soft[1:3, 1:4], soft[3, 1:4] = 255, 127
    defect = encoded(soft)
    for entry in protocol():
        is_empty = entry.class_name == FREE or entry.name in EMPTY_UNEVEN
        write(root / f"{entry.id}.jpg", image)
        write(root / f"{entry.id}.png", empty if is_empty else defect)
    write(root / "README.md", b"about the release")
    return root


def bsdata_label(*polygons: list[list[float]], height: int = 12, width: int = 16) -> bytes:
    """Returns a label as labelme saves it, with an image inside that is not one."""
    shapes = [
        {"label": "Pitting", "points": points, "shape_type": "polygon", "flags": {}}
        for points in polygons
    ]
    fields = {"version": "4.5.6", "shapes": shapes, "imageData": "bm8gcGljdHVyZQ=="}
    return json.dumps(fields | {"imageHeight": height, "imageWidth": width}).encode()


def bsdata_release(root: Path, times: int = 3, good: int = 0) -> Path:
    """Writes a data set in the layout of the BSData release, each defect that of `defect_mask`.

    Args:
        root: where `data/` and `label/` are made.
        times: how often each of the nine spots of the screw that was followed is photographed.
        good: number of turns whose labels hold no polygon, once each.
    """
    spots = [(position, position // 2500 * 45 % 360) for position in BSDATA_POSITIONS]
    stems = [
        f"01_2009{1 + time:02}053521_{position:06}_{angle:03}_crop_{1 + time % 2}"
        for position, angle in spots
        for time in range(times)
    ]
    clean = [f"02_200901053521_{turn * 20000:06}_000_crop_1" for turn in range(good)]
    for number, stem in enumerate(stems + clean + list(BSDATA_NUMBERED)):
        image = encoded(noise(number, channels=3), "JPEG")
        polygons = [] if stem in clean else [[[3, 2], [6, 2], [6, 4], [3, 4]]]
        write(root / "data" / f"{stem}.jpg", image)
        write(root / "label" / f"{stem}.json", bsdata_label(*polygons))
    for time in range(1, 4):
        write(root / "data" / f"01_2010{time:02}053521_477500_315_crop_2.jpg", image)
    write(root / "image_data.json", b"{}")
    write(root / "README.md", b"about the release")
    return root


def pack_tar(root: Path, path: Path, top: str = "") -> Path:
    """Packs a folder into a plain tar, below the folder `top` if given."""
    with tarfile.open(path, "w") as archive:
        archive.add(root, top or ".")
    return path


def tar_of(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], **options) -> Path:
    """Packs headers, and files given as name and bytes, into a plain tar."""
    with tarfile.open(path, "w", **options) as archive:
        for member in members:
            name, data = (member, b"") if isinstance(member, tarfile.TarInfo) else member
            header = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path


def tar_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Returns the header of a link, or of what else `kind` says."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def tar_block(name: str, size: int, kind: bytes = tarfile.REGTYPE, **fields: bytes) -> bytes:
    """Returns one header as it stands in a file, where a size may be what no writer would write.

    Args:
        fields: what else to put where, as `at_124=b"octal junk"`; the sum is mended after that.
    """
    header = tarfile.TarInfo(name)
    header.type = kind
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")[:512])
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    for place, data in fields.items():
        start = int(place.removeprefix("at_"))
        block[start : start + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Returns data filled up to whole blocks of a tar."""
    return data + bytes(-len(data) % 512)


TAR_END = bytes(1024)


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], **options) -> Path:
    """Packs files given as name and bytes into a zip."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def zip_kind(name: str, kind: int) -> zipfile.ZipInfo:
    """Returns the entry of a member of a kind of `stat`, as of a link."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (kind | 0o644) << 16
    return entry


def pack_zip(root: Path, path: Path, top: str = "") -> Path:
    """Packs a folder into a zip, below the folder `top` if given."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, Path(top) / file.relative_to(root))
    return path
