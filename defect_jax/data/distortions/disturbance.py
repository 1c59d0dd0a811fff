"""One grade of one kind, done to each image of a split as it is read.

What is drawn at random, such as noise or the side of a shift, depends on the kind and on the name
of the image alone: it is the same on any number of hosts and devices, and for all grades, so that
these differ in strength and in nothing else.
"""

import dataclasses
import hashlib

import numpy as np

from defect_jax.data.distortions.kinds import Kind
from defect_jax.data.distortions.levels import Levels
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.region import HIDDEN
from defect_jax.data.pipeline.decoded_cache import Decoded
from defect_jax.data.prepare.prepared import Split


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """Changes a decoded image, its mask and what of it is not judged, all together.

    Attributes:
        kind: what is done.
        grade: how strongly.
        spec: of the network that judges the images.
    """

    kind: Kind
    grade: float
    spec: InputSpec

    def __call__(self, shown: Decoded, name: str) -> Decoded:
        """Return the image as the network sees it then.

        What is hidden of an image moves with it. The one region of a fixture stays where it is:
        the part moves below it.

        Args:
            shown: in counts; nothing of it is written into.
            name: of the image.
        """
        levels, rng = Levels.of(self.spec), generator(self.kind.name, name)
        before = np.zeros_like(shown.mask) if shown.ignored is None else shown.ignored
        pixels = shown.image.astype(np.float32)
        now = self.kind.apply(pixels, shown.mask, before, self.grade, levels, rng)
        hidden = self.spec.ignored(shown.mask.shape, name, own=now.ignored)
        image = self.spec.hidden(levels.counts(now.pixels, shown.image), hidden)
        ignored = np.zeros_like(before) if hidden is None else hidden
        # Seen by the network, as in a photograph, but no part of what is judged.
        ignored = np.where(now.outside, HIDDEN, ignored).astype(np.uint8)
        mask = np.where(ignored == 0, now.mask, 0).astype(np.uint8)
        return Decoded(image, mask, ignored)


def generator(kind: str, name: str) -> np.random.Generator:
    """Return the source of chance for one image under one kind of disturbance.

    >>> int(generator("noise", "a").integers(1000)), int(generator("noise", "b").integers(1000))
    (638, 985)
    """
    digest = hashlib.sha256(f"{kind}\n{name}".encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def disturbed(split: Split, disturbance: Disturbance | None) -> Split:
    """Return the split under a disturbance; None: as it is.

    Where parts move, each image says what of it is not judged.
    """
    if disturbance is None or not disturbance.kind.apply.moves:
        return dataclasses.replace(split, disturbance=disturbance)
    rows = [row._replace(ignored_px=max(row.ignored_px, 1)) for row in split.rows]
    return dataclasses.replace(split, rows=rows, disturbance=disturbance)
