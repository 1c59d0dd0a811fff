"""Writes a trained network as files that decide without this package (--mode=export)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jax import export as jax_export

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.decision.unlike import Known
from defect_jax.deploy import card, int8, parity
from defect_jax.deploy.inputs import ExampleImages
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.program import make_program, output_names
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.runtime import partial_folder
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, as_path, is_remote
from defect_jax.workdir.best_weights import Trained, restore_known, restore_trained

FIELD = "--output"
INPUT = "image"
STABLEHLO, ONNX, CARD = "model.stablehlo", "model.onnx", "model.json"
INT8 = "model.int8.onnx"
NOT_KNOWN = (
    "without the output unlike: the workdir has no known.safetensors for its checkpoint, which "
    "--mode=evaluate makes"
)
DTYPE = "float32"  # the one that every runtime has
PLATFORMS = ("cpu", "cuda", "tpu")
FOLDERS = "jax_hlo_source_file_canonicalization_regex"  # taken away from names of source files


def export(workdir: AnyPath, output: str, input: str | None = None) -> None:
    """Write model.stablehlo, model.onnx and model.json into a new folder, or nothing at all.

    Both models are run, on images of several sizes, before the folder appears.

    Args:
        input: images on which the scales of eight bits are chosen; model.int8.onnx is written
            where they are given.

    Raises:
        UserError: there is no trained network, or the folder cannot be written or is not empty, or
            images cannot be used, or the network not be written in eight bits.
        parity.Differs: the two models disagree.
    """
    folder = as_path(output)
    if is_remote(folder):
        raise UserError(f"{FIELD}: {output} must be a folder of this machine")
    trained = restore_trained(workdir, one_device_mesh())
    known = restore_known(workdir, trained)
    if trained.config.evaluation.dtype != DTYPE:
        raise UserError(
            f"config.evaluation.dtype is {trained.config.evaluation.dtype}: exported files "
            f"calculate in {DTYPE}, and thresholds have to be chosen in it; train with that"
        )
    images = None if input is None else ExampleImages(input, trained.config)
    with written_whole(folder, FIELD) as partial:
        files, largest = models(trained, known)
        change = None
        if images is not None:
            say("writing the ONNX file in eight bits …")
            # Rounded features are far from all that was seen: `unlike` would be of no use.
            whole = files[ONNX] if known is None else to_onnx_file(trained)
            files[INT8] = int8.quantised(whole, images)
            change = int8.change(files[ONNX], files[INT8], images)
        facts = trained.config, trained.rule, workdir, files, largest, change, known
        written = card.card(*facts)
        files[CARD] = written.encode()
        for name, data in files.items():
            (partial / name).write_bytes(data)
    sizes = ", ".join(f"{name} {len(data) / 1e6:.1f} MB" for name, data in files.items())
    say(f"wrote {folder}: {sizes}; largest difference of a probability {largest:.1e}")
    if known is None:
        say(NOT_KNOWN)
    if change is not None:
        say("in eight bits: " + ", ".join(f"{name} {value:.4g}" for name, value in change.items()))


def models(trained: Trained, known: Known | None = None) -> tuple[dict[str, bytes], float]:
    """Return both files by name, and by how much a probability of theirs differs at most.

    Args:
        known: what unlike images are told by; None: the files have no output for it.

    Raises:
        parity.Differs: they disagree.
    """
    program, shape = make_program(*trained, known), input_shape(InputSpec.of(trained.config))
    say("writing the network as StableHLO …")
    stablehlo = to_stablehlo(program, shape)
    say("writing the network as ONNX …")
    onnx = to_onnx_file(trained, known)
    step = 0.0 if known is None else 1 / (known.parts + 1)
    largest = parity.check(stablehlo, onnx, InputSpec.of(trained.config), step)
    return {STABLEHLO: stablehlo, ONNX: onnx}, largest


def to_onnx_file(trained: Trained, known: Known | None = None) -> bytes:
    """Return the network as ONNX; `known` as that of `models`."""
    program, shape = make_program(*trained, known), input_shape(InputSpec.of(trained.config))
    return to_onnx(program, {INPUT: shape}, output_names(known)).SerializeToString()


def input_shape(spec: InputSpec) -> jax.ShapeDtypeStruct:
    """Return images of any number and size, in the channels and depth that the network knows; of
    the region's size where it has one."""
    sides = f"{spec.region_px[0]}, {spec.region_px[1]}" if spec.region else "h, w"
    sizes = jax_export.symbolic_shape(f"b, {sides}, {spec.channels}")
    return jax.ShapeDtypeStruct(sizes, spec.dtype)


def to_stablehlo(function: Callable[..., Any], shape: jax.ShapeDtypeStruct) -> bytes:
    """Return the function for every platform, as `jax.export.deserialize` reads it."""

    def flat(image):  # the file shall need no class of ours
        return tuple(function(image))

    with _files_by_name():
        exported = jax_export.export(jax.jit(flat), platforms=PLATFORMS)(shape)
    return bytes(exported.serialize())


@contextmanager
def _files_by_name() -> Iterator[None]:
    """Have JAX write where a line of code is without its folder, which is this machine's."""
    before = getattr(jax.config, FOLDERS)
    jax.config.update(FOLDERS, ".*/")
    try:
        yield
    finally:
        jax.config.update(FOLDERS, before)


@contextmanager
def written_whole(folder: Path, field: str) -> Iterator[Path]:
    """Yield a folder beside `folder` to write into, which takes its place in the end.

    Raises:
        UserError: `folder` holds anything, or cannot be written; `field` is named.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{field}: {folder} is not empty: name a new folder")
        with partial_folder.beside(folder) as partial:
            yield partial
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
    except OSError as error:
        raise UserError(f"{field}: {folder} cannot be written: {error.strerror}") from error
