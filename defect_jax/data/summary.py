"""What holds for a whole data set: channels, depth, mean, deviation, fingerprint, notes."""

import hashlib
from collections.abc import Sequence

import numpy as np

from defect_jax.data.examine import Facts
from defect_jax.data.prepared import DataInfo
from defect_jax.data.records import Catalogue, Record, listed


def summarise(name: str, stored: Sequence[tuple[Record, Facts]], found: Catalogue) -> DataInfo:
    """Sums up the pictures that were stored."""
    channels = max(facts.channels for _, facts in stored)
    train = [facts for record, facts in stored if record.split == "train"]
    mean, std = _mean_and_std(train, channels) if train else (None, None)
    return DataInfo(
        name=name,
        channels=channels,
        bit_depth=max(facts.bit_depth for _, facts in stored),
        mean=mean,
        std=std,
        fingerprint=_fingerprint(stored),
        leaking=found.leaking,
        notes=found.notes + _notes(stored),
    )


def _mean_and_std(
    train: Sequence[Facts], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Over all pixels, scaled to 0..1; a grey picture counts for every channel."""
    area = np.array([facts.height * facts.width for facts in train], np.float64)
    means = np.stack([np.broadcast_to(facts.mean, channels) for facts in train])
    squares = np.stack([np.broadcast_to(facts.square, channels) for facts in train])
    mean, square = (np.average(x, axis=0, weights=area) for x in (means, squares))
    # Rounding can take the variance of a constant picture below zero.
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    return tuple(mean.tolist()), tuple(std.tolist())


def _fingerprint(stored: Sequence[tuple[Record, Facts]]) -> str:
    lines = sorted(
        f"{record.id}\0{facts.image_sha256}\0{facts.mask_sha256}\n" for record, facts in stored
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _notes(stored: Sequence[tuple[Record, Facts]]) -> list[str]:
    notes = []
    grey = sum(facts.channels == 1 for _, facts in stored)
    if 0 < grey < len(stored):
        notes.append(f"{grey} of {len(stored)} pictures are grey and used as RGB, like the others")
    shallow = sum(facts.bit_depth == 8 for _, facts in stored)
    if 0 < shallow < len(stored):
        notes.append(
            f"{shallow} of {len(stored)} pictures have 8 bits and are scaled to 16, like the others"
        )
    turned = [record.id for record, facts in stored if facts.turned]
    if turned:
        notes.append(
            f"{len(turned)} pictures carry an EXIF rotation, which is not followed: masks have to "
            f"fit the pixels as stored: {listed(turned)}"
        )
    return notes
