"""Mixing pictures of a batch, on the device."""

import jax
import jax.numpy as jnp

from jaxdet.types import Array, Objects


def mixup(
    key: jax.Array, pixels: Array, objects: Objects, *, alpha: float
) -> tuple[Array, Objects]:
    """Every picture blended with the next one of the batch; the objects of both, 2N of them.

    The picture's share is drawn from Beta(alpha, alpha) and becomes the weight of its objects'
    losses, the rest that of the other's (Zhang et al. 2019, arXiv:1902.04103, section 3.1).
    `pixels` are [B, H, W, 3], `objects` [B, N].
    """
    share = jax.random.beta(key, alpha, alpha, (len(pixels),))  # [B]
    of_other = lambda x: jnp.roll(x, -1, axis=0)
    mine = share.reshape(-1, 1, 1, 1)
    mixed = mine * pixels + (1 - mine) * of_other(pixels)
    weigh = lambda objects, share: objects.replace(weight=objects.weight * share[:, None])
    both = weigh(objects, share), weigh(jax.tree.map(of_other, objects), 1 - share)
    both = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *both)
    # Without gaps between them: matching goes on to the last object's slot.
    order = jnp.argsort(~both.mask, axis=1, stable=True)
    return mixed, jax.vmap(lambda x, order: jax.tree.map(lambda x: x[order], x))(both, order)
