"""YOLOX's neck, path aggregation by CSP layers (arXiv:2107.08430; Liu et al., arXiv:1803.01534)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import swish
from jaxdet.layers.blocks import Activation, Norm
from jaxdet.layers.csp import CSPLayer, bottlenecks, conv_blocks
from jaxdet.layers.norms import slow_batch_norm
from jaxdet.necks.passthrough import check_doubles
from jaxdet.necks.yolo_fpn import double


class CSPPAN(nn.Module):
    """A map for every map of the backbone, with as many channels, times `width`.

    `depth` multiplies the three bottlenecks of each CSP layer; with `depthwise`, as in YOLOX-Nano,
    3x3 convolutions are separable. ValueError unless every map is twice as large as the next. The
    layers, level 0 being the finest:

    - for each level but the coarsest, coarse to fine: `up{i}`, 1x1, of the coarser map, then
      doubled and joined before the backbone's map; `topdown{i}`, a CSP layer;
    - for each level but the finest, fine to coarse: `down{i}`, 3x3 at stride 2, of the finer map,
      joined before the result of `up{i - 1}`; `bottomup{i}`, a CSP layer.

    A single map goes through `topdown0` alone.
    """

    depth: float = 1.0
    width: float = 1.0
    depthwise: bool = False
    norm: Norm | None = slow_batch_norm
    activation: Activation = swish

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        conv, spatial = conv_blocks(**options, depthwise=self.depthwise)
        channels = [max(2, int(x.shape[-1] * self.width)) for x in maps]
        count = bottlenecks(self.depth)
        layer = partial(CSPLayer, count=count, shortcut=False, depthwise=self.depthwise, **options)
        last = len(maps) - 1

        x, reduced = maps[last], {}
        for i in reversed(range(max(last, 1))):
            if i < last:
                check_doubles(maps[i], x)
                reduced[i] = conv(channels[i], name=f"up{i}")(x, train=train)
                x = jnp.concatenate([double(reduced[i]), maps[i]], axis=-1)
            x = layer(channels[i], name=f"topdown{i}")(x, train=train)
        levels = [x]
        for i in range(1, last + 1):
            x = spatial(channels[i - 1], 3, 2, name=f"down{i}")(x, train=train)
            x = jnp.concatenate([x, reduced[i - 1]], axis=-1)
            levels.append(layer(channels[i], name=f"bottomup{i}")(x, train=train))
            x = levels[-1]
        return tuple(levels)


csp_pan = CSPPAN
