"""The same metrics of the same generated images, computed in five ways.

The packages are imported by the function that needs them: the rivals' environment lacks ours, and
on Linux a process starts with the peak of memory of the one that started it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

SIZE_PX, BATCH_SIZE, FPR_LIMIT = (640, 256), 10, 0.3


class Batch(NamedTuple):
    """What a network leaves to the metrics."""

    probability: Any  # shape=(BATCH_SIZE, h, w), float32, of a defect
    mask: Any  # the same shape, bool
    score: Any  # shape=(BATCH_SIZE,), of the image


Run = Callable[[Iterable[Batch]], dict[str, Any]]


def make_image(number: int) -> tuple[Any, Any, float]:
    """Return smooth noise, whose peaks are the defects, each image's found as well as chance
    wants."""
    import numpy as np

    rng = np.random.default_rng([0, number])
    smooth = rng.normal(size=[side // 32 + 2 for side in SIZE_PX])
    for axis, side in enumerate(SIZE_PX):
        low, part = np.divmod(np.arange(side) / 32, 1)
        part = part.reshape((-1, 1) if axis == 0 else (1, -1))
        near, far = (smooth.take(low.astype(int) + step, axis) for step in (0, 1))
        smooth = near * (1 - part) + far * part
    defective = number * 11 % 100 < 11
    mask = (smooth >= np.quantile(smooth, rng.uniform(0.95, 0.995))) & defective
    logits = 1.2 * rng.normal(size=SIZE_PX) + smooth - 7 + rng.uniform(1, 10) * mask
    score = 1 / (1 + np.exp(2 - 3 * defective - 1.5 * rng.normal()))
    return (1 / (1 + np.exp(-logits))).astype(np.float32), mask, score


def make_batches(images: int) -> Iterator[Batch]:
    import numpy as np

    for start in range(0, images, BATCH_SIZE):
        made = map(make_image, range(start, start + BATCH_SIZE))
        yield Batch(*map(np.stack, zip(*made, strict=True)))


def ours() -> Run:
    """Return every metric of metrics.json."""
    import jax
    import numpy as np

    from defect_jax.metrics.counts import PixelCounts, image_counts
    from defect_jax.metrics.histogram import PixelHistogram
    from defect_jax.metrics.images import ImageRow, image_metrics
    from defect_jax.metrics.regions import region_weights

    def update(state: Any, probability: Any, mask: Any, valid: Any, *regions: Any) -> Any:
        decided = probability >= 0.5
        histogram = state[0].update(probability, mask, valid, *regions)
        state = histogram, state[1].update(decided, mask, valid)
        image = image_counts(decided, mask, valid)
        return state, image | {"mask_score": probability.max(axis=(1, 2))}

    def row(score: Any, mask_score: Any, intersection: Any, true: Any, predicted: Any) -> ImageRow:
        decided = score >= 0.5, predicted > 0
        px, verdict = (intersection, true, predicted), (score, score >= 0.5)
        return ImageRow("", "", int(true > 0), score, mask_score, *decided, None, *px, *verdict)

    def run(batches: Iterable[Batch]) -> dict[str, Any]:
        began, images = time.perf_counter(), []
        state = PixelHistogram.empty(), PixelCounts.empty()
        types = ("float32", "bool", "bool", "float32")
        planes = [jax.ShapeDtypeStruct((BATCH_SIZE, *SIZE_PX), dtype) for dtype in types]
        regions = jax.ShapeDtypeStruct((BATCH_SIZE,), "int32")
        compiled = jax.jit(update).lower(state, *planes, regions).compile()
        compile_s = time.perf_counter() - began
        for batch in batches:
            weights, regions = zip(*map(region_weights, batch.mask), strict=True)
            valid, regions = np.ones_like(batch.mask), np.asarray(regions, np.int32)
            state, out = compiled(state, *batch[:2], valid, np.stack(weights), regions)
            out = {name: np.asarray(values).tolist() for name, values in out.items()}
            px = (out[f"{name}_px"] for name in ("intersection", "true", "predicted"))
            images += map(row, batch.score.tolist(), out["mask_score"], *px)
        values = state[0].compute() | state[1].compute() | image_metrics(images)
        return values | {"compile_s": compile_s, "brackets": state[0].brackets()}

    return run


def scikit_learn() -> Run:
    """Return all pixels kept; AUPRO with a step at every distinct probability."""
    import numpy as np
    from scipy import ndimage
    from sklearn import metrics as sk

    def weigh(mask: Any) -> tuple[Any, int]:
        labelled, regions = ndimage.label(mask, np.ones((3, 3)))
        size_px = np.bincount(labelled.ravel())
        return np.where(mask, 1 / size_px[labelled], 0).astype(np.float32), regions

    def aupro(probability: Any, mask: Any) -> float:
        weights, regions = zip(*map(weigh, mask), strict=True)
        good = probability[~mask]
        # The curve up to a little more than the limit, to interpolate there.
        above = probability >= np.quantile(good, 1 - FPR_LIMIT - 0.01)
        probability, mask, weight = probability[above], mask[above], np.stack(weights)[above]
        order = np.argsort(-probability)
        last = np.append(np.diff(probability[order]) != 0, True)
        overlap = np.append(0, np.cumsum(weight[order], dtype=np.float64)[last] / sum(regions))
        rate = np.append(0, np.cumsum(~mask[order])[last] / good.size)
        inside, at_limit = rate < FPR_LIMIT, np.interp(FPR_LIMIT, rate, overlap)
        overlap, rate = np.append(overlap[inside], at_limit), np.append(rate[inside], FPR_LIMIT)
        return np.trapezoid(overlap, rate) / FPR_LIMIT

    def run(batches: Iterable[Batch]) -> dict[str, Any]:
        probability, mask, score = map(np.concatenate, zip(*batches, strict=True))
        decided = probability >= 0.5
        values = image_values(mask.any((1, 2)), score) | {"aupro": aupro(probability, mask)}
        union_px, overlap_px = (decided | mask).sum((1, 2)), (decided & mask).sum((1, 2))
        values["seg_miou"] = np.mean(overlap_px[union_px > 0] / union_px[union_px > 0])
        mask, decided, probability = mask.ravel(), decided.ravel(), probability.ravel()
        return values | {
            "pixel_ap": sk.average_precision_score(mask, probability),
            "pixel_auroc": sk.auc(*sk.roc_curve(mask, probability)[:2]),  # the lean way
            "miou_pooled": sk.jaccard_score(mask, decided),
            "miou": sk.jaccard_score(mask, decided, average="macro"),
            "mpa": sk.balanced_accuracy_score(mask, decided),
        }

    return run


def image_values(label: Any, score: Any) -> dict[str, Any]:
    from sklearn import metrics as sk

    rate, recall, _ = sk.roc_curve(label, score, drop_intermediate=False)
    areas = {
        "image_ap": sk.average_precision_score(label, score),
        "image_auroc": sk.auc(rate, recall),
    }
    return areas | {"recall_at_fpr_05": recall[rate <= 0.05].max()}


def torchmetrics(thresholds: int | None) -> Run:
    """Return pixels by torchmetrics, images by scikit-learn; arguments unchecked, in its favour."""
    import numpy as np
    import torch
    from torchmetrics import MetricCollection
    from torchmetrics import classification as tm

    def run(batches: Iterable[Batch]) -> dict[str, Any]:
        curve, two = ({"validate_args": False} | more for more in ({}, {"num_classes": 2}))
        area = {"pixel_ap": tm.BinaryAveragePrecision, "pixel_auroc": tm.BinaryAUROC}
        area = {name: metric(thresholds=thresholds, **curve) for name, metric in area.items()}
        ranking = MetricCollection(area)  # one state for both
        jaccard = tm.MulticlassJaccardIndex(average="none", **two)
        accuracy = tm.MulticlassAccuracy(average="macro", **two)
        overlaps, labels, scores = [], [], []
        for batch in batches:
            probability, mask = torch.from_numpy(batch.probability), torch.from_numpy(batch.mask)
            decided = probability >= 0.5
            ranking.update(probability, mask)
            jaccard.update(decided.int(), mask.int())
            accuracy.update(decided.int(), mask.int())
            overlaps.append((decided & mask).sum((1, 2)) / (decided | mask).sum((1, 2)))
            labels.append(batch.mask.any((1, 2)))
            scores.append(batch.score)
        values = image_values(np.concatenate(labels), np.concatenate(scores)) | ranking.compute()
        good, defect = jaccard.compute()
        values |= {"miou_pooled": defect, "miou": (good + defect) / 2, "mpa": accuracy.compute()}
        return values | {"seg_miou": torch.cat(overlaps).nanmean()}  # 0 / 0 is a true negative

    return run


def anomalib() -> Run:
    """Return AUPRO and nothing else."""
    import torch
    from anomalib.metrics import AUPRO

    def run(batches: Iterable[Batch]) -> dict[str, Any]:
        metric = AUPRO(fields=("probability", "mask"), fpr_limit=FPR_LIMIT)
        for batch in batches:
            planes = torch.from_numpy(batch.probability), torch.from_numpy(batch.mask).int()
            metric.update(SimpleNamespace(probability=planes[0], mask=planes[1]))
        return {"aupro": metric.compute()}

    return run


CONTENDERS: dict[str, Callable[[], Run]] = {
    "ours": ours,
    "scikit-learn and NumPy": scikit_learn,
    "torchmetrics": lambda: torchmetrics(None),
    "torchmetrics, 200 thresholds": lambda: torchmetrics(200),
    "anomalib, AUPRO alone": anomalib,
}
