"""Does the network decide alike in Python, as StableHLO without this package, as ONNX without JAX?

    launch/local.sh --mode=export --workdir=runs/folder --output=exported
    python3 -m venv only_jax && only_jax/bin/pip install "jax==0.10.2" flatbuffers
    python3 -m venv only_onnx && only_onnx/bin/pip install onnxruntime numpy
    launch/module.sh benchmarks.parity --workdir=runs/folder --exported=exported --input=my_parts \
        --jax_python=only_jax/bin/python --onnx_python=only_onnx/bin/python

Takes images of `--input` and as many made-up ones of odd sizes, black, white and one pixel wide,
and compares every decision, probability and pixel of the masks. Without a workdir it exports and
compares networks of random weights, for grey, RGB and 16-bit images, scaled and through tiles:

    launch/module.sh benchmarks.parity --images=40 \
        --jax_python=only_jax/bin/python --onnx_python=only_onnx/bin/python
"""

import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags
from jaxtyping import UInt
from ml_collections import ConfigDict

from benchmarks.random_networks import random_networks, with_thresholds
from defect_jax.data.files.images import decode_image
from defect_jax.data.geometry.intensity import IntensityRange
from defect_jax.decision.apply import Decision
from defect_jax.deploy.export import ONNX, STABLEHLO, models
from defect_jax.deploy.inputs import open_input
from defect_jax.deploy.parity import PROBABILITIES
from defect_jax.deploy.predictor import Predictor, load
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.runtime.console import say

WORKDIR = flags.DEFINE_string("workdir", None, "Of the trained network; else random ones.")
EXPORTED = flags.DEFINE_string("exported", None, "Folder of --mode=export, with --workdir.")
INPUT = flags.DEFINE_string("input", None, "Images; else all are made up.")
IMAGES = flags.DEFINE_integer("images", 200, "In all, at most half of them from --input.")
JAX_PYTHON = flags.DEFINE_string("jax_python", sys.executable, "With jax, for StableHLO.")
ONNX_PYTHON = flags.DEFINE_string("onnx_python", sys.executable, "With onnxruntime.")
ODD_SIDES_PX = (1, 2, 7, 33, 64, 127, 200, 333)

SCRIPT = """
import sys, pathlib
sys.modules["defect_jax"] = None
import numpy as np
model, folder = sys.argv[1:]
{load}
for path in sorted(pathlib.Path(folder).glob("*.in.npy")):
    np.savez(str(path)[:-7] + ".{name}.npz", *map(np.asarray, call(np.load(path))))
"""
LOAD_STABLEHLO = """
from jax import export
call = export.deserialize(bytearray(open(model, "rb").read())).call
"""
LOAD_ONNX = """
sys.modules["jax"] = None
import onnxruntime
session = onnxruntime.InferenceSession(model)
call = lambda images: session.run(None, {"image": images})
"""


def main(_: Sequence[str]) -> None:
    """Print one line for each exported file of each network."""
    print("| network | file | decisions that differ | probability, at most | mask pixels |")
    print("| --- | --- | --- | --- | --- |")
    if WORKDIR.value:
        predictor = load(WORKDIR.value)
        compare("trained", predictor, pathlib.Path(EXPORTED.value), examples(predictor.config))
        return
    for name, trained in random_networks():
        images = examples(trained.config)
        trained = with_thresholds(trained, images)
        with tempfile.TemporaryDirectory() as folder:
            for file, data in models(trained)[0].items():
                (pathlib.Path(folder) / file).write_bytes(data)
            predictor = Predictor(*trained, one_device_mesh())
            compare(name, predictor, pathlib.Path(folder), images)


def compare(
    network: str,
    predictor: Predictor,
    exported: pathlib.Path,
    images: Sequence[UInt[np.ndarray, "h w c"]],
) -> None:
    """Run both files of a network in Pythons of their own, and print what differs."""
    decisions = predictor.predict(list(images))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for number, image in enumerate(images):
            np.save(folder / f"{number:04}.in.npy", image[None])
        for name, script, python in (
            (STABLEHLO, LOAD_STABLEHLO, JAX_PYTHON.value),
            (ONNX, LOAD_ONNX, ONNX_PYTHON.value),
        ):
            source = SCRIPT.format(load=script, name=name)
            subprocess.run([python, "-c", source, str(exported / name), str(folder)], check=True)
            print(f"| {network} {compared(name, folder, decisions)}", flush=True)
    rejected = sum(decision.rejected for decision in decisions)
    marked = sum(decision.mask_rejected for decision in decisions)
    say(f"{len(images)} images: {rejected} rejected by the score, {marked} by the mask")


def examples(config: ConfigDict) -> list[UInt[np.ndarray, "h w c"]]:
    """Return those of --input that a network takes, and made-up ones."""
    images = list(real(config)) if INPUT.value else []
    return [*images, *made_up(config, IMAGES.value - len(images))]


def real(config: ConfigDict) -> Iterator[UInt[np.ndarray, "h w c"]]:
    """Yield images of --input, evenly over it, without those of too many channels or bits."""
    raw, inputs, _ = open_input(INPUT.value)
    wanted = min(IMAGES.value // 2, len(inputs))
    for place in np.linspace(0, len(inputs) - 1, wanted).astype(int):
        image = decode_image(raw.read(inputs[place].name))
        fits = image.shape[2] <= config.data_info.channels
        if fits and image.itemsize * 8 <= config.data_info.bit_depth:
            yield widened(image, config)


def made_up(config: ConfigDict, count: int) -> Iterator[UInt[np.ndarray, "h w c"]]:
    """Yield noise with a patch at odd sizes, black, white, and one pixel wide."""
    rng = np.random.default_rng(0)
    info = config.data_info
    dtype = np.uint8 if info.bit_depth == 8 else np.uint16
    for number in range(count):
        height, width = rng.choice(ODD_SIDES_PX, 2)
        image = rng.normal(info.mean, info.std, (height, width, info.channels))
        image[height // 3 : height // 2, width // 3 : width // 2] += rng.uniform(-0.5, 0.5)
        if number % 10 < 2:
            image[:] = number % 10
        yield IntensityRange.of(info).counts(image, dtype)


def widened(image: UInt[np.ndarray, "h w c"], config: ConfigDict) -> UInt[np.ndarray, "h w c"]:
    """Return channels and depth that an exported file takes; `Predictor.predict` widens by
    itself."""
    info = config.data_info
    image = np.repeat(image, info.channels // image.shape[2], axis=2)
    return image.astype(np.uint16) * 257 if image.itemsize * 8 < info.bit_depth else image


def compared(name: str, folder: pathlib.Path, decisions: Sequence[Decision]) -> str:
    """Return the line of a file, but for its network."""
    different, largest, pixels, of = 0, 0.0, 0, 0
    for number, decision in enumerate(decisions):
        with np.load(folder / f"{number:04}.{name}.npz") as arrays:
            outputs = dict(zip(Decision._fields, arrays.values(), strict=True))
        both = ("rejected", "mask_rejected")
        different += any(bool(outputs[key][0]) != getattr(decision, key) for key in both)
        for key in PROBABILITIES:
            largest = max(largest, abs(float(outputs[key][0]) - getattr(decision, key)))
        pixels += int((outputs["mask"][0] != decision.mask).sum())
        of += decision.mask.size
    return f"| {name} | {different} of {len(decisions)} | {largest:.1e} | {pixels} of {of:,} |"


if __name__ == "__main__":
    app.run(main)
