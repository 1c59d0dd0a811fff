"""What holds for a whole data set: channels, depth, fingerprint, notes."""

import hashlib
import json
from collections.abc import Sequence

from defect_jax.data.geometry.channels import MOST_CHANNELS
from defect_jax.data.prepare.depths import depth_notes
from defect_jax.data.prepare.examine import Facts
from defect_jax.data.prepare.grouping import Alike, alike_images, grouping_notes
from defect_jax.data.prepare.identical import identical_notes
from defect_jax.data.prepare.prepared import DataInfo
from defect_jax.data.sources.records import Catalogue, Fault, Record, listed


def summarise(
    name: str,
    stored: Sequence[tuple[Record, Facts]],
    found: Catalogue,
    alike: Alike | None = None,
) -> DataInfo:
    """Sum up the images that were stored.

    Args:
        alike: their near-duplicates; None: they are looked for.
    """
    alike = alike_images(stored) if alike is None else alike
    return DataInfo(
        name=name,
        channels=sum(_lights(stored)),
        bit_depth=max(facts.bit_depth for _, facts in stored),
        fingerprint=_fingerprint(stored, found.classes),
        leaking=found.leaking,
        notes=found.notes
        + _notes(stored)
        + identical_notes(stored, found.own)
        + grouping_notes(stored, found, alike),
        classes=list(found.classes),
        lights=_lights(stored) if len(_lights(stored)) > 1 else [],
    )


def channel_faults(stored: Sequence[tuple[Record, Facts]]) -> list[Fault]:
    """Return a fault where all lights have more channels together than an image may have."""
    lights = _lights(stored)
    if sum(lights) <= MOST_CHANNELS:
        return []
    what = (
        f"is {len(lights)}, of which {lights.count(3)} show colours: {sum(lights)} channels, and "
        f"{MOST_CHANNELS} at most are used: save those as grey whose colours do not matter"
    )
    return [Fault("config.data.lights", what)]


def _lights(stored: Sequence[tuple[Record, Facts]]) -> list[int]:
    """Return the channels of each light: 3 as soon as one image has colours in it."""
    return [max(light) for light in zip(*(facts.lights for _, facts in stored), strict=True)]


def _fingerprint(stored: Sequence[tuple[Record, Facts]], classes: Sequence[str]) -> str:
    """Return a hash of the files, and of what is not drawn or not judged; where there are several
    classes, of their names and ids too.

    With one class the ids say nothing more than the files, and earlier runs have no ids.
    """
    lines = sorted(
        f"{record.id}\0{facts.image_sha256}\0{facts.mask_sha256}\n" for record, facts in stored
    )
    lines += sorted(f"{record.id}\0unmasked" for record, _ in stored if not record.masked)
    lines += sorted(f"{r.id}\0{f.ignored_sha256}" for r, f in stored if f.ignored_sha256)
    if len(classes) > 1:
        lines.append(json.dumps(list(classes)))
        lines += sorted(f"\n{record.id}\0{record.class_id}" for record, _ in stored)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _notes(stored: Sequence[tuple[Record, Facts]]) -> list[str]:
    notes = []
    saved = sum(facts.grey_saved_as_rgb > 0 for _, facts in stored)
    if saved:
        notes.append(f"{saved} of {len(stored)} images are grey, saved as RGB, and count as grey")
    for number, channels in enumerate(_lights(stored)):
        grey = sum(facts.lights[number] < channels for _, facts in stored)
        if grey:
            light = f" in light {number + 1}" if len(_lights(stored)) > 1 else ""
            notes.append(
                f"{grey} of {len(stored)} images are grey{light} and used as RGB, like the others"
            )
    shallow = sum(facts.bit_depth == 8 for _, facts in stored)
    if 0 < shallow < len(stored):
        notes.append(
            f"{shallow} of {len(stored)} images have 8 bits and are scaled to 16, like the others"
        )
    notes += depth_notes([(record.id, facts.depth) for record, facts in stored])
    turned = [record.id for record, facts in stored if facts.turned]
    if turned:
        notes.append(
            f"{len(turned)} images carry an EXIF rotation, which is not followed: masks have to "
            f"fit the pixels as stored: {listed(turned)}"
        )
    return notes
