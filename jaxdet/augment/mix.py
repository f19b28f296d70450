"""Mixing the images of a batch: `augment.mix` in a recipe names functions in this file.

Each takes a key, pixels [B, H, W, 3] and objects [B, N], and returns them mixed; the number of
object slots may grow.
"""

import jax
import jax.numpy as jnp

from jaxdet.types import Array, Objects


def mixup(
    key: jax.Array, pixels: Array, objects: Objects, *, alpha: float = 1.5
) -> tuple[Array, Objects]:
    """Blends every image with the next one in the batch, and keeps the objects of both, 2N slots.

    An image's share is drawn from Beta(alpha, alpha) and becomes the weight of its objects' losses;
    the rest is the weight of the other's (Zhang et al. 2019, arXiv:1902.04103, section 3.1).
    """
    share = jax.random.beta(key, alpha, alpha, (len(pixels),))  # [B]
    of_other = lambda x: jnp.roll(x, -1, axis=0)
    own = share.reshape(-1, 1, 1, 1)
    mixed = own * pixels + (1 - own) * of_other(pixels)
    weigh = lambda objects, share: objects.replace(weight=objects.weight * share[:, None])
    both = weigh(objects, share), weigh(jax.tree.map(of_other, objects), 1 - share)
    return mixed, _compact(jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *both))


def _compact(objects: Objects) -> Objects:
    """The objects [B, N] with the padding last: matching visits all slots up to the last object."""
    order = jnp.argsort(~objects.mask, axis=1, stable=True)
    return jax.vmap(lambda x, order: jax.tree.map(lambda x: x[order], x))(objects, order)
