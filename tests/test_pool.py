"""Pooling against loops, and where the gradient of the maximum goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.layers import pool

KEY = jax.random.key(0)


@pytest.mark.parametrize("target", ["cpu", "gpu", "tpu", "portable"])
@pytest.mark.parametrize(
    ("side", "size", "stride", "padding", "round_up", "out"),
    [(7, 2, 2, 0, False, 3), (7, 2, 2, 0, True, 4), (6, 2, 2, 0, True, 3), (5, 3, 1, 1, False, 5)],
)
def test_max_pool_equals_loops(target, side, size, stride, padding, round_up, out):
    x = np.array(jax.random.normal(KEY, (2, side, side, 3)))
    with backend.lowering_for(target):
        y = pool.max_pool(x, size, stride=stride, padding=padding, round_up=round_up)
    assert y.shape == (2, out, out, 3)
    for row in range(out):
        for column in range(out):
            rows, columns = (
                slice(max(i * stride - padding, 0), i * stride - padding + size)
                for i in (row, column)
            )
            np.testing.assert_array_equal(y[:, row, column], x[:, rows, columns].max((1, 2)))


def test_max_pool_gradient_goes_to_the_maximum():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    gradient = jax.grad(lambda x: pool.max_pool(x, 2, stride=2).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], np.kron(np.ones((2, 2)), [[0, 0], [0, 1]]))


@pytest.mark.parametrize("target", ["cpu", "gpu", "tpu", "portable"])
@pytest.mark.parametrize(
    ("side", "size", "stride", "padding", "round_up"),
    [(7, 2, 2, 0, False), (7, 2, 2, 0, True), (8, 3, 2, 1, False), (5, 3, 1, 1, False)],
)
def test_max_pool_gradient_equals_loops(target, side, size, stride, padding, round_up):
    """With few different values, so that many windows have several maxima."""
    x = np.array(jax.random.randint(KEY, (2, side, side, 3), 0, 3), np.float32)
    run = lambda x: pool.max_pool(x, size, stride=stride, padding=padding, round_up=round_up)
    with backend.lowering_for(target):
        y, back = jax.vjp(run, jnp.array(x))
        dy = np.array(jax.random.normal(KEY, y.shape))
        (found,) = back(jnp.array(dy))
    expected = np.zeros_like(x)
    for b, row, column, c in np.ndindex(*y.shape):
        corner = row * stride - padding, column * stride - padding
        window = [
            (b, corner[0] + i, corner[1] + j, c)
            for i in range(size)
            for j in range(size)
            if 0 <= corner[0] + i < side and 0 <= corner[1] + j < side
        ]
        expected[max(window, key=lambda at: x[at])] += dy[b, row, column, c]  # the first of equals
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("target", ["cpu", "tpu"])
@pytest.mark.parametrize("input_first", [True, False])
def test_a_spatial_pyramid_equals_pools_side_by_side(target, input_first):
    """Also its gradient: of different values, each window has one maximum."""
    x = jax.random.normal(KEY, (2, 9, 7, 3))
    weigh = jnp.cos(jnp.arange(2 * 9 * 7 * 12)).reshape(2, 9, 7, 12)

    def apart(x):
        maps = [x, *(pool.max_pool(x, s, stride=1, padding=s // 2) for s in (3, 5, 7))]
        return jnp.concatenate(maps if input_first else maps[::-1], -1)

    joined = lambda x: pool.spatial_pyramid_pool(x, (3, 5, 7), input_first=input_first)
    both = lambda pools: jax.jit(
        lambda x: (pools(x), jax.grad(lambda x: (pools(x) * weigh).sum())(x))
    )
    with backend.lowering_for(target):
        y, found = both(joined)(x)
    of_each, expected = both(apart)(x)
    np.testing.assert_array_equal(y, of_each)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_of_equal_maxima_one_gets_the_gradient():
    gradient = jax.grad(lambda x: pool.spatial_pyramid_pool(x, input_first=True).sum())
    np.testing.assert_array_equal(gradient(jnp.zeros((1, 5, 5, 1))).sum(), 4 * 25)


@pytest.mark.parametrize("sizes", [(4,), (5, 5), (5, 3), (1, 3)])
def test_a_spatial_pyramid_refuses_sizes_that_do_not_rise(sizes):
    with pytest.raises(ValueError, match="expected rising odd numbers"):
        pool.spatial_pyramid_pool(jnp.zeros((1, 5, 5, 1)), sizes, input_first=True)


@pytest.mark.parametrize("target", ["cpu", "gpu", "tpu", "portable"])
@pytest.mark.parametrize(
    ("side", "size", "stride", "padding", "round_up", "out"),
    [
        (7, 2, 2, 0, False, 3),
        (7, 2, 2, 0, True, 4),
        (6, 2, 2, 0, True, 3),
        (5, 3, 1, 1, False, 5),
        (6, 3, 2, 1, False, 3),
        (6, 3, 2, 1, True, 4),
        (5, 1, 1, 0, True, 5),
    ],
)
def test_average_pool_equals_loops(target, side, size, stride, padding, round_up, out):
    """Padding counts, what a window has beyond it does not; its gradient spreads evenly."""
    x = np.array(jax.random.normal(KEY, (2, side, side, 3)))
    run = lambda x: pool.average_pool(x, size, stride=stride, padding=padding, round_up=round_up)
    framed = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    with backend.lowering_for(target):
        y, back = jax.vjp(run, jnp.array(x))
        dy = np.array(jax.random.normal(KEY, y.shape))
        (found,) = back(jnp.array(dy))
    assert y.shape == (2, out, out, 3)
    gradient = np.zeros_like(framed)
    for row, column in np.ndindex(out, out):
        window = (slice(None), *(slice(i * stride, i * stride + size) for i in (row, column)))
        mean = framed[window].mean((1, 2))
        np.testing.assert_allclose(y[:, row, column], mean, atol=1e-6)
        area = framed[window].shape[1] * framed[window].shape[2]
        gradient[window] += dy[:, row, column][:, None, None] / area
    inside = slice(padding, padding + side)
    np.testing.assert_allclose(found, gradient[:, inside, inside], atol=1e-6)


def test_average_pool_in_bfloat16_sums_in_float32():
    x = jnp.full((1, 7, 7, 1), 1 + 2**-7, jnp.bfloat16)
    y = jax.jit(lambda x: pool.average_pool(x, 7, stride=7))(x)
    assert y.dtype == jnp.bfloat16 and float(y[0, 0, 0, 0]) == 1 + 2**-7
