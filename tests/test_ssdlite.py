"""SSDLite as torchvision and mmdetection have it: its extra maps, its head, its BatchNorms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxdet.augment import fit
from jaxdet.backbones.mobilenet_v2 import mobilenet_v2
from jaxdet.boxes import nms
from jaxdet.detectors.net import Net
from jaxdet.detectors.ssd import ssd
from jaxdet.heads.ssdlite_separable import ssdlite_separable
from jaxdet.layers.norms import BatchNorm, slow_batch_norm
from jaxdet.necks.ssdlite_extras import SeparableDown, ssdlite_extras
from jaxdet.types import Anchors, Raw

KEY = jax.random.key(0)
PIXELS = dict(mean=(123.0, 117.0, 104.0), scale=(58.0, 57.0, 57.0))


@pytest.mark.parametrize(
    ("size", "sides"), [(320, (20, 10, 5, 3, 2, 1)), (256, (16, 8, 4, 2, 1, 1))]
)
def test_sizes_are_the_references(size, sides):
    backbone = mobilenet_v2(norm=slow_batch_norm)
    net = Net(backbone, ssdlite_extras(), ssdlite_separable(80, (6,) * 6), **PIXELS)
    pixels = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    run = lambda x, **kwargs: net.init_with_output(KEY, x, **kwargs)
    maps, _ = jax.eval_shape(lambda x: run(x, method="maps"), pixels)
    assert [m.shape[1:] for m in maps] == [
        (side, side, channels)
        for side, channels in zip(sides, (96, 1280, 512, 256, 256, 128), strict=True)
    ]
    raw, variables = jax.eval_shape(lambda x: run(x, train=False), pixels)
    anchors = 6 * sum(side * side for side in sides)
    assert raw.boxes.shape == (2, anchors, 4)
    assert raw.logits.shape == (2, anchors, 81)
    # mmdetection's own modules have as many.
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 4_228_788


def test_every_batch_norm_is_the_slow_one():
    """A norm's running mean takes 3 % of the batch's, of ones; none keeps the 10 % of ours."""
    seen = []

    def spy(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm):
            seen.append((context.module.momentum, context.module.epsilon))
        return call(*args, **kwargs)

    net = Net(
        mobilenet_v2(width=0.35, norm=slow_batch_norm),
        ssdlite_extras(width=0.125),
        ssdlite_separable(2, (2,) * 6),
        **PIXELS,
    )
    with nn.intercept_methods(spy):
        pixels = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        jax.eval_shape(lambda x: net.init(KEY, x, train=False), pixels)
    assert len(seen) == 52 + 4 * 3 + 6 * 2  # convolutions of the backbone, neck and head
    assert set(seen) == {(0.97, 1e-3)}


def test_slow_batch_norm_by_hand():
    x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)  # mean 2, variance 1, unbiased 2
    y, variables = slow_batch_norm().init_with_output(KEY, x, train=False)
    y, updates = slow_batch_norm().apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.ravel(), np.array([-1, 1]) / np.sqrt(1.001), rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.03 * 2], rtol=1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["var"], [0.97 + 0.03 * 2], rtol=1e-6)


def test_extra_map_by_hand():
    """One channel of two, all kernels and scales 1: sums of the 3x3 neighbours of even pixels."""
    block = SeparableDown(2)
    x = jnp.arange(9.0).reshape(1, 3, 3, 1) / 10
    variables = block.init(KEY, x, train=False)
    one = lambda path, v: jnp.full_like(v, path[-1].key != "bias")
    params = jax.tree_util.tree_map_with_path(one, variables["params"])
    y = block.apply({**variables, "params": params}, x, train=False)
    factor = (1 + 1e-3) ** -0.5  # a fresh BatchNorm
    low = np.array([[0 + 1 + 3 + 4, 1 + 2 + 4 + 5], [3 + 4 + 6 + 7, 4 + 5 + 7 + 8]]) / 10
    np.testing.assert_allclose(y[0, :, :, 0], low * factor**3, rtol=1e-5)
    np.testing.assert_array_equal(y[..., 0], y[..., 1])
    twice = jax.tree.map(lambda v: 2 * v, params)  # of 6, the last activation leaves 6
    assert float(block.apply({**variables, "params": twice}, 99 * x, train=False).max()) == 6


def test_head_is_separable_on_the_last_map_too():
    maps = (jnp.ones((1, 2, 2, 8)), jnp.ones((1, 1, 1, 4)))
    head = ssdlite_separable(3, (2, 1))
    (boxes, logits), variables = head.init_with_output(KEY, maps, train=False)
    assert boxes.shape == (1, 9, 4) and logits.shape == (1, 9, 4)
    shapes = {"/".join(path): x.shape for path, x in flatten_dict(variables["params"]).items()}
    assert shapes["logits1/depthwise/conv/kernel"] == (3, 3, 1, 4)
    assert shapes["logits1/pointwise/kernel"] == (1, 1, 4, 4)
    assert shapes["boxes1/pointwise/bias"] == (4,)
    assert "logits1/depthwise/conv/bias" not in shapes


def test_head_refuses_a_wrong_number_of_levels():
    with pytest.raises(ValueError, match="1 maps, but anchors for 2 levels"):
        ssdlite_separable(2, (1, 1)).init(KEY, (jnp.ones((1, 2, 2, 4)),), train=False)


def test_detections_are_cut_at_the_border_before_nms():
    """Two boxes of one class that overlap by more than 0.45 only once cut at the border."""
    limits = dict(score_threshold=0.1, iou_threshold=0.45, max_kept=5)
    make = functools.partial(
        ssd,
        lambda counts: None,
        size=100,
        classes=("a",),
        strides=(50,),
        scales=(1.0, 1.0),
        ratios=((),),
        fit=fit.stretch,
        nms=functools.partial(nms.greedy, **limits),
    )
    codes = np.zeros((1, 2, 4), np.float32)
    anchors = Anchors(np.array([[0.0, 0.5, 1.0, 1.0], [0.2, 0.5, 0.4, 1.0]]), np.zeros((2, 4)))
    raw = Raw(boxes=jnp.array(codes), logits=jnp.array([[[0.0, 2.0], [0.0, 1.0]]]))
    for clip, expected in ((True, [[0, 0, 0.5, 1]]), (False, [[-0.5, 0, 0.5, 1], [0, 0, 0.4, 1]])):
        detector = make(clip_detections=clip)
        (boxes,), (scores,) = detector.decode(raw, anchors)
        found = detector.nms(boxes, scores)
        np.testing.assert_allclose(found.boxes[found.valid], expected, atol=1e-6)
