"""What the header of a TIFF says of its pixels, and what it must not say."""

import io
import logging
from typing import NamedTuple

import tifffile

from defect_jax.data.files.file_kinds import BadImage, first_line

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
PHOTOMETRIC_NAMES = {5: "CMYK", 8: "CIELAB", 32803: "a camera's raw pixels", 34892: "raw pixels"}
NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 8, 32946, 32773
FAX, LZMA, ZSTD = (2, 3, 4, 32771), 34925, (34926, 50000)
LOSSLESS = (NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, *FAX, LZMA, *ZSTD)
SIGNED, FLOAT = 2, 3
MOST_PAGES = 64
MOST_COPIES = 16  # a pyramid of them halves each side from one to the next
BITS_TAG, ORIENTATION_TAG, SUB_IMAGES_TAG, DNG_TAG = 258, 274, 330, 50706

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # our one line says it


class Facts(NamedTuple):
    """What a header says that decides how the pixels are read."""

    height: int
    width: int
    samples: int  # values of a pixel, with those that are no colour
    bits: int
    sample_format: int
    photometric: int
    separate: bool  # each channel in a plane of its own
    extra: tuple[int, ...]  # what the values are that are no colour
    compression: int
    orientation: int

    @property
    def lossy(self) -> bool:
        return self.compression not in LOSSLESS

    @property
    def white_is_zero(self) -> bool:
        return self.photometric == WHITE_IS_ZERO

    @property
    def unsigned(self) -> bool:
        return self.sample_format not in (SIGNED, FLOAT)


def facts_of(data: bytes) -> Facts:
    """Read the header.

    Raises:
        BadImage: it is damaged, speaks of several images, or of pixels that nobody reads here.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            facts = _facts(page)
            _refuse_raw(page)
            count = _count(file.pages)
    except BadImage:
        raise
    except Exception as error:  # whatever the parser tripped over
        raise BadImage(f"has a damaged header ({first_line(error)}): copy it again") from error
    if count > 1:
        raise BadImage(
            f"holds {count} images: save each in a file of its own, or set config.data.lights "
            "where they are the lights of one shot"
        )
    _refuse_unreadable(facts)
    return facts


def page_places(data: bytes) -> list[int]:
    """Return where the directory of each page is, without smaller copies of others: thumbnails.

    Raises:
        BadImage: the file is damaged.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if len(file.pages) > MOST_PAGES:
                raise BadImage(f"holds {len(file.pages)} images: save each in a file of its own")
            return [int(page.offset) for page in file.pages if not page.is_reduced]
    except BadImage:
        raise
    except Exception as error:  # whatever the parser tripped over
        raise BadImage(f"has a damaged header ({first_line(error)}): copy it again") from error


def _count(pages: tifffile.TiffPages) -> int:
    """Return how many images there are, without smaller copies of the first: thumbnails."""
    count = len(pages)
    if 1 < count <= MOST_COPIES:
        count -= sum(page.is_reduced for page in pages[1:])
    return count


def _facts(page: tifffile.TiffPage) -> Facts:
    bits = page.tags.valueof(BITS_TAG, default=1)
    if isinstance(bits, tuple) and len(set(bits)) > 1:
        raise BadImage(f"has channels of {bits} bits: save it with 8 or 16 bits")
    if int(page.imagedepth) > 1:
        raise BadImage(f"holds {page.imagedepth} layers: save each in a file of its own")
    return Facts(
        height=int(page.imagelength),
        width=int(page.imagewidth),
        samples=int(page.samplesperpixel),
        bits=int(page.bitspersample),
        sample_format=int(page.sampleformat),
        photometric=int(page.photometric),
        separate=int(page.planarconfig or 1) == 2 and page.samplesperpixel > 1,
        extra=tuple(int(kind) for kind in page.extrasamples),
        compression=int(page.compression),
        orientation=int(page.tags.valueof(ORIENTATION_TAG, default=1)),
    )


def _refuse_raw(page: tifffile.TiffPage) -> None:
    """Refuse a camera's raw file, whose first image may be a thumbnail of the picture."""
    if DNG_TAG in page.tags or (SUB_IMAGES_TAG in page.tags and page.is_reduced):
        raise BadImage("is a camera's raw file: develop it to PNG or TIFF")


def _refuse_unreadable(facts: Facts) -> None:
    if min(facts.height, facts.width) < 1:
        raise BadImage(f"is {facts.width}x{facts.height} px: save it again")
    if facts.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR):
        name = PHOTOMETRIC_NAMES.get(facts.photometric, f"colours of kind {facts.photometric}")
        raise BadImage(f"is a TIFF that holds {name}: save it as grey or RGB")
    colours = 3 if facts.photometric in (RGB, YCBCR) else 1
    if facts.samples not in (colours, colours + 1):
        lights = ", or each channel as a page (config.data.lights)" * (facts.samples > 4)
        raise BadImage(f"has {facts.samples} channels: save it as grey or RGB{lights}")
