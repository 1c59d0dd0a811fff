"""From a surface to an image: framing, uneven light from one side, vignetting, sensor noise."""

from typing import NamedTuple

import numpy as np

from defect_jax.data.sources.synthetic.noise import below, normals, uniform
from defect_jax.data.sources.synthetic.surfaces import Surface

READ_NOISE = 0.007  # standard deviation of the darkest pixel, share of full scale
SHOT_NOISE = 2.0e-4  # variance gained per unit of brightness


class CropWindow(NamedTuple):
    """Which pixels of a part one shot shows."""

    top_px: int
    left_px: int
    height_px: int
    width_px: int

    def crop(self, canvas: np.ndarray) -> np.ndarray:
        """Return the part [h, w] of `canvas` inside the window."""
        rows = slice(self.top_px, self.top_px + self.height_px)
        return canvas[rows, self.left_px : self.left_px + self.width_px]


def draw_crop_window(
    random: np.random.Philox, picture_size: tuple[int, int], margin_px: int
) -> CropWindow:
    """Draw a framing of a canvas that is `margin_px` larger than an image on every side."""
    top_px, left_px = below(random, 2 * margin_px + 1), below(random, 2 * margin_px + 1)
    return CropWindow(top_px, left_px, *picture_size)


def photograph(random: np.random.Philox, surface: Surface, window: CropWindow) -> np.ndarray:
    """Return the uint8 [h, w] image of a surface in one framing and one draw of light."""
    direction = uniform(random, 0, 2 * np.pi)
    slope_y, slope_x = (window.crop(slope) for slope in np.gradient(surface.relief))
    shading = 1 + np.cos(direction) * slope_x + np.sin(direction) * slope_y
    light = _light(random, direction, (window.height_px, window.width_px))
    radiance = window.crop(surface.albedo) * np.clip(shading, 0.25, 1.9) * light
    noise = normals(random, radiance.shape) * np.sqrt(READ_NOISE**2 + SHOT_NOISE * radiance)
    return np.rint(255 * np.clip(radiance + noise, 0, 1)).astype(np.uint8)


def _light(random: np.random.Philox, direction: float, picture_size: tuple[int, int]) -> np.ndarray:
    """Return light [h, w] that falls on the part times what the lens lets through, about 1 on
    average."""
    height_px, width_px = picture_size
    y = np.linspace(-1, 1, height_px)[:, None]
    x = np.linspace(-1, 1, width_px)[None, :]
    across = (x * np.cos(direction) + y * np.sin(direction)) / np.sqrt(2)
    falloff = 1 - uniform(random, 0.05, 0.28) * across
    vignette = 1 - uniform(random, 0.05, 0.25) * (x**2 + y**2) / 2
    spot_y, spot_x = uniform(random, -1, 1), uniform(random, -1, 1)
    reach = uniform(random, 0.5, 1.2)
    spot = np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / (2 * reach**2))
    exposure = uniform(random, 0.88, 1.12)
    return exposure * falloff * vignette * (1 + uniform(random, 0, 0.16) * spot)
