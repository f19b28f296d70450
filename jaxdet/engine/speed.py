"""How long a detector takes for an image on this machine."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxdet.types import Detector, Shape

REPEATS = 3


def milliseconds(detector: Detector, shape: Shape, *, batch: int) -> float:
    """The time of `detector.predict` per image, with random weights: the best of three batches."""
    variables = detector.init(jax.random.key(0))
    pixels = np.random.default_rng(0).uniform(0, 255, (batch, *shape, 3))
    pixels = jnp.asarray(pixels, jnp.float32)
    predict = jax.jit(detector.predict).lower(variables, pixels).compile()
    times = []
    for _ in range(1 + REPEATS):  # the first is a warm-up
        start = time.perf_counter()
        jax.block_until_ready(predict(variables, pixels))
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:]) / batch
