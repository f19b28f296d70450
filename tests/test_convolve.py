"""The CPU's forms of convolution against lax's, and lax's against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.layers import convolve, winograd


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


@pytest.mark.parametrize("target", ["cpu", "tpu"])
def test_a_kernel_as_large_as_the_map_makes_one_product(target):
    x, kernel = normal(0, 4, 7, 7, 3), normal(1, 7, 7, 3, 5)
    with backend.lowering_for(target):
        found = convolve.conv(x, kernel)
        program = str(jax.make_jaxpr(convolve.conv)(x, kernel))
    expected = looped(np.array(x), np.array(kernel), stride=1, padding=0, dilation=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert "dot_general" in program and "conv_general" not in program


def gradients(function, x, kernel):
    @jax.jit
    def run(x, kernel, dy):
        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(dy)

    return run(x, kernel, normal(9, *jax.eval_shape(function, x, kernel).shape))


@pytest.mark.parametrize(
    ("height", "width", "padding", "dilation", "at_once"),
    [
        (5, 6, 1, 1, 2**21),
        (9, 8, 2, 2, 500),  # one image after another
        (8, 7, 0, 1, 1000),  # two and two
        (3, 3, 0, 1, 2**21),
        (19, 18, 6, 6, 2**21),
        (4, 5, 3, 1, 2**21),
    ],
)
def test_winograd_equals_lax(height, width, padding, dilation, at_once, monkeypatch):
    monkeypatch.setattr(winograd, "_AT_ONCE", at_once)
    x, kernel = normal(0, 4, height, width, 5), normal(1, 3, 3, 5, 7)
    ours = gradients(lambda x, k: winograd.conv(x, k, padding, dilation), x, kernel)
    lax = gradients(lambda x, k: convolve.conv_lax(x, k, 1, padding, dilation), x, kernel)
    for a, b in zip(ours, lax, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize(
    ("height", "width", "stride", "padding", "dilation"),
    [(9, 8, 2, 1, 1), (8, 7, 2, 1, 1), (8, 7, 1, 1, 1), (7, 6, 2, 0, 1), (10, 9, 1, 2, 2)],
)
def test_conv_of_few_channels_equals_lax(height, width, stride, padding, dilation):
    x, kernel = normal(0, 4, height, width, 3), normal(1, 3, 3, 3, 7)
    how = stride, padding, dilation
    ours = gradients(lambda x, k: convolve.conv_of_few(x, k, *how), x, kernel)
    lax = gradients(lambda x, k: convolve.conv_lax(x, k, *how), x, kernel)
    for a, b in zip(ours, lax, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=2e-6 * np.abs(b).max())
    np.testing.assert_array_equal(convolve.conv_of_few(x, kernel, *how), lax[0])


def test_winograd_is_exact_but_for_rounding():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, kernel = rng.normal(size=(2, 9, 8, 64)), rng.normal(size=(3, 3, 64, 32))
        ours = gradients(lambda x, k: winograd.conv(x, k, 1, 1), x, kernel)
        lax = gradients(lambda x, k: convolve.conv_lax(x, k, 1, 1, 1), x, kernel)
    for a, b in zip(ours, lax, strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, atol=1e-13 * np.abs(b).max())


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


def test_bfloat16_depthwise_rounds_once():
    """256 and eight ones: bfloat16 has steps of 2 there, so that one by one they add nothing."""
    x = jnp.ones((1, 3, 3, 1), jnp.bfloat16).at[0, 0, 0, 0].set(256)
    kernel = jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    y = convolve.depthwise_shifted(x, kernel, 1, ((0, 0), (0, 0)))
    assert y.dtype == jnp.bfloat16 and float(y[0, 0, 0, 0]) == 264


def test_bfloat16_gradients_are_summed_in_float32():
    """In bfloat16 the sum of 1200 ones over 300 images would stop at 1024."""
    x = jnp.ones((300, 2, 2, 1), jnp.bfloat16)
    kernel = jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    y, pull = jax.vjp(lambda k: convolve.depthwise_shifted(x, k, 1, ONE), kernel)
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


def traced(side, channels, dtype=jnp.float32):
    shapes = [(1, side, side, channels), (3, 3, channels, channels), (3, 3, 1, channels)]
    forms = lambda x, dense, deep: (
        convolve.conv(x, dense, padding=1),
        convolve.depthwise(x, deep, padding=ONE),
    )
    return str(jax.make_jaxpr(forms)(*(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)))


OTHERS = [target for target in backend.TARGETS if target != "cpu"]


@pytest.mark.parametrize("other", OTHERS)
def test_the_cpu_takes_its_own_forms(other):
    """And no other target does, but only as long as it is asked for."""
    assert traced(24, 192).count("custom_vjp_call") == 2
    with backend.lowering_for(other):
        assert traced(24, 192).count("custom_vjp_call") == 0
        assert traced(24, 192).count("conv_general_dilated[") == 2
    assert traced(24, 192).count("custom_vjp_call") == 2


@pytest.mark.parametrize("other", OTHERS)
def test_only_the_cpu_takes_products_for_1x1(other):
    x, kernel = jnp.ones((2, 4, 4, 3)), jnp.ones((1, 1, 3, 5))
    take = lambda: str(jax.make_jaxpr(lambda *both: convolve.conv(*both))(x, kernel))
    assert "dot_general" in take() and "conv_general_dilated" not in take()
    with backend.lowering_for(other):
        assert "dot_general" not in take() and "conv_general_dilated" in take()


def test_the_innermost_target_counts_and_unknown_ones_are_refused():
    assert backend.target() == jax.default_backend()
    with backend.lowering_for("tpu"):
        with pytest.raises(RuntimeError), backend.lowering_for("portable"):
            assert backend.target() == "portable"
            raise RuntimeError
        assert backend.target() == "tpu"
    assert backend.target() == jax.default_backend()
    with (
        pytest.raises(ValueError, match="the target is 'cuda', expected one of cpu, gpu, tpu, p"),
        backend.lowering_for("cuda"),
    ):
        pass


@pytest.mark.parametrize(
    ("channels", "stride", "form"),
    [(3, 1, "conv_of_few"), (3, 2, "conv_of_few"), (64, 1, "winograd"), (64, 2, None)],
)
def test_the_form_goes_by_channels_and_stride(channels, stride, form):
    x, kernel = (
        jax.ShapeDtypeStruct(shape, "float32")
        for shape in ((8, 160, 160, channels), (3, 3, channels, 32))
    )
    take = lambda x, kernel: convolve.conv(x, kernel, stride=stride, padding=1)
    said = str(jax.make_jaxpr(take)(x, kernel))
    assert ("custom_vjp_call" in said) == (form is not None)
    assert ("name=conv_of_few" in said) == (form == "conv_of_few")


@pytest.mark.parametrize(
    ("side", "channels", "dtype"),
    [(12, 512, "float32"), (24, 16, "float32"), (24, 192, "bfloat16")],
)
def test_winograd_is_left_where_it_does_not_pay(side, channels, dtype):
    """A kernel too large for its few pixels, too little work, and too few digits."""
    assert traced(side, channels, dtype).count("custom_vjp_call") == 1
