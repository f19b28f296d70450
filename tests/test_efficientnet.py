"""EfficientNet-B3: its shapes, what drop-connect drops, and the names of its ImageNet weights."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from test_convert_sources import digest, shapes_of, their_shapes, zeros

from jaxdet.backbones.efficientnet_b3 import MBConv, efficientnet_b3
from jaxdet.convert import lufficc, timm, torchvision, weights
from jaxdet.layers.activations import identity
from jaxdet.necks.efficientnet_extras import efficientnet_extras
from jaxdet.training import freezing

KEY = jax.random.key(0)
RECIPE = "efficientnet_b3_ssd300_voc"


def run(module, *shape, **options):
    """The shapes of what a module returns and of its variables."""
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    return jax.eval_shape(lambda x: module.init_with_output(KEY, x, **options), x)


@pytest.mark.parametrize(
    ("sides", "grids"),
    [((300, 300), [(38, 38), (19, 19), (10, 10)]), ((257, 120), [(33, 15), (17, 8), (9, 4)])],
)
def test_maps_are_the_references(sides, grids):
    """SAME padding: every halving rounds up. Channels and blocks are B3's."""
    maps, variables = run(efficientnet_b3(), *sides, 3, train=False)
    expected = [(2, *grid, channels) for grid, channels in zip(grids, (48, 136, 384), strict=True)]
    assert [m.shape for m in maps] == expected
    blocks = [name for name in variables["params"] if name.startswith("block")]
    assert len(blocks) == sum((2, 3, 3, 5, 5, 6, 2))
    # A quarter of what enters the block, which is a sixth of what is squeezed.
    squeeze = variables["params"]["block4"]["squeeze"]["reduce"]["kernel"]
    assert squeeze.shape == (1, 1, 32 * 6, 8)


@pytest.mark.parametrize(("size", "last"), [(300, (5, 3, 1)), (384, (6, 4, 2))])
def test_extras_add_three_maps(size, last):
    def both(x):
        maps, _ = efficientnet_b3().init_with_output(KEY, x, train=False)
        return efficientnet_extras().init_with_output(KEY, maps, train=False)[0]

    maps = jax.eval_shape(both, jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32))
    assert [m.shape[1:] for m in maps[3:]] == [(side, side, 256) for side in last]


def test_kernels_lie_as_tensorflow_lays_them():
    """On an even side, stride 2 looks at pixels 2i, 2i + 1 and 2i + 2; the last may be outside."""
    x = jax.random.normal(KEY, (1, 8, 8, 4))
    block = MBConv(4, 2, 1, 3, drop=0.0, activation=identity)
    variables = jax.jit(functools.partial(block.init, train=False))(KEY, x)
    depthwise = lambda module, _: module.name == "depthwise"
    options = dict(capture_intermediates=depthwise, mutable=["intermediates"])
    _, seen = jax.jit(functools.partial(block.apply, train=False, **options))(variables, x)
    (found,) = seen["intermediates"]["depthwise"]["__call__"]
    kernel = np.asarray(variables["params"]["depthwise"]["conv"]["kernel"])[:, :, 0]
    padded = np.pad(x[0], ((0, 1), (0, 1), (0, 0)))
    for i, j in np.ndindex(4, 4):
        window = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        expected = (window * kernel).sum((0, 1)) / np.sqrt(1 + 1e-3)  # epsilon, variance 1
        np.testing.assert_allclose(found[0, i, j], expected, atol=1e-5)


def test_drop_connect_drops_whole_images_and_scales_up_the_rest():
    x = jax.random.normal(KEY, (64, 3, 3, 8))
    keep = MBConv(8, 1, 1, 3, drop=0.0)
    drop = MBConv(8, 1, 1, 3, drop=0.25)
    variables = keep.init(KEY, x, train=False)
    apply = lambda block, **options: block.apply(
        variables, x, train=True, mutable=["batch_stats"], **options
    )[0]
    change = np.asarray(apply(keep) - x)  # what the block adds to an image
    found = np.asarray(apply(drop, rngs={"dropout": jax.random.key(1)}) - x)
    stayed = np.abs(found).max((1, 2, 3)) > 0
    expected = np.where(stayed[:, None, None, None], change / 0.75, 0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert 64 * 0.75 - 4 * 3.5 < stayed.sum() < 64  # four standard deviations
    other = np.asarray(apply(drop, rngs={"dropout": jax.random.key(2)}) - x)
    assert np.any((np.abs(other).max((1, 2, 3)) > 0) != stayed)
    # Nothing is dropped, or drawn, in evaluation.
    np.testing.assert_array_equal(*(b.apply(variables, x, train=False) for b in (keep, drop)))


def test_drop_connect_rises_with_depth():
    rates = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            rates[context.module.parent.name] = context.module.rate
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        run(efficientnet_b3(drop_connect=0.26), 64, 64, 3, train=False)
    # The first block of a stage changes its width or side and has nothing to go round.
    first = np.cumsum([1, 2, 3, 3, 5, 5, 6])
    expected = {f"block{n}": 0.01 * (n - 1) for n in range(1, 27) if n not in first}
    assert rates == pytest.approx(expected)


def test_a_frozen_block_drops_nothing():
    x = jax.random.normal(KEY, (2, 3, 3, 8))
    block = MBConv(8, 1, 1, 3, drop=0.9)
    variables = block.init(KEY, x, train=False)
    train = lambda: block.apply(variables, x, train=True, mutable=["batch_stats"])
    with pytest.raises(InvalidRngError, match="dropout"):
        train()
    with freezing.freeze_statistics(("*",)):
        frozen, _ = train()
    np.testing.assert_array_equal(frozen, block.apply(variables, x, train=False))


TOP = {"weight": (1536,), "bias": (1536,), "running_mean": (1536,), "running_var": (1536,)}
CLASSIFIERS = [  # source; its last convolution, norm and linear layer; digest of its state dict
    (torchvision, ("features.8.0", "features.8.1", "classifier.1"), "bbbfe3637612f6e6"),
    (timm, ("conv_head", "bn2", "classifier"), "4f56fd055db8e20d"),
    (lufficc, ("_conv_head", "_bn1", "_fc"), None),  # the names of the golden manifest
]


@pytest.mark.parametrize(("source", "top", "expected"), CLASSIFIERS)
def test_imagenet_weights_of_every_source_fit(source, top, expected, monkeypatch):
    variables, (*_, backbone) = shapes_of(RECIPE, 20)
    ours = {kind: tree["backbone"] for kind, tree in variables.items()}
    shapes = their_shapes(ours, source.BACKBONES[backbone])
    conv, norm, linear = top
    shapes |= {f"{conv}.weight": (1536, 384, 1, 1)}
    shapes |= {f"{norm}.{name}": shape for name, shape in TOP.items()}
    shapes |= {f"{linear}.weight": (1000, 1536), f"{linear}.bias": (1000,)}
    assert digest(shapes) == (496, expected or digest(shapes)[1])
    monkeypatch.setattr(weights, "read", lambda file: zeros(shapes))
    loaded = weights.load_backbone("file", variables, model=(backbone,))
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(loaded["params"]["backbone"]))


@pytest.mark.parametrize("backbone", sorted({*torchvision.BACKBONES, *lufficc.BACKBONES}))
def test_no_two_sources_mean_different_things_by_a_name(backbone):
    table = weights.backbone_table(backbone)
    for source in (torchvision, timm, lufficc):
        of_source = source.BACKBONES.get(backbone, {})
        assert {name: table[name] for name in of_source} == of_source
