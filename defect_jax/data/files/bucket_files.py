"""Raw data in a bucket: a folder read object by object, an archive copied to a local disk first."""

import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from defect_jax.data.files.bounded import MEGAPIXELS, check_size
from defect_jax.data.files.raw_names import Listed, Refused, listing
from defect_jax.runtime import buckets, scratch
from defect_jax.runtime.errors import UserError


class BucketFolder(Listed):
    """All objects below a name; one request an image, as many at once as there are threads."""

    def __init__(self, path: epath.Path, max_megapixels: float = MEGAPIXELS):
        self._path, self._max_megapixels = path, max_megapixels
        self._facts = buckets.files_below(path)
        self._listing = listing(((name, name) for name in self._facts), path)

    def read(self, name: str) -> bytes:
        check_size(name, self.size(name), self._max_megapixels)
        return buckets.read(self._path / self._place(name))

    def size(self, name: str) -> int:
        return self._facts[self._place(name)].get("size") or 0

    def stamp(self) -> str:
        lines = [f"{name}\0{self._version(place)}\n" for name, place in self._listing.files.items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _version(self, place: str | Refused) -> str:
        return place.why if isinstance(place, Refused) else buckets.version(self._facts[place])

    def where(self, name: str) -> str:
        return f"{self._path}/{name}"


class BucketArchive:
    """A .tar or .zip in a bucket, copied below $TMPDIR when it is first looked into.

    Whoever looks into it reads it to the end: one long request takes less time than one an image.
    A set that is prepared already only asks for the stamp, which copies nothing.
    """

    def __init__(self, path: epath.Path, facts: Any, opened: Callable[[Any, str], Any]):
        """Take the bucket's facts about it, and what opens its local copy under a given name."""
        self._path, self._facts, self._open = path, facts, opened
        self._lock, self._copy = threading.Lock(), None

    def names(self) -> list[str]:
        return self._local().names()

    def read(self, name: str) -> bytes:
        return self._local().read(name)

    def size(self, name: str) -> int:
        return self._local().size(name)

    def stamp(self) -> str:
        return hashlib.sha256(buckets.version(self._facts).encode()).hexdigest()

    def where(self, name: str) -> str:
        return f"{self._path}: {name}"

    def skipped(self) -> Mapping[str, int]:
        return self._local().skipped()

    def lost(self) -> Mapping[str, str]:
        return self._local().lost()

    def _local(self) -> Any:
        with self._lock:
            if self._copy is None:
                file = scratch.new_folder("raw") / self._path.name
                try:
                    buckets.download_file(self._path, file)
                except OSError as error:
                    raise UserError(
                        f"config.data.root: {self._path}: cannot be copied to {file.parent} "
                        f"({error.strerror}): TMPDIR=… names another disk"
                    ) from error
                self._copy = self._open(file, str(self._path))
            return self._copy
