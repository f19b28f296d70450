"""Windows, the parts of images that views show: reading their pixels and moving their boxes.

Zooming out, cropping, mirroring and letterboxing are all choices of one window, so an image is read
only once, directly from its uint8 canvas. Functions are written for one image.
"""

import flax.struct
import jax
import jax.numpy as jnp

from jaxdet import backend
from jaxdet.augment.fit import shorter_side
from jaxdet.boxes.iou import area
from jaxdet.types import Array, Fit, Objects, Shape


@flax.struct.dataclass
class Window:
    """The part of an image that a view shows, possibly extending beyond it."""

    box: Array  # [4] xyxy in fractions of the image; below 0 or above 1 outside it
    mirror: Array  # [] bool, whether the view is flipped left to right


def uncropped_window(size: Array, fit: Fit, shape: Shape) -> Window:
    """The window of a whole image of `size` [2], placed by `fit` in a view of `shape`."""
    place = fit(size, shape)  # [4] in pixels of the view
    ends = jnp.array([0, 0, *shape[::-1]]) - jnp.tile(place[:2], 2)
    return Window(box=ends / jnp.tile(place[2:] - place[:2], 2), mirror=jnp.array(False))


def input_shape(size: int, fit: Fit, canvas: Shape) -> Shape:
    """The shape of an input of `size` for images on a canvas of some shape: it is similar to it.

    `size` is the longer side, or the shorter one if images are placed by `shorter_side`.
    """
    side = input_size(canvas, fit)
    return canvas[0] * size // side, canvas[1] * size // side


def input_size(shape: Shape, fit: Fit) -> int:
    """The size of an input of some shape, as `input_shape` takes it."""
    return (min if is_by_shorter_side(fit) else max)(shape)


def is_by_shorter_side(fit: Fit) -> bool:
    """Whether a fit is `shorter_side`, with options or without."""
    return getattr(fit, "func", fit) is shorter_side


def move_objects(objects: Objects, window: Window) -> Objects:
    """The objects [N, ...] as the window shows them: clipped to it, and masked out if their
    centre is outside it or nothing is left of the box."""
    boxes = to_view(objects.boxes, window)
    kept = objects.mask & centre_inside(jnp.array([[0.0, 0.0, 1.0, 1.0]]), boxes)[0]
    boxes = jnp.clip(boxes, 0.0, 1.0)
    return masked(objects, boxes, kept & (area(boxes) > 0))


def masked(objects: Objects, boxes: Array, kept: Array) -> Objects:
    """The objects [..., N] with other boxes [..., N, 4]; those not `kept` [..., N] are padding."""
    return Objects(
        boxes=jnp.where(kept[..., None], boxes, 0.0),
        labels=jnp.where(kept, objects.labels, 0),
        mask=kept,
        weight=jnp.where(kept, objects.weight, 0.0),
    )


def to_view(boxes: Array, window: Window) -> Array:
    """Boxes [N, 4] of the image as fractions of the view, not clipped."""
    boxes = (boxes - _corners(window.box)[None]) / _extents(window.box)[None]
    return jnp.where(window.mirror, _mirrored(boxes), boxes)


def to_image(boxes: Array, window: Window) -> Array:
    """Boxes [N, 4] of the view as fractions of the image; the inverse of `to_view`."""
    boxes = jnp.where(window.mirror, _mirrored(boxes), boxes)
    return boxes * _extents(window.box)[None] + _corners(window.box)[None]


def image_in_view(window: Window) -> Array:
    """The part of the view in which the image is, [4] in fractions of the view."""
    whole = jnp.array([[0.0, 0.0, 1.0, 1.0]])
    return jnp.clip(to_view(whole, window)[0], 0.0, 1.0)


def _mirrored(boxes: Array) -> Array:
    x1, y1, x2, y2 = boxes.T
    return jnp.stack([1 - x2, y1, 1 - x1, y2], axis=1)


def centre_inside(windows: Array, boxes: Array) -> Array:
    """Whether windows [T, 4] contain the centres of boxes [N, 4], borders excluded: [T, N]."""
    centres = (boxes[None, :, :2] + boxes[None, :, 2:]) / 2
    return ((centres > windows[:, None, :2]) & (centres < windows[:, None, 2:])).all(axis=-1)


def _corners(box: Array) -> Array:
    return jnp.tile(box[:2], 2)  # x1 y1 x1 y1


def _extents(box: Array) -> Array:
    return jnp.tile(box[2:] - box[:2], 2)  # w h w h


def resample(image: Array, size: Array, window: Window, *, output: Shape) -> tuple[Array, Array]:
    """Reads the window, bilinearly with half-pixel centres; the whole one as `cv2.resize` does.

    Args:
      image: [H, W, 3] uint8 canvas.
      size: [2] height and width of its filled part, in pixels.
      output: height and width of the view in pixels.

    Returns pixels [h, w, 3] float32, the image's edge repeated outside it, and which of them are
    inside the image [h, w].
    """
    image = jnp.asarray(image)
    x1, y1, x2, y2 = window.box
    size = jnp.maximum(size, 1)  # the padding of the last evaluation batch has no pixels
    rows, inside_rows = _positions(y1, y2, size[0], output[0])
    columns, inside_columns = _positions(x1, x2, size[1], output[1])
    columns = jnp.where(window.mirror, columns[::-1], columns)
    inside_columns = jnp.where(window.mirror, inside_columns[::-1], inside_columns)
    # On a 2-core CPU gathers take 0.5 ms per image, products 7 ms. A TPU is slow at gathers; a GPU
    # is not, and would do the products (0.8 GFLOP per image) in float32, without its tensor cores.
    read = _read_by_products if backend.target() == "tpu" else _read_by_gathers
    return read(image, rows, columns, size), inside_rows[:, None] & inside_columns[None]


def _positions(low: Array, high: Array, length: Array, output: int) -> tuple[Array, Array]:
    """The position that each pixel along a view's axis reads [output], and whether it is inside.

    Positions are in units of 1/output pixel: for the whole window these are integers or halves,
    which float32 represents exactly; in pixels rounding would change grey levels by 0.005.
    """
    place = low * output + (jnp.arange(output) + 0.5) * (high - low)
    inside = (place >= 0) & (place < output)
    return jnp.clip(place * length - 0.5 * output, 0, (length - 1) * output), inside


def _read_by_gathers(image: Array, rows: Array, columns: Array, size: Array) -> Array:
    """Pixels at rows [h] and columns [w], in units of 1/h and 1/w pixel: [h, w, 3].

    Columns first: the last step then reads whole rows; this order is a third faster.
    """
    low, high, share = _neighbours(columns, size[1])
    share = share[None, :, None]
    low, high = (slice(None), low), (slice(None), high)
    image = _take(image, low) * (1 - share) + _take(image, high) * share  # [H, w, 3]
    low, high, share = _neighbours(rows, size[0])
    share = share[:, None, None]
    return _take(image, low) * (1 - share) + _take(image, high) * share


def _take(image: Array, index: Array | tuple) -> Array:
    # `_positions` clips to the image; checking again makes a gather three times slower.
    return image.at[index].get(mode="promise_in_bounds").astype(jnp.float32)


def _neighbours(positions: Array, length: Array) -> tuple[Array, Array, Array]:
    """The pixel at or before every position, the one after it, and the share of the latter."""
    unit = len(positions)
    low = jnp.floor(positions / unit)
    share = (positions - low * unit) / unit
    low = low.astype(jnp.int32)
    return low, jnp.minimum(low + 1, length - 1), share


def _read_by_products(image: Array, rows: Array, columns: Array, size: Array) -> Array:
    """The same as `_read_by_gathers`, as two products with matrices that are mostly zero."""
    del size  # clipped positions give no weight beyond the image
    height, width, _ = image.shape
    highest = jax.lax.Precision.HIGHEST
    image = jnp.einsum(
        "oh,hwc->owc", _hats(rows, height), image.astype(jnp.float32), precision=highest
    )
    return jnp.einsum("pw,owc->opc", _hats(columns, width), image, precision=highest)


def _hats(positions: Array, length: int) -> Array:
    """Bilinear weights [output, length] of every pixel at every position."""
    unit = len(positions)
    distance = jnp.abs(positions[:, None] - jnp.arange(length)[None] * float(unit))
    return jnp.maximum(0.0, 1 - distance / unit)
