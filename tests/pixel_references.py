"""Metrics of pixels in another way than ours, slow and by their definition, and cases for them."""

import cv2
import numpy as np
from hypothesis import strategies as st
from sklearn import metrics as sk

from defect_jax.metrics.histogram import BINS, lower_edge
from defect_jax.metrics.regions import region_weights

SHAPE = (3, 5, 6)
EDGES = [np.float32(lower_edge(k)) for k in (1, 2, 2944, 3071, 3072, 3073, 4000, BINS - 1)]
BELOW = [np.nextafter(edge, np.float32(0)) for edge in EDGES]
ADVERSARIAL = [0.0, 1e-45, 2.0**-25, 1 - 2.0**-24, 1.0, *map(float, EDGES + BELOW)]


@st.composite
def pixel_cases(draw):
    """Three images of few probabilities; masks and padding none, some or all of an image."""
    seed, kinds = draw(st.integers(0, 2**32 - 1)), st.sampled_from([0.0, 0.15, 0.6, 1.0])
    values = st.one_of(st.sampled_from(ADVERSARIAL), st.floats(0, 1, width=32))
    palette = draw(st.lists(values, min_size=1, max_size=8))
    rng = np.random.default_rng(seed)

    def planes():
        return np.stack([rng.random(SHAPE[1:]) < draw(kinds) for _ in range(SHAPE[0])])

    mask, valid, decided = planes(), ~planes(), planes()
    # What is in the padding is anything, as long as it is not looked at.
    weights, regions = zip(*map(region_weights, mask & valid), strict=True)
    return {
        "probability": rng.choice(np.array(palette, np.float32), SHAPE),
        "mask": mask,
        "valid": valid,
        "region_weight": np.where(valid, weights, 1).astype(np.float32),
        "regions": np.array(regions, np.int32),
        "decided": decided,
    }


def ranking(scores, planes, valid=None):
    """The threshold-free metrics of scores that are equal where they tie; None: not defined."""
    valid = np.ones_like(planes) if valid is None else valid
    truth, values = planes[valid], scores[valid]
    both = truth.any() and not truth.all()
    return {
        "pixel_ap": sk.average_precision_score(truth, values) if truth.any() else None,
        "pixel_auroc": sk.roc_auc_score(truth, values) if both else None,
        "aupro": overlap_area(scores, planes & valid, valid) if both else None,
    }


def overlap_area(scores, planes, valid, limit=0.3):
    """AUPRO by going through every distinct score, regions by OpenCV."""
    regions = []
    for plane, mask in zip(scores, planes, strict=True):
        count, labelled = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [np.sort(plane[labelled == i]) for i in range(1, count)]
    good = np.sort(scores[valid & ~planes])
    steps = np.append(np.unique(scores[valid])[::-1], -1.0)
    above = [1 - np.searchsorted(region, steps) / region.size for region in regions]
    rate = np.append(0.0, 1 - np.searchsorted(good, steps) / good.size)
    overlap = np.append(0.0, np.mean(above, axis=0))
    at_limit = np.interp(limit, rate, overlap)  # the curve is continuous: a rate once or flat there
    inside = rate < limit
    overlap, rate = np.append(overlap[inside], at_limit), np.append(rate[inside], limit)
    return np.trapezoid(overlap, rate) / limit


def decided_metrics(decided, truth):
    """Pooled metrics of flat masks, by sets of pixels; a class that is nowhere is left out."""
    iou, found = {}, {}
    for label in (False, True):
        true, predicted = (set(np.flatnonzero(plane == label)) for plane in (truth, decided))
        if true | predicted:
            iou[label] = len(true & predicted) / len(true | predicted)
        if true:
            found[label] = len(true & predicted) / len(true)
    return {
        "miou_pooled": iou.get(True),
        "miou": np.mean(list(iou.values())) if iou else None,
        "mpa": np.mean(list(found.values())) if found else None,
    }
