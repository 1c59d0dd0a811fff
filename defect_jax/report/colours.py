"""The colours of outlines and heat, which look alike in every image and on every page.

Blue and yellow are told apart by readers of every colour vision, on grey surfaces and on dark ones.
"""

import numpy as np

TRUE_RGB, DECIDED_RGB = (0, 158, 255), (255, 200, 0)

# Heat maps (`decision.heat`) as a tint: nothing where no pixel is near the threshold, violet below
# it, and from it on, where pixels are marked, red to orange. Violet is darker than red to readers
# of every colour vision; the opacity rises with the heat, and lets the surface through everywhere.
HEAT_STOPS = {  # byte: red, green, blue, opacity
    0: (96, 48, 168, 0),
    40: (96, 48, 168, 0),
    127: (128, 32, 160, 72),
    128: (214, 40, 40, 80),
    255: (255, 110, 0, 104),
}
HEAT_RGBA = np.stack(
    [
        np.rint(np.interp(np.arange(256), list(HEAT_STOPS), channel)).astype(np.uint8)
        for channel in zip(*HEAT_STOPS.values(), strict=True)
    ],
    axis=1,
)
