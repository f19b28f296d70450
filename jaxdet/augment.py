"""The views of a picture that a detector trains on and is evaluated on, made on the device.

One random window per picture says what is seen (`jaxdet.window`), then the colours are distorted.
The recipe is that of SSD (Liu et al. 2016, sections 2.2 and 3.6). Functions are written for one
picture, except `ssd_train_view`.
"""

import jax
import jax.numpy as jnp

from jaxdet import boxes as boxes_
from jaxdet import colour, mix
from jaxdet import window as window_
from jaxdet.types import Array, Batch, Objects
from jaxdet.window import Window

MEAN = (123.0, 117.0, 104.0)  # mean RGB of ImageNet, as SSD rounds it
SMALLEST_SIDE = 0.3  # of a cropped patch, as a share of the picture's side
LARGEST_ASPECT = 2.0  # of a cropped patch, in pixels; the smallest is its inverse


def ssd_train_view(
    key: jax.Array,
    batch: Batch,
    *,
    output: int,
    expand_probability: float = 0.5,
    expand_max: float = 4.0,
    crop_min_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
    mirror_probability: float = 0.5,
    brightness: float = 32.0,
    contrast: tuple[float, float] = (0.5, 1.5),
    saturation: tuple[float, float] = (0.5, 1.5),
    hue: float = 18.0,
    swap_probability: float = 0.5,
    mixup_alpha: float = 0.0,
    fill: tuple[float, float, float] = MEAN,
) -> tuple[Array, Objects]:
    """What SSD trains on: pixels [B, output, output, 3] float32 in 0 to 255, and their objects.

    The keywords are those of `sample_window` and `colour.distort`, with SSD's values; `fill` is the
    colour outside the picture, which is not distorted. With `mixup_alpha` above 0 neighbours in the
    batch are blended (`mix.mixup`), and N doubles.
    """
    if expand_max < 1:
        raise ValueError(f"expand_max is {expand_max}, expected at least 1")
    for name, (low, high) in {"contrast": contrast, "saturation": saturation}.items():
        if low > high:
            raise ValueError(f"{name} is {(low, high)}, expected (low, high)")

    def view(key: jax.Array, image: Array, size: Array, objects: Objects) -> tuple[Array, Objects]:
        window_key, colour_key = jax.random.split(key)
        window = sample_window(
            window_key,
            size,
            objects,
            expand_probability=expand_probability,
            expand_max=expand_max,
            crop_min_ious=crop_min_ious,
            mirror_probability=mirror_probability,
        )
        pixels, inside = window_.resample(image, size, window, output=output)
        pixels = colour.distort(
            colour_key,
            pixels,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            swap_probability=swap_probability,
        )
        return _filled(pixels, inside, fill), window_.move_objects(objects, window)

    keys = jax.random.split(key, len(batch.image))  # one a picture, whatever the number of devices
    pixels, objects = jax.vmap(view)(keys, batch.image, batch.size, batch.objects)
    if mixup_alpha > 0:
        pixels, objects = mix.mixup(jax.random.fold_in(key, 0), pixels, objects, alpha=mixup_alpha)
    return pixels, objects


def eval_view(
    image: Array,
    size: Array,
    *,
    output: int,
    letterbox: bool = False,
    fill: tuple[float, float, float] = MEAN,
) -> Array:
    """The whole picture, stretched to a square (SSD) or letterboxed (YOLO), as float32 pixels
    [output, output, 3] in 0 to 255. `window.to_picture` takes boxes found in a letterbox back."""
    window = window_.letterbox_window(size) if letterbox else window_.whole_window()
    return _filled(*window_.resample(image, size, window, output=output), fill)


def _filled(pixels: Array, inside: Array, fill: tuple[float, float, float]) -> Array:
    return jnp.where(inside[..., None], pixels, jnp.array(fill)[None, None])


def sample_window(
    key: jax.Array,
    size: Array,
    objects: Objects,
    *,
    expand_probability: float,
    expand_max: float,
    crop_min_ious: tuple[float, ...],
    mirror_probability: float,
    trials: int = 50,
) -> Window:
    """SSD's random window (section 2.2): zoom out, then crop a patch, then flip.

    Args:
      size: [2] height and width of the picture in pixels.
      objects: of the picture, [N, ...].
      expand_probability: of zooming out by a factor drawn from 1 to `expand_max`.
      crop_min_ious: one mode each: some object's IoU with the patch is at least this much (0 for
        any patch); the whole picture is always one more mode, and without others the only one.
      trials: patches drawn; a mode takes the first that fits it.
    """
    expand_key, crop_key, mirror_key = jax.random.split(key, 3)
    frame = _expand(expand_key, expand_probability, expand_max)
    box = _crop(crop_key, frame, size, objects, jnp.array(crop_min_ious), trials)
    return Window(box=box, mirror=jax.random.bernoulli(mirror_key, mirror_probability))


def _expand(key: jax.Array, probability: float, largest: float) -> Array:
    """A frame [4] of the picture's shape around the picture, somewhere inside it."""
    coin, stretch, x, y = jax.random.uniform(key, (4,))
    ratio = jnp.where(coin < probability, 1 + stretch * (largest - 1), 1.0)
    corner = jnp.stack([x, y]) * (1 - ratio)
    return jnp.concatenate([corner, corner + ratio])


def _crop(
    key: jax.Array, frame: Array, size: Array, objects: Objects, min_ious: Array, trials: int
) -> Array:
    """A patch [4] of the frame, from a mode picked evenly among those that some trial fits.

    SSD's own code picks in the same way: one patch per mode that finds any, then one of these.
    Fractions serve for pixels here, since stretching an axis leaves IoU as it is.
    """
    trial_key, mode_key = jax.random.split(key)
    patches, fits = _patches(trial_key, frame, size, trials)  # [T, 4], [T]
    fits &= (window_.centre_inside(patches, objects.boxes) & objects.mask[None]).any(axis=1)
    ious = jnp.where(objects.mask[None], boxes_.pairwise_iou(patches, objects.boxes), 0.0)
    accepted = fits[None] & (ious.max(axis=1, initial=0.0)[None] >= min_ious[:, None])  # [modes, T]
    choices = jnp.concatenate([patches[accepted.argmax(axis=1)], frame[None]])  # the frame: no crop
    possible = jnp.append(accepted.any(axis=1), True)
    order = jnp.where(possible, jax.random.uniform(mode_key, possible.shape), -1.0)
    return choices[order.argmax()]


def _patches(key: jax.Array, frame: Array, size: Array, trials: int) -> tuple[Array, Array]:
    """Random patches [T, 4] of the frame, and which of them have a tolerable aspect ratio [T]."""
    size_draw, place_draw = jax.random.uniform(key, (2, trials, 2))  # x, y
    side = SMALLEST_SIDE + size_draw * (1 - SMALLEST_SIDE)
    corner = place_draw * (1 - side)
    aspect = side[:, 1] * size[0] / (side[:, 0] * size[1])
    patches = jnp.concatenate([corner, corner + side], axis=1)
    patches = window_.to_picture(patches, Window(box=frame, mirror=jnp.array(False)))
    return patches, (aspect >= 1 / LARGEST_ASPECT) & (aspect <= LARGEST_ASPECT)
