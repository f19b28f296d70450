"""Augmentation: choices against their probabilities and a plain loop, whole views end to end."""

from functools import partial

import cv2
import jax
import numpy as np
import pytest

from jaxdet.augment import colour, crops, views
from jaxdet.augment import window as window_
from jaxdet.augment.fit import letterbox, stretch
from jaxdet.types import Batch, Objects

SIZE = np.array([300, 500], np.int32)
KEYS = 3000
STILL = {
    "brightness": 0.0,
    "contrast": (1.0, 1.0),
    "saturation": (1.0, 1.0),
    "hue": 0.0,
    "swap_probability": 0.0,
}
FIXED = {"expand_probability": 0.0, "crop_min_ious": (), "mirror_probability": 0.0}
MEAN = (123.0, 117.0, 104.0)


def make_objects(*boxes: tuple[float, float, float, float], padded: int = 5) -> Objects:
    count = len(boxes)
    padding = np.zeros((padded - count, 4), np.float32)
    mask = np.arange(padded) < count
    return Objects(
        boxes=np.concatenate([np.array(boxes, np.float32).reshape(-1, 4), padding]),
        labels=np.where(mask, np.arange(padded) + 7, 0).astype(np.int32),
        mask=mask,
        weight=mask.astype(np.float32) * 0.75,
    )


def make_batch(*images: tuple[np.ndarray, Objects], side: int = 64) -> Batch:
    canvases = np.zeros((len(images), side, side, 3), np.uint8)
    for canvas, (image, _) in zip(canvases, images, strict=True):
        canvas[: image.shape[0], : image.shape[1]] = image
    return Batch(
        image=canvases,
        size=np.array([image.shape[:2] for image, _ in images], np.int32),
        objects=jax.tree.map(lambda *leaves: np.stack(leaves), *(o for _, o in images)),
        id=np.arange(len(images)),
        valid=np.ones(len(images), bool),
    )


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


WHOLE = window_.uncropped_window(np.array(SIZE), stretch, (300, 300))


@partial(jax.jit, static_argnames=("fit", "expand_max"))
def sample_windows(keys, size, objects, choices, *, fit, expand_max):
    def one(key):
        uncropped = window_.uncropped_window(size, fit, (5120, 5120))
        how = dict(expand_max=expand_max, **choices)
        return crops.expand_and_crop(key, size, objects, uncropped, fit is not stretch, **how)

    return jax.vmap(one)(keys)


def sample(
    objects: Objects, *, size=SIZE, fit=stretch, expand_max=4.0, **choices
) -> tuple[np.ndarray, np.ndarray]:
    """The windows [KEYS, 4] of many keys, and which are mirrored [KEYS]."""
    choices = FIXED | choices
    impossible = (np.inf,) * (3 - len(choices["crop_min_ious"]))  # so that all compile to one
    choices["crop_min_ious"] += impossible
    keys, shape = jax.random.split(jax.random.key(0), KEYS), np.array(size, np.int32)
    how = dict(fit=fit, expand_max=expand_max)
    windows = sample_windows(keys, shape, objects, choices, **how)
    return np.asarray(windows.box), np.asarray(windows.mirror)


def iou(a, b) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


def is_whole(boxes: np.ndarray) -> np.ndarray:
    return (boxes == np.array([0, 0, 1, 1])).all(axis=1)


# --- windows ---


def test_without_choices_the_window_is_the_whole_image():
    boxes, mirrored = sample(make_objects((0.2, 0.2, 0.6, 0.8)))
    assert is_whole(boxes).all()
    assert not mirrored.any()


def test_mirror_happens_as_often_as_asked():
    _, mirrored = sample(make_objects(), mirror_probability=0.3)
    assert abs(mirrored.mean() - 0.3) < 0.03


def test_expand_keeps_the_shape_and_the_image_inside():
    boxes, _ = sample(make_objects(), expand_probability=0.6, expand_max=4.0)
    expanded = boxes[~is_whole(boxes)]
    assert abs(len(expanded) / KEYS - 0.6) < 0.03
    ratio = expanded[:, 2:] - expanded[:, :2]
    np.testing.assert_allclose(ratio[:, 0], ratio[:, 1], rtol=1e-5)
    assert ratio.min() >= 1 and ratio.max() <= 4
    assert abs(ratio.mean() - 2.5) < 0.08
    assert (expanded[:, :2] <= 0).all() and (expanded[:, 2:] >= 1 - 1e-6).all()
    share = -expanded[:, :2] / (ratio - 1)  # of the free room that is left and above
    assert np.abs(share.mean(axis=0) - 0.5).max() < 0.03
    assert abs(np.corrcoef(share.T)[0, 1]) < 0.1


@pytest.mark.parametrize("minimum", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_patches_hold_their_minimum_iou_aspect_and_a_centre(minimum):
    objects = make_objects((0.1, 0.15, 0.35, 0.5), (0.3, 0.2, 0.95, 0.9))
    boxes, _ = sample(objects, crop_min_ious=(minimum,))
    patches = boxes[~is_whole(boxes)][:400]
    assert len(patches) == 400 or minimum == 0.9
    assert len(patches) > 5
    for patch in patches:
        assert max(iou(patch, box) for box in objects.boxes[:2]) >= minimum - 1e-5
        aspect = (patch[3] - patch[1]) * SIZE[0] / ((patch[2] - patch[0]) * SIZE[1])
        assert 0.5 - 1e-4 <= aspect <= 2 + 1e-4
        assert (patch[:2] >= 0).all() and (patch[2:] <= 1 + 1e-6).all()
        assert (patch[2:] - patch[:2] >= 0.3 - 1e-5).all()
        centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in objects.boxes[:2]]
        assert any(patch[0] < x < patch[2] and patch[1] < y < patch[3] for x, y in centres)


def plain_crop(rng, boxes, minimum):
    """One mode of SSD's crop as the paper tells it, a trial at a time; None after 50 misses."""
    for _ in range(50):
        width, height = rng.uniform(0.3, 1, 2)
        if not 0.5 <= height * SIZE[0] / (width * SIZE[1]) <= 2:
            continue
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        patch = (left, top, left + width, top + height)
        if max(iou(patch, box) for box in boxes) < minimum:
            continue
        centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes]
        if any(patch[0] < x < patch[2] and patch[1] < y < patch[3] for x, y in centres):
            return patch
    return None


@pytest.mark.parametrize("minimum", [0.0, 0.5])
def test_patches_are_distributed_like_those_of_a_plain_loop(minimum):
    objects = make_objects((0.1, 0.15, 0.35, 0.5), (0.3, 0.2, 0.95, 0.9))
    boxes, _ = sample(objects, crop_min_ious=(minimum,))
    ours = boxes[~is_whole(boxes)]
    rng = np.random.default_rng(0)
    theirs = np.array([plain_crop(rng, objects.boxes[:2], minimum) for _ in range(len(ours))])
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / len(ours))
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4 * error).all()
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.1)


def test_modes_are_equally_likely():
    boxes, _ = sample(make_objects((0.1, 0.1, 0.9, 0.9)), crop_min_ious=(0.0, 0.1, 0.3))
    assert abs(is_whole(boxes).mean() - 1 / 4) < 0.03


def test_a_mode_that_finds_nothing_passes_on_to_another():
    small = make_objects((0.5, 0.5, 0.51, 0.51))  # no patch this small
    boxes, _ = sample(small, crop_min_ious=(0.9,))
    assert is_whole(boxes).all()
    boxes, _ = sample(small, crop_min_ious=(0.9, 0.0, 0.7))
    assert abs(is_whole(boxes).mean() - 1 / 2) < 0.03


def test_padding_neither_holds_nor_allows_a_crop():
    objects = make_objects((0.9, 0.9, 0.95, 0.95))
    objects.boxes[1:] = [0.1, 0.1, 0.5, 0.5]  # masked out, so as if it were not there
    boxes, _ = sample(objects, crop_min_ious=(0.0,))
    patches = boxes[~is_whole(boxes)]
    assert len(patches) > KEYS / 3
    assert (patches[:, 2:] > 0.925 - 1e-6).all()


def test_crops_are_taken_from_the_expanded_frame():
    objects = make_objects((0.0, 0.0, 1.0, 1.0))
    boxes, _ = sample(objects, expand_probability=1.0, crop_min_ious=(0.3,))
    sides = boxes[:, 2:] - boxes[:, :2]
    cropped = np.abs(sides[:, 0] - sides[:, 1]) > 1e-4  # a mere frame has the image's shape
    assert 0.3 < cropped.mean() < 0.6
    assert sides[cropped].max() > 1.2 and boxes[cropped, :2].min() < -0.3
    assert min(iou(box, (0, 0, 1, 1)) for box in boxes[cropped]) >= 0.3 - 1e-5


def test_without_objects_nothing_is_cropped():
    boxes, _ = sample(make_objects(), crop_min_ious=(0.0, 0.1, 0.9))
    assert is_whole(boxes).all()


@pytest.mark.parametrize(("padded", "modes"), [(0, (0.0, 0.5)), (5, ())])
def test_no_room_for_objects_and_no_modes_are_fine(padded, modes):
    objects = make_objects(*[(0.2, 0.2, 0.6, 0.8)] * (padded > 0), padded=padded)
    choices = FIXED | {"crop_min_ious": modes}
    window = crops.expand_and_crop(jax.random.key(0), SIZE, objects, WHOLE, False, **choices)
    np.testing.assert_array_equal(window.box, [0, 0, 1, 1])


# What the code before crops.py gave: whoever changes a draw should know.
WINDOWS_BEFORE = [
    [0.0015425803, 0.08214505, 0.37438697, 0.62062687],
    [0.39220536, 0.16863966, 0.9576632, 0.8829718],
    [0.17238614, 0.27544168, 0.82552004, 0.82532275],
    [0.38610217, 0.20969063, 0.8067506, 0.9892612],
]
MIRRORED_BEFORE = [False, False, False, True]


def test_stretched_windows_are_those_of_before():
    objects = make_objects((0.1, 0.15, 0.35, 0.5), (0.3, 0.2, 0.95, 0.9))
    for seed, (box, mirror) in enumerate(zip(WINDOWS_BEFORE, MIRRORED_BEFORE, strict=True)):
        window = crops.expand_and_crop(jax.random.key(seed), SIZE, objects, WHOLE, False)
        np.testing.assert_allclose(window.box, box, rtol=1e-6)  # the same bits, on one machine
        assert window.mirror == mirror


# --- letterboxed windows ---

SHAPES = [(300, 500), (500, 171), (64, 64), (7, 512)]  # height, width
TWO = ((0.1, 0.15, 0.35, 0.5), (0.3, 0.2, 0.95, 0.9))
EVERYTHING = {
    "expand_probability": 0.5,
    "crop_min_ious": (0.0, 0.3, 0.7),
    "mirror_probability": 0.5,
}


def in_pixels(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return boxes * np.array([size[1], size[0]] * 2)


def sides(boxes: np.ndarray) -> np.ndarray:
    return boxes[..., 2:] - boxes[..., :2]


@pytest.mark.parametrize("size", SHAPES)
def test_letterboxed_windows_are_squares_of_pixels(size):
    boxes, mirrored = sample(make_objects(*TWO), size=size, fit=letterbox, **EVERYTHING)
    width, height = sides(in_pixels(boxes, size)).T
    np.testing.assert_allclose(width, height, rtol=1e-4)
    whole = max(size)
    assert (width > 1.01 * whole).mean() > 0.1  # some show more than the image
    assert (width < 0.99 * whole).mean() > 0.2  # some less
    assert 0.3 * whole * (1 - 1e-4) <= width.min() and width.max() <= 4 * whole * (1 + 1e-4)
    assert 0.4 < mirrored.mean() < 0.6


@pytest.mark.parametrize("size", SHAPES)
def test_letterboxed_views_stretch_no_object(size):
    objects = make_objects((0.1, 0.15, 0.35, 0.5), (0.42, 0.2, 0.58, 0.9), (0.7, 0.7, 0.75, 0.8))
    boxes, mirrored = sample(objects, size=size, fit=letterbox, **EVERYTHING)
    windows = window_.Window(box=boxes, mirror=mirrored)
    moved = jax.vmap(window_.move_objects, (None, 0))(objects, windows)
    width, height = sides(in_pixels(objects.boxes[:3], size)).T
    unclipped = (moved.boxes > 0).all(axis=-1) & (moved.boxes < 1).all(axis=-1)
    seen = np.asarray(moved.boxes)[:, :3]
    for i in range(3):
        whole = seen[:, i][np.asarray(unclipped & moved.mask)[:, i]]
        assert len(whole) > KEYS / 10
        aspect = sides(whole)[:, 0] / sides(whole)[:, 1]
        np.testing.assert_allclose(aspect, width[i] / height[i], rtol=2e-3)


def test_letterboxed_frames_hold_the_square_around_the_image():
    size = (200, 400)
    boxes, _ = sample(make_objects(), size=size, fit=letterbox, expand_probability=0.6)
    square = np.array([0, -0.5, 1, 1.5])
    same = np.isclose(boxes, square, atol=1e-6).all(axis=1)
    assert abs(same.mean() - 0.4) < 0.03
    expanded = boxes[~same]
    ratio = sides(expanded) / sides(square)
    assert ratio.min() >= 1 and ratio.max() <= 4 and abs(ratio.mean() - 2.5) < 0.08
    assert (expanded[:, :2] <= square[:2] + 1e-6).all()
    assert (expanded[:, 2:] >= square[2:] - 1e-6).all()
    share = (square[:2] - expanded[:, :2]) / (sides(expanded) - sides(square))
    assert np.abs(share.mean(axis=0) - 0.5).max() < 0.03


@pytest.mark.parametrize("minimum", [0.0, 0.3])
def test_letterboxed_patches_hold_their_minimum_iou_and_a_centre(minimum):
    size, objects = (200, 400), make_objects(*TWO)
    boxes, _ = sample(objects, size=size, fit=letterbox, crop_min_ious=(minimum,))
    square = np.array([0, -0.5, 1, 1.5])
    patches = boxes[~np.isclose(boxes, square, atol=1e-6).all(axis=1)][:400]
    assert len(patches) == 400
    assert (patches[:, :2] >= square[:2] - 1e-6).all()
    assert (patches[:, 2:] <= square[2:] + 1e-6).all()
    for patch in patches:
        assert max(iou(patch, box) for box in objects.boxes[:2]) >= minimum - 1e-5
        centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in objects.boxes[:2]]
        assert any(patch[0] < x < patch[2] and patch[1] < y < patch[3] for x, y in centres)


# --- whole views ---

SSD = {
    "fit": stretch,
    "fill": MEAN,
    "window": crops.expand_and_crop,
    "colour": colour.distort,
}
VIEW = jax.jit(partial(views.train_view, output=48, **SSD))
FILL = (1.0, 2.0, 3.0)
DIM = partial(colour.distort, **STILL | {"contrast": (0.5, 0.9)})
DIM_VIEW = jax.jit(partial(views.train_view, output=100, **SSD | {"fill": FILL, "colour": DIM}))


def crowded() -> Batch:
    many = make_objects((0.1, 0.1, 0.4, 0.5), (0.5, 0.4, 0.9, 0.9), (0.0, 0.6, 0.2, 0.7))
    none = make_objects()
    return make_batch((noise(40, 60), many), (noise(64, 33), none), (noise(1, 1), none))


def test_a_key_repeats_itself_and_another_differs():
    batch = crowded()
    first, again = VIEW(jax.random.key(1), batch), VIEW(jax.random.key(1), batch)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other, *_ = VIEW(jax.random.key(2), batch)
    assert (np.abs(other - first[0]).mean(axis=(1, 2, 3)) > 1).all()


@pytest.mark.slow
def test_jit_equals_no_jit():
    batch = crowded()
    pixels, objects, _ = VIEW(jax.random.key(3), batch)
    plain_pixels, plain_objects, _ = views.train_view(jax.random.key(3), batch, output=48, **SSD)
    np.testing.assert_allclose(pixels, plain_pixels, atol=2e-2)  # steep noise, 1e-5 pixels apart
    np.testing.assert_array_equal(objects.mask, plain_objects.mask)
    np.testing.assert_allclose(objects.boxes, plain_objects.boxes, atol=1e-5)


def test_images_do_not_see_each_other():
    batch = crowded()
    other = batch.replace(image=batch.image.copy())
    other.image[0] = 0
    pixels, *_ = VIEW(jax.random.key(4), batch)
    others, *_ = VIEW(jax.random.key(4), other)
    np.testing.assert_array_equal(pixels[1:], others[1:])


def test_images_of_a_batch_get_views_of_their_own():
    image = (noise(40, 60), make_objects((0.1, 0.1, 0.4, 0.5)))
    pixels, *_ = VIEW(jax.random.key(4), make_batch(image, image, image))
    assert np.abs(pixels[0] - pixels[1]).mean() > 1


def test_many_views_stay_finite_and_in_range():
    batch = crowded()
    for seed in range(30):
        pixels, objects, _ = VIEW(jax.random.key(seed), batch)
        assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 255
        boxes, mask = np.asarray(objects.boxes), np.asarray(objects.mask)
        assert ((boxes >= 0) & (boxes <= 1)).all()
        assert (boxes[mask][:, 2:] > boxes[mask][:, :2]).all()
        assert mask[0].any() and not mask[1:].any()
        assert (boxes[~mask] == 0).all()
        np.testing.assert_array_equal(np.asarray(objects.weight), mask * np.float32(0.75))
        np.testing.assert_array_equal(
            np.asarray(objects.labels), np.where(mask, [7, 8, 9, 0, 0], 0)
        )


def test_boxes_stay_on_their_objects():
    """A white block on black, wherever the window puts it, is where its box says."""
    image = np.zeros((50, 60, 3), np.uint8)
    image[10:30, 24:42] = 255
    batch = make_batch((image, make_objects((24 / 60, 10 / 50, 42 / 60, 30 / 50))))
    mirrored = 0
    for seed in range(40):
        pixels, objects, _ = DIM_VIEW(jax.random.key(seed), batch)
        brightness = np.asarray(pixels[0, ..., 0])
        white = brightness > brightness.max() / 2
        rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 100
        np.testing.assert_allclose(objects.boxes[0, 0], seen, atol=0.011)
        mirrored += bool(objects.boxes[0, 0, 0] > 0.5)
    assert 0 < mirrored < 40


def test_fill_is_not_distorted():
    batch = make_batch((np.full((50, 60, 3), 255, np.uint8), make_objects()))
    filled = 0
    for seed in range(10):
        pixels = np.asarray(DIM_VIEW(jax.random.key(seed), batch)[0][0])
        outside = pixels[(pixels < 100).all(axis=-1)]
        np.testing.assert_array_equal(outside, np.tile(np.float32(FILL), (len(outside), 1)))
        filled += len(outside)
    assert filled > 1000


def test_a_stretched_view_is_that_of_before():
    objects = make_objects(*TWO)
    batch = make_batch((noise(40, 60), objects), (noise(64, 33), objects))
    view = jax.jit(partial(views.train_view, output=2, **SSD))
    pixels, objects, _ = view(jax.random.key(5), batch)
    first = [[[117.779, 124.145, 96.159], [88.308, 163.290, 20.682]]]
    first += [[[4.945, 102.867, 88.261], [169.366, 98.851, 148.678]]]
    second = [[MEAN, MEAN], [(114.753, 77.591, 110.001), MEAN]]
    np.testing.assert_allclose(pixels, [first, second], atol=0.01)  # steep noise
    np.testing.assert_array_equal(objects.mask[:, :2], [[False, True], [True, True]])
    np.testing.assert_allclose(objects.boxes[0, 1], [0, 0.09981669, 1, 1], rtol=1e-5)
    lower = [0.10578705, 0.51860988, 0.44500089, 0.91869825]
    np.testing.assert_allclose(objects.boxes[1, 1], lower, rtol=1e-5)


def test_a_letterboxed_view_without_choices_is_that_of_evaluation():
    tall, wide = (60, 36), (24, 60)  # in evaluation images fill whole pixels: here they do, anyway
    objects = make_objects((0.1, 0.15, 0.35, 0.5), (0.3, 0.2, 0.95, 0.9))
    batch = make_batch((noise(*tall), objects), (noise(*wide), objects), (noise(48, 48), objects))
    how = dict(output=50, fit=letterbox, fill=FILL)
    still = lambda key, pixels: pixels
    view = partial(
        views.train_view, **how, window=partial(crops.expand_and_crop, **FIXED), colour=still
    )
    pixels, moved, part = jax.jit(view)(jax.random.key(0), batch)
    expected, _ = jax.jit(jax.vmap(partial(views.eval_view, **how)))(batch.image, batch.size)
    sides = [[0.2, 0, 0.8, 1], [0, 0.3, 1, 0.7], [0, 0, 1, 1]]
    np.testing.assert_allclose(part, sides, atol=1e-6)
    np.testing.assert_allclose(pixels, expected, atol=2e-2)  # steep noise, 1e-5 pixels apart
    for i, (height, width) in enumerate((tall, wide, (48, 48))):
        side = max(height, width)
        borders = np.array([side - width, side - height] * 2) / 2
        boxes = (in_pixels(objects.boxes[:2], (height, width)) + borders) / side
        np.testing.assert_allclose(moved.boxes[i, :2], boxes, atol=1e-6)
        np.testing.assert_array_equal(moved.mask[i], objects.mask)


def test_boxes_stay_on_their_objects_in_a_letterbox():
    """The same white block, which is a square of pixels in every view that shows all of it."""
    image = np.zeros((30, 60, 3), np.uint8)
    image[8:20, 30:42] = 255
    batch = make_batch((image, make_objects((30 / 60, 8 / 30, 42 / 60, 20 / 30))))
    how = SSD | dict(fit=letterbox, fill=FILL, colour=lambda key, pixels: pixels)
    view = jax.jit(partial(views.train_view, output=200, **how))
    for seed in range(40):
        pixels, objects, _ = view(jax.random.key(seed), batch)
        brightness = np.asarray(pixels[0, ..., 0])
        white = brightness > 127.5
        rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 200
        np.testing.assert_allclose(objects.boxes[0, 0], seen, atol=0.006)
        if seen.min() > 0 and seen.max() < 1:
            assert abs(sides(seen)[0] - sides(seen)[1]) < 0.011


def test_evaluation_stretches():
    image = noise(40, 60)
    batch = make_batch((image, make_objects()))
    pixels, _ = views.eval_view(batch.image[0], batch.size[0], output=50, fit=stretch, fill=MEAN)
    expected = cv2.resize(image.astype(np.float32), (50, 50), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(pixels, expected, atol=3e-4)


def test_evaluation_letterboxes():
    image = noise(30, 60)
    batch = make_batch((image, make_objects()))
    pixels, _ = views.eval_view(
        batch.image[0], batch.size[0], output=40, fit=letterbox, fill=(1.0, 2.0, 3.0)
    )
    expected = np.tile(np.array([1.0, 2.0, 3.0], np.float32), (40, 40, 1))
    expected[10:30] = cv2.resize(image.astype(np.float32), (40, 20), interpolation=1)
    np.testing.assert_allclose(pixels, expected, atol=1e-2)


def test_wrong_choices_are_refused():
    refused = lambda **choice: views.train_view(
        jax.random.key(0), crowded(), output=8, **SSD | choice
    )
    with pytest.raises(ValueError, match="expand_max is 0.5"):
        refused(window=partial(crops.expand_and_crop, expand_max=0.5))
    with pytest.raises(ValueError, match=r"contrast is \(1.5, 0.5\)"):
        refused(colour=partial(colour.distort, contrast=(1.5, 0.5)))
