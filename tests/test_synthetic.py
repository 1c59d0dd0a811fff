"""The generated data set: exact masks, what shots share, and the same pixels everywhere."""

import hashlib
import math
import pickle
from collections import Counter, defaultdict

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from scipy import stats

from defect_jax.data.sources.synthetic import defects, generator, lighting, noise, surfaces
from defect_jax.data.sources.synthetic import options as synthetic_options
from defect_jax.runtime.errors import UserError

DEFAULTS = dict(seed=3, parts=40, shots=2, defective_fraction=0.15, picture_size=(96, 128))

# Pixels of every image and mask of a small set, by seed. They change with VERSION and never else.
GOLDEN = {
    0: "174fd182bee8d45f74667359e08959509f2233139a5d5b5990afe05ed25cca75",
    20240229: "cbaf4b5c90e5350318ec3df9025e751416b0042b8e005cc46bb927194e0c0545",
}
GOLDEN_GAPS = "54e31e66f3ef87e73cc15bb7403951da79240e7903b481b23df12db38a1b7756"
GOLDEN_FIRST_PART = "92efd23c6a0d08047ce2da7b8665a07ec0075c24f2130d524ce974f7a1b81b61"
KNOWN_KINDS = "give one or more of fray, hair_crack, pit, scratch, stain, weave, each once"


def config(**changes):
    return ConfigDict(DEFAULTS | changes)


def pixels(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def digest(files: generator.SyntheticFiles) -> str:
    total = hashlib.sha256()
    for name in files.names():
        total.update(name.encode() + pixels(files.read(name)).tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("seed", GOLDEN)
def test_pixels_never_drift(seed):
    data = config(seed=seed, parts=28, shots=1, defective_fraction=0.6, picture_size=(80, 100))
    assert digest(generator.SyntheticFiles(data)) == GOLDEN[seed]


def test_pixels_of_the_default_size_never_drift():
    data = config(seed=1, parts=1, shots=1, defective_fraction=1.0, picture_size=(160, 160))
    assert digest(generator.SyntheticFiles(data)) == GOLDEN_FIRST_PART


def test_pixels_of_defects_with_gaps_never_drift():
    data = config(parts=8, shots=1, defective_fraction=1.0, defect_kinds=("fray", "weave"))
    assert digest(generator.SyntheticFiles(data)) == GOLDEN_GAPS


def test_raw_random_bits_are_those_of_philox_4x64():
    # Known-answer vector of Random123 (kat_vectors: philox4x64, 10 rounds, all zero), moved on by
    # one block, because NumPy counts up before it draws.
    random = noise.stream(0, 0, 0)
    random.advance(2**256 - 1)
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert random.random_raw(4).tolist() == known


def test_normals_pass_a_test_of_normality():
    values = noise.normals(noise.stream(5, 0, 0), 20_000)
    assert stats.kstest(values, "norm").pvalue > 0.01
    draws = [noise.long_tailed(noise.stream(5, i, 1), 4.0, 10.0, 0.0, 1e9) for i in range(4000)]
    assert np.percentile(draws, 50) == pytest.approx(4.0, rel=0.05)
    assert np.percentile(draws, 95) == pytest.approx(10.0, rel=0.1)


def test_texture_has_the_correlation_of_its_grain():
    # White noise blurred by a Gaussian of s px has the autocorrelation exp(-d**2 / (4 s**2)).
    field = noise.texture(noise.stream(1, 0, 0), (512, 512), noise.Grain(4.0, 1.5))
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(1, abs=1e-3)
    along = (field[:, 4:] * field[:, :-4]).mean()
    across = (field[2:] * field[:-2]).mean()
    assert along == pytest.approx(math.exp(-16 / 64), abs=0.05)
    assert across == pytest.approx(math.exp(-4 / 9), abs=0.05)


@given(
    kind=st.sampled_from(sorted(surfaces.KINDS)),
    class_name=st.sampled_from(sorted(synthetic_options.DEFECTS)),
    seed=st.integers(0, 2**63 - 1),
    number=st.integers(0, 999_999),
    shot=st.integers(1, 1000),
    size=st.tuples(st.integers(64, 150), st.integers(64, 150)),
)
def test_any_defective_shot_is_grey_and_its_mask_is_not_empty(
    kind, class_name, seed, number, shot, size
):
    options = synthetic_options.checked(config(seed=seed, picture_size=size))
    part = generator.Part(number, kind, class_name)
    image = generator.draw_image(options, part, shot)
    mask = generator.draw_mask(options, part, shot)
    assert image.dtype == mask.dtype == np.uint8
    assert image.shape == mask.shape == size
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).mean() < 0.5
    assert 40 < image.mean() < 215
    assert np.isin(image, (0, 255)).mean() < 0.05  # neither burnt out nor drowned


@given(
    seed=st.integers(0, 2**40),
    parts=st.integers(1, 300),
    shots=st.integers(1, 4),
    fraction=st.floats(0, 1),
)
@settings(max_examples=40, deadline=None)
def test_records_name_existing_files_and_keep_shots_together(seed, parts, shots, fraction):
    data = config(seed=seed, parts=parts, shots=shots, defective_fraction=fraction)
    records = generator.records(data)
    assert len({record.id for record in records}) == parts * shots
    named = [record.image for record in records] + [r.mask for r in records if r.mask]
    assert sorted(named) == generator.SyntheticFiles(data).names()
    by_group = defaultdict(list)
    for record in records:
        by_group[record.group].append(record)
        assert record.id.startswith(record.group + "/shot_")
        assert (record.mask is None) == (record.class_name == "good")
    assert len(by_group) == parts
    for together in by_group.values():
        assert len(together) == shots
        assert len({(record.split, record.class_name) for record in together}) == 1
    defective = sum(group[0].class_name != "good" for group in by_group.values())
    assert defective == math.floor(fraction * parts + 0.5)


@given(
    seed=st.integers(0, 2**40),
    parts=st.integers(1, 120),
    more=st.integers(1, 120),
    fraction=st.floats(0, 1),
)
@settings(max_examples=40, deadline=None)
def test_a_larger_set_begins_with_the_smaller_one(seed, parts, more, fraction):
    few = synthetic_options.checked(config(seed=seed, parts=parts, defective_fraction=fraction))
    many = few._replace(parts=parts + more)
    for number in range(parts):
        assert generator.describe(few, number) == generator.describe(many, number)


def test_more_parts_and_shots_leave_earlier_images_alone():
    few = generator.SyntheticFiles(config(defective_fraction=0.5, parts=6, shots=1))
    many = generator.SyntheticFiles(config(defective_fraction=0.5, parts=9, shots=3))
    assert set(few.names()) < set(many.names())
    assert all(few.read(name) == many.read(name) for name in few.names())


def test_default_set_is_balanced_as_promised():
    records = generator.records(config(parts=400, shots=3))
    parts = {record.group: record for record in records}.values()
    assert Counter(record.class_name for record in parts) == dict(
        good=340, pit=15, scratch=15, stain=15, hair_crack=15
    )
    kinds = Counter(record.group.split("/")[0] for record in parts)
    assert set(kinds) == set(surfaces.KINDS) and min(kinds.values()) > 30
    splits = Counter((record.split, record.class_name != "good") for record in parts)
    for is_defective, total in ((False, 340), (True, 60)):
        for split, share in {"train": 0.6, "val": 0.2, "test": 0.2}.items():
            deviation = (total * share * (1 - share)) ** 0.5
            assert abs(splits[split, is_defective] - share * total) < 3 * deviation


def test_a_larger_set_moves_no_part():
    small, large = (
        {record.id: record.split for record in generator.records(config(parts=parts, shots=2))}
        for parts in (100, 130)
    )
    assert len(small) == 200 and small.items() <= large.items()


def test_four_defective_parts_are_one_of_each_class():
    records = generator.records(config(parts=27, shots=1))
    assert sorted(r.class_name for r in records if r.mask) == sorted(defects.KINDS)


@pytest.mark.parametrize("class_name", sorted(defects.KINDS))
def test_mask_holds_what_the_defect_changes(class_name):
    """With noise and light held still, the change is in the mask but for its soft edge."""
    options = synthetic_options.checked(config(picture_size=(160, 160)))
    held, reached = [], []
    for number in range(20):
        part = generator.Part(number, "ceramic", class_name)
        good = generator.draw_image(options, part._replace(class_name="good"), 1).astype(float)
        change = np.abs(generator.draw_image(options, part, 1) - good)
        mask = generator.draw_mask(options, part, 1) > 0
        near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0
        assert change[~near].max() <= 0.05 * change.max() + 1
        held.append(change[mask].sum() / change.sum())
        reached.append((change[mask] > 4).mean())
    assert min(held) > 0.55 and np.mean(held) > 0.78
    assert np.mean(reached) > 0.9


def test_defect_sizes_have_a_long_tail():
    options = synthetic_options.checked(config(picture_size=(160, 160)))
    for class_name in sorted(defects.KINDS):
        parts = [generator.Part(number, "cast", class_name) for number in range(80)]
        sizes_px = [(generator.draw_mask(options, part, 1) > 0).sum() for part in parts]
        assert stats.skew(sizes_px) > 0.7
        assert max(sizes_px) > 2.5 * np.median(sizes_px)


def test_defect_sizes_grow_with_the_image():
    small = synthetic_options.checked(config(picture_size=(128, 128)))
    large = small._replace(picture_size=(512, 512))
    for class_name in ("pit", "stain"):
        part = generator.Part(1, "rolled", class_name)
        shares = [(generator.draw_mask(o, part, 1) > 0).mean() for o in (small, large)]
        assert shares[0] == pytest.approx(shares[1], rel=0.35)


def test_shots_show_the_same_defect_in_another_frame_and_light():
    options = synthetic_options.checked(config(picture_size=(128, 128)))
    part = generator.Part(3, "cast", "pit")
    images = [generator.draw_image(options, part, shot) for shot in (1, 2, 3)]
    masks = [generator.draw_mask(options, part, shot) for shot in (1, 2, 3)]
    assert len({image.tobytes() for image in images}) == 3
    shapes = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        shapes.append({*zip(rows - rows.min(), columns - columns.min(), strict=True)})
    assert shapes[0] == shapes[1] == shapes[2]


def test_frames_stay_on_the_canvas_and_reach_its_corners():
    frames = [lighting.draw_crop_window(noise.stream(0, i, 9), (70, 90), 2) for i in range(400)]
    assert (
        {frame.top_px for frame in frames} == {frame.left_px for frame in frames} == set(range(5))
    )
    canvas = np.zeros((74, 94))
    assert all(frame.crop(canvas).shape == (70, 90) for frame in frames)


def test_reading_depends_on_nothing_read_before():
    files = generator.SyntheticFiles(config(defective_fraction=1.0, parts=2))
    copy = pickle.loads(pickle.dumps(files))
    names = files.names()
    forwards = [files.read(name) for name in names]
    backwards = [copy.read(name) for name in reversed(names)]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize(
    "change",
    [
        dict(seed=4),
        dict(parts=41),
        dict(shots=3),
        dict(picture_size=(96, 96)),
        dict(defect_kinds=("pit", "weave")),
    ],
)
def test_stamp_tells_other_options_apart(change):
    stamp = generator.SyntheticFiles(config()).stamp()
    assert stamp == generator.SyntheticFiles(config()).stamp()
    assert stamp != generator.SyntheticFiles(config(**change)).stamp()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(parts=0), "config.data.parts is 0: give 1 to 1000000"),
        (dict(shots=-1), "config.data.shots is -1: give 1 to 1000"),
        (dict(seed=-1), "config.data.seed is -1: give 0 to 9223372036854775807"),
        (
            dict(defective_fraction=1.5),
            "config.data.defective_fraction is 1.5: give a share from 0 to 1",
        ),
        (
            dict(picture_size=(16, 160)),
            "config.data.picture_size is (16, 160): give height and width, each 64 to 4096 px",
        ),
        (dict(defect_kinds=()), f"config.data.defect_kinds is (): {KNOWN_KINDS}"),
        (dict(defect_kinds="dent"), f"config.data.defect_kinds is ('dent',): {KNOWN_KINDS}"),
        (
            dict(defect_kinds=("pit", "pit")),
            f"config.data.defect_kinds is ('pit', 'pit'): {KNOWN_KINDS}",
        ),
    ],
)
def test_a_field_out_of_range_is_named(change, message):
    with pytest.raises(UserError) as error:
        generator.records(config(**change))
    assert str(error.value) == message
    with pytest.raises(UserError):
        generator.SyntheticFiles(config(**change))


def test_stamp_of_the_default_kinds_is_that_of_before_there_was_a_choice():
    stamp = (
        "synthetic 1 Options(seed=3, parts=40, shots=2, defective_fraction=0.15, "
        "picture_size=(96, 128))"
    )
    for kinds in (synthetic_options.DEFAULT_KINDS, ["stain", "scratch", "pit", "hair_crack"]):
        assert generator.SyntheticFiles(config(defect_kinds=kinds)).stamp() == stamp
    assert generator.SyntheticFiles(config()).stamp() == stamp


def test_chosen_kinds_are_drawn_and_numbered_in_sorted_order():
    data = config(defect_kinds=("weave", "fray", "pit"), defective_fraction=0.5)
    assert synthetic_options.class_names(data) == ("fray", "pit", "weave")
    records = generator.records(data)
    ids = {record.class_name: record.class_id for record in records if record.mask}
    assert ids == {"fray": 1, "pit": 2, "weave": 3}
    assert {record.class_id for record in records if not record.mask} == {1}
    names = [record.class_name for record in records if record.mask][::2]
    assert all(len(set(names[i : i + 3])) == 3 for i in range(0, 18, 3))


def test_a_record_leads_back_to_its_part_and_shot():
    options = synthetic_options.checked(config())
    for record in generator.records(config()):
        part, shot = generator.part_of(options, record.id)
        assert record.id == f"{part.group}/shot_{shot}"
    for id in (f"{part.group}/shot_3", f"{part.group}", "cast/part_90000/shot_1", ""):
        with pytest.raises(FileNotFoundError, match="synthetic"):
            generator.part_of(options, id)


def test_unknown_names_are_not_found():
    files = generator.SyntheticFiles(config(defective_fraction=0.0))
    known = files.names()[0]
    other_kind = (
        "images/" + ("woven" if "/cast/" in known else "cast") + known[known.index("/part") :]
    )
    strangers = [
        "readme.txt",
        known.replace("images", "masks"),
        known.replace("shot_1", "shot_01"),
        known.replace("shot_1", "shot_9"),
        known.replace("part_000", "part_900"),
        other_kind,
    ]
    for name in strangers:
        with pytest.raises(FileNotFoundError, match="synthetic"):
            files.read(name)
