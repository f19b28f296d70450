"""Faster R-CNN's training against what the PyTorch references compute, as in test_golden_rcnn.py.

Their proposals and draws are given. Every picture is a batch of its own: losses are sums and
counts, which add up.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_golden_lufficc import gradient_errors
from test_golden_rcnn import golden, vgg16
from test_golden_rcnn_maths import SIDE, fractions, objects_of
from test_golden_rcnn_nets import VGG16, arrays

from jaxdet.layers import convolve
from jaxdet.training.step import divide

RESNET50 = "fasterrcnn_resnet50_fpn"


class Drawn(NamedTuple):
    """What the reference proposed and drew for one image."""

    proposals: Any  # [R, 4]
    first: tuple  # positives and negatives [A] that count
    second: tuple  # the same [R + N] of the proposals and the objects


def loss_and_gradient(detector, variables, images, counts):
    """The mean losses in training and the gradient of their sum, by frozen parts, too.

    `images` are (pixels, objects, what is drawn) of each; `counts` are those of the whole batch.
    """

    def total(params, pixels, objects, drawn):
        as_drawn = lambda stage, masks: dataclasses.replace(
            stage, draw=lambda _, *eligible: tuple(map(jnp.logical_and, masks, eligible))
        )
        boxes = drawn.proposals
        proposed = boxes, jnp.ones(len(boxes), boxes.dtype), jnp.ones(len(boxes), bool)
        given = dataclasses.replace(
            detector,
            propose=(lambda *_, **__: proposed,) * 2,
            first=as_drawn(detector.first, drawn.first),
            second=as_drawn(detector.second, drawn.second),
        )
        now = variables | {"params": params}
        losses, _ = given.loss(now, pixels, objects, key=jax.random.key(0))
        means = divide(losses, counts)
        return sum(means.values()), (means, {name: count for name, (_, count) in losses.items()})

    take = jax.jit(jax.value_and_grad(total, has_aux=True))
    of_images = [take(variables["params"], *image) for image in images]
    (_, (means, found)), gradient = jax.tree.map(lambda *each: sum(each), *of_images)
    assert {name: int(count) for name, count in found.items()} == counts
    return means, {"params": gradient}


def in_dtype(tree, dtype):
    cast = lambda x: x.astype(dtype) if np.issubdtype(x.dtype, np.floating) else x
    return jax.tree.map(lambda x: jnp.asarray(cast(np.asarray(x))), tree)


def masks(size, *rows):
    return tuple(np.isin(np.arange(size), some) for some in rows)


def resnet50_images(shared):
    """What ResNet-50 was trained on, in float64."""
    its, known = golden(shared, RESNET50).arrays, arrays(shared, "input")
    for i in range(2):
        truth = known[f"gt_boxes_{i}"].astype(np.float64) / SIDE
        objects = objects_of(truth, known[f"gt_labels_{i}"] - 1)
        slots = len(objects.mask)
        objects = objects.replace(boxes=np.pad(truth, ((0, slots - len(truth)), (0, 0))))
        proposals = its[f"train_proposals_{i}"].astype(np.float64) / SIDE
        both = [its[f"rpn_sampled_{kind}_{i}"] for kind in ("positive", "negative")]
        rows, foreground = its[f"roi_sampled_{i}"], its[f"roi_sampled_labels_{i}"] > 0
        drawn = Drawn(
            proposals,
            masks(len(its["anchors"]), *both),
            masks(len(proposals) + slots, rows[foreground], rows[~foreground]),
        )
        yield known["input"][i : i + 1], jax.tree.map(lambda x: x[None], objects), drawn


LOSSES = {
    "rpn_class": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "class": "loss_classifier",
    "box": "loss_box_reg",
}
VGG16_LOSSES = {
    "rpn_class": "rpn_cls_loss",
    "rpn_box": "rpn_loc_loss",
    "class": "roi_cls_loss",
    "box": "roi_loc_loss",
}


def trained_resnet50(shared, dtype):
    its = golden(shared, RESNET50)
    detector = dataclasses.replace(its.detector, net=its.detector.net.clone(dtype=dtype))
    counts = {"rpn_class": 512, "rpn_box": 512, "class": 1024, "box": 1024}
    images = [in_dtype(image, dtype) for image in resnet50_images(shared)]
    means, gradient = loss_and_gradient(detector, in_dtype(its.variables, dtype), images, counts)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((means, gradient)))
    return its, means, gradient


@pytest.mark.slow
def test_training_is_torchvisions(shared):
    its, means, gradient = trained_resnet50(shared, jnp.float32)
    for ours, theirs in LOSSES.items():
        assert means[ours] == pytest.approx(its.numbers["loss_train"][theirs], rel=1e-4)
    errors = gradient_errors(gradient, its.numbers["grad_norm"], its.paths)
    assert len(errors) == len(its.numbers["grad_norm"])
    assert max(errors.values()) < 0.01
    assert np.median(list(errors.values())) < 1e-3


def conv_by_taps(x, kernel, stride, padding, dilation):
    """As many products as the kernel has pixels: XLA's convolutions of float64 take minutes."""
    padded = convolve._padded(x, ((padding, padding),) * 2)
    windows = convolve._windows(padded, len(kernel), stride, dilation)
    return sum(map(jnp.matmul, windows, kernel.reshape(-1, *kernel.shape[2:])))


@pytest.mark.slow
def test_training_in_float64_is_torchvisions(shared, monkeypatch):
    monkeypatch.setattr(convolve, "conv_lax", conv_by_taps)
    with jax.enable_x64(True):
        its, means, gradient = trained_resnet50(shared, jnp.float64)
        errors = gradient_errors(gradient, its.numbers["grad_norm_float64"], its.paths)
        for ours, theirs in LOSSES.items():
            expected = its.numbers["loss_train_float64"][theirs]
            assert float(means[ours]) == pytest.approx(expected, rel=1e-7)
    assert max(errors.values()) < 1e-6, {n: e for n, e in errors.items() if e >= 1e-6}


def vgg16_image(its, i, shape):
    """What VGG16 was trained on, less the pixels; its proposals are those drawn, without truth."""
    label, regions, classes, truth, truth_labels = (
        its.arrays[f"{key}_{i}"]
        for key in ("rpn_target_labels", "sample_rois", "sample_labels", "gt_boxes", "gt_labels")
    )
    objects = objects_of(fractions(truth, shape), truth_labels)
    classes = np.pad(classes, (0, len(objects.mask)), constant_values=-1)
    of_stages = (label == 1, label == 0), (classes > 0, classes == 0)
    return jax.tree.map(lambda x: x[None], objects), Drawn(fractions(regions, shape), *of_stages)


@pytest.mark.slow
def test_training_of_vgg16_is_chenyuntcs(shared):
    """Which of the anchors tie for an object is rounding, so the reference's positives are given.

    Its proposal network has two logits for an anchor, of which ours is the difference.
    """
    its = golden(shared, VGG16)
    detector, known, pixels, shape = vgg16(shared, 0)
    objects, drawn = vgg16_image(its, 0, shape)
    first, (positive, negative) = detector.first, drawn.first

    def assign(anchors, objects):
        ignore = jnp.asarray(~positive & ~negative)
        return first.assign(anchors, objects).replace(positive=jnp.asarray(positive), ignore=ignore)

    detector = dataclasses.replace(detector, first=dataclasses.replace(first, assign=assign))
    count = int(positive.sum() + negative.sum())
    counts = {"rpn_class": count, "rpn_box": count, "class": 128, "box": 128}
    images = [(pixels, objects, drawn)]
    means, gradient = loss_and_gradient(detector, its.variables, images, counts)
    for ours, theirs in VGG16_LOSSES.items():
        assert means[ours] == pytest.approx(known["loss_train"][theirs], rel=1e-4)
    halved = {n: np.sqrt(0.5) if n.startswith("rpn.score") else 1.0 for n in known["grad_norm"]}
    expected = {name: norm * halved[name] for name, norm in known["grad_norm"].items()}
    errors = gradient_errors(gradient, expected, its.paths)
    assert max(errors.values()) < 0.01 and np.median(list(errors.values())) < 1e-3
