"""Our batches and PyTorch's, each a program for `benchmarks.turns`.

The packages are imported by the function that needs them: the rivals' environment lacks ours.
"""

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import serve, use_processors

DATA, RAW, PREPARED, BATCH = "data.json", "raw", "prepared", 8
SKIPPED = 8  # batches until all threads and workers are at work, and no buffer is full any more
PACKAGES = ("jax", "grain", "torch", "opencv-python-headless", "numpy")
Batches = Iterator[Mapping[str, Any]]
Epoch = Callable[[int], Batches]  # from its number, counted from 0


def config_of(folder: Path) -> Any:
    """Return our config: as a run of `configs/folder.py` has it, each image once an epoch."""
    from defect_jax.configs.folder import get_config

    config = get_config("full").copy_and_resolve_references().unlock()
    data = json.loads((folder / DATA).read_text())
    config.data.update(data | {"root": str(folder / RAW), "data_dir": str(folder / PREPARED)})
    config.data.positive_fraction = None
    config.train.batch_size = BATCH
    return config


def ours(cache_mb: int | None = None) -> Callable[[Path], Epoch]:
    """Return `data.pipeline.batches` as a run uses it, up to arrays on the device."""

    def contender(folder: Path) -> Epoch:
        import jax

        from defect_jax.data.pipeline.batches import training_batches
        from defect_jax.data.pipeline.decoded_cache import with_decoded_cache
        from defect_jax.data.prepare.data_info import data_info
        from defect_jax.data.prepare.prepare import prepare
        from defect_jax.workdir.run_config import resolve

        config = config_of(folder)
        config.data.cache_mb = config.data.cache_mb if cache_mb is None else cache_mb
        prepared = with_decoded_cache(prepare(config.data), config.data, ("train",))
        config, split = (
            resolve(config, data_info(prepared, config.model.num_classes)),
            prepared.splits["train"],
        )
        steps = len(split.rows) // BATCH

        def epoch(number: int) -> Batches:
            config.train.steps = steps * (number + 1)  # so that nothing is read ahead for later
            for batch in training_batches(
                split, config, range(BATCH), jax.device_put, first_step=steps * number
            ):
                yield jax.block_until_ready(batch)

        return epoch

    return contender


def torch(workers: int) -> Callable[[Path], Epoch]:
    """Return PyTorch's DataLoader."""

    def contender(folder: Path) -> Epoch:
        from benchmarks.rivals.torch_loader import loader

        data = json.loads((folder / DATA).read_text())
        batches = loader(folder / RAW / "train", data, BATCH, workers)
        return lambda number: iter(batches)

    return contender


CONTENDERS: dict[str, Callable[[Path], Epoch]] = {
    "ours": ours(),
    "ours, nothing kept": ours(cache_mb=0),
    **{f"DataLoader, {workers} workers": torch(workers) for workers in (0, 1, 2, 4)},
}
OURS = ("ours", "ours, nothing kept")


class Contender:
    """What the parent may ask for."""

    def __init__(self, name: str, folder: Path):
        self.make, self.epochs = lambda: CONTENDERS[name](folder), 0
        self.epoch: Epoch | None = None

    def ready(self) -> bool:
        """Import, open the files, and load no image."""
        self.epoch = self.make()
        return True

    def run(self) -> dict[str, float]:
        """Return images a second of the next epoch: all of it with its start, and once it flows."""
        began, times = time.perf_counter(), []
        for _ in self.epoch(self.epochs):
            times.append(time.perf_counter())
        self.epochs += 1
        flowing = BATCH * (len(times) - SKIPPED) / (times[-1] - times[SKIPPED - 1])
        return {"whole": BATCH * len(times) / (times[-1] - began), "flowing": flowing}

    def statistics(self) -> dict[str, float]:
        """Return figures of the images of the next epoch: the same for all that change them
        alike."""
        found = [_statistics(batch) for batch in self.epoch(self.epochs)]
        self.epochs += 1
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def _statistics(batch: Mapping[str, Any]) -> dict[str, float]:
    image, mask, valid = (np.asarray(batch[name]) for name in ("image", "mask", "valid"))
    image = image[..., 0].astype(np.float32)
    dark, bright = np.quantile(image, (0.01, 0.99))  # ours are shares of a range, theirs bytes
    image = (image - dark) / (bright - dark)
    return {
        "mean": image.mean(),
        "std": image.std(),
        "roughness": np.abs(np.diff(image)).mean(),
        "valid": valid.mean(),
        "defect": mask.mean(),
        "label": np.asarray(batch["label"]).mean(),
    }


def versions() -> dict[str, str]:
    """Return those of the packages that this process can have used."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # the other environment's
    return found


def main() -> None:
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    use_processors(threads)
    contender = Contender(name, folder)
    functions = {name: getattr(contender, name) for name in ("ready", "run", "statistics")}
    serve(functions | {"versions": versions})


if __name__ == "__main__":
    main()
