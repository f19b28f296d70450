"""YOLOX's backbone, which it took from YOLOv5 (Ge et al. 2021, arXiv:2107.08430, section 3)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import swish
from jaxdet.layers.blocks import Activation, Norm, maps_at
from jaxdet.layers.csp import CSPLayer, SPPBottleneck, bottlenecks, conv_blocks, focus
from jaxdet.layers.norms import slow_batch_norm


class CSPDarknet(nn.Module):
    """Maps of strides 2 to 32; by default 8, 16 and 32, with 256, 512 and 1024 channels.

    `width` multiplies the channel counts, `depth` the number of bottlenecks per stage, 3, 9, 9 and
    3. With `depthwise`, as in YOLOX-Nano, the 3x3 convolutions are separable, but not the first.
    The layers are `stem` and, for stages 2 to 5, `down{i}` at stride 2 and `stage{i}`, with `spp`
    between those of stage 5. ValueError for odd sides of the input.
    """

    depth: float = 1.0
    width: float = 1.0
    depthwise: bool = False
    norm: Norm | None = slow_batch_norm
    activation: Activation = swish
    strides: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        conv, spatial = conv_blocks(**options, depthwise=self.depthwise)
        channels, count = int(64 * self.width), bottlenecks(self.depth)
        x = conv(channels, 3, name="stem")(focus(x), train=train)
        maps = {2: x}
        for stage, times in enumerate((1, 3, 3, 1), start=2):
            channels *= 2
            x = spatial(channels, 3, 2, name=f"down{stage}")(x, train=train)
            if stage == 5:
                x = SPPBottleneck(channels, **options, name="spp")(x, train=train)
            layer = CSPLayer(
                channels,
                times * count,
                shortcut=stage < 5,
                depthwise=self.depthwise,
                **options,
                name=f"stage{stage}",
            )
            x = maps[2**stage] = layer(x, train=train)
        return maps_at(maps, self.strides)


csp_darknet = CSPDarknet
