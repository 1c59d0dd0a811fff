"""Does the network decide alike in Python, as StableHLO without this package, as ONNX without JAX?

    launch/local.sh --mode=export --workdir=runs/folder --output=exported
    python3 -m venv only_jax && only_jax/bin/pip install "jax==0.10.2" flatbuffers
    python3 -m venv only_onnx && only_onnx/bin/pip install onnxruntime numpy
    launch/module.sh benchmarks.parity --workdir=runs/folder --exported=exported --input=my_parts \
        --jax_python=only_jax/bin/python --onnx_python=only_onnx/bin/python

Takes pictures of `--input` and as many made-up ones of odd sizes, black, white and one pixel wide,
and compares every decision, probability and pixel of the masks.
"""

import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags
from jaxtyping import UInt

from defect_jax.data.images import decode_image
from defect_jax.deployed import OUTPUTS
from defect_jax.exported.parity import PROBABILITIES
from defect_jax.prediction.inputs import open_input
from defect_jax.predictor import Decision, Predictor, load

WORKDIR = flags.DEFINE_string("workdir", None, "Of the trained network.", required=True)
EXPORTED = flags.DEFINE_string("exported", None, "Folder of --mode=export.", required=True)
INPUT = flags.DEFINE_string("input", None, "Pictures.", required=True)
PICTURES = flags.DEFINE_integer("pictures", 200, "In all, half of them from --input.")
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
STABLEHLO = """
from jax import export
call = export.deserialize(bytearray(open(model, "rb").read())).call
"""
ONNX = """
sys.modules["jax"] = None
import onnxruntime
session = onnxruntime.InferenceSession(model)
call = lambda images: session.run(None, {"image": images})
"""


def main(_: Sequence[str]) -> None:
    """Prints one line for each exported file."""
    predictor = load(WORKDIR.value)
    images = [*real(predictor), *made_up(predictor)]
    decisions = [predictor.predict(image) for image in images]
    rejected = sum(decision.rejected for decision in decisions)
    marked = sum(decision.mask_rejected for decision in decisions)
    print(f"{len(images)} pictures: {rejected} rejected by the score, {marked} by the mask")
    print("| file | decisions that differ | largest difference of a probability | mask pixels |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for number, image in enumerate(images):
            np.save(folder / f"{number:04}.in.npy", image[None])
        for name, script, python in (
            ("model.stablehlo", STABLEHLO, JAX_PYTHON.value),
            ("model.onnx", ONNX, ONNX_PYTHON.value),
        ):
            source = SCRIPT.format(load=script, name=name)
            model = pathlib.Path(EXPORTED.value) / name
            subprocess.run([python, "-c", source, str(model), str(folder)], check=True)
            print(compared(name, folder, decisions), flush=True)


def real(predictor: Predictor) -> Iterator[UInt[np.ndarray, "h w c"]]:
    """Pictures of --input, evenly over it."""
    raw, inputs = open_input(INPUT.value)
    wanted = min(PICTURES.value // 2, len(inputs))
    for place in np.linspace(0, len(inputs) - 1, wanted).astype(int):
        yield widened(decode_image(raw.read(inputs[place].name)), predictor)


def made_up(predictor: Predictor) -> Iterator[UInt[np.ndarray, "h w c"]]:
    """Noise with a patch at odd sizes, black, white, and one pixel wide."""
    rng = np.random.default_rng(0)
    picture = predictor.config.picture
    dtype = np.uint8 if picture.bit_depth == 8 else np.uint16
    for number in range(PICTURES.value - PICTURES.value // 2):
        height, width = rng.choice(ODD_SIDES_PX, 2)
        image = rng.normal(picture.mean, picture.deviation, (height, width, picture.channels))
        image[height // 3 : height // 2, width // 3 : width // 2] += rng.uniform(-0.5, 0.5)
        if number % 10 < 2:
            image[:] = number % 10
        yield (np.clip(image, 0.0, 1.0) * np.iinfo(dtype).max).astype(dtype)


def widened(image: UInt[np.ndarray, "h w c"], predictor: Predictor) -> UInt[np.ndarray, "h w c"]:
    """Channels and depth that an exported file takes; `Predictor.predict` widens by itself."""
    picture = predictor.config.picture
    image = np.repeat(image, picture.channels // image.shape[2], axis=2)
    return image.astype(np.uint16) * 257 if image.itemsize * 8 < picture.bit_depth else image


def compared(name: str, folder: pathlib.Path, decisions: Sequence[Decision]) -> str:
    """The line of a file."""
    different, largest, pixels, of = 0, 0.0, 0, 0
    for number, decision in enumerate(decisions):
        with np.load(folder / f"{number:04}.{name}.npz") as arrays:
            outputs = dict(zip(OUTPUTS, arrays.values(), strict=True))
        both = ("rejected", "mask_rejected")
        different += any(bool(outputs[key][0]) != getattr(decision, key) for key in both)
        for key in PROBABILITIES:
            largest = max(largest, abs(float(outputs[key][0]) - getattr(decision, key)))
        pixels += int((outputs["mask"][0] != decision.mask).sum())
        of += decision.mask.size
    return f"| {name} | {different} of {len(decisions)} | {largest:.1e} | {pixels} of {of:,} |"


if __name__ == "__main__":
    app.run(main)
