"""No neck: the head sees the backbone's maps, as in Faster R-CNN without a pyramid."""

import flax.linen as nn
import jax


class Identity(nn.Module):
    """The maps as they are."""

    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        return maps


identity = Identity
