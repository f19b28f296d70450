"""What a user may call an image, and how it becomes RGB pixels."""

import os

import jax
import numpy as np
import PIL.Image
import PIL.ImageOps

from jaxdet import data
from jaxdet.types import Array

Image = str | os.PathLike[str] | PIL.Image.Image | Array


def as_rgb(image: Image) -> np.ndarray:
    """An image as RGB uint8 [H, W, 3], upright: a path, a PIL image, or a uint8 array.

    Arrays are RGB [H, W, 3], RGBA [H, W, 4], whose transparency is dropped, or grey, [H, W] or
    [H, W, 1]. ValueError for anything else: floats, 16 bits, an empty image, a batch.
    """
    if isinstance(image, str | os.PathLike):
        return data.read_image(image)
    if isinstance(image, PIL.Image.Image):
        return _of_pil(image)
    if not isinstance(image, np.ndarray | jax.Array):
        raise ValueError(
            f"an image is of type {type(image).__name__}, expected a path, a PIL image or an array,"
            " RGB uint8 [height, width, 3]"
        )
    return _of_array(np.asarray(image))


def _of_pil(image: PIL.Image.Image) -> np.ndarray:
    if image.mode[0] in "IF":  # PIL would cut all above 255 off
        raise ValueError(f"a PIL image is of mode {image.mode}, expected one with 8 bits a channel")
    return np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))


def _of_array(image: np.ndarray) -> np.ndarray:
    shape = list(image.shape)
    expected = "expected RGB uint8 [height, width, 3], RGBA [height, width, 4] or grey"
    if image.ndim == 4:
        raise ValueError(f"an image is {shape}, {expected}; a batch is a list of images")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"an image is {shape}, {expected}")
    if image.dtype != np.uint8:
        advice = "; if 1 is white, (255 * image).round().astype('uint8')"
        floats = np.issubdtype(image.dtype, np.floating)
        raise ValueError(f"an image is {image.dtype} {shape}, {expected}{advice * floats}")
    if not image.size:
        raise ValueError(f"an image is empty, {shape}")
    channels = np.atleast_3d(image)[..., :3]
    return np.ascontiguousarray(np.broadcast_to(channels, (*channels.shape[:2], 3)))
