"""What necks do beyond the contracts: options, resizing, initialisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet.layers.norms import batch_norm
from jaxdet.necks.asff import asff
from jaxdet.necks.fpn import fpn, resize_nearest
from jaxdet.necks.spp import spp

KEY = jax.random.key(0)


def maps(*sides, channels=4):
    return tuple(jnp.ones((1, side, side, channels)) for side in sides)


@pytest.mark.parametrize(
    ("before", "after"),
    [((10, 5), (19, 10)), ((4, 4), (8, 8)), ((3, 5), (7, 5)), ((6, 2), (4, 11))],
)
def test_nearest_resizing_rounds_down(before, after):
    x = np.arange(before[0] * before[1], dtype=np.float32).reshape(1, *before, 1)
    rows, columns = (np.arange(n) * m // n for m, n in zip(before, after, strict=True))
    expected = x[:, rows][:, :, columns]
    np.testing.assert_array_equal(resize_nearest(jnp.asarray(x), after), expected)


def test_a_pyramid_with_normalisation_has_no_biases_but_p6_and_p7_do():
    neck = fpn(8, "p6p7_of_p5", norm=batch_norm)
    params = neck.init(KEY, maps(8, 4), train=False)["params"]
    with_bias = {name for name, layer in params.items() if "bias" in layer["conv"]}
    assert with_bias == {"p6", "p7"} == {n for n, layer in params.items() if "norm" not in layer}


def test_a_pyramid_starts_as_torchvisions():
    """Uniform to sqrt(3 / inputs), biases zero."""
    params = fpn(64).init(KEY, maps(4, channels=32), train=False)["params"]
    for name, inputs in (("lateral0", 32), ("out0", 64 * 9)):
        kernel, limit = params[name]["conv"]["kernel"], np.sqrt(3 / inputs)
        assert 0.98 * limit < np.abs(kernel).max() <= limit
        assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.05)
        assert not params[name]["conv"]["bias"].any()


def test_a_pyramid_refuses_other_extra_levels():
    with pytest.raises(ValueError, match="extra is 'p6', expected one of none, pool, p6p7_of_c5"):
        fpn(8, "p6").init(KEY, maps(4), train=False)


@pytest.mark.parametrize("input_first", [True, False])
def test_the_order_in_which_spp_joins(input_first):
    """The fourth convolution sees the third's output unchanged in the first or the last quarter."""
    x = (jax.random.normal(KEY, (1, 9, 9, 4)),)
    neck = spp(width=1 / 128, input_first=input_first, norm=None)
    variables = neck.init(KEY, x, train=False)
    kernel = variables["params"]["conv4"]["conv"]["kernel"]
    assert kernel.shape == (1, 1, 16, 4)
    own = slice(0, 4) if input_first else slice(12, 16)
    chosen = jnp.zeros_like(kernel).at[0, 0, own].set(jnp.eye(4))
    variables["params"]["conv4"]["conv"]["kernel"] = chosen
    watch = lambda module, method: module.name in ("conv3", "conv4")
    _, seen = neck.apply(variables, x, train=False, capture_intermediates=watch)
    third, fourth = (seen["intermediates"][n]["__call__"][0] for n in ("conv3", "conv4"))
    np.testing.assert_allclose(fourth, neck.activation(third), atol=1e-6)


def test_asff_with_equal_shares_takes_the_mean_of_the_maps():
    x, neck = maps(8, 4), asff(width=1 / 64)
    variables = neck.init(KEY, x, train=False)
    variables["params"]["level0"]["shares"]["kernel"] *= 0
    run = lambda fine, coarse: neck.apply(variables, (fine, coarse), train=False)[0]
    np.testing.assert_allclose(run(x[0], 3 * x[1]), run(2 * x[0], 2 * x[1]), atol=1e-6)


def test_asff_of_one_map_has_nothing_to_share():
    layers = asff(width=1 / 64).init(KEY, maps(8), train=False)["params"]["level0"]
    assert set(layers) == {"expand"}
