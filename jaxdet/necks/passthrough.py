"""YOLOv2's neck: finer features beside the coarse ones (arXiv:1612.08242, section 2)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.backbones.darknet19 import ConvLeaky


def space_to_depth(x: jax.Array) -> jax.Array:
    """Every 2x2 pixels of x [B, H, W, C] as one [B, H / 2, W / 2, 4 C], row by row."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)


class Passthrough(nn.Module):
    """One map of the coarsest stride, 1024 channels.

    Two 3x3 convolutions of the coarsest map; before these features come those of the map before
    it, narrowed to 64 channels by a 1x1 convolution and brought to half the size by `reorg`; one
    more 3x3 convolution of both. Without `passthrough` there are only the coarse features.
    `batch_norm` as in `ConvLeaky`; `width` multiplies the channel counts. ValueError unless the
    finer map has twice the size.
    """

    passthrough: bool = True
    batch_norm: bool = True
    width: float = 1.0
    reorg: Callable[[jax.Array], jax.Array] = space_to_depth

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        def conv(x, channels, size, name):
            features = int(channels * self.width)
            return ConvLeaky(features, size, batch_norm=self.batch_norm, name=name)(x, train=train)

        fine, x = maps[-2:]
        x = conv(conv(x, 1024, 3, "conv1"), 1024, 3, "conv2")
        if self.passthrough:
            check_doubles(fine, x)
            # Named so that weights trained with one order of channels do not fit another.
            fine = self.reorg(conv(fine, 64, 1, self.reorg.__name__))
            x = jnp.concatenate([fine, x], axis=-1)
        return (conv(x, 1024, 3, "conv3"),)


def check_doubles(fine: jax.Array, coarse: jax.Array) -> None:
    """ValueError unless `fine` has twice as many rows and columns as `coarse`."""
    found, half = fine.shape[1:3], coarse.shape[1:3]
    if found != tuple(2 * side for side in half):
        raise ValueError(
            f"maps of {found} and {half} cells do not lie on each other: "
            "the input's sides must be multiples of 32"
        )


passthrough = Passthrough
