"""Streams of photographs whose light or focus changes: when does the monitor say so?

    launch/module.sh benchmarks.unlike_streams --tar=magnetic_tile.tar

Each line of the table is 50 streams of 2,000 images of Magnetic Tile, 10 for each fold: the fold is
the reference, and parts of the other four are drawn with replacement. From image 1,001 on all
images are changed: their grey levels are multiplied, or they are blurred by a Gaussian of 1 px.
Watched are brightness (mean), contrast (standard deviation) and sharpness (mean absolute Laplacian
by the standard deviation). `kept` streams do not change; what they alarm is false, and promised in
at most 2,000 / --promised of the streams. The rival is Page's CUSUM of each number in standard
deviations of the reference, both ways, for a shift of one of them, with Siegmund's bound for the
same promise. Delays are medians with the range, in images, of the streams that alarm after the
change; `since` is how far the named image is from the true one, and `named` how often which number
was named.
"""

import argparse
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.page_cusum import NEVER, Found, cusum, nothing
from defect_jax.data.files.images import decode_image
from defect_jax.data.sources.magnetic_tile import FOLDS, protocol
from defect_jax.decision.monitor import Odds, alarms, leading, make_odds, start, step

NAMES = ("brightness", "contrast", "sharpness")
IMAGES, CHANGE, STREAMS = 2000, 1000, 10  # STREAMS of each fold
LIGHTS = (0.95, 1.05, 0.9, 1.1, 0.82, 1.18, 0.7, 1.3)
CHANGES = ("kept", *(f"light {light - 1:+.0%}" for light in LIGHTS), "blur 1 px")
MEAN = 0  # the exposure of what is the mean of a part's images

Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]


class Image(NamedTuple):
    """What is known of an image."""

    part: int
    exposure: int
    fold: int


class Setting(NamedTuple):
    """Which images are taken, how a stream is drawn of them, and how the reference."""

    name: str
    exposures: tuple[int, ...]
    stream: Draw
    reference: Draw


def looks(image: np.ndarray) -> tuple[float, float, float]:
    """Return brightness, contrast and sharpness of a grey image."""
    spread = float(image.std()) or 1.0
    edges = np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean()
    return float(image.mean()), spread, float(edges) / spread


def changed(image: np.ndarray) -> list[np.ndarray]:
    """Return the image as it is and after each change, in grey levels that a camera would give."""
    lit = [np.clip(np.rint(image * light), 0, 255).astype(np.float32) for light in LIGHTS]
    return [image, *lit, np.rint(cv2.GaussianBlur(image, (0, 0), 1.0))]


def read(tar: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return part, exposure and fold of each image [n 3], and its looks [changes n numbers]."""
    entries = {f"{entry.id}.jpg": entry for entry in protocol()}
    known, table = [], []
    with tarfile.open(tar) as archive:
        for member in archive:
            if entry := entries.get(member.name):
                data = archive.extractfile(member).read()
                image = decode_image(data)[..., 0].astype(np.float32)
                known.append(Image(int(entry.group), int(entry.name[3]), entry.fold))
                table.append([looks(seen) for seen in changed(image)])
    return with_means(np.array(known), np.array(table).swapaxes(0, 1))


def with_means(known: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add the mean looks of each part, as one image of exposure `MEAN`."""
    fold = dict(zip(known[:, 0], known[:, 2], strict=True))
    parts = np.array([Image(part, MEAN, of) for part, of in sorted(fold.items())])
    means = [table[:, known[:, 0] == part].mean(axis=1) for part in parts[:, 0]]
    return np.concatenate([known, parts]), np.concatenate([table, np.stack(means, axis=1)], axis=1)


def one_a_part(generator: np.random.Generator, part: np.ndarray) -> np.ndarray:
    """Draw one image of each part."""
    return np.array([generator.choice(np.flatnonzero(part == name)) for name in np.unique(part)])


def all_images(generator: np.random.Generator, part: np.ndarray) -> np.ndarray:
    """Return all images, whatever part they are of."""
    return np.arange(part.size)


def stream_of_parts(generator: np.random.Generator, part: np.ndarray) -> np.ndarray:
    """Draw a stream of parts with replacement, one image of each."""
    shots = [np.flatnonzero(part == name) for name in np.unique(part)]
    return np.array(
        [generator.choice(shots[i]) for i in generator.integers(len(shots), size=IMAGES)]
    )


def stream_of_shots(generator: np.random.Generator, part: np.ndarray) -> np.ndarray:
    """Draw a stream of parts with replacement, all images of a part in a row."""
    shots = [generator.permutation(np.flatnonzero(part == name)) for name in np.unique(part)]
    order = generator.integers(len(shots), size=IMAGES)
    return np.concatenate([shots[i] for i in order])[:IMAGES]


SETTINGS = (
    Setting("one exposure, an image a part", (4,), stream_of_parts, one_a_part),
    Setting("six exposures, an image a part", (1, 2, 3, 4, 5, 6), stream_of_parts, one_a_part),
    Setting("six exposures, parts in a row, a reference of all images", (1, 2, 3, 4, 5, 6),
            stream_of_shots, all_images),
    Setting("the mean of a part's images, a part at a time", (MEAN,), stream_of_parts, one_a_part),
)  # fmt: skip


def monitored(odds: Odds, streams: np.ndarray, promised: int) -> Found:
    """Return what the monitor says of streams [images streams numbers]."""
    count = streams.shape[1]
    found = nothing(count)
    watch = start(streams.shape[2], (count,))
    for image, values in enumerate(streams, 1):
        watch = step(watch, odds, values)
        new = alarms(watch, promised) & (found.image == NEVER)
        if new.any():
            number, bet = leading(watch)
            since = watch.first[np.arange(count), number, bet]
            for kept, now in zip(found, (image, since, number), strict=True):
                kept[new] = np.broadcast_to(now, count)[new]
    return found


def trial(setting: Setting, known: np.ndarray, table: np.ndarray, promised: int) -> list[Found]:
    """Return what the monitor and the CUSUM find, for each change [changes streams]."""
    taken = np.flatnonzero(np.isin(known[:, 1], setting.exposures))
    found = []
    for fold in range(FOLDS):
        generator = np.random.default_rng(fold)
        held = taken[known[taken, 2] == fold]
        others = taken[known[taken, 2] != fold]
        reference = table[0, held[setting.reference(generator, known[held, 0])]]
        drawn = [others[setting.stream(generator, known[others, 0])] for _ in range(STREAMS)]
        streams = changing(table, np.stack(drawn, axis=1))
        ours = monitored(make_odds(reference.T), streams, promised)
        scaled = (streams - reference.mean(axis=0)) / reference.std(axis=0, ddof=1)
        found.append((ours, cusum(scaled, promised, shift=1.0)))
    return [joined(folds) for folds in zip(*found, strict=True)]


def changing(table: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the looks [images, changes x streams, numbers] of images drawn [images streams]."""
    before = np.repeat(table[:1, drawn[:CHANGE]], len(CHANGES), axis=0)
    streams = np.concatenate([before, table[:, drawn[CHANGE:]]], axis=1)
    return streams.swapaxes(0, 1).reshape(IMAGES, -1, len(NAMES))


def joined(folds: Sequence[Found]) -> Found:
    """Return what was found in the streams of all folds, [changes streams] each."""
    apart = [[part.reshape(len(CHANGES), -1) for part in found] for found in folds]
    return Found(*(np.concatenate(parts, axis=1) for parts in zip(*apart, strict=True)))


def cells(found: Found, change: int) -> str:
    """Return the cells of one test."""
    streams = found.image.size
    false = int((found.image <= (IMAGES if change == 0 else CHANGE)).sum())
    late = found.image[(found.image > CHANGE) & (found.image <= IMAGES)] - CHANGE
    if change == 0 or not late.size:
        return f"{false} of {streams} | – | – | –"
    seen = (found.image > CHANGE) & (found.image <= IMAGES)
    off = np.median(np.abs(found.since[seen] - CHANGE - 1))
    named = Counter(NAMES[number] for number in found.number[seen])
    most = ", ".join(f"{name} {times}" for name, times in named.most_common())
    delay = f"{np.median(late):.0f} ({late.min()} to {late.max()})"
    return f"{false} | {late.size} of {streams - false}: {delay} | {off:.0f} | {most}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--promised", type=int, default=20_000, help="images to a false alarm")
    flags = parser.parse_args(arguments)
    known, table = read(flags.tar)
    for setting in SETTINGS:
        print(f"\n{setting.name}: at most {IMAGES / flags.promised:.1%} of streams promised\n")
        print("| change | test | false | found: delay | since is off by | named |")
        print("| --- | --- | --- | --- | --- | --- |")
        both = trial(setting, known, table, flags.promised)
        for change, name in enumerate(CHANGES):
            for test, found in zip(("monitor", "CUSUM"), both, strict=True):
                of_change = Found(*(part[change] for part in found))
                print(f"| {name} | {test} | {cells(of_change, change)} |", flush=True)


if __name__ == "__main__":
    main()
