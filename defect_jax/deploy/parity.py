"""Whether the two exported models say the same, before anybody relies on one of them."""

from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax import export as jax_export
from jaxtyping import UInt

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.decision.apply import Decision
from defect_jax.deploy.program import UNLIKE
from defect_jax.runtime.compilation import free_some
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.program_memory import refuse_too_large

PROBABILITIES = ("probability", "score", "mask_score")
MOST_PROBABILITY = 1e-4
MOST_PIXELS = 1e-5  # share of the mask's pixels; those at the very threshold may fall either way


class Differs(RuntimeError):
    """Two models of the same network decide differently: a bug of ours."""


def check(stablehlo: bytes, onnx: bytes, spec: InputSpec, unlike_step: float = 0.0) -> float:
    """Run both models on made-up images; return the largest difference of a probability.

    Args:
        unlike_step: that one part makes in `unlike`; images as strange as a part may fall to either
            side of it.

    Raises:
        Differs: by more than `MOST_PROBABILITY`, in a decision, or in more than `MOST_PIXELS`.
        UserError: the network's answer is no number.
    """
    ours, theirs = of_stablehlo(stablehlo), of_onnx(onnx)
    largest, pixels, different = 0.0, 0, 0
    for images in example_images(spec):
        one, two = ours(images), theirs(images)
        for name in PROBABILITIES:
            refuse_no_number(name, images, one[name], two[name])
            largest = max(largest, float(np.abs(one[name] - two[name]).max()))
        pixels += one["mask"].size
        different += int((one["mask"] != two["mask"]).sum())
        if UNLIKE in one and np.abs(one[UNLIKE] - two[UNLIKE]).max() > 1.5 * unlike_step:
            raise Differs(f"images of {images.shape[1:3]} px are not unlike to the same share")
        if any(not np.array_equal(one[n], two[n]) for n in ("rejected", "score_rejected")):
            raise Differs(f"images of {images.shape[1:3]} px are decided differently")
    if largest > MOST_PROBABILITY:
        raise Differs(f"probabilities differ by {largest}")
    if different > max(1, MOST_PIXELS * pixels):
        raise Differs(f"masks differ in {different} of {pixels} pixels")
    return largest


def refuse_no_number(name: str, images: np.ndarray, *answers: Sequence | np.ndarray) -> None:
    """Refuse answers that cannot be compared: every comparison with NaN would pass.

    Raises:
        UserError: naming the output and the size of the images.
    """
    for answer in map(np.asarray, answers):
        if not np.isfinite(answer).all():
            height, width = images.shape[1:3]
            raise UserError(
                f"the network's {name} is {answer[~np.isfinite(answer)][0]} on images of "
                f"{height}x{width} px, which is no number: nothing is written; train anew"
            )


def of_stablehlo(data: bytes):
    """Return the model as a function of images [b h w c] to its outputs by name.

    It raises UserError where the program for a size needs more memory than is free.
    """
    program = jax.jit(jax_export.deserialize(bytearray(data)).call)

    def outputs(images: np.ndarray) -> dict[str, np.ndarray]:
        compiled = program.lower(images).compile()
        height, width = images.shape[1:3]
        refuse_too_large(f"exported program on {height}x{width} px", compiled, free_some)
        # Without `unlike`, where it is not known, there is one output less.
        return dict(zip((*Decision._fields, UNLIKE), map(np.asarray, compiled(images))))  # noqa: B905

    return outputs


def of_onnx(data: bytes):
    """Return the same, run by onnxruntime on the CPU, after onnx's own checker."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(data, full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


def example_images(spec: InputSpec) -> Iterator[UInt[np.ndarray, "b h w c"]]:
    """Yield noise of the frame's size, larger, smaller, one pixel wide; the darkest and the
    brightest of training."""
    rng = np.random.default_rng(0)
    sizes = [(2, *spec.region_px)] if spec.region else spec.framing.example_sizes()
    for size in sizes:
        noise = rng.normal(spec.mean, spec.std, (*size, spec.channels))
        yield spec.intensity.counts(noise, spec.dtype)
    for value in (spec.intensity.low, spec.intensity.high):
        shape = (1, *(spec.region_px or spec.size_px), spec.channels)
        yield np.full(shape, value, spec.dtype)
