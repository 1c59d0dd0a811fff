"""What a file is, by its first bytes: the formats that are read, and names for those that are not.

A name's suffix says nothing: pages that a download gave in place of an image are called .jpg too.
"""

import re

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
CONVERT = "save it as PNG"
FETCH = "no image: fetch the image itself"
LOOKED_AT_BYTES = 512

# Where in the file, what stands there, what that is, and what to do about it.
_SIGNATURES = (
    (0, rb"RIFF....WEBP", "WebP", CONVERT),
    (0, rb"GIF8[79]a", "GIF", CONVERT),
    (4, rb"ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "HEIC", CONVERT),
    (4, rb"ftyp(avif|avis)", "AVIF", CONVERT),
    (4, rb"ftypcrx ", "a camera's raw file (CR3)", "develop it to PNG or TIFF"),
    (4, rb"ftyp", "a video", "save its frames as PNG"),
    (0, rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", CONVERT),
    (0, rb"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL", CONVERT),
    (0, rb"II\xbc\x01", "JPEG XR", CONVERT),
    (0, rb"\xff\xd8\xff\xf7", "JPEG-LS", CONVERT),
    (0, rb"8BPS", "a Photoshop file (PSD)", CONVERT),
    (0, rb"gimp xcf", "a GIMP file (XCF)", CONVERT),
    (0, rb"\x76\x2f\x31\x01", "OpenEXR", "save it as PNG or TIFF of 16 bits"),
    (0, rb"#\?(RADIANCE|RGBE)", "Radiance HDR", "save it as PNG or TIFF of 16 bits"),
    (0, rb"II\*\0....CR", "a camera's raw file (CR2)", "develop it to PNG or TIFF"),
    (0, rb"FUJIFILMCCD-RAW|IIRO|IIU\0", "a camera's raw file", "develop it to PNG or TIFF"),
    (0, rb"P[1-7]\s", "Netpbm", CONVERT),
    (0, rb"qoif", "QOI", CONVERT),
    (0, rb"\0\0[\x01\x02]\0.\0", "an icon (ICO)", CONVERT),
    (0, rb"SIMPLE  =", "FITS", "save it as PNG or TIFF of 16 bits"),
    (128, rb"DICM", "DICOM", "save its pixels as PNG or TIFF of 16 bits"),
    (0, rb"\x93NUMPY", "a NumPy array", CONVERT),
    (0, rb"\x89HDF|MATLAB 5", "a file of arrays (HDF5 or MATLAB)", CONVERT),
    (0, rb"%PDF-", "PDF", CONVERT),
    (0, rb"%!PS", "PostScript", CONVERT),
    (0, rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", "SVG", CONVERT),
    (0, rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", "a page of HTML", FETCH),
    (0, rb"(\xef\xbb\xbf)?\s*<\?xml", "XML", FETCH),
    (0, rb"version https://git-lfs", "a pointer of Git LFS", "no image: run 'git lfs pull'"),
    (0, rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh", "an archive", "unpack it"),
    (0, rb"\0\x05\x16\x07", "what macOS keeps beside a file (AppleDouble)", "remove it"),
)
_KNOWN = tuple((at, re.compile(what, re.DOTALL), name, do) for at, what, name, do in _SIGNATURES)


class BadImage(ValueError):
    """A file that cannot be used; the message says why and what to do, without the file's name."""


def is_tiff(data: bytes) -> bool:
    """Return whether a file begins as TIFF or BigTIFF."""
    return data.startswith(TIFF_STARTS)


def refuse_other_formats(data: bytes) -> None:
    """Name the format of a file that is whole, but of a kind that is not read.

    >>> refuse_other_formats(b"GIF89a")
    Traceback (most recent call last):
    defect_jax.data.files.file_kinds.BadImage: is GIF, whatever its name says: save it as PNG

    Raises:
        BadImage: it is empty, holds zeros alone, or is of a known other kind.
    """
    if not data:
        raise BadImage("is empty: copy it again")
    start = data[:LOOKED_AT_BYTES]
    for place, pattern, name, advice in _KNOWN:
        if pattern.match(start, place):
            raise BadImage(f"is {name}, whatever its name says: {advice}")
    if not start.strip(b"\0") and not data.strip(b"\0"):
        raise BadImage("holds zeros alone, as files do whose copying was cut off: copy it again")


def first_line(error: Exception) -> str:
    """Return what a library says of an error, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
