"""model.json: all that must be known of an exported network by those who did not train it."""

import dataclasses
import hashlib
import importlib.metadata
import json
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import defect_jax
from defect_jax.data.geometry.channels import channel_names
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.region import from_text
from defect_jax.data.sources.data_sets import data_set
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Decision
from defect_jax.decision.look import QUARTILES, Look
from defect_jax.decision.unlike import UNLIKE_RATE, Known
from defect_jax.decision.ways import probability_threshold
from defect_jax.deploy.program import UNLIKE
from defect_jax.metrics.summary import read_metrics
from defect_jax.models.pretrained.sources import without_place
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import weights_record

UNLIKE_TEXT = (
    "float32 [b]: share of validation parts that look at least as strange as the image; of parts "
    "made and photographed as those, at most a share of a has an image with unlike <= a (twice "
    "that is proven where there are several members). The smaller, the less the decision is worth. "
    "Not in model.int8.onnx, whose rounded features look strange by themselves"
)
PACKAGES = ("jax", "flax", "onnx", "numpy")


def card(
    config: ConfigDict,
    rule: DecisionRule,
    workdir: AnyPath,
    files: Mapping[str, bytes],
    largest_difference: float,
    in_eight_bits: Mapping[str, int | float] | None = None,
    known: Known | None = None,
) -> str:
    """Return the card as JSON.

    Args:
        config: resolved, of the network.
        files: the models' names and bytes.
        largest_difference: of a probability between the first two, on made-up images.
        in_eight_bits: what `int8.change` says, where there is such a file.
        known: of the network, where the files have the output `unlike`.
    """
    began = weights_record.read(workdir)
    if began is not None and began.encoder != config.model.encoder:
        began = None  # of a run that was given up before its first checkpoint
    fields = {
        "made_by": {"defect_jax": defect_jax.__version__} | _versions(),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "input": _input(InputSpec.of(config)),
        "outputs": outputs() | ({} if known is None else {UNLIKE: UNLIKE_TEXT}),
        "classes": list(config.data_info.classes),
        "verdict": {
            "decides": rule.decides,
            "probability_threshold": probability_threshold(rule),
            "chosen_on": rule.chosen_on,
        },
        "part": _part(rule),
        "thresholds": dataclasses.asdict(rule),
        "metrics": _metrics(workdir),
        "data": {"name": config.data.name, "fingerprint": config.data_info.fingerprint},
        "licence": f"program: Apache-2.0; network: {data_set(config.data.name).licence}",
        "members": config.data.folds or 1,
        "model": config.model.to_dict() | {"weights": without_place(config.model.weights)},
        "encoder_began_with": None if began is None else began._asdict(),
        "largest_difference_of_a_probability": largest_difference,
    }
    if known is not None:
        fields[UNLIKE] = _unlike(known)
    if in_eight_bits is not None:
        fields["int8"] = dict(in_eight_bits)
    return json.dumps(fields, indent=2) + "\n"


def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def outputs() -> dict[str, str]:
    """Return the description of each output, from `Decision`."""
    hints = typing.get_type_hints(Decision, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def _unlike(known: Known) -> dict[str, Any]:
    """Return what it takes to use the output `unlike`."""
    looks = known.looks[QUARTILES].T.tolist()
    return {
        "parts": known.parts,  # of validation; the smallest share is 1 / (parts + 1)
        "called_unlike_from": UNLIKE_RATE,
        "training_quartiles": dict(zip(Look._fields, looks, strict=True)),
    }


def _input(spec: InputSpec) -> dict[str, Any]:
    return {
        "name": "image",
        "dtype": f"uint{spec.bit_depth}",
        "trained_on_values": np.transpose([spec.intensity.low, spec.intensity.high]).tolist(),
        "shape": ["b", *(spec.region_px or ("h", "w")), spec.channels],
        "channels": ", ".join(channel_names(spec.channels_of_lights)),
        "sizes": f"{_sizes(spec)}; {spec.framing.in_words()} and normalised inside",
        "size_rule": spec.framing.card(),
        "judged_share": float(from_text(spec.region).mean()) if spec.region else 1.0,
        "float_range": list(spec.float_range),  # what became 0 and 65535 of float images
        "fill": spec.fill,  # of pixels that are not to be judged in an image, before it is given
    }


def _sizes(spec: InputSpec) -> str:
    if spec.region:
        height, width = spec.region_px
        return f"{width}x{height} px alone, of which one region is judged (config.data.region)"
    return "any, all images of a call alike"


def _part(rule: DecisionRule) -> dict[str, Any] | None:
    """Return all numbers that decide on a part by the probabilities of its images; None where
    nothing could be chosen."""
    if rule.part is None or rule.sequential is None:
        return None
    test = dataclasses.asdict(rule.sequential)
    numbers = ("upper", "lower", "correlation", "effective_shots", "evidence")
    return {
        "shots": rule.part.shots,
        "threshold": rule.part.threshold,
        "order": "ids as text, as a camera numbers the images of a part",
        **{name: test[name] for name in numbers},
    }


def _metrics(workdir: AnyPath) -> dict[str, Any] | None:
    """Return those of the test split, with their intervals; None where it was not evaluated."""
    path = workdir / "eval" / "test" / "metrics.json"
    return read_metrics(path) if path.exists() else None
