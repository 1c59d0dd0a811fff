"""What is in a tar file, header by header; no header is believed that the file cannot hold.

`tarfile` parses one header, and its sums are checked. The walk from one to the next is ours: that
of `tarfile` goes round for ever where a size is negative, takes as much memory as a header asks
for, and stops without a word at the first damaged one.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from defect_jax.data.files.archive_links import Damaged, Member
from defect_jax.data.files.raw_names import Refused

BLOCK = tarfile.BLOCKSIZE
MOST_HEADER_BYTES = 4 * 2**20  # of what belongs to one member: long names, attributes
MOST_PADDING_BYTES = 16 * 2**20  # after the end; tapes were written in blocks of up to 1 MiB
MOST_MEMBERS = 2_000_000
PAX_LENGTH = re.compile(rb"([0-9]{1,7}) ")
LONG_NAME, LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
OF_NEXT = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
MAGIC, GNU_MAGIC, NAME_BYTES = slice(257, 265), b"ustar  \0", 100
GNU_VOLUME, GNU_DUMPED_FOLDER = b"V", b"D"
KINDS = {
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    b"M": "a part of a file that goes on in another archive",
}
SPARSE = Refused("is stored as a sparse file, which is not read: pack it again without --sparse")
EXTENDED_BYTE, EXTENDS_BYTE = 482, 504  # of GNU's headers of sparse files: more of them follow


class Place(NamedTuple):
    """Where the bytes of a member are."""

    start: int
    size_bytes: int


class _Extras(NamedTuple):
    """What headers before a member's own say of it."""

    name: str | None = None
    link: str | None = None
    size_bytes: int | None = None
    sparse: bool = False


def tar_members(file: BinaryIO) -> Iterator[Member]:
    """Yield the files and links of a tar file, from its beginning to its end.

    Raises:
        Damaged: a header is damaged, or the archive has no end.
    """
    total = os.fstat(file.fileno()).st_size
    position, extras = 0, _Extras()
    for _ in range(3 * MOST_MEMBERS):
        header = _header(file, position, total)
        if header is None:
            if extras != _Extras():
                raise Damaged("the file that its last header speaks of is missing")
            _check_end(file, position, total)
            return
        start = position + BLOCK
        if header.type in (LONG_NAME, LONG_LINK, *OF_NEXT, tarfile.XGLTYPE):
            extras = _with(extras, header, _content(file, start, header, total))
            size = header.size
        else:
            start = _after_maps(file, header, start, total)
            member, size = _member(header, extras, start)
            extras = _Extras()
            if member is not None:
                yield member
        position = start + -(-size // BLOCK) * BLOCK
        if start + size > total:
            raise Damaged("its end is missing")
    raise Damaged(f"it holds more than {MOST_MEMBERS:,} files")


def _header(file: BinaryIO, position: int, total: int) -> tarfile.TarInfo | None:
    """Return the header at a position; None for the block of zeros that ends an archive."""
    if position >= total:
        raise Damaged("its end is missing")
    file.seek(position)
    try:
        block = file.read(BLOCK)
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:
        return None
    except tarfile.TruncatedHeaderError as error:
        raise Damaged("its end is missing") from error
    except (tarfile.TarError, ValueError, OverflowError, IndexError) as error:
        raise Damaged(f"{error} at byte {position:,}") from error
    if block[MAGIC] == GNU_MAGIC:  # `tarfile` takes the times of an incremental one for folders
        header.name = _text(block[:NAME_BYTES].split(b"\0")[0])
    if header.size < 0:
        raise Damaged(f"{header.name!r} has a size of {header.size} bytes")
    return header


def _check_end(file: BinaryIO, position: int, total: int) -> None:
    """Refuse what follows the end: files that every program would pass over."""
    file.seek(position)
    if total - position > MOST_PADDING_BYTES or file.read(MOST_PADDING_BYTES).strip(b"\0"):
        raise Damaged("more follows its end, as when two archives are joined")


def _content(file: BinaryIO, start: int, header: tarfile.TarInfo, total: int) -> bytes:
    if header.size > MOST_HEADER_BYTES:
        raise Damaged(f"a header of {header.size:,} bytes")
    if start + header.size > total:
        raise Damaged("its end is missing")
    file.seek(start)
    return file.read(header.size)


def _with(extras: _Extras, header: tarfile.TarInfo, content: bytes) -> _Extras:
    """Add what a header says of the member after it."""
    if header.type == LONG_NAME:
        return extras._replace(name=_text(content.split(b"\0")[0]))
    if header.type == LONG_LINK:
        return extras._replace(link=_text(content.split(b"\0")[0]))
    fields = _pax_fields(content)
    if header.type == tarfile.XGLTYPE:
        if not {"path", "linkpath", "size"}.isdisjoint(fields):
            raise Damaged("one header names or sizes all of its files")
        return extras
    name = fields.get("GNU.sparse.name", fields.get("path"))
    return _Extras(
        name=extras.name if name is None else _text(name),
        link=_text(fields["linkpath"]) if "linkpath" in fields else extras.link,
        size_bytes=_size(fields["size"]) if "size" in fields else extras.size_bytes,
        sparse=extras.sparse or any(key.startswith(("GNU.sparse.", "SUN.hole")) for key in fields),
    )


def _pax_fields(content: bytes) -> dict[str, bytes]:
    """Return the records `length key=value` of a pax header.

    >>> _pax_fields(b"17 path=a/\\xc3\\xbc.png\\n")
    {'path': b'a/\\xc3\\xbc.png'}
    """
    fields, position, content = {}, 0, content.rstrip(b"\0")
    while position < len(content):
        match = PAX_LENGTH.match(content, position)
        end = position + int(match[1]) if match else position
        key, equals, value = content[match.end() if match else end : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(content):
            raise Damaged("a pax header that cannot be read")
        fields[_text(key)] = value[:-1]
        position = end
    return fields


def _size(text: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,19}", text):
        raise Damaged(f"a size of {text[:20]!r}")
    return int(text)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _after_maps(file: BinaryIO, header: tarfile.TarInfo, start: int, total: int) -> int:
    """Return where the bytes begin: after the blocks that say where an old sparse file has some."""
    if header.type != tarfile.GNUTYPE_SPARSE:
        return start
    file.seek(start - BLOCK)
    more = file.read(BLOCK)[EXTENDED_BYTE]
    while more:
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise Damaged("its end is missing")
        start, more = start + BLOCK, block[EXTENDS_BYTE]
    return start


def _member(header: tarfile.TarInfo, extras: _Extras, start: int) -> tuple[Member | None, int]:
    """Return a member and the bytes that follow its header; None for what is no file."""
    name = header.name if extras.name is None else extras.name
    size = header.size if extras.size_bytes is None else extras.size_bytes
    link = header.linkname if extras.link is None else extras.link
    if header.type == tarfile.DIRTYPE:
        return None, 0
    if header.type in (GNU_VOLUME, GNU_DUMPED_FOLDER):
        return None, size
    if header.type == tarfile.LNKTYPE:
        return Member.hard_link(name, link), 0
    if header.type == tarfile.SYMTYPE:
        return Member.symbolic_link(name, link), 0
    if header.type in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE):
        return Member(name, Refused(f"is {KINDS[header.type]}, not a regular file: remove it")), 0
    if extras.sparse or header.type == tarfile.GNUTYPE_SPARSE:
        return Member(name, SPARSE), size
    if header.type not in tarfile.REGULAR_TYPES:
        kind = KINDS.get(header.type, f"of the unknown kind {header.type!r}")
        return Member(name, Refused(f"is {kind}, not a regular file: pack it again")), size
    return Member(name, Place(start, size)), size
