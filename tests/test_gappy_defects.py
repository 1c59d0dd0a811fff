"""Defects with gaps: an outline without holes, and gaps of known share and width that stay clean.

Shares and widths are counted here from mask and coverage with scipy.ndimage.
"""

from functools import cache

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import ndimage

from defect_jax.configs import synthetic_gaps
from defect_jax.data.sources.synthetic import (
    defects,
    gappy_defects,
    generator,
    lighting,
    noise,
    surfaces,
)
from defect_jax.data.sources.synthetic.options import checked

KINDS = sorted(gappy_defects.KINDS)
PARTS = 80
EIGHT_NEIGHBOURS = np.ones((3, 3))


@cache
def drawn(kind: str) -> list[defects.Defect]:
    """Defects at scale 1 on a canvas that holds them whole."""
    place = defects.Place((200, 200), 100.0, 100.0)
    return [gappy_defects.KINDS[kind](noise.stream(5, i, 3), place, 1.0) for i in range(PARTS)]


def clean(defect: defects.Defect) -> np.ndarray:
    return defect.area & (defect.coverage < 0.2 * defect.coverage.max())


@pytest.mark.parametrize("kind", KINDS)
def test_mask_is_one_outline_without_holes(kind):
    for defect in drawn(kind):
        mask, gaps = defects.mask_of(defect), defects.gaps_of(defect)
        assert mask.dtype == gaps.dtype == bool
        assert ndimage.label(mask, EIGHT_NEIGHBOURS)[1] == 1
        assert (ndimage.binary_fill_holes(mask) == mask).all()
        assert (gaps == clean(defect)).all() and not (gaps & ~mask).any()
        # No strand is far outside its own mask.
        near = ndimage.binary_dilation(mask, iterations=2)
        assert defect.coverage[~near].max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_take_about_half_of_the_mask(kind):
    shares = [clean(defect).sum() / defect.area.sum() for defect in drawn(kind)]
    assert 0.3 < min(shares) and max(shares) < 0.62
    assert 0.42 < np.mean(shares) < 0.55


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_are_two_to_eight_px_wide(kind):
    widths, sizes = [], []
    for defect in drawn(kind):
        gaps = clean(defect)
        labels, count = ndimage.label(gaps)
        # The widest disc inside each gap; a strip of n px is n wide, for odd n.
        radii = ndimage.maximum(ndimage.distance_transform_edt(gaps), labels, range(1, count + 1))
        widths.extend(2 * np.asarray(radii) - 1)
        sizes.extend(ndimage.sum(gaps, labels, range(1, count + 1)))
    widths, sizes = np.array(widths), np.array(sizes)
    fitting = (widths >= 2) & (widths <= 8)
    # Slivers beside the outline are narrower, and few pixels are in them.
    assert sizes[fitting].sum() > 0.8 * sizes.sum()
    assert widths.max() < 12
    order = np.argsort(widths)
    median = widths[order][np.searchsorted(sizes[order].cumsum(), sizes.sum() / 2)]
    assert 2.9 < median < 6


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_vary_with_a_long_tail(kind):
    radii = np.sqrt([defect.area.sum() / np.pi for defect in drawn(kind)])
    assert 9 < radii.min() < 13 and 22 < radii.max() < 34
    assert radii.mean() > np.median(radii)


@pytest.mark.parametrize("surface_kind", sorted(surfaces.KINDS))
@pytest.mark.parametrize("kind", KINDS)
def test_gaps_look_like_good_surface_and_strands_do_not(kind, surface_kind):
    frame = lighting.CropWindow(20, 20, 160, 160)
    in_gaps, in_strands = [], []
    for number, defect in enumerate(drawn(kind)[:6]):
        surface = surfaces.KINDS[surface_kind](noise.stream(1, number, 2), (200, 200), 1.0)
        good, bad = (
            lighting.photograph(noise.stream(1, number, 5), one, frame).astype(float)
            for one in (surface, defects.damage(surface, defect))
        )
        change = np.abs(bad - good)
        gaps, mask = frame.crop(clean(defect)), frame.crop(defect.area)
        in_gaps.append(change[gaps].mean())
        in_strands.append(change[mask & ~gaps].mean())
    assert np.mean(in_gaps) < 0.12 * np.mean(in_strands)
    assert min(in_strands) > 12


def test_old_kinds_have_no_gaps():
    for kind in defects.KINDS.values():
        defect = kind(noise.stream(5, 0, 3), defects.Place((120, 120), 60.0, 60.0), 1.0)
        assert defect.area is None
        assert not defects.gaps_of(defect).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_at_the_corner_of_a_small_canvas_is_drawn(kind):
    for number in range(10):
        place = defects.Place((68, 72), 6.0, 66.0)
        defect = gappy_defects.KINDS[kind](noise.stream(6, number, 3), place, 0.4)
        assert defects.mask_of(defect).any()
        assert np.isfinite(defect.coverage).all()
        assert 0 <= defect.coverage.min() and defect.coverage.max() <= 1


def test_shots_draw_their_gaps_in_their_own_frame():
    data = ConfigDict(synthetic_gaps.get_config("cpu").data.to_dict() | dict(parts=30, shots=2))
    options = checked(data)
    for record in generator.records(data):
        part, shot = generator.part_of(options, record.id)
        assert (part.class_name, part.group) == (record.class_name, record.group)
        mask = generator.draw_mask(options, part, shot)
        gaps = generator.draw_gaps(options, part, shot)
        assert gaps.dtype == np.uint8 and gaps.shape == mask.shape
        assert set(np.unique(gaps)) <= {0, 255} and not (gaps & ~mask).any()
        assert gaps.any() == (record.class_name in KINDS)
        assert (gaps == generator.draw_gaps(options, part, shot)).all()
        if gaps.any():
            assert 0.15 < (gaps > 0).sum() / (mask > 0).sum() < 0.75
