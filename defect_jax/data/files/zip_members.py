"""What is in a zip file, and the bytes of one member, which are no more than it declares."""

import copy
import stat
import struct
import zipfile
from collections.abc import Iterator
from functools import partial

from defect_jax.data.files.archive_links import Member
from defect_jax.data.files.bounded import BadFile, kind_of
from defect_jax.data.files.raw_names import Refused
from defect_jax.data.files.zip_table import UNPACKING_ERRORS

MOST_TARGET_BYTES = 4096  # of a link's path
# 4 KiB of LZMA or bzip2 become 80 MB at worst, and `zipfile` unpacks all that it is given of them;
# with others it stops at the number of bytes that is asked for.
CHUNK_BYTES = {zipfile.ZIP_STORED: 2**20, zipfile.ZIP_DEFLATED: 2**20}
SMALL_CHUNK_BYTES = 4096
MOST_DICTIONARY_BYTES = 128 * 2**20  # of LZMA; the highest level of 7-Zip takes 64 MiB
LZMA_START = struct.Struct("<2sHBL")  # version, length of what follows, settings, dictionary
UNIX, ENCRYPTED = 3, 0x1


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """Yield the files and links of an archive."""
    for info in archive.infolist():
        # `zipfile` cuts a name at its first zero byte.
        name = info.orig_filename if "\0" in info.orig_filename else info.filename
        mode = info.external_attr >> 16 if info.create_system == UNIX else 0
        if name.endswith("/"):
            if info.file_size:
                yield Member(name, Refused("is a folder with bytes of its own: pack it again"))
        elif stat.S_ISLNK(mode):
            yield _link(archive, info, name)
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR):
            yield Member(name, info)
        else:
            why = f"is {kind_of(mode)}, not a regular file: remove it"
            yield Member(name, Refused(why))


def _link(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    """Return a link: its target is what would else be the bytes of the file."""
    if info.file_size > MOST_TARGET_BYTES:
        return Member(name, Refused("is a link whose target is too long: pack it again", True))
    try:
        target = read_member(archive, info).decode("utf-8", "surrogateescape")
    except OSError as error:
        return Member(name, Refused(f"is a link that cannot be read: it {error}", True))
    return Member.symbolic_link(name, target)


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Unpack a member, no further than the size that it declares.

    Raises:
        OSError: it is damaged, encrypted, or packed in a way that is not known.
    """
    if info.flag_bits & ENCRYPTED:
        raise BadFile("is encrypted: pack it again without a password")
    if info.compress_type == zipfile.ZIP_LZMA:
        _check_dictionary(archive, info)
    data = _unpacked(archive, info)
    if len(data) != info.file_size:
        text = f"is damaged inside the archive ({len(data)} of {info.file_size} bytes)"
        raise BadFile(f"{text}: pack it again")
    return data


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int | None = None) -> bytes:
    """Return all bytes of a member, or the first ones.

    Raises:
        BadFile: it cannot be opened or unpacked.
    """
    chunk_bytes = CHUNK_BYTES.get(info.compress_type, SMALL_CHUNK_BYTES)
    try:
        with archive.open(info) as member:
            if most is not None:
                return member.read(most)
            return b"".join(iter(partial(member.read, chunk_bytes), b""))
    except NotImplementedError as error:
        raise BadFile(f"is packed in a way that is not known ({error}): use deflate") from error
    except (*UNPACKING_ERRORS, OSError) as error:
        raise BadFile(f"is damaged inside the archive ({error!s:.99}): pack it again") from error


def _check_dictionary(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Refuse what takes more memory to unpack than it can need.

    Raises:
        BadFile: it does; or the member cannot be opened.
    """
    packed = copy.copy(info)  # its bytes as they are in the archive
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC  # which is of the unpacked bytes; without it none is compared
    start = _unpacked(archive, packed, LZMA_START.size)
    if len(start) == LZMA_START.size:
        *_, dictionary_bytes = LZMA_START.unpack(start)
        if dictionary_bytes > MOST_DICTIONARY_BYTES:
            text = f"is packed with a dictionary of {dictionary_bytes / 1e9:.1f} GB"
            raise BadFile(f"{text}: pack it again with deflate")
