"""Random colour changes: `augment.colour` in a recipe names a function in this file.

Each takes a key and pixels [H, W, 3], RGB in 0..255, and returns pixels of the same kind.
"""

import itertools

import jax
import jax.numpy as jnp

from jaxdet.types import Array

ORDERS = tuple(itertools.permutations(range(3)))  # of red, green and blue


def distort(
    key: jax.Array,
    pixels: Array,
    *,
    brightness: float = 32.0,
    contrast: tuple[float, float] = (0.5, 1.5),
    saturation: tuple[float, float] = (0.5, 1.5),
    hue: float = 18.0,
    swap_probability: float = 0.5,
) -> Array:
    """SSD's photometric distortion (section 2.2, after Howard 2013), clipped to 0 to 255.

    Args:
      brightness: largest shift in grey levels, up or down.
      contrast: range of the factor on all channels. (SSD applies it at random before or after the
        next two; these scale with the pixel, so it makes no difference.)
      saturation: range of the factor on the S of HSV.
      hue: largest shift of the H of HSV, in degrees.
      swap_probability: probability of putting the channels in a random one of their six orders.

    Each of the first four is applied with probability 0.5. ValueError for a range whose low end is
    above its high end.
    """
    for name, (low, high) in {"contrast": contrast, "saturation": saturation}.items():
        if low > high:
            raise ValueError(f"{name} is {(low, high)}, expected (low, high)")
    ranges = jnp.array([(-brightness, brightness), contrast, saturation, (-hue / 60, hue / 60)])
    neutral = jnp.array([0.0, 1.0, 1.0, 0.0])
    coins, draws = jax.random.uniform(key, (2, 5))
    amounts = ranges[:, 0] + draws[:4] * (ranges[:, 1] - ranges[:, 0])
    shift, factor, colourful, turn = jnp.where(coins[:4] < 0.5, amounts, neutral)
    order = jnp.array(ORDERS)[(draws[4] * len(ORDERS)).astype(jnp.int32)]
    order = jnp.where(coins[4] < swap_probability, order, jnp.arange(3))
    return jnp.clip(_turn_hue((pixels + shift) * factor, turn, colourful, order), 0.0, 255.0)


def _turn_hue(pixels: Array, turn: Array, colourful: Array, order: Array) -> Array:
    """Shifts the hue by `turn` sixths of the circle, scales the saturation, reorders the channels.

    In HSV a channel is the value V minus a share of the spread max - min, which depends on how near
    the hue is to the channel's complement (cyan, magenta, yellow): all of it within one sixth of
    the circle, none beyond two. Reordering the complements reorders the channels.
    """
    red, green, blue = jnp.moveaxis(pixels, -1, 0)
    value = jnp.maximum(jnp.maximum(red, green), blue)  # [H, W]
    spread = value - jnp.minimum(jnp.minimum(red, green), blue)
    scale = 1 / jnp.where(spread > 0, spread, 1)  # grey has no hue, and no spread to lose
    hue = (red - green) * scale + 4  # where blue is largest, in sixths of the circle
    hue = jnp.where(value == green, (blue - red) * scale + 2, hue)
    hue = jnp.where(value == red, (green - blue) * scale, hue)
    # Channels stay in the middle, [H, 3, W], until the end: a third faster on a CPU than last.
    complement = jnp.array([3.0, 5.0, 1.0])[order]
    away = (hue + turn)[:, None] - complement[None, :, None]
    away = jnp.abs(away - 6 * jnp.round(away / 6))  # 0 to 3 sixths
    lost = (spread * colourful)[:, None] * jnp.clip(2 - away, 0.0, 1.0)
    return jnp.swapaxes(value[:, None] - lost, 1, 2)
