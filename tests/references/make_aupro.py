"""Writes aupro.json: what pyaupro and anomalib make of a few cases. Run once, with

    pip install torchmetrics==1.9.0 anomalib==2.7.0 pyaupro==0.1.11

and never by the tests: they read the values it left. pyaupro holds the curve as the authors of the
metric published it, anomalib one of its own.
"""

import json
import pathlib
from types import SimpleNamespace

import numpy as np
import torch
from anomalib.metrics import AUPRO
from pyaupro import PerRegionOverlap

LIMIT = 0.3
SHAPE = (3, 24, 20)
LEVELS = {"many ties": 10, "few ties": 1000, "all alike": 1}


def case(levels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Regions from one pixel to half an image, and probabilities in steps of 1 / `levels`."""
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) < 0.02
    mask[0, 2:14, 3:15] = mask[1, 20:, :2] = True
    probability = rng.random(SHAPE) * 0.8 + 0.2 * mask * rng.random(SHAPE)
    return (probability * levels).round() / levels, mask


def reference(probability: torch.Tensor, mask: torch.Tensor) -> float:
    """The authors' curve, joined by lines up to the limit."""
    curve = PerRegionOverlap(thresholds=None, reference_implementation=True)
    curve.update(probability, mask)
    rate, overlap = (values.numpy() for values in curve.compute())
    inside = rate < LIMIT
    overlap = np.append(overlap[inside], np.interp(LIMIT, rate, overlap))
    return float(np.trapezoid(overlap, np.append(rate[inside], LIMIT)) / LIMIT)


def main() -> None:
    cases = []
    for seed, (name, levels) in enumerate(LEVELS.items()):
        probability, mask = case(levels, seed)
        planes = torch.from_numpy(probability.astype(np.float32)), torch.from_numpy(mask).int()
        metric = AUPRO(fields=("probability", "mask"), fpr_limit=LIMIT)
        metric.update(SimpleNamespace(probability=planes[0], mask=planes[1]))
        values = {"reference": reference(*planes), "anomalib": metric.compute().item()}
        flat = {"levels": (probability * levels).round().astype(int).ravel().tolist()}
        flat |= {"mask": np.flatnonzero(mask).tolist(), "of": levels, "shape": SHAPE}
        cases.append({"name": name} | values | flat)
    path = pathlib.Path(__file__).with_name("aupro.json")
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
