"""What a YOLO recipe's keys for anchors and losses do; those of the network: test_yolo_nets.py."""

import functools

import jax
import numpy as np
import pytest
from test_configs import CONFIGS, load

from jaxdet import build

CLASSES = ("a", "b", "c")


@functools.cache
def recipe(name):
    (path,) = [path for path in CONFIGS if path.stem == name]
    return load(path)


def built(config):
    """The detector of a recipe an eighth as wide, and the shapes of what its network says."""
    for part in ("backbone", "neck"):
        config.model[part].width = 0.125
    detector = build.recipe(config, CLASSES).detector
    pixels = jax.ShapeDtypeStruct((1, detector.size, detector.size, 3), np.float32)
    raw, _ = jax.eval_shape(
        functools.partial(detector.net.init_with_output, train=False), jax.random.key(0), pixels
    )
    return detector, raw


def test_dimension_priors():
    """Clusters of boxes, or shapes picked by hand, are a value; the head has an anchor for each."""
    module = recipe("yolov2_darknet19_416_voc")
    for priors, count in ((module.CLUSTERED, 5), (module.HAND_PICKED, 9)):
        config = module.get_config()
        config.model.detector.priors = (priors,)
        detector, raw = built(config)
        assert raw.boxes.shape == (1, 13 * 13 * count, 4)
        found = detector.anchors_at((416, 416)).boxes[:count, 2:] * 416
        np.testing.assert_allclose(found, priors, rtol=1e-5)
    areas = np.prod(module.HAND_PICKED, axis=1) ** 0.5 * 600 / 416
    np.testing.assert_allclose(areas, np.repeat([128, 256, 512], 3))
    assert module.get_config().model.detector.priors == (module.CLUSTERED,)


def test_without_anchor_boxes_a_cell_has_two_boxes_and_one_class():
    detector, raw = built(recipe("yolov2_no_anchors_416_voc").get_config())
    assert raw.boxes.shape == (1, 13 * 13 * 2, 4)
    np.testing.assert_allclose(detector.anchors_at((416, 416)).boxes[:, 2:], 1 / 13, rtol=1e-6)
    small = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    variables = jax.eval_shape(detector.init, jax.random.key(0))
    variables = jax.tree.map(
        lambda x: np.random.default_rng(x.size).normal(0.2, 0.1, x.shape).astype(x.dtype), variables
    )
    said = jax.jit(functools.partial(detector.net.apply, train=True, mutable=["batch_stats"]))(
        variables, small
    )[0]
    logits = np.asarray(said.logits).reshape(4, 2, len(CLASSES))
    np.testing.assert_array_equal(logits[:, 0], logits[:, 1])
    assert np.ptp(said.boxes, axis=1).min() > 0


@pytest.mark.parametrize("direct", [True, False])
def test_direct_location(direct):
    config = recipe("yolov2_darknet19_416_voc").get_config()
    if not direct:  # then the centre's outputs are no logits
        config.model.detector.update(direct_location=False, box_loss="mse")
    detector, raw = built(config)
    far = jax.tree.map(lambda x: np.full(x.shape, 3, np.float32), raw)
    made = detector.anchors_at((416, 416))
    boxes, _ = jax.jit(detector.decode)(far, made)
    centre = np.asarray(boxes[0, :, :2] + boxes[0, :, 2:]) / 2
    inside = (centre > made.cell[:, :2]) & (centre < made.cell[:, :2] + made.cell[:, 2:])
    assert inside.all() if direct else not inside.any()


def test_freebies_are_keys():
    """YOLOv3's recipe has them all; what they do is tested where they are made."""
    config = recipe("yolov3_darknet53_416_voc").get_config()
    # Targets are 1 - 1/40 and 1/40, as GluonCV's min(1 / 40, 1 / K).
    assert config.model.detector.class_loss.to_dict() == dict(name="bce", label_smoothing=2 / 40)
    assert config.schedule.name == "cosine" and config.schedule.warmup == 1_000 / 51_800
    (mix,) = config.augment.mix
    assert mix == dict(name="mixup", alpha=1.5)
    assert (
        build.recipe(config, CLASSES).view_at(416).keywords["mix"][0].mix.keywords["alpha"] == 1.5
    )
    assert config.step.sizes == (320, 352, 384, 416, 448, 480, 512, 544, 576, 608)
    for smoothing in (1 / 40, 0.0):
        config.model.detector.class_loss.label_smoothing = smoothing
        loss = build.recipe(config, CLASSES).detector.losses
        assert loss.keywords["class_loss"].keywords["label_smoothing"] == smoothing
