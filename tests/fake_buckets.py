"""Buckets in memory for the tests, behind the very `epath` and `fsspec` calls of the real ones."""

import contextlib
import re
from collections.abc import Iterator

from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from defect_jax.runtime import paths

SCHEMES = ("gs", "gcs", "s3")


class FakeBuckets(MemoryFileSystem):
    """Objects by name; `log` has every change in its order, `fails` is raised by every call."""

    protocol = SCHEMES
    store: dict = {}
    pseudo_dirs = [""]
    log: list[str] = []
    fails: list[Exception] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(re.sub(r"^(gs|gcs|s3)://", "/", path))

    def _maybe_fail(self):
        if self.fails:
            raise self.fails[0]

    def info(self, path, **options):
        self._maybe_fail()
        return super().info(path, **options)

    def exists(self, path, **options):
        self._maybe_fail()
        return super().exists(path, **options)

    def cat_file(self, path, **options):
        self._maybe_fail()
        return super().cat_file(path, **options)

    def _open(self, path, mode="rb", **options):
        self._maybe_fail()
        if mode == "wb":
            self.log.append(f"put {path}")
        return super()._open(path, mode, **options)

    def rm(self, path, **options):
        self._maybe_fail()
        self.log.extend(f"delete {one}" for one in ([path] if isinstance(path, str) else path))
        return super().rm(path, **options)

    def names(self):
        """Of all objects, sorted."""
        return sorted(name.lstrip("/") for name in self.store)


@contextlib.contextmanager
def fake_buckets(monkeypatch) -> Iterator[FakeBuckets]:
    """Puts empty buckets behind gs:// and s3://, whether or not their packages are installed."""
    monkeypatch.setattr(paths, "BACKENDS", {"gs": "fsspec", "s3": "fsspec"})
    for scheme in SCHEMES:
        monkeypatch.setitem(_registry, scheme, FakeBuckets)
    _forget()
    try:
        yield FakeBuckets()
    finally:
        _forget()


def _forget() -> None:
    backend.fsspec_backend._get_filesystem.cache_clear()
    FakeBuckets.clear_instance_cache()
    for kept in (FakeBuckets.store, FakeBuckets.log, FakeBuckets.fails):
        kept.clear()
    FakeBuckets.pseudo_dirs[:] = [""]
