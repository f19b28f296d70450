"""What is particular to two stages: regions inside the image, draws by the step's key, devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from configs import quickstart_faster_rcnn
from jaxdet import build
from jaxdet.detectors.two_stage import Regions
from jaxdet.losses import classes
from jaxdet.training import optimisers, parallel, schedules, state
from jaxdet.training.step import train_step
from jaxdet.types import Objects, Raw

BATCH, SLOTS, SHAPE = 8, 64, (64, 96)
CLASSES = ("a", "b", "c")


@functools.cache
def detector():
    config = quickstart_faster_rcnn.get_config()
    config.model.size = 64
    config.model.backbone.channels = (8, 8, 8, 16, 16)
    config.model.backbone.norm = "none"  # whose sums would differ by rounding
    config.model.neck.channels = 16
    config.model.roi_head.hidden = (16,)
    config.model.detector.update(candidates=(64, 64), proposals=(32, 16), regions_drawn=16)
    return build.recipe(config, CLASSES).detector


@functools.cache
def variables():
    return detector().init(jax.random.key(0))


def batch():
    """Pixels, objects (64 in the first image, none in the second, four in the others), and parts of
    the inputs in which the images are."""
    chance = np.random.default_rng(0)
    counts = np.array([SLOTS, 0, *[4] * (BATCH - 2)])
    mask = np.arange(SLOTS)[None] < counts[:, None]
    low = chance.uniform(0, 0.6, (BATCH, SLOTS, 2))
    boxes = np.concatenate([low, low + chance.uniform(0.05, 0.3, low.shape)], axis=-1)
    inside = np.tile(np.float32([0, 0, 1, 1]), (BATCH, 1))
    inside[2:5, 2] = 0.75
    objects = Objects(
        boxes=np.where(mask[..., None], boxes, 0).astype(np.float32),
        labels=np.where(mask, chance.integers(0, 3, mask.shape), 0).astype(np.int32),
        mask=mask,
        weight=mask.astype(np.float32),
    )
    return chance.uniform(0, 255, (BATCH, *SHAPE, 3)).astype(np.float32), objects, inside


@functools.cache
def step_on(devices: int):
    """The state and the scalars after one step on some number of devices."""
    tx = optimisers.sgd(schedules.constant(steps=9, peak=0.01), momentum=0.9)
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    step = parallel.pmap(train_step(detector(), tx, lambda key, given: given), mesh, replicated=1)
    first = parallel.replicate(state.create(variables(), tx, ema=False), mesh)
    return jax.device_get(step(first, parallel.shard_batch(batch(), mesh), np.uint32(0)))


@pytest.mark.slow
def test_eight_devices_equal_one_whatever_the_number_of_objects():
    (one, losses), (eight, others) = step_on(1), step_on(8)
    assert set(losses) == {"loss", "rpn_class", "rpn_box", "class", "box", "gradient_norm"}
    for name, value in losses.items():
        assert np.isfinite(value) and value > 0
        np.testing.assert_allclose(others[name], value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_proposals_and_detections_are_inside_the_image():
    pixels, _, inside = batch()
    _, regions, _ = jax.jit(detector().stages)(variables(), pixels, inside)
    found = jax.jit(detector().predict)(variables(), pixels, inside)
    for boxes, valid in ((regions.boxes, regions.valid), (found.boxes, found.valid)):
        assert np.asarray(valid).any(axis=1).all()
        ends = np.asarray(boxes)[..., 2].max(axis=1)
        assert (ends[2:5] <= 0.75 + 1e-6).all() and ends.max() > 0.9
    assert (np.diff(regions.scores, axis=1) <= 0).all()


@pytest.mark.slow
def test_what_counts_is_drawn_with_the_key():
    pixels, objects, inside = batch()

    @jax.jit
    def losses(key):
        found, _ = detector().loss(variables(), pixels, objects, key=key, inside=inside)
        return {name: total / count for name, (total, count) in found.items()}

    first, again, other = (losses(jax.random.key(seed)) for seed in (1, 1, 2))
    assert first == again
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_scores_are_read_as_the_class_loss_reads_them(name):
    class_loss = getattr(classes, name)
    made = dataclasses.replace(detector(), class_loss=class_loss)
    logits = np.random.default_rng(0).normal(size=(1, 2, 4)).astype(np.float32)
    boxes = jnp.tile(jnp.array([[[0.2, 0.2, 0.8, 0.8]]]), (1, 2, 1))
    regions = Regions(boxes=boxes, scores=jnp.ones((1, 2)), valid=jnp.array([[True, False]]))
    found, scores = made.detections(regions, Raw(jnp.zeros((1, 2, 3, 4)), logits), SHAPE)
    np.testing.assert_allclose(found, np.broadcast_to(boxes[:, :, None], (1, 2, 3, 4)), atol=1e-6)
    each = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    each = each if name == "cross_entropy" else 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(scores[:, 0], each[:, 0, 1:], rtol=1e-5)
    assert (scores[:, 1] == 0).all()


def test_regions_are_the_proposals_and_the_objects_padded():
    _, objects, _ = batch()
    proposed = Regions(
        boxes=jnp.tile(jnp.array([[[0.9, 0.9, 1.0, 1.0]]]), (BATCH, 32, 1)),
        scores=jnp.ones((BATCH, 32)),
        valid=jnp.arange(32)[None] < jnp.full((BATCH, 1), 5),
    )
    keys = jax.random.split(jax.random.key(0), BATCH)
    choose = jax.jit(lambda keys: detector().training_regions(keys, proposed, objects))
    boxes, targets, counted = jax.device_get(choose(keys))
    assert boxes.shape == (BATCH, 16, 4) and counted.shape == (BATCH, 16)
    assert counted.sum(axis=1).tolist() == [9, 5, *[9] * 6]  # 4 positives at most, 5 negatives
    positive = targets.positive & counted
    assert positive.sum(axis=1).tolist() == [4, 0, *[4] * 6]
    np.testing.assert_allclose(boxes[positive], targets.boxes[positive])  # the objects themselves
    assert (boxes[counted & ~positive] == np.float32([0.9, 0.9, 1, 1])).all()
