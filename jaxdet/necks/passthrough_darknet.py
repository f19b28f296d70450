"""YOLOv2's neck as Darknet computes it, and as its published weights need it."""

from functools import partial

import jax

from jaxdet.necks.passthrough import Passthrough, space_to_depth


def darknet_reorg(x: jax.Array) -> jax.Array:
    """x [B, H, W, C] as [B, H / 2, W / 2, 4 C] by Darknet's `reorg_cpu`; C a multiple of 4.

    It takes the map, in memory by channel, row and column, for one of a quarter of the channels and
    twice the rows and columns. So pixels come to lie a row and more from where they were.
    """
    batch, height, width, channels = x.shape
    x = x.transpose(0, 3, 1, 2).reshape(batch, channels // 4, 2 * height, 2 * width)
    x = space_to_depth(x.transpose(0, 2, 3, 1))  # [B, H, W, C]
    x = x.transpose(0, 3, 1, 2).reshape(batch, 4 * channels, height // 2, width // 2)
    return x.transpose(0, 2, 3, 1)


passthrough_darknet = partial(Passthrough, reorg=darknet_reorg)
