"""The four convolutions that YOLO adds to a classifier (arXiv:1506.02640, section 2.2)."""

import flax.linen as nn
import jax

from jaxdet.backbones.darknet19 import ConvLeaky


class YOLOv1Convs(nn.Module):
    """The coarsest map after four 3x3 convolutions of 1024 channels.

    All keep the size: the paper's second one halves it, which makes 7x7 cells of 448 pixels where
    here are 10x10 of 320. `batch_norm` as in `ConvLeaky` (the paper has none, Darknet's later
    yolov1.cfg does); `width` multiplies the channel counts.
    """

    batch_norm: bool = True
    width: float = 1.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        x = maps[-1]
        for i in range(1, 5):
            conv = ConvLeaky(int(1024 * self.width), 3, batch_norm=self.batch_norm, name=f"conv{i}")
            x = conv(x, train=train)
        return (x,)


yolov1_convs = YOLOv1Convs
