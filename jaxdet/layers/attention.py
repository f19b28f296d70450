"""Attention: maps rescaled by their own content. `attention="NAME"` in a recipe."""

from collections.abc import Callable

import flax.linen as nn
import jax

from jaxdet.layers.activations import hard_sigmoid
from jaxdet.layers.blocks import Conv, he_fan_out
from jaxdet.layers.precision import full


class SqueezeExcite(nn.Module):
    """Scales every channel by a factor computed from the means of all channels.

    Hu et al. 2017, arXiv:1709.01507. `hidden` is the width of the layer between, by default a
    sixteenth of the channels; `gate` is the activation that gives the factor.
    """

    hidden: int | None = None
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    gate: Callable[[jax.Array], jax.Array] = hard_sigmoid

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        hidden = max(1, channels // 16) if self.hidden is None else self.hidden
        means = x.mean((1, 2), keepdims=True)  # [B, 1, 1, C]
        squeezed = self.activation(Conv(hidden, 1, kernel_init=he_fan_out, name="reduce")(means))
        scale = Conv(channels, 1, kernel_init=he_fan_out, name="expand")(squeezed)
        scale = full(self.gate(scale))  # for the gradient, as in `blocks.plus`
        return (full(x) * scale).astype(x.dtype)


squeeze_excite = SqueezeExcite
