"""How well foreign and disturbed images are told from a network's own, and at what cost.

    launch/module.sh benchmarks.unlike --workdir=runs/magnetic_tile --own=magnetic_tile.tar \\
        --others=bsdata_annotated.tar,kolektor_sdd_folder.tar --output=unlike.json

The workdir's own images are those of its test split, which had no part in anything. A set of
another kind is grey here where the network is. Of each kind `--images` are drawn, of the test split
all. An image is scored by its `unlike`; AUROC counts a foreign image before an own one, ties half.
"""

import csv
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import jax
import numpy as np
from absl import app, flags
from sklearn.metrics import roc_auc_score

from benchmarks.machine import machine
from defect_jax.configs import synthetic
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources.synthetic.generator import describe, draw_image
from defect_jax.data.sources.synthetic.options import checked
from defect_jax.decision.look import appearance
from defect_jax.decision.unlike import UNLIKE_RATE
from defect_jax.deploy.batch_look import warnings
from defect_jax.deploy.inputs import open_input
from defect_jax.deploy.predictor import Predictor, load
from defect_jax.deploy.read_shot import read_shot
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.probabilities import make_probabilities
from defect_jax.workdir.best_weights import restore_trained

WORKDIR = flags.DEFINE_string("workdir", None, "Trained, and evaluated since.", required=True)
OWN = flags.DEFINE_string("own", None, "The raw data that it was trained with.", required=True)
OTHERS = flags.DEFINE_list("others", [], "Folders or archives of other surfaces.")
IMAGES = flags.DEFINE_integer("images", 100, "Of each kind, drawn with seed 0.")
TURNS = flags.DEFINE_integer("turns", 10, "With and without, of the cost.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the figures.")
BATCH = 8
MEGAPIXELS = 100.0
Image = np.ndarray  # [h w c], uint8
Change = Callable[[Image, np.random.Generator], Image]


def light(factor: float) -> Change:
    """Return what multiplies all counts."""
    return lambda image, rng: np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)


def blur(sigma_px: float) -> Change:
    """Return a Gaussian blur."""
    return lambda image, rng: _with_channels(cv2.GaussianBlur(image, (0, 0), sigma_px))


def noise(deviation: float) -> Change:
    """Return Gaussian noise of so many counts."""

    def changed(image: Image, rng: np.random.Generator) -> Image:
        noisy = image + rng.normal(0.0, deviation, image.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    return changed


def jpeg(quality: int) -> Change:
    """Return what a JPEG of that quality leaves."""

    def changed(image: Image, rng: np.random.Generator) -> Image:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return _with_channels(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))

    return changed


def _with_channels(image: np.ndarray) -> Image:
    return image[..., None] if image.ndim == 2 else image


CHANGES: Mapping[str, Change] = {
    **{f"light {share:+d} %": light(1 + share / 100) for share in (-30, -18, -10, 10, 18, 30)},
    "blur sigma 1 px": blur(1.0),
    "blur sigma 2 px": blur(2.0),
    "noise 10 counts": noise(10.0),
    "JPEG 40": jpeg(40),
}


def read_all(
    path: str, wanted: Callable[[str], bool], channels: int
) -> Iterator[tuple[str, Image]]:
    """Yield id and pixels of the images below a path, masks left out."""
    raw, inputs, _ = open_input(path, None, MEGAPIXELS, 1)
    for item in inputs:
        id = item.id.removesuffix(".jpg")  # which an image keeps whose mask is beside it
        if wanted(id) and "mask" not in id.lower():
            yield id, _read(raw, item.files, channels)


def _read(raw: RawFiles, files: Sequence[str], channels: int) -> Image:
    (image,) = read_shot(raw, files, 1, MEGAPIXELS).lights
    if channels == 1 and image.shape[-1] == 3:
        image = _with_channels(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return image


def surfaces(count: int, channels: int) -> list[Image]:
    """Return generated surfaces as `configs/synthetic.py` has them."""
    options = checked(synthetic.get_config("cpu").data)
    if channels != 1:
        return []
    made = (draw_image(options, describe(options, n % options.parts), 1) for n in range(count))
    return [_with_channels(image) for image in made]


class Looking:
    """What a predictor says of how images look, by the encoder alone: a fraction of the time."""

    def __init__(self, predictor: Predictor, network: Any, ema: Any):
        config = predictor.config
        of_frames = make_probabilities(network, config.data_info, config.evaluation)
        self._predictor, self._ema = predictor, ema
        self._program = jax.jit(lambda ema, image, shown: of_frames(ema, image, shown).sums)

    def __call__(self, images: Sequence[Image]) -> list[dict[str, Any]]:
        """Return lines as those of predictions.jsonl, as far as they tell how images look."""
        lines = []
        for start in range(0, len(images), BATCH):
            ready = [self._predictor.ready(image) for image in images[start : start + BATCH]]
            count = len(ready)
            ready += [ready[-1]] * (BATCH - count)
            frames, shown = (np.stack([getattr(r, n) for r in ready]) for n in ("image", "shown"))
            sums = np.asarray(self._program(self._ema, frames, shown))
            lines += [self._line(sums[:, n], start + n) for n in range(count)]
        return lines

    def _line(self, sums: np.ndarray, number: int) -> dict[str, Any]:
        predictor = self._predictor
        looks = appearance(sums, predictor.known, predictor.spec, predictor.unlike_rate)
        told = {"unlike": looks.unlike, "is_unlike": int(looks.is_unlike)}
        return {"id": str(number), **told, "look": looks.look._asdict()}


def main(_: Sequence[str]) -> None:
    """Print a line for each kind of image, and the cost; write all figures."""
    workdir = pathlib.Path(WORKDIR.value)
    trained = restore_trained(workdir, one_device_mesh())
    predictor = load(workdir)
    look, channels = Looking(predictor, trained.network, trained.ema), predictor.spec.channels
    groups = groups_of_test(workdir)
    own = dict(read_all(OWN.value, groups.__contains__, channels))
    lines = look(list(own.values()))
    figures = {"machine": machine(1), "own": of_own(lines, [groups[id] for id in own])}
    figures["own"]["warnings"] = warnings(lines, None, predictor.known, UNLIKE_RATE)
    print(json.dumps(figures["own"]))
    kinds = {pathlib.Path(path).name: path for path in OTHERS.value}
    rng = np.random.default_rng(0)
    found = {name: list(read_all(path, bool, channels)) for name, path in kinds.items()}
    foreign = {name: drawn([image for _, image in all], rng) for name, all in found.items()}
    foreign["generated surfaces"] = surfaces(IMAGES.value, channels)
    some = drawn(list(own.values()), rng)
    foreign |= {name: [change(image, rng) for image in some] for name, change in CHANGES.items()}
    figures["told apart"] = {}
    for name, images in foreign.items():
        others = look(images)
        row = against(lines, others) | {
            "warnings": warnings(others, None, predictor.known, UNLIKE_RATE)
        }
        figures["told apart"][name] = row
        print(f"{name}: {json.dumps(row)}", flush=True)
    figures["cost"] = cost(trained, predictor, [some[0]] * BATCH)  # one canvas
    print(f"cost: {json.dumps(figures['cost'])}")
    if OUTPUT.value:
        pathlib.Path(OUTPUT.value).write_text(json.dumps(figures, indent=2) + "\n")


def groups_of_test(workdir: pathlib.Path) -> dict[str, str]:
    """Return id -> part of the images that the network is tested on."""
    with (workdir / "split.csv").open(newline="") as file:
        return {row["id"]: row["group"] for row in csv.DictReader(file) if row["split"] == "test"}


def drawn(images: Sequence[Image], rng: np.random.Generator) -> list[Image]:
    """Return at most `--images` of the images."""
    chosen = rng.permutation(len(images))[: IMAGES.value]
    return [images[place] for place in chosen]


def of_own(lines: Sequence[Mapping], groups: Sequence[str]) -> dict[str, Any]:
    """Return how many own images, and own parts, are called unlike."""
    flags_of: dict[str, list[int]] = {}
    for line, group in zip(lines, groups, strict=True):
        flags_of.setdefault(group, []).append(line["is_unlike"])
    return {
        "images": len(lines),
        "called_unlike": sum(line["is_unlike"] for line in lines),
        "parts": len(flags_of),
        "parts_called_unlike": sum(any(flags) for flags in flags_of.values()),
    }


def against(own: Sequence[Mapping], others: Sequence[Mapping]) -> dict[str, Any]:
    """Return AUROC of the share, the share called unlike, and the median change of look."""
    label = [0] * len(own) + [1] * len(others)
    score = [-line["unlike"] for line in (*own, *others)]
    median = {
        name: round(float(np.median([line["look"][name] for line in others])), 3)
        for name in others[0]["look"]
    }
    return {
        "images": len(others),
        "auroc": round(float(roc_auc_score(label, score)), 4),
        "called_unlike": round(float(np.mean([line["is_unlike"] for line in others])), 4),
        "look": median,
    }


def cost(trained: Any, predictor: Predictor, images: Sequence[Image]) -> dict[str, Any]:
    """Return processor seconds an image with and without `unlike`, in turn, and their ratio."""
    without = Predictor(*trained, one_device_mesh())
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for turn in range(TURNS.value + 1):
        for name, each in (("with", predictor), ("without", without)):
            start = time.process_time()
            each.predict(list(images))
            seconds[name] += [(time.process_time() - start) / len(images)] * (turn > 0)
    ratios = np.divide(seconds["with"], seconds["without"])
    return {name: float(np.median(each)) for name, each in seconds.items()} | {
        "ratio": float(np.median(ratios)),
        "ratio_quartiles": np.quantile(ratios, [0.25, 0.75]).tolist(),
    }


if __name__ == "__main__":
    app.run(main)
