"""The four convolutions that YOLO adds to a classifier (arXiv:1506.02640, section 2.2)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm


class YOLOv1Convs(nn.Module):
    """The coarsest map after four 3x3 convolutions of 1024 channels.

    All keep the size; the paper's second one halves it, which gives 7x7 cells for 448 pixels, where
    here 320 give 10x10. The paper has no `norm`; Darknet's later yolov1.cfg has BatchNorm.
    `width` multiplies the channel counts.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        x, features = maps[-1], int(1024 * self.width)
        options = dict(norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        for i in range(1, 5):
            x = ConvBlock(features, 3, **options, name=f"conv{i}")(x, train=train)
        return (x,)


yolov1_convs = YOLOv1Convs
