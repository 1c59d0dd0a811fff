"""model.json: all that must be known of an exported network by those who did not train it."""

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import defect_jax
from defect_jax.data.tiles import is_tiled
from defect_jax.decision import DecisionRule
from defect_jax.paths import AnyPath, read_text

PACKAGES = ("jax", "flax", "onnx", "numpy")
OUTPUTS = {
    "probability": "float32 [b]: of a defect, calibrated on the validation split",
    "rejected": "bool [b]: score >= thresholds.threshold",
    "mask": "uint8 [b, h, w]: class of each pixel: 0 = good, otherwise its place in classes",
    "score": "float32 [b]: of the classification head, before calibration",
    "mask_score": "float32 [b]: highest probability of a pixel",
    "mask_rejected": "bool [b]: whether the mask marks anything",
}
LICENCES = {
    "ksdd2": "trained on KolektorSDD2, CC BY-NC-SA 4.0: no commercial use",
    "bsdata": "trained on BSData, CC BY-SA 4.0: name its authors",
    "magnetic_tile": "trained on Magnetic Tile, which asks that its paper be cited",
    "synthetic": "trained on generated pictures, free of rights of others",
    "folder": "trained on your own pictures: what holds for them holds for the network",
}


def card(
    config: ConfigDict,
    rule: DecisionRule,
    workdir: AnyPath,
    files: Mapping[str, bytes],
    largest_difference: float,
) -> str:
    """The card as JSON.

    Args:
        config: resolved, of the network.
        files: the models' names and bytes.
        largest_difference: of a probability between them, on made-up pictures.
    """
    fields = {
        "made_by": {"defect_jax": defect_jax.__version__} | _versions(),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "input": _input(config),
        "outputs": OUTPUTS,
        "classes": list(config.picture.classes),
        "thresholds": dataclasses.asdict(rule),
        "metrics": _metrics(workdir),
        "data": {"name": config.data.name, "fingerprint": config.picture.fingerprint},
        "licence": f"program: Apache-2.0; network: {LICENCES[config.data.name]}",
        "model": config.model.to_dict(),
        "largest_difference_of_a_probability": largest_difference,
    }
    return json.dumps(fields, indent=2) + "\n"


def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def _input(config: ConfigDict) -> dict[str, Any]:
    picture, seen = config.picture, "cut into tiles" if is_tiled(config) else "scaled, padded"
    return {
        "name": "image",
        "dtype": f"uint{picture.bit_depth}",
        "shape": ["b", "h", "w", picture.channels],
        "channels": "grey" if picture.channels == 1 else "red, green, blue",
        "sizes": f"any, all pictures of a call alike; {seen} and normalised inside",
        "size_rule": _tiles(config.data) if is_tiled(config) else _one_frame(config.data),
    }


def _one_frame(data: ConfigDict) -> dict[str, Any]:
    return {
        "size_px": list(data.size),
        "max_scale": data.max_scale,
        "max_stretch": data.max_stretch,
        "smallest_scale_seen": data.min_scale,
    }


def _tiles(data: ConfigDict) -> dict[str, Any]:
    return {
        "tile_px": list(data.size),
        "overlap_px": data.tile_overlap_px,
        "scale": 1.0,
        "beyond_the_picture": "half on each side, mirrored",
        "score": "highest of the tiles",
    }


def _metrics(workdir: AnyPath) -> dict[str, Any] | None:
    """Of the test split, with their intervals; None where it was not evaluated."""
    path = workdir / "eval" / "test" / "metrics.json"
    return json.loads(read_text(path)) if path.exists() else None
