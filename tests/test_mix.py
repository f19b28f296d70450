"""Mixup: what is blended with what, and what the objects weigh."""

import jax
import numpy as np

from jaxdet.augment import mix
from jaxdet.types import Objects

B, N = 64, 2


def mask_of_both(mask):
    return np.concatenate([mask, np.roll(mask, -1, axis=0)], axis=1)


def test_mixup_blends_neighbours_and_weighs_their_objects_alike():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (B, 4, 4, 3)).astype(np.float32)
    objects = Objects(
        boxes=rng.random((B, N, 4), np.float32),
        labels=np.arange(B * N).reshape(B, N),
        mask=rng.random((B, N)) < 0.5,
        weight=np.ones((B, N), np.float32),
    )
    mixed, both = jax.jit(lambda *x: mix.mixup(*x, alpha=1.5))(jax.random.key(0), pixels, objects)
    assert not (np.diff(both.mask.astype(int), axis=1) > 0).any()  # no gaps between objects
    back = np.argsort(np.argsort(~mask_of_both(objects.mask), axis=1, kind="stable"), axis=1)
    both = jax.vmap(lambda x, back: jax.tree.map(lambda x: x[back], x))(both, back)
    share = np.asarray(both.weight[:, 0])
    assert both.boxes.shape == (B, 2 * N, 4)
    assert 0 < share.min() < 0.25 and 0.75 < share.max() < 1 and abs(share.mean() - 0.5) < 0.1
    np.testing.assert_allclose(both.weight[:, N:], 1 - share[:, None].repeat(N, 1), atol=1e-6)
    for i in range(B):
        other = (i + 1) % B
        blend = share[i] * pixels[i] + (1 - share[i]) * pixels[other]
        np.testing.assert_allclose(mixed[i], blend, rtol=1e-5)
        for name in ("boxes", "labels", "mask"):
            field = getattr(objects, name)
            expected = np.concatenate([field[i], field[other]])
            np.testing.assert_array_equal(getattr(both, name)[i], expected)
