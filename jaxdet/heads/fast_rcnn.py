"""The head of Fast R-CNN: classes and boxes of regions (arXiv:1504.08083, section 2)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, Conv, ConvBlock, Norm, he_fan_in, pieces_of
from jaxdet.layers.norms import batch_norm


class FastRCNNHead(nn.Module):
    """Box codes [N, K, 4], one for every class, and logits [N, K + 1] of regions [N, S, S, C].

    Logit 0 is the background. Fully connected layers of `hidden` units; the first sees the whole
    region, and its kernel is [S, S, C, units]. Before them are 3x3 convolutions to `convs` channels
    with a `norm` (Wu and He 2018, arXiv:1803.08494, section 5.2). `dropout` is the share of hidden
    units left out in training, one half in VGG16. The weights of the last layers start with
    deviations of 0.01 for the logits and 0.001 for the boxes (section 2.3).

    The outputs for boxes are x of all classes, then y, width and height of all classes.
    """

    num_classes: int
    hidden: tuple[int, ...] = (1024, 1024)
    convs: tuple[int, ...] = ()
    dropout: float = 0.0
    norm: Norm | None = batch_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, regions: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        x = regions
        for i, features in enumerate(self.convs, start=1):
            conv = ConvBlock(
                features, 3, norm=self.norm, activation=self.activation, name=f"conv{i}"
            )
            x = conv(x, train=train)
        for i, units in enumerate(self.hidden, start=1):
            units *= pieces_of(self.activation)
            layer = Conv(units, x.shape[1], padding=0, kernel_init=he_fan_in, name=f"hidden{i}")
            x = self.activation(layer(x))  # [N, 1, 1, units]
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        linear = lambda outputs, spread, name: Conv(
            outputs, x.shape[1], padding=0, kernel_init=nn.initializers.normal(spread), name=name
        )
        logits = linear(self.num_classes + 1, 0.01, "logits")(x)
        boxes = linear(4 * self.num_classes, 0.001, "boxes")(x)
        boxes = boxes.reshape(x.shape[0], 4, self.num_classes).swapaxes(1, 2)
        return boxes, logits.reshape(x.shape[0], -1)


fast_rcnn = FastRCNNHead
