"""The CPU's forms of convolution against lax's, and lax's against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import convolve


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def looped(x, kernel, *, stride, padding, dilation):
    """What PyTorch's Conv2d computes, one output pixel at a time."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    size = len(kernel)
    reach = dilation * (size - 1) + 1
    height, width = ((side - reach) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((len(x), height, width, kernel.shape[3]))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            seen = x[:, top : top + reach : dilation, left : left + reach : dilation]
            y[:, row, column] = np.einsum("bijc,ijco->bo", seen, kernel)
    return y


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 0, 1), (4, 1, 1, 1), (3, 1, 2, 2)],
)
def test_conv_equals_loops(size, stride, padding, dilation):
    x, kernel = normal(0, 2, 7, 6, 3), normal(1, size, size, 3, 5)
    how = dict(stride=stride, padding=padding, dilation=dilation)
    found = convolve.conv(x, kernel, **how)
    np.testing.assert_allclose(found, looped(np.array(x), np.array(kernel), **how), atol=1e-5)


def gradients(function, x, kernel):
    @jax.jit
    def run(x, kernel, dy):
        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(dy)

    return run(x, kernel, normal(9, *jax.eval_shape(function, x, kernel).shape))


@pytest.mark.parametrize(
    ("height", "width", "channels", "padding", "dilation"),
    # The last two go in bands: of two rows, so that the third is half empty, and of one.
    [(5, 6, 2, 1, 1), (9, 8, 2, 2, 2), (8, 7, 2, 0, 1), (5, 2000, 64, 1, 1), (3, 4200, 64, 1, 1)],
)
def test_banded_kernel_gradient_equals_lax(height, width, channels, padding, dilation):
    x, kernel = normal(0, 2, height, width, channels), normal(1, 3, 3, channels, channels)
    ours = gradients(lambda x, k: convolve.conv_banded(x, k, padding, dilation), x, kernel)
    lax = gradients(lambda x, k: convolve.conv_lax(x, k, 1, padding, dilation), x, kernel)
    for a, b in zip(ours, lax, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-3)


ONE, SAME = ((1, 1), (1, 1)), ((0, 1), (1, 1))  # TensorFlow's SAME at stride 2: 3x3 on 6 x 5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("sides", "size", "padding"),
    [
        ((6, 5), 3, ONE),
        ((1, 4), 3, ONE),
        ((6, 5), 3, SAME),
        ((6, 5), 3, ((0, 0), (2, 0))),
        ((7, 6), 5, ((2, 2), (2, 2))),
        ((3, 4), 5, ((1, 2), (2, 1))),
    ],
)
def test_shifted_depthwise_equals_lax(sides, size, padding, stride):
    x, kernel = normal(0, 3, *sides, 5), normal(1, size, size, 1, 5)
    ours = gradients(lambda x, k: convolve.depthwise_shifted(x, k, stride, padding), x, kernel)
    lax = gradients(lambda x, k: convolve.depthwise_lax(x, k, stride, padding), x, kernel)
    for a, b in zip(ours, lax, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["banded", "shifted"])
def test_bfloat16_gradients_are_summed_in_float32(form):
    """In bfloat16 the sum of 1200 ones over 300 pictures would stop at 1024."""
    x = jnp.ones((300, 2, 2, 1), jnp.bfloat16)
    kernel = jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    function = {
        "banded": lambda k: convolve.conv_banded(x, k, 1, 1),
        "shifted": lambda k: convolve.depthwise_shifted(x, k, 1, ONE),
    }[form]
    y, pull = jax.vjp(function, kernel)
    (gradient,) = pull(jnp.ones_like(y))
    assert gradient.dtype == jnp.bfloat16
    assert gradient[1, 1, 0, 0] == 1200


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_equals_loops(size, stride):
    x, kernel, each = normal(0, 2, 6, 5, 3), normal(1, size, size, 1, 3), size // 2
    dense = np.einsum("ijc,co->ijco", kernel[:, :, 0], np.eye(3))
    expected = looped(np.array(x), dense, stride=stride, padding=each, dilation=1)
    found = convolve.depthwise(x, kernel, stride=stride, padding=((each, each),) * 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_cpu_takes_its_own_forms(monkeypatch):
    """And no other backend does."""
    x, square, deep = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2)), jnp.ones((3, 3, 1, 2))

    def compiled():
        return str(
            jax.make_jaxpr(
                lambda x: (
                    convolve.conv(x, square, padding=1),
                    convolve.depthwise(x, deep, padding=ONE),
                )
            )(x)
        )

    assert compiled().count("custom_vjp_call") == 2
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiled().count("custom_vjp_call") == 0
    assert compiled().count("conv_general_dilated[") == 2
