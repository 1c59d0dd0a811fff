"""What to say where files look like the lights of shots, but the config does not call them so.

Nothing is taken for a light by its name: parts are numbered, too.
"""

from collections import defaultdict
from itertools import count as count_from

from defect_jax.data.files.shot_names import light_of
from defect_jax.data.sources.folder_layout import Key, Layout


def about_lights(key: Key, layout: Layout) -> str:
    """Return what to add of a mask without an image: that of a whole shot, or of one light."""
    split, stem = key
    shot, number = light_of(stem)
    if layout.lights > 1 and number is not None and (split, shot) in layout.images:
        return f"; a shot has one mask for all its lights: call it {shot}"
    count = next(n for n in count_from(1) if (split, f"{stem}.{n}") not in layout.images) - 1
    if count < 2:
        return ""
    last = f"{stem.rpartition('/')[2]}.{count}"
    return f"; where the images to {last} are {count} lights of one shot, set config.data.lights"


def lights_note(layout: Layout) -> list[str]:
    """Say that single images may be lights: all are numbered alike, and none has a mask."""
    numbers = defaultdict(set)
    for split, stem in [*layout.images, *layout.bad]:
        shot, number = light_of(stem)
        numbers[split, shot].add(number)
    last = len(next(iter(numbers.values())))
    alike = all(found == set(range(1, last + 1)) for found in numbers.values())
    masked = any(key in layout.images for key in layout.masks)
    if layout.lights > 1 or last < 2 or len(numbers) < 2 or masked or not alike:
        return []
    return [
        f"all images are called x.1 to x.{last}: if these are {last} lights of one shot, and not "
        f"{last} parts, set config.data.lights={last}"
    ]
