"""The features of a set that TFDS has prepared, and what one example holds of each.

An example is a `tf.train.Example`: a value, or a list of them, under each feature's name. Encoded
images come as they are stored, byte for byte; what is stored as a tensor becomes a PNG.
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped

from defect_jax.data.files.bounded import BadFile

PLACE = "tensorflow_datasets.core.features."
# The classes that are read -> the field of features.json that describes them. Another class is
# passed over, and refused where it is asked for; none is imported.
CLASSES = {
    f"{PLACE}image_feature.Image": "image",
    f"{PLACE}labeled_image.LabeledImage": "image",
    f"{PLACE}tensor_feature.Tensor": "tensor",
    f"{PLACE}scalar.Scalar": "tensor",
    f"{PLACE}class_label_feature.ClassLabel": "classLabel",
    f"{PLACE}text_feature.Text": "text",
}
GROUP = f"{PLACE}features_dict.FeaturesDict"
WHOLE = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
TEXTS = ("string", "object", "str")
ENCODINGS = ("none", "bytes", "zlib")
ANY = -1  # of a shape: another for each example
MOST_DEPTH = 8


class NotTfds(ValueError):
    """A file is not as TFDS writes it; the message says what is wrong, without the file's name."""


class Feature(NamedTuple):
    """What is known of a feature.

    Attributes:
        class_name: the Python class, as it is written there; it is never imported.
        field: see `CLASSES`; "" for a class that is not read.
        dtype: of its values.
        shape: -1 where each example has its own.
        encoding: of a tensor: "none", "bytes" or "zlib".
        classes: of a ClassLabel, how many.
    """

    class_name: str
    field: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()
    encoding: str = "none"
    classes: int = 0

    @property
    def is_picture(self) -> bool:
        """Return whether it can be an image or a mask."""
        if self.field == "image":
            return self.dtype in ("uint8", "uint16") and len(self.shape) == 3
        return self.field == "tensor" and self.dtype in WHOLE and len(self.shape) in (2, 3)

    @property
    def is_number(self) -> bool:
        """Return whether it is one whole number, or true or false."""
        scalar = self.field == "tensor" and self.dtype in WHOLE and not self.shape
        return self.field == "classLabel" or scalar and self.encoding == "none"

    @property
    def is_name(self) -> bool:
        """Return whether it can name an image or a part: a text or a number."""
        text = self.field == "tensor" and self.dtype in TEXTS and not self.shape
        return self.field == "text" or text or self.is_number


def all_features(found: Any) -> dict[str, Feature]:
    """Return the features that a features.json describes, by name, `outer/inner` inside others.

    Raises:
        NotTfds: it is not as TFDS writes it today.
    """
    if not isinstance(found, Mapping) or found.get("pythonClassName") != GROUP:
        raise NotTfds("is no FeaturesDict, as TFDS writes it today")
    return dict(_inside(found, "", 0))


def _inside(group: Mapping[str, Any], above: str, depth: int) -> Iterator[tuple[str, Feature]]:
    features = _fields(_fields(group, "featuresDict"), "features")
    for name, found in features.items():
        if not isinstance(found, Mapping) or not isinstance(found.get("pythonClassName"), str):
            raise NotTfds(f"has a feature {name[:40]!r} without a pythonClassName")
        if found["pythonClassName"] == GROUP and depth < MOST_DEPTH:
            yield from _inside(found, f"{above}{name}/", depth + 1)
        else:
            yield f"{above}{name}", _feature(name, found)


def _feature(name: str, found: Mapping[str, Any]) -> Feature:
    class_name = found["pythonClassName"]
    field = CLASSES.get(class_name, "")
    if not field:
        return Feature(class_name)
    about = _fields(found, field)
    try:
        shape = [int(n) for n in _fields(about, "shape").get("dimensions", [])]
        classes = int(about.get("numClasses", 0))
    except (TypeError, ValueError):
        raise NotTfds(f"has a feature {name[:40]!r} whose sizes are no numbers") from None
    dtype, encoding = about.get("dtype", ""), about.get("encoding", "none")
    if not isinstance(dtype, str) or encoding not in ENCODINGS or min([*shape, 0]) < ANY:
        raise NotTfds(f"has a feature {name[:40]!r} of a kind that is not known")
    return Feature(class_name, field, dtype, tuple(shape), encoding, classes)


def _fields(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    fields = found.get(name, {})
    if not isinstance(fields, Mapping):
        raise NotTfds(f"has something else than fields in {name}")
    return fields


def picture(feature: Feature, name: str, example: Mapping[str, Any], most_px: int) -> bytes:
    """Return the encoded image of an example: as it is stored, or as a PNG of a tensor.

    Args:
        example: the `feature` field of a `tf.train.Example`.
        most_px: a larger tensor is refused before memory is spent on it.

    Raises:
        BadFile: the example lacks it, or it is no image.
    """
    if feature.field == "image":
        return _one(example, name, "bytes_list")
    pixels = _tensor(feature, name, example, most_px)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] not in (1, 3) or not pixels.size:
        raise BadFile(f"is a tensor of shape {pixels.shape}: store height, width and 1 or 3 values")
    done, data = cv2.imencode(".png", _narrowed(pixels)[..., ::-1])
    if not done:
        raise BadFile(f"is a tensor of shape {pixels.shape}, which could not be encoded as PNG")
    return data.tobytes()


def number(name: str, example: Mapping[str, Any]) -> int:
    """Return the whole number that an example holds; true is 1.

    Raises:
        BadFile: the example lacks it.
    """
    return _one(example, name, "int64_list")


def text(feature: Feature, name: str, example: Mapping[str, Any]) -> str:
    """Return the text, or the number as text.

    Raises:
        BadFile: the example lacks it, or it is no UTF-8.
    """
    if feature.is_number:
        return str(number(name, example))
    try:
        return _one(example, name, "bytes_list").decode("utf-8")
    except UnicodeDecodeError:
        raise BadFile(f"holds a {name!r} that is no UTF-8: store text") from None


def _one(example: Mapping[str, Any], name: str, kind: str) -> Any:
    values = _values(example, name, kind)
    if len(values) != 1:
        raise BadFile(f"holds {len(values)} values of {name!r} and not one: prepare the set again")
    return values[0]


def _values(example: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in example or not example[name].HasField(kind):
        raise BadFile(f"holds no {name!r} of the kind that features.json says: prepare it again")
    return getattr(example[name], kind).value


def _tensor(
    feature: Feature, name: str, example: Mapping[str, Any], most_px: int
) -> Shaped[np.ndarray, "..."]:
    """Return the values of a tensor, `h w` or `h w c`.

    Without TensorFlow TFDS itself cannot read back what it encodes as bytes.
    """
    shape, key = _shape(feature, name, example)
    if math.prod(side for side in shape if side != ANY) > most_px * 3:
        raise BadFile(f"is a tensor of shape {shape}: raise config.data.max_megapixels for it")
    try:
        if feature.encoding == "none":
            return np.array(_values(example, key, "int64_list"), feature.dtype).reshape(shape)
        data, dtype = _one(example, key, "bytes_list"), np.dtype(feature.dtype)
        if feature.encoding == "zlib":
            # One byte more than there may be, so that what is larger fails below.
            data = zlib.decompressobj().decompress(data, most_px * 3 * dtype.itemsize + 1)
        return np.frombuffer(data, dtype).reshape(shape)
    except (ValueError, OverflowError, zlib.error) as error:
        raise BadFile(f"holds a {name!r} that is not of shape {shape} ({str(error):.80})") from None


def _shape(feature: Feature, name: str, example: Mapping[str, Any]) -> tuple[list[int], str]:
    """Return the shape of a tensor, with one open side at most, and where its values are.

    TFDS stores the shape beside the values where more than one side is open.
    """
    if feature.shape.count(ANY) < 2:
        return list(feature.shape), name
    shape = list(_values(example, f"{name}/shape", "int64_list"))
    if len(shape) != len(feature.shape) or min(shape) < 0:
        raise BadFile(f"holds a {name!r} of shape {shape}: prepare the set again")
    return shape, f"{name}/value"


def _narrowed(pixels: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "h w c"]:
    """Return the same values in a type that PNG has; 8 or 16 bits stay as they are.

    Raises:
        BadFile: PNG cannot hold them.
    """
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise BadFile(f"is a tensor of values from {low} to {high}: store 8 or 16 bits")
    return pixels.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
