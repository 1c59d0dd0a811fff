"""One record of a prepared set as what the network learns from, or is judged on."""

import dataclasses
from functools import cached_property
from typing import Any

import grain
import numpy as np

from defect_jax.data.files.record_encoding import (
    decode_classes,
    decode_ignored,
    decode_lights,
)
from defect_jax.data.geometry.framing import Change
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.letterbox import (
    Placement,
    letterbox_image,
    letterbox_mask,
    valid_area,
)
from defect_jax.data.pipeline.decoded_cache import Decoded
from defect_jax.data.pipeline.sampling import ImageRequest
from defect_jax.data.prepare.prepared import Split
from defect_jax.metrics.regions import region_weights
from defect_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class LoadTraining(grain.transforms.RandomMap):
    """Request -> one training element: image, mask, valid in the network's frame, label, masked.

    The mask is uint8 class ids, 0 for background; the label is 1.0 for an element with any defect:
    that of the part of the image that it shows. Where nobody has drawn the defect `masked` is 0.0:
    the mask, all 0, says nothing, and the label is that of the image.
    """

    split: Split
    spec: InputSpec
    change: Change

    def random_map(self, request: ImageRequest, rng: np.random.Generator) -> dict[str, Any]:
        found = decoded(self.split, request.row, self.spec)
        row = self.split.rows[int(request.row)]
        wanted = request.defective, self.change, rng, row.id
        part = self.spec.framing.training_part(*found, *wanted)
        return to_element(*part, self.spec, is_masked=bool(row.masked))


@dataclasses.dataclass(frozen=True)
class LoadNative(grain.transforms.Map):
    """Row number -> an element as that of `LoadTraining`, and the truth at native size.

    The truth is on a canvas that holds every image of the split. Where anything of the split is not
    judged, elements say what.
    """

    split: Split
    spec: InputSpec
    canvas_px: tuple[int, int]

    def map(self, row: int) -> dict[str, Any]:
        found, told = decoded(self.split, row, self.spec), self.split.rows[int(row)]
        mask = found.mask
        placement = self.spec.framing.place(mask.shape, told.id)
        element = to_element(*found, placement, self.spec, is_masked=bool(told.masked))
        weights, regions = region_weights(mask > 0)
        return (
            element
            | self._ignored(found)
            | {
                "row": np.int32(row),
                "placement": np.asarray(placement, np.float32),
                "native_size": np.asarray(mask.shape, np.int32),
                "native_mask": self._on_canvas(mask),
                "region_weight": self._on_canvas(weights),
                "regions": np.int32(regions),
            }
        )

    @cached_property
    def _says_what_is_ignored(self) -> bool:
        return any(row.ignored_px for row in self.split.rows)

    def _ignored(self, found: Decoded) -> dict[str, np.ndarray]:
        if not self._says_what_is_ignored:
            return {}
        ignored = np.zeros_like(found.mask) if found.ignored is None else found.ignored
        return {"native_ignored": self._on_canvas(ignored)}

    def _on_canvas(self, plane: np.ndarray) -> np.ndarray:
        canvas = np.zeros(self.canvas_px, plane.dtype)
        canvas[: plane.shape[0], : plane.shape[1]] = plane
        return canvas


def decoded(split: Split, row: int, spec: InputSpec) -> Decoded:
    """Return the image of a row and the truth about it, in the network's channels, depth and
    classes.

    Where the split keeps them they are not to be written into, and of one specification.

    Raises:
        UserError: table and images of the prepared set do not belong together, or the image is of
            another depth.
    """

    def decode() -> Decoded:
        record, told = split.source[int(row)], split.rows[int(row)]
        name = record["id"].decode()
        if (name, int(record["label"])) != (told.id, told.label):
            raise UserError(
                f"{told.id}: is another image in the prepared set than in its split.csv: delete "
                "the set, so that it is prepared again"
            )
        lights, ignored = decode_lights(record["image"]), None
        image = spec.common(spec.shot(lights, name), name)
        if told.ignored_px:
            ignored = decode_ignored(record["ignored"])
            image = spec.hidden(image, ignored)
        if not (told.label and told.masked):  # an empty one takes half as long as an image
            return Decoded(image, np.zeros(image.shape[:2], np.uint8), ignored)
        return Decoded(image, spec.known(decode_classes(record["mask"])), ignored)

    cache, disturbance = split.decoded_cache, split.disturbance
    found = decode() if cache is None else cache.get(int(row), decode)
    return found if disturbance is None else disturbance(found, split.rows[int(row)].id)


def to_element(
    image: np.ndarray,
    mask: np.ndarray,
    ignored: np.ndarray | None,
    placement: Placement,
    spec: InputSpec,
    is_masked: bool,
) -> dict[str, Any]:
    """Return the image, mask, valid, label and masked of an image, or part of one, placed in the
    frame.

    Args:
        image: in counts; the element's image is float32, in shares of the measured range.
        ignored: what is not judged: it is not valid.
        is_masked: False for a defective image of which nobody has drawn the defect.
    """
    framed_mask = letterbox_mask(mask, placement, spec.size_px)
    valid = valid_area(placement, spec.size_px)
    if ignored is not None:
        valid &= letterbox_mask(ignored > 0, placement, spec.size_px) == 0
    return {
        "image": letterbox_image(spec.intensity.shares(image), placement, spec.size_px),
        "mask": framed_mask,
        "valid": valid,
        "label": np.float32(framed_mask.any() or not is_masked),
        "masked": np.float32(is_masked),
    }
