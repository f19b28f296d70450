"""Heads for proposals, regions and RetinaNet beyond the contracts, and how their weights are read.

The whole networks against the references' are in `test_golden_rcnn_nets.py`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_convert_sources import COCO, digest, their_shapes, zeros

from jaxdet.backbones.mobilenet_v3 import mobilenet_v3
from jaxdet.backbones.resnet50 import resnet50
from jaxdet.convert import chenyuntc, classes, mmdet, regions, torchvision, weights
from jaxdet.detectors.net import Net
from jaxdet.heads.fast_rcnn import fast_rcnn
from jaxdet.heads.retinanet import retinanet
from jaxdet.heads.rpn import rpn
from jaxdet.necks.fpn import fpn
from jaxdet.necks.identity import identity

KEY = jax.random.key(0)


def maps(*sides, channels=4):
    return tuple(jax.random.normal(jax.random.key(s), (2, s, s, channels)) for s in sides)


def init(module, x):
    return jax.jit(functools.partial(module.init, train=False))(KEY, x)


@pytest.mark.parametrize("head", [rpn((2, 2, 2)), retinanet(3, (2, 2, 2))])
def test_all_levels_have_the_same_layers_in_the_order_of_the_anchors(head):
    """The same map at every level is predicted alike; a cell's anchors follow each other."""
    (x,) = maps(3)
    variables = init(head, (x, x, x))
    for found in head.apply(variables, (x, x, x), train=False):
        levels = found.reshape(2, 3, 9, 2, -1)
        np.testing.assert_allclose(levels[:, 0], levels[:, 2], atol=1e-6)
        assert np.std(levels, axis=2).max() > 0 and np.std(levels, axis=3).max() > 0
    marked = jax.tree.map(jnp.zeros_like, variables["params"])
    marked["boxes"]["bias"] = jnp.arange(8.0)
    boxes, _ = head.apply({"params": marked}, (x, x, x), train=False)
    expected = np.broadcast_to(np.arange(8).reshape(2, 4), (2, 27, 2, 4))
    np.testing.assert_array_equal(boxes, expected.reshape(2, 54, 4))


@pytest.mark.parametrize("head", [rpn((3, 2)), retinanet(3, (3, 2))])
def test_layers_of_all_levels_need_equally_many_anchors(head):
    with pytest.raises(ValueError, match=r"equally many anchors, not \(3, 2\)"):
        jax.eval_shape(functools.partial(head.init, train=False), KEY, maps(4, 2))


def test_heads_start_as_in_the_papers():
    """Deviations of 0.01, and 0.001 for a region's boxes; RetinaNet's classes at 0.01."""
    (x,) = maps(2, channels=64)
    params = init(rpn((9,)), (x,))["params"]
    assert np.std(params["conv1"]["conv"]["kernel"]) == pytest.approx(0.01, rel=0.05)
    params = init(retinanet(3, (2,)), (x,))["params"]
    np.testing.assert_allclose(jax.nn.sigmoid(params["logits"]["bias"]), 0.01, rtol=1e-4)
    assert np.std(params["logits_conv4"]["conv"]["kernel"]) == pytest.approx(0.01, rel=0.05)
    params = init(fast_rcnn(5, hidden=(300,)), jnp.ones((1, 7, 7, 8)))["params"]
    assert params["hidden1"]["kernel"].shape == (7, 7, 8, 300)
    for name, spread in (("hidden1", (2 / 392) ** 0.5), ("logits", 0.01), ("boxes", 0.001)):
        assert np.std(params[name]["kernel"]) == pytest.approx(spread, rel=0.05)


def test_retinanets_background_is_a_column_of_zeros():
    head, x = retinanet(3, (2,)), maps(4)
    _, logits = head.apply(init(head, x), x, train=False)
    assert logits.shape == (2, 32, 4) and not logits[..., 0].any() and logits[..., 1:].all()


def test_a_regions_classes_and_boxes_by_hand():
    head, x = fast_rcnn(2, hidden=(6,)), jax.random.normal(KEY, (3, 7, 7, 4))
    params = jax.tree.map(lambda p: p + 0.01, init(head, x)["params"])
    boxes, logits = head.apply({"params": params}, x, train=False)
    layer = lambda y, name: y @ params[name]["kernel"].reshape(y.shape[1], -1)
    hidden = np.maximum(layer(x.reshape(3, -1), "hidden1") + 0.01, 0)
    np.testing.assert_allclose(logits, layer(hidden, "logits") + 0.01, atol=1e-5)
    codes = (layer(hidden, "boxes") + 0.01).reshape(3, 4, 2)  # x of both classes, y of both, ...
    np.testing.assert_allclose(boxes, codes.transpose(0, 2, 1), atol=1e-5)


def test_boxes_of_classes_are_taken_over_by_name():
    """As in any head, each part of the outputs, here x, y, width and height, is by class."""
    taken = classes.taken_over(
        *(np.arange(8.0), np.full(12, -1.0)),
        **dict(name="boxes", groups=4, theirs=("cat", "dog"), ours=("dog", "cow", "cat")),
    )
    np.testing.assert_array_equal(taken.reshape(4, 3)[:, 0], [1, 3, 5, 7])
    np.testing.assert_array_equal(taken.reshape(4, 3)[:, 2], [0, 2, 4, 6])
    assert (taken.reshape(4, 3)[:, 1] == -1).all()


def test_dropout_of_hidden_units_is_for_training():
    head, x = fast_rcnn(2, hidden=(50,), dropout=0.5), jnp.ones((1, 7, 7, 4))
    variables = init(head, x)
    run = lambda seed, train: head.apply(
        variables, x, train=train, rngs={"dropout": jax.random.key(seed)}
    )[1]
    assert np.any(run(1, True) != run(2, True))
    np.testing.assert_array_equal(run(1, False), run(2, False))


def test_mobilenet_v3_has_two_maps_of_stride_32():
    pixels = jax.ShapeDtypeStruct((1, 320, 320, 3), jnp.float32)
    backbone = mobilenet_v3(strides=(32, 32))
    found = jax.eval_shape(lambda x: backbone.init_with_output(KEY, x, train=False)[0], pixels)
    assert [m.shape for m in found] == [(1, 10, 10, 160), (1, 10, 10, 960)]


def test_the_identity_has_no_parameters():
    x = maps(4, 2)
    found, variables = identity().init_with_output(KEY, x, train=False)
    assert found is x and not variables


# Importers.


def test_a_window_is_flattened_channel_first():
    """PyTorch flattens [C, 7, 7]."""
    weight = np.broadcast_to(np.arange(3 * 49, dtype=np.float32), (5, 147))
    (_, _, kernel), *_ = weights.renamed({"a.weight": regions.window(weight)}, {"a": "b"})
    assert kernel.shape == (7, 7, 3, 5)
    assert kernel[2, 4, 1, 0] == 49 + 2 * 7 + 4


def numbered(rows):
    """Rows of a layer for boxes: ten times the class, and the field."""
    return (10 * np.arange(rows)[:, None] + np.arange(4)).ravel().astype(np.float32)


@pytest.mark.parametrize(
    ("source", "logits", "boxes", "rows", "first", "order"),
    [
        (mmdet, "roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg", 3, 0, (0, 1, 2, 3)),
        (chenyuntc, "head.score", "head.cls_loc", 4, 1, (1, 0, 3, 2)),
        (
            torchvision,
            "roi_heads.box_predictor.cls_score",
            "roi_heads.box_predictor.bbox_pred",
            4,
            1,
            (0, 1, 2, 3),
        ),
    ],
)
def test_regions_outputs_end_in_our_order(source, logits, boxes, rows, first, order):
    """Three classes and the background, for which mmdetection has no box, and which is last."""
    given = {f"{boxes}.bias": numbered(rows), f"{logits}.bias": np.arange(4.0)}
    given[f"{boxes}.weight"] = numbered(rows)[:, None] + np.zeros(2)
    found = source.rearrange(given)
    expected = 10 * np.arange(first, rows) + np.array(order)[:, None]
    np.testing.assert_array_equal(found[f"{boxes}.bias"], expected.ravel())
    np.testing.assert_array_equal(found[f"{boxes}.weight"][:, 1], expected.ravel())
    background = [3, 0, 1, 2] if source is mmdet else [0, 1, 2, 3]
    np.testing.assert_array_equal(found[f"{logits}.bias"], background)


def test_chenyuntcs_two_logits_become_one():
    given = {"rpn.score.bias": np.array([1.0, 3.0, 10.0, 5.0]), "rpn.loc.bias": numbered(2)}
    given["rpn.score.weight"] = given["rpn.score.bias"][:, None, None, None] * np.ones((1, 2, 1, 1))
    found = chenyuntc.rearrange(given)
    np.testing.assert_array_equal(found["rpn.score.bias"], [2, -5])
    np.testing.assert_array_equal(found["rpn.score.weight"][:, 1, 0, 0], [2, -5])
    np.testing.assert_array_equal(found["rpn.loc.bias"], [1, 0, 3, 2, 11, 10, 13, 12])


RETINANET = ("retinanet", "fpn", "resnet50")


def shapes_of_retinanet(classes):
    net = Net(
        *(resnet50(), fpn(extra="p6p7_of_p5"), retinanet(classes, (9,) * 5)),
        **dict(mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0)),
    )
    pixels = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(functools.partial(net.init, train=False), KEY, pixels)


@pytest.mark.parametrize("old", [False, True])
def test_retinanet_is_torchvisions(old):
    """Its names and shapes as digests; the classes' rows, 91 of nine anchors, in our columns."""
    table = torchvision.MODELS[RETINANET]
    shapes = their_shapes(shapes_of_retinanet(91), table)
    assert digest(shapes) == (301, "193e5ebb5bd2461f")
    given = zeros(shapes)
    if old:
        towers = [f"head.{kind}_head.conv" for kind in ("classification", "regression")]
        renamed = {f"{t}.{i}.0.": f"{t}.{2 * i}." for t in towers for i in range(4)}
        renamed |= {f"_blocks.{i}.0.": f"_blocks.{i}." for i in range(3)}
        for new, earlier in renamed.items():
            given = {name.replace(new, earlier): array for name, array in given.items()}
    given["head.classification_head.cls_logits.bias"] = np.tile(np.arange(91.0), 9)
    ours = weights.to_ours(torchvision.rearrange(given), table, shapes_of_retinanet(80))
    bias = ours["params"]["head"]["logits"]["bias"]
    np.testing.assert_array_equal(bias.reshape(9, 80), np.tile(COCO, (9, 1)))
