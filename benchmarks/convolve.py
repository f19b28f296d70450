"""Times the two forms of every convolution that has two: forward and gradients, milliseconds.

    python benchmarks/convolve.py [--repeats 5]

`jaxdet/layers/convolve.py` chooses by these; run it again when XLA changes, or on another backend.
"""

import argparse

import jax
from timing import median_ms, report

from jaxdet.layers import convolve, winograd

DEPTHWISE = [  # batch, side, channels, kernel, stride
    (8, 160, 96, 3, 2),
    (8, 80, 144, 3, 1),
    (8, 20, 576, 3, 1),
    (8, 40, 120, 5, 1),
    (8, 20, 672, 5, 2),
]
CONV = [(2, 300, 64, 64), (2, 75, 256, 256), (2, 38, 512, 512), (2, 38, 512, 84)]  # ..., I, O
FIRST = [(8, 320, 32, 2), (8, 300, 64, 1), (8, 416, 32, 1)]  # batch, side, features, stride


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for batch, side, channels, size, stride in DEPTHWISE:
        shapes, padding = [(batch, side, side, channels), (size, size, 1, channels)], size // 2
        how = stride, ((padding, padding),) * 2
        for form in (convolve.depthwise_lax, convolve.depthwise_shifted):
            ms = training_ms(lambda x, kernel: form(x, kernel, *how), shapes, repeats)  # noqa: B023
            more = dict(batch=batch, side=side, channels=channels, size=size, stride=stride)
            report(form.__name__, ms, "ms", **more)
    for batch, side, channels, features in CONV:
        shapes = (batch, side, side, channels), (3, 3, channels, features)
        for form in (conv_lax, conv_winograd):
            ms = training_ms(form, shapes, repeats)
            report(form.__name__, ms, "ms", batch=batch, side=side, io=[channels, features])
    for batch, side, features, stride in FIRST:
        shapes = (batch, side, side, 3), (3, 3, 3, features)
        for form in (convolve.conv_lax, convolve.conv_of_few):
            layer = lambda x, k: form(jax.lax.stop_gradient(x), k, stride, 1, 1)  # noqa: B023
            ms = training_ms(layer, shapes, repeats)
            more = dict(batch=batch, side=side, io=[3, features], stride=stride)
            report(form.__name__, ms, "ms", **more)


def conv_lax(x, kernel):
    return convolve.conv_lax(x, kernel, 1, 1, 1)


def conv_winograd(x, kernel):
    return winograd.conv(x, kernel, 1, 1)


def training_ms(function, shapes, repeats: int) -> float:
    """A forward pass and both gradients."""
    x, kernel = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate(shapes))
    dy = jax.random.normal(jax.random.key(2), jax.eval_shape(function, x, kernel).shape)

    @jax.jit
    def once(x, kernel, dy):
        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(dy)

    return median_ms(once, x, kernel, dy, repeats=repeats)


if __name__ == "__main__":
    main()
