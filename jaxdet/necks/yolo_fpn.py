"""YOLOv3's neck: predictions across three scales (arXiv:1804.02767, section 2.3)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm
from jaxdet.necks.passthrough import check_doubles


class YOLOFPN(nn.Module):
    """A map for every map of the backbone, 256, 512 and 1024 channels, fine to coarse.

    Each level, starting with the coarsest, has five convolutions, alternately 1x1 and 3x3. Their
    result goes through a sixth to the output and, with fewer channels and upsampled by two, to the
    next finer level. `convs` is another number than five, or one for every level, fine to coarse:
    (0, 1) on two maps is YOLOv3-tiny's and YOLOv4-tiny's neck, (5, 5, 0) after the neck `spp`
    YOLOv3-SPP's. Without the `last` convolution a level's output is what the next level gets, of
    128, 256 and 512 channels: the neck of YOLOX-Darknet53. `width` multiplies the channel counts.
    ValueError unless every map is twice as large as the next, and has its number of convolutions.
    """

    width: float = 1.0
    convs: int | tuple[int, ...] = 5
    last: bool = True
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        counts = (self.convs,) * len(maps) if isinstance(self.convs, int) else self.convs
        if len(counts) != len(maps):
            raise ValueError(f"convs has {len(counts)} numbers for {len(maps)} maps")
        levels, coarse = [], None
        for i, (x, count) in reversed(list(enumerate(zip(maps, counts, strict=True)))):
            channels = int(128 * 2**i * self.width)
            if coarse is not None:
                check_doubles(x, coarse)
                coarse = conv(channels, name=f"up{i}")(coarse, train=train)
                x = jnp.concatenate([double(coarse), x], axis=-1)
            for j in range(1, count + 1):
                features, size = (channels, 1) if j % 2 else (2 * channels, 3)
                x = conv(features, size, name=f"conv{i}_{j}")(x, train=train)
            coarse = x
            if self.last:
                x = conv(2 * channels, 3, name=f"conv{i}_{count + 1}")(x, train=train)
            levels.append(x)
        return tuple(reversed(levels))


def double(x: jax.Array) -> jax.Array:
    """Repeats every pixel of x [B, H, W, C] as 2x2: [B, 2 H, 2 W, C]."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


yolo_fpn = YOLOFPN
