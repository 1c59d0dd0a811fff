"""Names of raw files: which of them count, and which are refused."""

import unicodedata
from collections.abc import Iterable

from defect_jax.runtime.errors import UserError

JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")


def usable(names: Iterable[str], root: object) -> list[str]:
    """Sort names, drop hidden and system files, and refuse those that point outside the root.

    Raises:
        UserError: a name that is no plain path; `root` is named with it.
    """
    kept = []
    for name in names:
        parts = name.split("/")
        if ".." in parts or name.startswith("/") or "\\" in name:
            raise UserError(f"{root}: {name!r} is no plain path below the data: rename the file")
        # Surrogates (Cs) stand for the bytes of a name that is not UTF-8.
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise UserError(f"{root}: {name!r} has characters that cannot be written: rename it")
        if not any(part.startswith(".") or part in JUNK for part in parts):
            kept.append(name)
    return sorted(kept)
