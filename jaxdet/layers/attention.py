"""Attention: maps rescaled by their own content. `attention="NAME"` in a recipe.

Each is a module that is called on (maps, train=...), as normalisations are.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import hard_sigmoid, relu, sigmoid
from jaxdet.layers.blocks import Activation, Conv, ConvBlock, Norm, he_fan_out, pieces_of
from jaxdet.layers.norms import BatchNorm, batch_norm
from jaxdet.layers.precision import full

_cbam_norm = partial(BatchNorm, momentum=0.99)  # as in the authors' code


class SqueezeExcite(nn.Module):
    """Scales every channel by a factor computed from the means of all channels.

    Hu et al. 2017, arXiv:1709.01507. `hidden` is the width of the layer between, by default a
    sixteenth of the channels; `gate` is the activation that gives the factor.
    """

    hidden: int | None = None
    activation: Activation = nn.relu
    gate: Activation = hard_sigmoid

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        hidden = max(1, channels // 16) if self.hidden is None else self.hidden
        means = x.mean((1, 2), keepdims=True)  # [B, 1, 1, C]
        conv = partial(Conv, size=1, kernel_init=he_fan_out)
        squeezed = conv(hidden * pieces_of(self.activation), name="reduce")(means)
        scale = conv(channels * pieces_of(self.gate), name="expand")(self.activation(squeezed))
        return _scaled(x, self.gate(scale))


class SAM(nn.Module):
    """Scales every pixel of every channel by a factor computed from the pixel's channels.

    YOLOv4's form of the spatial attention of CBAM, without its pooling (arXiv:2004.10934, figure
    5): a 1x1 convolution, normalisation, sigmoid.
    """

    norm: Norm | None = batch_norm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        gate = ConvBlock(x.shape[-1], norm=self.norm, activation=sigmoid, name="gate")
        return _scaled(x, gate(x, train=train))


class CBAMSpatial(nn.Module):
    """Scales every pixel by one factor, from the maxima and means of the channels around it.

    Woo et al. 2018, arXiv:1807.06521, section 3: maximum and mean over the channels, a 7x7
    convolution, normalisation, sigmoid.
    """

    norm: Norm | None = _cbam_norm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        pooled = [x.max(-1, keepdims=True), x.mean(-1, keepdims=True)]
        gate = ConvBlock(1, 7, norm=self.norm, activation=sigmoid, name="gate")
        return _scaled(x, gate(jnp.concatenate(pooled, axis=-1), train=train))


class CBAM(nn.Module):
    """Scales every channel, then every pixel (Woo et al. 2018, arXiv:1807.06521, section 3).

    A channel's factor is the sigmoid of the sum of what the same two layers, `hidden` units and
    `activation` between them, make of the means and of the maxima of all channels; a pixel's is
    that of `CBAMSpatial`. `hidden` is by default a sixteenth of the channels.
    """

    hidden: int | None = None
    norm: Norm | None = _cbam_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        hidden = max(1, channels // 16) if self.hidden is None else self.hidden
        conv = partial(Conv, size=1, kernel_init=he_fan_out)
        reduce = conv(hidden * pieces_of(self.activation), name="reduce")
        expand = conv(channels, name="expand")
        pooled = x.mean((1, 2), keepdims=True), x.max((1, 2), keepdims=True)  # [B, 1, 1, C] each
        x = _scaled(x, sigmoid(sum(expand(self.activation(reduce(each))) for each in pooled)))
        return CBAMSpatial(self.norm, name="spatial")(x, train=train)


def _scaled(x: jax.Array, scale: jax.Array) -> jax.Array:
    """x times `scale`, in float32 for the sums of the gradient, as in `blocks.plus`."""
    return (full(x) * full(scale)).astype(x.dtype)


squeeze_excite = SqueezeExcite
sam = SAM
cbam_spatial = CBAMSpatial
cbam = CBAM
