"""Shots of several lights as small folders, for the tests."""

import io

import numpy as np
import raw_data
import tifffile

LIGHTS = 6


def shot(seed, lights=LIGHTS, height=12, width=16, dtype=np.uint8):
    """Random pixels [h w lights]; the lights are of unlike brightness, as exposures are."""
    rng = np.random.default_rng(seed)
    bright = np.iinfo(dtype).max * np.arange(2, lights + 2) / (lights + 1)
    return (rng.uniform(0.2, 1.0, (height, width, lights)) * bright).astype(dtype)


def write_shot(root, stem, pixels):
    """Writes images/<stem>.1.png and so on."""
    for light in range(pixels.shape[2]):
        raw_data.write(root / "images" / f"{stem}.{light + 1}.png", pixels[..., light])


def paged(pixels, **options):
    """Returns a TIFF with a page a channel."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options.pop("writer", {})) as writer:
        for light in range(pixels.shape[2]):
            writer.write(pixels[..., light], contiguous=False, **options)
    return file.getvalue()


def light_data(root, good=10, defective=5, lights=LIGHTS, **options):
    """Writes a folder of shots, and masks of the last ones; returns it with the pixels by id."""
    written = {}
    for number in range(good + defective):
        kind = "good" if number < good else "bad"
        stem, pixels = f"{kind}/part_{number:03d}", shot(number, lights, **options)
        write_shot(root, stem, pixels)
        if kind == "bad":
            raw_data.write(root / "masks" / f"{stem}.png", raw_data.defect_mask(*pixels.shape[:2]))
        written[f"images/{stem}"] = pixels
    return root, written
