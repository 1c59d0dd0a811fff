"""Magnetic Tile with some labels made wrong on purpose, as a user's own folder.

In each of the five folds of the protocol, one part that is good gets a mask, and one that is
defective loses its masks: labels of 5 % of the parts. Of further 2 % of the defective images a part
of the mask is removed, of 2 % it is moved to where nothing is. The four defective images that the
release itself leaves without a mask stay in, as what they then are: labelled good by mistake.
"""

import csv
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from defect_jax.data.files.images import decode_image
from defect_jax.data.sources.magnetic_tile import FOLDS, FREE, Entry, protocol

MARKED, EMPTIED, CUT, MOVED, RELEASE = "marked", "emptied", "cut", "moved", "release"
LARGEST_PART = 7  # images; larger groups hold several pieces
IMAGES_CHANGED = (2, 2, 2, 1, 1)  # a fold, each of CUT and MOVED: 2 % of 392
SMALLEST_PIECE_PX = 100
LARGE_SHARE = 0.02  # of the image: half of such a mask can be removed


class Changed(NamedTuple):
    """One image of the set: where it is in the protocol, its mask, and what was done to it."""

    entry: Entry
    mask: np.ndarray
    true_mask: np.ndarray
    kind: str

    @property
    def name(self) -> str:
        """Return its path below images/, without a suffix; it does not tell the class."""
        return f"part_{self.entry.group}/{self.entry.name}"


def make(tar: Path, folder: Path, truth: Path, seed: int) -> list[Changed]:
    """Write images/, masks/ and groups.csv into `folder`, and what is wrong into `truth`."""
    with tarfile.open(tar) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
    masks = {e.id: decode_image(files[f"{e.id}.png"]) for e in protocol()}
    changed = change(protocol(), {id: _plane(mask) > 127 for id, mask in masks.items()}, seed)
    for image in changed:
        path = folder / "images" / f"{image.name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[f"{image.entry.id}.jpg"])
        if image.mask.any():
            path = folder / "masks" / f"{image.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(image.mask) * 255).save(path)
    rows = [("id", "group")] + [(image.name, image.entry.group) for image in changed]
    _write(folder / "groups.csv", rows)
    _write(truth, [("id", "group", "fold", "class", "kind", "true_px", "given_px")] + [
        (i.name, i.entry.group, i.entry.fold, i.entry.class_name, i.kind,
         int(i.true_mask.sum()), int(i.mask.sum()))
        for i in changed
    ])  # fmt: skip
    return changed


def fold_view(folder: Path, changed: list[Changed], fold: int, view: Path) -> None:
    """Link the set into a layout with fixed splits: `fold` is test, the next val, else train."""
    rows = [("id", "group")]
    for image in changed:
        split = {0: "test", 1: "val"}.get((image.entry.fold - fold) % FOLDS, "train")
        rows.append((f"images/{split}/{image.name}", image.entry.group))
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            source = folder / kind / f"{image.name}.{suffix}"
            if source.exists():
                link = view / kind / split / f"{image.name}.{suffix}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.hardlink_to(source)
    _write(view / "groups.csv", rows)


def change(entries: list[Entry], masks: dict[str, np.ndarray], seed: int) -> list[Changed]:
    """Return all images with the masks that they are given, some of them wrong."""
    rng = np.random.default_rng(seed)
    given, kinds = dict(masks), {}
    kinds |= {e.id: RELEASE for e in entries if e.class_name != FREE and not masks[e.id].any()}
    for fold in range(FOLDS):
        inside = [entry for entry in entries if entry.fold == fold]
        parts = [part for part in _parts(inside) if not {e.id for e in part} & kinds.keys()]
        good = _one(rng, [p for p in parts if all(e.class_name == FREE for e in p)])
        bad = _one(rng, [p for p in parts if all(e.class_name != FREE for e in p)])
        donor = _one(rng, [e.id for e in entries if masks[e.id].any() and e not in bad])
        for entry in good:
            given[entry.id] = _resized(masks[donor], masks[entry.id].shape)
        given |= {entry.id: np.zeros_like(masks[entry.id]) for entry in bad}
        kinds |= {e.id: MARKED for e in good} | {e.id: EMPTIED for e in bad}
        for kind, how in ((CUT, cut), (MOVED, moved)):
            _change_single(rng, parts, masks, given, kinds, kind, how, IMAGES_CHANGED[fold])
    return [Changed(e, given[e.id], masks[e.id], kinds.get(e.id, "")) for e in entries]


def _change_single(rng, parts, masks, given, kinds, kind, how, count: int) -> None:
    """Change the mask of `count` images, each of another part that is right so far."""
    right = [part for part in parts if not {e.id for e in part} & kinds.keys()]
    for part in [right[i] for i in rng.permutation(len(right))]:
        candidates = {e.id: how(masks[e.id]) for e in part if masks[e.id].any()}
        candidates = [(id, mask) for id, mask in candidates.items() if mask is not None]
        if candidates and count:
            id, mask = _one(rng, candidates)
            given[id], kinds[id] = mask, kind
            count -= 1


def cut(mask: np.ndarray) -> np.ndarray | None:
    """Remove the largest region of several, or half of a large one; None: neither is there."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(labels.ravel())[1:]
    if np.count_nonzero(areas >= SMALLEST_PIECE_PX) >= 2:
        return mask & (labels != 1 + areas.argmax())
    if mask.mean() < LARGE_SHARE:
        return None
    rows, columns = np.nonzero(mask)
    wide = np.ptp(columns) > np.ptp(rows)
    where = np.arange(mask.shape[1])[None] if wide else np.arange(mask.shape[0])[:, None]
    return mask & (where < np.median(columns if wide else rows))


def moved(mask: np.ndarray) -> np.ndarray | None:
    """Turn a mask so that it covers nothing that it covered; None: it would, any way round."""
    turned = (mask[::-1, ::-1], mask[::-1], mask[:, ::-1])
    return next((other for other in turned if not (other & mask).any()), None)


def _parts(entries: list[Entry]) -> list[list[Entry]]:
    groups = sorted({entry.group for entry in entries})
    parts = [[entry for entry in entries if entry.group == group] for group in groups]
    return [part for part in parts if len(part) <= LARGEST_PART]


def _one(rng, options: list):
    return options[rng.integers(len(options))]


def _resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST))


def _plane(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.ndim == 3 else image


def _write(path: Path, rows: list[tuple]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
