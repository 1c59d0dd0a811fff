"""Several trained networks on the same images: what differs, by how much, and where to look."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from defect_jax.data.files.masks import decode_mask
from defect_jax.data.files.record_encoding import decode_stored
from defect_jax.data.prepare.folds import OUT_OF_FOLD, out_of_fold
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.metrics import bootstrap
from defect_jax.metrics.confidence import RATES, bootstrapped
from defect_jax.metrics.images import ImageRow, read_predictions
from defect_jax.report.compare_page import (
    ComparedImage,
    Comparison,
    DifferenceRow,
    write_comparison,
)
from defect_jax.runtime import atomic_files
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text
from defect_jax.runtime.paths import AnyPath, is_remote, read_bytes
from defect_jax.workdir import places, run_config
from defect_jax.workdir.trained_data import data_to_judge_on

SAME = ("label", "group", "true_px")  # of an image, whatever the network


def compare(
    workdirs: Sequence[AnyPath], output: AnyPath, split: str, asked: ConfigDict | None = None
) -> None:
    """Write compare.html and differences.csv: every model against the first, paired by part.

    Args:
        workdirs: evaluated on `split`, the first is the one that others are compared with.
        output: folder of the two files.
        split: train, val or test, or "folds" of cross-fitted runs.
        asked: --config, which says where the data are; None: where they were.

    Raises:
        UserError: fewer than two workdirs, one is not evaluated, or they saw other images.
    """
    if len(workdirs) < 2:
        raise UserError("--workdirs: name at least two, separated by commas")
    names = _names(workdirs)
    tables = [_sorted(read_predictions(_evaluated(workdir, split))) for workdir in workdirs]
    for name, table in zip(names[1:], tables[1:], strict=True):
        _refuse_other_images(names[0], tables[0], name, table)
    config = run_config.of_workdir(workdirs[0], asked)
    run_config.refuse_unresolved(config, workdirs[0])
    places.refuse_unknown(config, workdirs[0])
    judged = data_to_judge_on(config, workdirs[0], {split})
    differences = [_difference_row(key, tables) for key in _metrics_of(tables[0])]
    comparison = Comparison(
        title=f"{config.data.name}: {', '.join(names)}",
        split=split,
        names=names,
        differences=differences,
        rows=[_compared(row) for row in zip(*tables, strict=True)],
        warnings=[note for note in judged.info.notes if note.startswith("leaking")],
        load_image=_loader(_images(judged, split), [w / "eval" / split for w in workdirs]),
    )
    write_comparison(output / "compare.html", comparison)
    atomic_files.write_text(output / "differences.csv", _csv(names, differences))
    say(f"wrote {output / 'compare.html'} and {output / 'differences.csv'}")


def _images(judged: Prepared, split: str) -> Split:
    return out_of_fold(judged) if split == OUT_OF_FOLD else judged.splits[split]


def _evaluated(workdir: AnyPath, split: str) -> AnyPath:
    path = workdir / "eval" / split / "predictions.csv"
    if not path.exists():
        raise UserError(f"{path}: not there; run --mode=evaluate --split={split} on {workdir}")
    return path


def _names(workdirs: Sequence[AnyPath]) -> list[str]:
    """Return the last parts of the paths, as many of them as make all names differ."""
    paths = [(path if is_remote(path) else path.absolute()).parts for path in workdirs]
    if len(set(paths)) < len(paths):
        raise UserError("--workdirs: the same workdir twice")
    length = 1
    while len({path[-length:] for path in paths}) < len(paths):
        length += 1
    return ["/".join(path[-length:]) for path in paths]


def _sorted(images: list[ImageRow]) -> list[ImageRow]:
    return sorted(images, key=lambda image: image.id)


def _refuse_other_images(
    first_name: str, first: list[ImageRow], name: str, other: list[ImageRow]
) -> None:
    ids = {image.id for image in first} ^ {image.id for image in other}
    if ids:
        raise UserError(f"{first_name} and {name} saw other images, for example {min(ids)}")
    for before, now in zip(first, other, strict=True):
        for field in SAME:
            if getattr(before, field) != getattr(now, field):
                raise UserError(
                    f"{first_name} and {name} do not agree on the {field} of {now.id}: evaluate "
                    "both on the same data"
                )


def _metrics_of(images: list[ImageRow]) -> dict[str, bootstrap.Metric]:
    """Return all that can be computed from weights of the images: rankings, overlap and rates."""
    rates = {}
    for key, (counted, hit) in RATES.items():
        values = [float(hit(p)) if counted(p) else np.nan for p in images]
        rates[key] = bootstrap.weighted_mean(values)
    return bootstrapped(images) | rates


def _difference_row(key: str, tables: Sequence[list[ImageRow]]) -> DifferenceRow:
    metrics = [_metrics_of(table)[key] for table in tables]
    whole = np.ones((1, len(tables[0])))
    values = [float(metric(whole)[0]) for metric in metrics]
    groups = [image.group for image in tables[0]]
    intervals = [
        bootstrap.difference_interval((metrics[0], metric), groups) or (None, None)
        for metric in metrics[1:]
    ]
    return DifferenceRow(
        key=key,
        values=[_defined(value) for value in values],
        difference=[_defined(value - values[0]) for value in values[1:]],
        low=[low for low, _ in intervals],
        high=[high for _, high in intervals],
    )


def _compared(row: tuple[ImageRow, ...]) -> ComparedImage:
    return ComparedImage(
        id=row[0].id,
        group=row[0].group,
        label=row[0].label,
        scores=[image.probability for image in row],
        decisions=[image.rejected for image in row],
        mask_decisions=[image.mask_decision for image in row],
        ious=[image.iou for image in row],
        masked=row[0].masked,
    )


def _loader(split: Split, folders: Sequence[AnyPath]):
    """Return `load(id) -> (image, true mask, decided masks of all models)`."""
    where = {row.id: index for index, row in enumerate(split.rows)}

    def load(image_id: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        if image_id not in where:
            raise UserError(f"{image_id} is not in the data of the first workdir")
        record = split.source[where[image_id]]
        files = [folder / "masks" / f"{image_id}.png" for folder in folders]
        try:
            decided = [decode_mask(read_bytes(file), 0) for file in files]
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from error
        return decode_stored(record["image"]), decode_mask(record["mask"], 0), decided

    return load


def _csv(names: Sequence[str], rows: Sequence[DifferenceRow]) -> str:
    """Return one line a metric and model; the difference is to the first model, with its 95 %
    interval."""
    lines = [("metric", "model", "value", "difference", "low", "high")]
    for row in rows:
        lines.append((row.key, names[0], row.values[0], "", "", ""))
        for index, name in enumerate(names[1:]):
            change = (row.difference[index], row.low[index], row.high[index])
            lines.append((row.key, name, row.values[index + 1], *change))
    return csv_text(lines)


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
