"""The views of an image that a detector trains on and is evaluated on, computed on the device."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdet.augment import window as window_
from jaxdet.augment.fit import stretch
from jaxdet.augment.window import Window
from jaxdet.types import Array, Batch, Fit, Objects

# (key, size [2], objects [N], the uncropped window, keep_aspect) of one image -> what is seen
WindowSampler = Callable[[jax.Array, Array, Objects, Window, bool], Window]
# (key, pixels [H, W, 3]) -> pixels
ColourChange = Callable[[jax.Array, Array], Array]
# (key, pixels [B, H, W, 3], objects [B, N]) -> the same for the mixed batch
Mix = Callable[[jax.Array, Array, Objects], tuple[Array, Objects]]


@dataclasses.dataclass(frozen=True)
class Mixing:
    """A `Mix` of some images, until some step; ValueError for an impossible number."""

    mix: Mix
    probability: float = 1.0  # for every image by itself
    until: int = 0  # the last step, counted from 1, that mixes; 0: it never stops

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}, expected 0 to 1")
        if self.until < 0:
            raise ValueError(f"until is {self.until}, expected a step, or 0 for all")

    def active(self, number: int) -> bool:
        """Whether step `number` mixes."""
        return not self.until or number <= self.until

    def __call__(self, key: jax.Array, pixels: Array, objects: Objects) -> tuple[Array, Objects]:
        """Mixes; images that are not chosen stay as they are, with as many slots as the others."""
        if self.probability == 1:
            return self.mix(key, pixels, objects)
        key, choice_key = jax.random.split(key)
        mixed = self.mix(key, pixels, objects)
        chosen = jax.random.bernoulli(choice_key, self.probability, (len(pixels),))
        slots = mixed[1].mask.shape[1] - objects.mask.shape[1]
        pad = lambda x: jnp.pad(x, [(0, 0), (0, slots)] + [(0, 0)] * (x.ndim - 2))
        choose = lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)
        return jax.tree.map(choose, mixed, (pixels, jax.tree.map(pad, objects)))


def train_view(
    key: jax.Array,
    batch: Batch,
    *,
    output: int,
    fit: Fit,
    fill: tuple[float, float, float],
    window: WindowSampler,
    colour: ColourChange,
    mix: tuple[Mix, ...] = (),
) -> tuple[Array, Objects, Array]:
    """The training view: pixels [B, H, W, 3] float32 in 0..255, their objects, and which part of
    each view is the image [B, 4].

    `output` is the size of the input, which has the shape of the canvas (`window.input_shape`), and
    `fit` places the images in it (`augment/fit.py`). `window` chooses the part of an image that is
    seen (`augment/crops.py`), `colour` changes its colours (`augment/colour.py`); `fill` is the
    colour outside the image, which is not changed. The functions in `mix` (`augment/mix.py`) are
    then applied, in order, to the whole batch; what they make is all image.
    """
    shape = window_.input_shape(output, fit, batch.image.shape[1:3])

    def view(key: jax.Array, image: Array, size: Array, objects: Objects):
        window_key, colour_key = jax.random.split(key)
        uncropped = window_.uncropped_window(size, fit, shape)
        seen = window(window_key, size, objects, uncropped, fit is not stretch)
        pixels, inside = window_.resample(image, size, seen, output=shape)
        pixels = _filled(colour(colour_key, pixels), inside, fill)
        return pixels, window_.move_objects(objects, seen), window_.image_in_view(seen)

    keys = jax.random.split(key, len(batch.image))  # one per image, whatever the number of devices
    pixels, objects, part = jax.vmap(view)(keys, batch.image, batch.size, batch.objects)
    for i, mixed in enumerate(mix):
        pixels, objects = mixed(jax.random.fold_in(key, i), pixels, objects)
    if mix:
        part = jnp.tile(jnp.array([0.0, 0.0, 1.0, 1.0]), (len(pixels), 1))
    return pixels, objects, part


def eval_view(
    image: Array, size: Array, *, output: int, fit: Fit, fill: tuple[float, float, float]
) -> tuple[Array, Window]:
    """The whole image, placed by `fit`, as float32 pixels [H, W, 3] in 0..255, and the window,
    with which `window.to_image` maps boxes back to the image. `output` as in `train_view`."""
    shape = window_.input_shape(output, fit, image.shape[:2])
    seen = window_.uncropped_window(size, fit, shape)
    return _filled(*window_.resample(image, size, seen, output=shape), fill), seen


def _filled(pixels: Array, inside: Array, fill: tuple[float, float, float]) -> Array:
    return jnp.where(inside[..., None], pixels, jnp.array(fill)[None, None])
