"""YOLOv2's neck: finer features joined to the coarse ones (arXiv:1612.08242, section 2)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm


def space_to_depth(x: jax.Array) -> jax.Array:
    """Stacks every 2x2 pixels of x [B, H, W, C], row by row: [B, H / 2, W / 2, 4 C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)


def darknet_reorg(x: jax.Array) -> jax.Array:
    """Darknet's `reorg_cpu`: x [B, H, W, C], C a multiple of 4, to [B, H / 2, W / 2, 4 C].

    It reads the map, stored by channel, row and column, as one with a quarter of the channels and
    twice the rows and columns. So pixels end up a row or more away from where they were.
    """
    batch, height, width, channels = x.shape
    x = x.transpose(0, 3, 1, 2).reshape(batch, channels // 4, 2 * height, 2 * width)
    x = space_to_depth(x.transpose(0, 2, 3, 1))  # [B, H, W, C]
    x = x.transpose(0, 3, 1, 2).reshape(batch, 4 * channels, height // 2, width // 2)
    return x.transpose(0, 2, 3, 1)


_REORGS = {"space_to_depth": space_to_depth, "darknet_reorg": darknet_reorg}


class Passthrough(nn.Module):
    """One map of the coarsest stride, 1024 channels.

    The coarsest map goes through two 3x3 convolutions. The next finer map, reduced to 64 channels
    by a 1x1 convolution and rearranged to half the size, is concatenated before it, and both go
    through one more 3x3 convolution. Without `passthrough` there are only the coarse features.
    `reorg` is "space_to_depth", or "darknet_reorg", which Darknet and its published weights use.
    `width` multiplies the channel counts. ValueError if there is no finer map, or if it is not
    twice as large.
    """

    passthrough: bool = True
    reorg: str = "space_to_depth"
    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        block = partial(
            ConvBlock, norm=self.norm, activation=self.activation, kernel_init=he_fan_in
        )
        conv = lambda x, channels, size, name: block(int(channels * self.width), size, name=name)(
            x, train=train
        )
        x = conv(conv(maps[-1], 1024, 3, "conv1"), 1024, 3, "conv2")
        if self.passthrough:
            if len(maps) < 2:
                raise ValueError("passthrough joins the two coarsest maps, but there is only one")
            check_doubles(maps[-2], x)
            if self.reorg not in _REORGS:
                raise ValueError(f"reorg is {self.reorg!r}, expected one of {', '.join(_REORGS)}")
            # Named after the reorg, so that weights trained with one do not fit the other.
            fine = _REORGS[self.reorg](conv(maps[-2], 64, 1, self.reorg))
            x = jnp.concatenate([fine, x], axis=-1)
        return (conv(x, 1024, 3, "conv3"),)


def check_doubles(fine: jax.Array, coarse: jax.Array) -> None:
    """ValueError unless `fine` has twice as many rows and columns as `coarse`."""
    found, half = fine.shape[1:3], coarse.shape[1:3]
    if found != tuple(2 * side for side in half):
        raise ValueError(
            f"maps of {found} and {half} cells do not align: "
            "the input's sides must be multiples of 32"
        )


passthrough = Passthrough
