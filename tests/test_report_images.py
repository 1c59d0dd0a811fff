import re

import cv2
import numpy as np
import pytest
from test_report import IMAGES, image, load_image, report

from defect_jax.report import figures, outlines, thumbnails
from defect_jax.report.outlines import frame, frame_size, same_frame
from defect_jax.report.page import render
from defect_jax.report.thumbnails import thumbnail, to_8_bit

NO_LIMIT = 10**9


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def points(path):
    return np.array(re.findall(r"(-?\d+) (-?\d+)", path), int)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((960, 480, 3), (480, 240)), ((30, 40, 1), (30, 40)), ((1, 2000, 1), (1, 480))],
)
def test_thumbnail_fits_keeps_the_aspect_and_never_enlarges(shape, size):
    image = np.zeros(shape, np.uint8)
    assert decoded(thumbnail(image, 480, NO_LIMIT)).shape == (*size, 3)


def test_colours_survive():
    image = np.zeros((50, 50, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    np.testing.assert_allclose(
        decoded(thumbnail(image, 480, NO_LIMIT)).mean((0, 1)), image[0, 0], atol=3
    )


@pytest.mark.parametrize("limit", [60_000, 6_000, 3_500])
def test_thumbnail_of_noise_stays_within_its_limit(limit):
    noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    jpeg = thumbnail(noise, 480, limit)
    assert 0.3 * limit < len(jpeg) <= limit


def test_dark_16_bit_image_becomes_visible():
    image = np.linspace(1000, 1300, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
    drawn = decoded(thumbnail(image, 480, NO_LIMIT))
    assert drawn.min() < 10 and drawn.max() > 245
    assert to_8_bit(np.full((4, 4, 1), 700, np.uint16)).max() == 0


# Outlines


@pytest.mark.parametrize("side_px", [1, 40])
def test_outline_surrounds_the_defect_at_a_distance(side_px):
    mask = np.zeros((960, 960), bool)
    mask[400 : 400 + side_px, 500 : 500 + side_px] = True  # half as large in the frame
    path = outlines.outline(mask, 480, 480)
    low, high = points(path).min(0), points(path).max(0)
    last = (side_px + 1) // 2 - 1
    np.testing.assert_array_equal(low, np.array([250, 200]) - outlines.GAP_PX)
    np.testing.assert_array_equal(high, np.array([250, 200]) + last + outlines.GAP_PX)
    assert path.startswith("M") and path.endswith("Z") and path.count("Z") == 1


def test_small_image_has_its_outline_in_the_frame_s_pixels():
    mask = np.zeros((30, 40), bool)
    mask[10:20, 10:20] = True
    found = points(outlines.outline(mask, 480, 360))
    np.testing.assert_allclose([found.min(), found.max()], [120 - 5, 239 + 5], atol=1)


def test_every_region_has_its_outline():
    mask = np.zeros((100, 100), bool)
    mask[10:20, 10:20] = mask[60:80, 60:80] = True
    assert outlines.outline(mask, 480, 480).count("Z") == 2


def test_outline_of_noise_is_bounded_and_keeps_the_largest_region():
    mask = np.random.default_rng(0).random((480, 480)) < 0.002
    mask[100:300, 100:300] = True
    path = outlines.outline(mask, 480, 480)
    assert 0 < len(path) <= outlines.LONGEST_PATH and path.endswith("Z")
    largest = points(path[: path.index("Z")])
    assert (largest.min(0) <= 100).all() and (largest.max(0) >= 299).all()


def test_both_outlines_lie_over_one_bare_image():
    image, true_mask, predicted_mask = load_image("any")
    masks = [("true", true_mask), ("predicted", predicted_mask)]
    svg = frame("p7", 'a "image"', image, masks, 480, NO_LIMIT)
    assert frame_size(image) == (480, 360) and 'viewBox="0 0 480 360"' in svg
    assert svg.index('class="outline true"') < svg.index('class="outline predicted"')
    assert svg.count("data:image/jpeg") == 1 and 'aria-label="a &#34;image&#34;"' in svg
    assert svg.count("non-scaling-stroke") == 2
    assert "outline" not in frame("p8", "a", image, [("true", true_mask & False)], 480, NO_LIMIT)
    again = same_frame("p9", "p7", "a", image, masks[:1])
    assert "data:image" not in again and '<use href="#p7"/>' in again


# Size of the page


def test_telling_images_get_more_bytes_and_nobody_s_rest_is_lost():
    limits = {}

    def show(index, side, limit):
        limits[index] = (side, limit)
        return "x" * (thumbnails.CARD_BYTES + limit * 4 // 3)

    cards = list(thumbnails.share_out([True] * 100 + [False] * 900, 0, show))
    assert limits[0][0] == 480 and limits[999][0] == 320
    assert limits[0][1] == pytest.approx(4 * limits[999][1], rel=0.01)
    assert 0.99 * thumbnails.PAGE_BYTES < sum(map(len, cards)) <= thumbnails.PAGE_BYTES

    def small(index, side, limit):
        limits[index] = (side, limit)
        return "x" * 3_000

    list(thumbnails.share_out([False] * 1000, 0, small))
    assert limits[999][1] == thumbnails.LARGEST_BYTES > 10 * limits[0][1]


def noisy_page(count):
    """Images and masks of noise, half of them defective, at random scores."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (160, 160, 3), np.uint8)
    mask = rng.random((160, 160)) < 0.02
    scores = zip(*rng.random((2, count)).tolist(), strict=True)
    images = [image(f"line/p{i}", i % 2, *both) for i, both in enumerate(scores)]
    return render(report(images, load_image=lambda name: (noise, mask, ~mask)))


def test_page_of_1000_noisy_images_stays_below_15_mb(monkeypatch):
    monkeypatch.setattr(figures, "figures", lambda *args: "")
    html = noisy_page(1000)
    assert 9e6 < len(html.encode()) < 14.7e6  # plots take less than the rest
    assert html.count("data:image/jpeg") == html.count('class="card"') == 1000
    assert "not shown" not in html


def test_of_too_many_images_only_the_telling_ones_are_shown(monkeypatch):
    monkeypatch.setattr(figures, "figures", lambda *args: "")
    monkeypatch.setattr(thumbnails, "PAGE_BYTES", 700_000)
    html = noisy_page(300)  # 75 misses come first
    shown = html.count("data:image/jpeg")
    assert 40 < shown < 75 and f"{300 - shown} images are not shown" in html
    assert len(html.encode()) < 770_000
    assert "<dd>good</dd>" not in html  # misses fill it


def test_images_that_are_left_out_are_counted_all_the_same(monkeypatch):
    monkeypatch.setattr(figures, "figures", lambda *args: "")
    monkeypatch.setattr(thumbnails, "most_images", lambda row_bytes: 2)
    html = render(report())
    assert html.count("data:image/jpeg") == 2 and f"{len(IMAGES) - 2} images are not" in html
    assert "<span data-total>2</span> of 4 defective images" in html
    assert ">None.<" not in html and ">0 of 1, highest probability first.<" in html
