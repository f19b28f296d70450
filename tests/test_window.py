"""Windows: pixels against OpenCV and plain loops, boxes against hand-worked numbers."""

from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.augment import fit, views
from jaxdet.augment import window as window_
from jaxdet.augment.window import Window
from jaxdet.types import Objects


@partial(jax.jit, static_argnames="output")
def resample(image, size, window, *, output):
    """A square view."""
    return window_.resample(image, size, window, output=(output, output))


def make_window(*box: float, mirror: bool = False) -> Window:
    return Window(box=jnp.array(box, jnp.float32), mirror=jnp.array(mirror))


def make_canvas(height: int, width: int, side: int = 64, seed: int = 0) -> np.ndarray:
    """Noise everywhere: what a view takes from beyond the image would show."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize(
    ("height", "width", "canvas", "output"),
    [
        (375, 500, 512, 300),
        (333, 500, 512, 512),
        (500, 171, 512, 97),
        (64, 64, 64, 64),
        (31, 1, 64, 48),
        (1, 1, 64, 32),
    ],
)
def test_the_whole_window_is_opencv_resize(height, width, canvas, output):
    image = make_canvas(height, width, canvas)
    size = np.array([height, width], np.int32)
    pixels, inside = resample(image, size, make_window(0, 0, 1, 1), output=output)
    assert pixels.dtype == jnp.float32
    np.testing.assert_allclose(pixels, resize(image[:height, :width], output, output), atol=3e-4)
    assert inside.all()


def test_the_whole_window_is_opencv_resize_on_a_photo(shared):
    path = sorted((shared / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages").glob("*.jpg"))[0]
    photo = cv2.imread(str(path))
    height, width, _ = photo.shape
    canvas = np.zeros((512, 512, 3), np.uint8)
    canvas[:height, :width] = photo
    size = np.array([height, width], np.int32)
    pixels, _ = resample(canvas, size, make_window(0, 0, 1, 1), output=300)
    np.testing.assert_allclose(pixels, resize(photo, 300, 300), atol=3e-4)


def plain_resample(image, size, box, mirror, output):
    """One pixel at a time, in float64."""
    pixels, inside = np.zeros((output, output, 3)), np.zeros((output, output), bool)
    for i in range(output):
        for j in range(output):
            column = output - 1 - j if mirror else j
            y = (box[1] + (i + 0.5) / output * (box[3] - box[1])) * size[0]
            x = (box[0] + (column + 0.5) / output * (box[2] - box[0])) * size[1]
            inside[i, j] = 0 <= y < size[0] and 0 <= x < size[1]
            y, x = np.clip(y - 0.5, 0, size[0] - 1), np.clip(x - 0.5, 0, size[1] - 1)
            for row, of_row in ((int(y), 1 - y % 1), (min(int(y) + 1, size[0] - 1), y % 1)):
                for col, of_col in ((int(x), 1 - x % 1), (min(int(x) + 1, size[1] - 1), x % 1)):
                    pixels[i, j] += of_row * of_col * image[row, col]
    return pixels, inside


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    "box", [(0.2, 0.1, 0.7, 0.95), (-1.3, -0.4, 2.1, 3.0), (0.5, -0.2, 1.25, 0.3)]
)
def test_any_window_is_a_plain_loop(box, mirror):
    image, size = make_canvas(11, 23, 32), np.array([11, 23], np.int32)
    pixels, inside = resample(image, size, make_window(*box, mirror=mirror), output=9)
    expected, expected_inside = plain_resample(image, size, box, mirror, 9)
    np.testing.assert_allclose(pixels, expected, atol=2e-3)
    np.testing.assert_array_equal(inside, expected_inside)


@pytest.mark.parametrize("size", [(375, 500), (1, 1), (512, 3)])
def test_gathers_equal_products(size):
    image, size = make_canvas(*size, side=512), jnp.array(size)
    rows, _ = window_._positions(jnp.array(-0.2), jnp.array(1.1), size[0], 100)
    columns, _ = window_._positions(jnp.array(0.15), jnp.array(0.8), size[1], 100)
    gathers = jax.jit(window_._read_by_gathers)(image, rows, columns, size)
    products = jax.jit(window_._read_by_products)(image, rows, columns, size)
    np.testing.assert_allclose(gathers, products, atol=3e-4)


@pytest.mark.parametrize(
    ("target", "uses", "not_"),
    [("tpu", "dot_general", "gather"), ("gpu", "gather", "dot_general")],
)
def test_only_a_tpu_uses_products(target, uses, not_):
    with backend.lowering_for(target):
        traced = jax.make_jaxpr(partial(window_.resample, output=(8, 8)))(
            make_canvas(20, 30), np.array([20, 30], np.int32), make_window(0, 0, 1, 1)
        )
    assert uses in str(traced) and not_ not in str(traced)


def test_padding_without_pixels_stays_finite():
    image, size = np.zeros((16, 16, 3), np.uint8), np.zeros(2, np.int32)
    letterboxed = window_.uncropped_window(jnp.array(size), fit.letterbox, (8, 8))
    for window in (make_window(0, 0, 1, 1), letterboxed):
        pixels, _ = resample(image, size, window, output=8)
        assert jnp.isfinite(pixels).all()


def test_letterbox_puts_the_image_in_the_middle_of_a_square():
    wide, tall = (
        window_.uncropped_window(jnp.array(size), fit.letterbox, (400, 400))
        for size in ([50, 100], [80, 20])
    )
    np.testing.assert_allclose(wide.box, [0, -0.5, 1, 1.5], atol=1e-6)
    np.testing.assert_allclose(tall.box, [-1.5, 0, 2.5, 1], atol=1e-6)


@pytest.mark.parametrize("size", [(427, 640), (480, 361), (333, 500), (416, 416), (7, 640)])
def test_letterbox_fills_whole_pixels_as_darknet_does(size):
    """The sides are rounded down, the odd pixel of the padding is right or below."""
    output = 416
    window = window_.uncropped_window(jnp.array(size), fit.letterbox, (output, output))
    image = make_canvas(*size, side=640)
    _, inside = resample(image, jnp.array(size), window, output=output)
    height, width = (output * side // max(size) for side in size)
    top, left = (output - height) // 2, (output - width) // 2
    expected = np.zeros((output, output), bool)
    expected[top : top + height, left : left + width] = True
    np.testing.assert_array_equal(inside, expected)


@pytest.mark.parametrize("how", [fit.stretch, fit.letterbox])
def test_a_view_need_not_be_square(how):
    """400x300 pixels in 100x200: stretched, or 75x100 in the middle."""
    image, size = make_canvas(400, 300, side=400), jnp.array([400, 300])
    window = window_.uncropped_window(size, how, (100, 200))
    pixels, inside = jax.jit(partial(window_.resample, output=(100, 200)))(image, size, window)
    assert pixels.shape == (100, 200, 3)
    left, width = (0, 200) if how is fit.stretch else (62, 75)
    expected = resize(image[:400, :300], width, 100)
    np.testing.assert_allclose(pixels[:, left : left + width], expected, atol=3e-2)
    assert inside[:, left : left + width].all() and inside.sum() == 100 * width
    part = np.array([left, 0, left + width, 200]) / 200
    np.testing.assert_allclose(window_.image_in_view(window), part, atol=1e-6)


@pytest.mark.parametrize(("shorter", "longest"), [(800, 1333), (320, 640), (256, 384)])
def test_shorter_sides_are_torchvisions(shared, shorter, longest):
    with np.load(shared / "golden" / "ops" / "ops.npz") as ops:
        sizes, expected = ops["sizes_before"], ops[f"sizes_after_{shorter}_{longest}"]
    place = partial(fit.shorter_side, shape=(shorter, longest), longest=longest)
    np.testing.assert_array_equal(jax.vmap(place)(sizes)[:, :2], 0)
    np.testing.assert_array_equal(jax.vmap(place)(sizes)[:, [3, 2]], expected)


@pytest.mark.parametrize(("shorter", "longest"), [(800, 1333), (600, 1000), (333, 500)])
def test_shorter_sides_are_those_of_float64(shorter, longest):
    """Also where a product is a whole number, which float64 rounds down for some."""
    chance = np.random.default_rng(0)
    sizes = chance.integers(1, 2000, (20_000, 2)).astype(np.int32)
    sizes[:5000, 0] = sizes[:5000, 1]
    factor = np.minimum(shorter / sizes.min(axis=1), longest / sizes.max(axis=1))
    expected = np.floor(sizes * factor[:, None]).astype(int).clip(min=1)
    assert (np.isin(expected, shorter - 1)).any()
    place = partial(fit.shorter_side, shape=(shorter, longest), longest=longest)
    np.testing.assert_array_equal(jax.jit(jax.vmap(place))(sizes)[:, [3, 2]], expected)


def test_the_shape_of_an_input_is_that_of_the_canvas():
    shape = lambda how, canvas: window_.input_shape(400, how, canvas)
    assert shape(fit.stretch, (512, 512)) == shape(fit.letterbox, (512, 512)) == (400, 400)
    assert shape(fit.letterbox, (480, 640)) == (300, 400)
    assert shape(partial(fit.shorter_side, longest=999), (800, 480)) == (666, 400)


def test_boxes_move_with_the_window():
    boxes = jnp.array([[0.3, 0.6, 0.4, 0.8]])
    window = make_window(0.2, 0.5, 0.7, 1.5)  # 0.5 wide, 1 high
    np.testing.assert_allclose(window_.to_view(boxes, window), [[0.2, 0.1, 0.4, 0.3]], atol=1e-6)
    mirrored = make_window(0.2, 0.5, 0.7, 1.5, mirror=True)
    np.testing.assert_allclose(window_.to_view(boxes, mirrored), [[0.6, 0.1, 0.8, 0.3]], atol=1e-6)


@pytest.mark.parametrize("mirror", [False, True])
def test_to_image_undoes_to_view(mirror):
    boxes = jnp.array(np.random.default_rng(0).uniform(-0.5, 1.5, (20, 4)), jnp.float32)
    window = make_window(-0.4, 0.3, 0.9, 2.2, mirror=mirror)
    back = window_.to_image(window_.to_view(boxes, window), window)
    np.testing.assert_allclose(back, boxes, atol=1e-6)


def test_objects_are_kept_by_their_centre_and_clipped():
    boxes = [
        [0.55, 0.55, 0.65, 0.60],  # inside
        [0.40, 0.60, 0.70, 1.00],  # centre inside, sticks out to the left
        [0.10, 0.60, 0.80, 0.80],  # reaches far in, centre outside
        [0.45, 0.60, 0.55, 0.80],  # centre on the border
        [0.60, 0.70, 0.60, 0.80],  # no width
        [0.55, 0.55, 0.65, 0.60],  # padding
    ]
    objects = Objects(
        boxes=jnp.array(boxes),
        labels=jnp.arange(6) + 3,
        mask=jnp.array([True] * 5 + [False]),
        weight=jnp.linspace(0.5, 1.0, 6),
    )
    moved = jax.jit(window_.move_objects)(objects, make_window(0.5, 0.5, 1.0, 1.0))
    np.testing.assert_array_equal(moved.mask, [True, True, False, False, False, False])
    np.testing.assert_allclose(moved.boxes[0], [0.1, 0.1, 0.3, 0.2], atol=1e-6)
    np.testing.assert_allclose(moved.boxes[1], [0.0, 0.2, 0.4, 1.0], atol=1e-6)
    np.testing.assert_array_equal(moved.labels, [3, 4, 0, 0, 0, 0])
    np.testing.assert_allclose(moved.weight, [0.5, 0.6, 0, 0, 0, 0], atol=1e-6)
    assert (moved.boxes[2:] == 0).all()


@pytest.mark.parametrize("shape", [(416, 416), (640, 640), (480, 640)])
def test_the_top_left_place_is_that_of_float64(shape):
    """YOLOX's int(side * min(H / h, W / w)): for some sides it is a pixel short."""
    chance = np.random.default_rng(0)
    sizes = chance.integers(1, 1500, (20_000, 2)).astype(np.int32)
    sizes[:3] = [(330, 200), (372, 500), (562, 562)]
    ratio = np.minimum(shape[0] / sizes[:, 0], shape[1] / sizes[:, 1])
    expected = np.floor(sizes * ratio[:, None]).astype(int).clip(min=1)
    assert (expected == shape[0] - 1).any()
    place = jax.jit(jax.vmap(partial(fit.top_left, shape=shape)))(sizes)
    np.testing.assert_array_equal(place[:, :2], 0)
    np.testing.assert_array_equal(place[:, [3, 2]], expected)


def test_the_top_left_letterbox_is_yoloxs(shared):
    """OpenCV rounds its pixels and its weights."""
    with np.load(shared / "golden" / "yolox" / "yolox_s_416.npz") as file:
        inputs, names = file["input"][..., ::-1], file["image_files"]
    for name, expected in zip(names, inputs, strict=True):
        image = cv2.imread(str(shared / "data" / "coco" / "val2017" / name))[..., ::-1]
        canvas, size = np.zeros((640, 640, 3), np.uint8), jnp.array(image.shape[:2])
        canvas[: image.shape[0], : image.shape[1]] = image
        seen, _ = views.eval_view(canvas, size, output=416, fit=fit.top_left, fill=(114.0,) * 3)
        error = np.abs(seen - expected.astype(np.float32))
        assert np.median(error) < 0.5 and error.max() < 4
