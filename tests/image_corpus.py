"""Small files of many kinds, each with the pixels that it shows, for the tests of their readers.

Written at test time by the programs that users write theirs with, and by hand where none of those
writes a kind that others do.
"""

import io
import struct
import zlib

import cv2
import imageio.v3 as imageio
import numpy as np
import raw_data
import tifffile
from PIL import Image

HEIGHT, WIDTH = 40, 48
GREY = raw_data.noise(0, HEIGHT, WIDTH)
RGB = raw_data.noise(1, HEIGHT, WIDTH, 3)
ALPHA = raw_data.noise(2, HEIGHT, WIDTH)[..., None]
GREY_16, RGB_16, ALPHA_16 = (
    np.random.default_rng(seed).integers(0, 65536, shape, np.uint16)
    for seed, shape in enumerate([(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH, 1)])
)
RGBA, RGBA_16 = np.concatenate([RGB, ALPHA], -1), np.concatenate([RGB_16, ALPHA_16], -1)
GREY_ALPHA, GREY_ALPHA_16 = np.dstack([GREY, ALPHA]), np.dstack([GREY_16, ALPHA_16])
BITS = GREY > 127
TWO_BITS = np.unpackbits(GREY[..., None] & 3, axis=2)[..., 6:].reshape(HEIGHT, -1)
PAIRS = (GREY[:, ::2] >> 4 << 4) | (GREY[:, 1::2] >> 4)
COLOURS = raw_data.noise(3, 1, 256, 3)[0]
GREYS = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)


def pillow(pixels: np.ndarray | Image.Image, kind: str = "TIFF", **options) -> bytes:
    return raw_data.encoded(pixels, kind, **options)


def tiff(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def opencv(pixels: np.ndarray, suffix: str, *options: int) -> bytes:
    order = [0] if pixels.ndim == 2 else [2, 1, 0, 3][: pixels.shape[2]]
    pixels = pixels if pixels.ndim == 2 else pixels[..., order]
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def png(
    rows: np.ndarray, bits: int, colour_type: int, *chunks: tuple[bytes, bytes], width: int = WIDTH
) -> bytes:
    """Writes a PNG by its definition, with chunks between header and pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        number(len(content)) + name + content + number(zlib.crc32(name + content))
        for name, content in [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    )


def bmp(
    rows: bytes, bits: int, compression: int = 0, between: bytes = b"", height: int = HEIGHT
) -> bytes:
    """Writes a BMP by its definition, with palette or masks of bits `between` header and rows."""
    start = 54 + len(between)
    header = struct.pack(
        "<IiiHHIIiiII", 40, WIDTH, height, 1, bits, compression, len(rows), *[0] * 4
    )
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + between + rows


def packed(bits: np.ndarray, multiple: int = 1) -> np.ndarray:
    rows = np.packbits(bits, axis=1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % multiple)))


def run_lengths(row: np.ndarray) -> bytes:
    return b"".join(bytes([1, value]) for value in row) + b"\0\0"


def palette_png(entries: np.ndarray, *more: tuple[bytes, bytes]) -> bytes:
    return png(GREY, 8, 3, (b"PLTE", entries.tobytes()), *more)


def bmp_palette(entries: np.ndarray) -> bytes:
    return np.pad(entries[:, ::-1], ((0, 0), (0, 1))).tobytes()


BIG = [array.astype(array.dtype.newbyteorder(">")) for array in (GREY_16, RGB_16, RGBA_16)]
GREY_16_BE, RGB_16_BE, RGBA_16_BE = BIG
GREY_ALPHA_16_BE = GREY_ALPHA_16.astype(">u2")
TRANSPARENT = (b"tRNS", b"\0\5\0\5\0\5")
PNG_FILES = {
    "png grey": (pillow(GREY, "PNG"), GREY),
    "png grey, opencv": (opencv(GREY, ".png"), GREY),
    "png grey, imageio": (imageio.imwrite("<bytes>", GREY, extension=".png"), GREY),
    "png grey, imageio 16": (imageio.imwrite("<bytes>", GREY_16, extension=".png"), GREY_16),
    "png rgb": (pillow(RGB, "PNG"), RGB),
    "png rgb, imageio": (imageio.imwrite("<bytes>", RGB, extension=".png"), RGB),
    "png rgba": (pillow(RGBA, "PNG"), RGB),
    "png grey and alpha": (png(GREY_ALPHA, 8, 4), GREY),
    "png grey and alpha 16": (png(GREY_ALPHA_16_BE, 16, 4), GREY_16),
    "png grey 16": (pillow(GREY_16, "PNG"), GREY_16),
    "png rgb 16": (png(RGB_16_BE, 16, 2), RGB_16),
    "png rgb 16, opencv": (opencv(RGB_16, ".png"), RGB_16),
    "png rgba 16": (png(RGBA_16_BE, 16, 6), RGB_16),
    "png rgba 16, opencv": (opencv(RGBA_16, ".png"), RGB_16),
    "png grey with a clear value": (png(GREY, 8, 0, (b"tRNS", b"\0\5")), GREY),
    "png grey 16 with a clear value": (png(GREY_16_BE, 16, 0, (b"tRNS", b"\0\5")), GREY_16),
    "png rgb with a clear colour": (png(RGB, 8, 2, TRANSPARENT), RGB),
    "png rgb 16 with a clear colour": (png(RGB_16_BE, 16, 2, TRANSPARENT), RGB_16),
    "png 1 bit": (pillow(BITS, "PNG"), BITS * np.uint8(255)),
    "png 2 bits": (
        png(np.packbits(TWO_BITS, axis=1), 2, 0),
        (GREY & 3) * np.uint8(85),
    ),
    "png 4 bits": (
        png((GREY[:, ::2] & 15) << 4 | GREY[:, 1::2] & 15, 4, 0),
        (GREY & 15) * np.uint8(17),
    ),
    "png palette": (palette_png(COLOURS), COLOURS[GREY]),
    "png palette, clear entries": (
        palette_png(COLOURS, (b"tRNS", bytes(range(99)))),
        COLOURS[GREY],
    ),
    "png palette of greys": (palette_png(GREYS), GREYS[GREY]),
    "png short palette": (
        palette_png(COLOURS[:100]),
        np.pad(COLOURS[:100], ((0, 156), (0, 0)))[GREY],
    ),
    "png palette of 1 bit": (
        png(packed(BITS), 1, 3, (b"PLTE", bytes([255, 255, 255, 0, 0, 0]))),
        np.repeat(np.uint8(255) * ~BITS[..., None], 3, 2),
    ),
    "png with gamma": (png(RGB, 8, 2, (b"gAMA", number(22222))), RGB),
    "png grey 16 with gamma": (png(GREY_16_BE, 16, 0, (b"gAMA", number(22222))), GREY_16),
    "png of 5 bits that count": (png(RGB, 8, 2, (b"sBIT", b"\5\5\5")), RGB),
    "png of 12 bits that count": (png(GREY_16_BE, 16, 0, (b"sBIT", b"\x0c")), GREY_16),
    "png with a background": (png(RGBA, 8, 6, (b"bKGD", b"\0\7\0\7\0\7")), RGB),
    "png with srgb": (png(RGB, 8, 2, (b"sRGB", b"\0")), RGB),
}

BMP_FILES = {
    "bmp grey": (pillow(GREY, "BMP"), GREY),
    "bmp rgb": (pillow(RGB, "BMP"), RGB),
    "bmp rgb, opencv": (opencv(RGB, ".bmp"), RGB),
    "bmp rgb, imageio": (imageio.imwrite("<bytes>", RGB, extension=".bmp"), RGB),
    "bmp rgba, opencv": (opencv(RGBA, ".bmp"), RGB),
    "bmp rgba, pillow": (pillow(RGBA, "BMP"), RGB),
    "bmp from the top": (bmp(RGB[..., ::-1].tobytes(), 24, height=-HEIGHT), RGB),
    "bmp 32 bits": (bmp(np.dstack([RGB[..., ::-1], ALPHA])[::-1].tobytes(), 32), RGB),
    "bmp 1 bit": (pillow(BITS, "BMP"), BITS * np.uint8(255)),
    "bmp 1 bit, white first": (
        bmp(packed(BITS, 4)[::-1].tobytes(), 1, between=bytes([255] * 3 + [0] * 5)),
        ~BITS * np.uint8(255),
    ),
    "bmp palette": (bmp(GREY[::-1].tobytes(), 8, between=bmp_palette(COLOURS)), COLOURS[GREY]),
    "bmp palette of greys": (bmp(GREY[::-1].tobytes(), 8, between=bmp_palette(GREYS)), 255 - GREY),
    "bmp 4 bits": (
        bmp(PAIRS[::-1].tobytes(), 4, between=bmp_palette(COLOURS[:16])),
        COLOURS[GREY >> 4],
    ),
    "bmp run lengths": (
        bmp(b"".join(run_lengths(row) for row in GREY[::-1]) + b"\0\1", 8, 1, bmp_palette(COLOURS)),
        COLOURS[GREY],
    ),
}

_PILLOW = {
    f"tiff {name}, pillow, {how}": (pillow(pixels, compression=how), shown)
    for how in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")
    for name, pixels, shown in (
        ("grey", GREY, GREY),
        ("rgb", RGB, RGB),
        ("grey 16", GREY_16, GREY_16),
        ("rgba", RGBA, RGB),
        ("1 bit", BITS, BITS * np.uint8(255)),
    )
}
_FAX = {
    f"tiff 1 bit, {how}": (pillow(BITS, compression=how), BITS * np.uint8(255))
    for how in ("group3", "group4", "tiff_ccitt")
}
_OPENCV = {
    f"tiff {name}, opencv, {how}": (
        opencv(pixels, ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, how),
        shown,
    )
    for how in (1, 5, 8, 32773)
    for name, pixels, shown in (
        ("grey", GREY, GREY),
        ("rgb", RGB, RGB),
        ("grey 16", GREY_16, GREY_16),
        ("rgb 16", RGB_16, RGB_16),
        ("rgba", RGBA, RGB),
        ("rgba 16", RGBA_16, RGB_16),
    )
}
_IMAGEIO = {
    f"tiff {name}, imageio": (imageio.imwrite("<bytes>", pixels, extension=".tiff"), shown)
    for name, pixels, shown in (
        ("grey", GREY, GREY),
        ("rgb", RGB, RGB),
        ("grey 16", GREY_16, GREY_16),
        ("rgb 16", RGB_16, RGB_16),
        ("rgba", RGBA, RGB),
    )
}
_LAYOUTS = {
    f"tiff {name}, {how}": (tiff(pixels, **options, **more), pixels)
    for how, options in {
        "plain": {},
        "big-endian": {"byteorder": ">"},
        "BigTIFF": {"bigtiff": True},
        "tiles": {"tile": (16, 16)},
        "strips": {"rowsperstrip": 7},
        "deflate": {"compression": "zlib"},
        "predictor": {"compression": "zlib", "predictor": True},
    }.items()
    for name, pixels, more in (
        ("grey", GREY, {}),
        ("rgb", RGB, {"photometric": "rgb"}),
        ("grey 16", GREY_16, {}),
        ("rgb 16", RGB_16, {"photometric": "rgb"}),
    )
}
_PLANES = {
    f"tiff {name} in planes, {how}": (
        tiff(np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate", **options),
        pixels[..., :3],
    )
    for how, options in {
        "plain": {},
        "tiles": {"tile": (16, 16)},
        "deflate": {"compression": "zlib"},
        "big-endian": {"byteorder": ">"},
    }.items()
    for name, pixels in (("rgb", RGB), ("rgb 16", RGB_16), ("rgba", RGBA), ("rgba 16", RGBA_16))
}
_EXTRA = {
    f"tiff {name}, {kind}": (
        tiff(pixels, extrasamples=[kind], planarconfig="contig", **more),
        shown,
    )
    for kind in ("unassalpha", "unspecified")
    for name, pixels, shown, more in (
        ("rgba", RGBA, RGB, {"photometric": "rgb"}),
        ("rgba 16", RGBA_16, RGB_16, {"photometric": "rgb"}),
        ("grey and alpha", GREY_ALPHA, GREY, {"photometric": "minisblack"}),
        ("grey and alpha 16", GREY_ALPHA_16, GREY_16, {"photometric": "minisblack"}),
    )
}
_WHITE = {
    f"tiff {name}, white is 0, {order}{how}": (
        tiff(pixels, photometric="miniswhite", byteorder=order, compression=how),
        shown,
    )
    for order in "<>"
    for how in (None, "zlib")
    for name, pixels, shown in (
        ("grey", GREY, 255 - GREY),
        ("grey 16", GREY_16, 65535 - GREY_16),
        ("1 bit", BITS, ~BITS * np.uint8(255)),
    )
}
_PALETTES = {
    "tiff palette": (
        tiff(GREY, photometric="palette", colormap=COLOURS.T.astype(np.uint16) * 257),
        COLOURS[GREY],
    ),
    "tiff palette, pillow": (pillow(Image.open(io.BytesIO(palette_png(COLOURS)))), COLOURS[GREY]),
}


def with_tags(data: bytes, **values: int) -> bytes:
    """Overwrites shorts in the header of a little-endian TIFF, by the names of their tags."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        places = {name: file.pages.first.tags[name].valueoffset for name in values}
    for name, value in values.items():
        data = data[: places[name]] + struct.pack("<H", value) + data[places[name] + 2 :]
    return data


SHALLOW = {"ImageWidth": WIDTH, "BitsPerSample": 4}
_FEW_BITS = {
    "tiff of 4 bits": (with_tags(tiff(PAIRS), **SHALLOW), (GREY >> 4) * np.uint8(17)),
    "tiff of 4 bits, white is 0": (
        with_tags(tiff(PAIRS, photometric="miniswhite"), **SHALLOW),
        255 - (GREY >> 4) * np.uint8(17),
    ),
    "tiff of 2 bits": (
        with_tags(tiff(np.packbits(TWO_BITS, axis=1)), ImageWidth=WIDTH, BitsPerSample=2),
        (GREY & 3) * np.uint8(85),
    ),
}
TIFF_FILES = (
    _PILLOW
    | _FAX
    | _OPENCV
    | _IMAGEIO
    | _LAYOUTS
    | _PLANES
    | _EXTRA
    | _WHITE
    | _PALETTES
    | _FEW_BITS
)
