"""Darknet's training layer: which anchors learn what, and how strongly.

Reference numbers: AlexeyAB/darknet at 59596d7 on made-up maps and the boxes of two COCO photos. The
second photo's first boxes appear twice, so that places are shared. The arrays are not part of the
repository; without them these tests are skipped.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet.augment import fit
from jaxdet.detectors.yolov3 import yolov3
from jaxdet.detectors.yolov4 import yolov4
from jaxdet.losses import box, classes
from jaxdet.types import Objects, Raw

SIZE, CLASSES, SLOTS = 160, 20, 32
FIELDS = 5 + CLASSES


@pytest.fixture(scope="module")
def stored(shared):
    with np.load(shared / "golden" / "yolov4" / "yolo_layer.npz") as file:
        arrays = dict(file)
    return arrays, json.loads((shared / "golden" / "yolov4" / "yolo_layer.json").read_text())


def detector_of(settings):
    """Our detector with the settings of a [yolo] section."""
    levels = sorted(settings["levels"], key=lambda level: -level["grid"])
    rules, anchors = levels[0]["settings"], settings["anchors"]
    priors = tuple(tuple(map(tuple, (anchors[i] for i in level["mask"]))) for level in levels)
    used = {i for level in levels for i in level["mask"]}
    spare = tuple(tuple(anchor) for i, anchor in enumerate(anchors) if i not in used)
    smooth = rules.get("label_smooth_eps", 0.0)
    options = dict(
        size=SIZE,
        classes=tuple(f"class {i}" for i in range(CLASSES)),
        fit=fit.stretch,
        nms=None,
        priors=priors,
        ignore_iou=rules["ignore_thresh"],
        ignore_score=0.25,
        class_loss=functools.partial(classes.bce, label_smoothing=smooth),
    )
    if rules.get("iou_loss", "mse") == "mse":
        return yolov3(lambda counts: counts, box_loss=box.yolov3, **options), levels
    options.update(spare_priors=spare, match_iou=rules.get("iou_thresh", 1.0))
    options.update(sensitivity=tuple(level["settings"]["scale_x_y"] for level in levels))
    options.update(box_loss=getattr(box, rules["iou_loss"]))
    return yolov4(lambda counts: counts, **options), levels


def objects_of(arrays):
    """The stored boxes of both photos, padded."""
    boxes, labels = np.zeros((2, SLOTS, 4), np.float32), np.zeros((2, SLOTS), np.int32)
    mask = np.zeros((2, SLOTS), bool)
    for i in range(2):
        centre, sides = np.split(arrays[f"gt_boxes_{i}"], 2, axis=1)
        count = len(centre)
        boxes[i, :count] = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
        labels[i, :count], mask[i, :count] = arrays[f"gt_labels_{i}"], True
    return Objects(boxes, labels, mask, mask.astype(np.float32))


def flat(maps):
    """Maps [B, n, n, anchors x fields], fine to coarse, as [B, A, fields]."""
    return jnp.concatenate([jnp.reshape(x, (2, -1, FIELDS)) for x in maps], axis=1)


def gradients(stored, name):
    """The gradients of our three losses, [B, A, fields] each, and Darknet's."""
    arrays, settings = stored[0], stored[1][name]
    detector, levels = detector_of(settings)
    grids = [level["grid"] for level in levels]
    anchors = detector.anchors(tuple((n, n) for n in grids), (SIZE, SIZE))
    objects = objects_of(arrays)
    targets = jax.vmap(functools.partial(detector.assign, anchors))(objects)

    def losses(fields):
        raw = Raw(boxes=fields[..., :4], logits=fields[..., 5:], objectness=fields[..., 4])
        found = detector.losses(raw, targets, objects, anchors)
        return {key: total for key, (total, _) in found.items()}

    fields = flat([arrays[f"{settings['maps']}_raw_{n}"] for n in grids])
    each = jax.jit(jax.jacrev(losses))(fields)
    return each, -flat([arrays[f"{name}_delta_{n}"] for n in grids]), targets, settings


CONFIGS = ("yolov4", "yolov4_smooth", "yolov4_giou", "yolov4_diou", "yolov4_iou")
CONFIGS += ("yolov4_tiny", "yolov3")


@pytest.mark.parametrize("name", CONFIGS)
def test_objectness_and_classes_of_every_place(stored, name):
    ours, theirs, targets, settings = gradients(stored, name)
    counts = sum(level["count"] for level in settings["levels"])
    assert 0 < targets.positive.sum() <= counts  # they count objects, we count anchors
    np.testing.assert_allclose(ours["objectness"][..., 4], theirs[..., 4], atol=1e-4)
    np.testing.assert_allclose(ours["class"][..., 5:], theirs[..., 5:], atol=1e-4)
    assert (np.abs(theirs[..., 5:]).max(-1) > 0).sum() == targets.positive.sum()


def pushes(stored, name):
    """Our and Darknet's gradients of boxes, [n, 4] each, of anchors with one object."""
    ours, theirs, targets, _ = gradients(stored, name)
    alone = np.asarray(targets.positive) & (np.asarray(targets.classes).sum(-1) == 1)
    return np.asarray(ours["box"])[alone][:, :4], np.asarray(theirs)[alone][:, :4]


@pytest.mark.parametrize("name", ["yolov4", "yolov4_giou", "yolov4_diou", "yolov4_iou"])
def test_boxes_are_pushed_the_same_way_and_as_strongly(stored, name):
    """Darknet's push is no gradient: in the centre it lacks the sigmoid's slope and the cell.

    Times its iou_normalizer of 0.07 it is as strong as our gradient with `box_weight` 1.
    """
    ours, theirs = pushes(stored, name)
    strong = np.abs(theirs) > 0.01 * np.abs(theirs).max(axis=0)
    assert (np.sign(ours) == np.sign(theirs))[strong].mean() > 0.95
    size = lambda x: np.linalg.norm(x, axis=1)
    seen = size(ours) > 0  # IoU alone has no gradient where boxes are disjoint
    assert 0.8 < np.median(size(theirs)[seen] / size(ours)[seen]) < 1.25


def test_yolov3s_boxes_are_pushed_three_quarters_as_strongly(stored):
    """Darknet's iou_normalizer is 0.75 by default, and counts for squared errors, too."""
    ours, theirs = pushes(stored, "yolov3")
    apart = np.abs(0.75 * ours - theirs).max(axis=1) > 1e-4
    assert apart.mean() < 0.15  # places that two objects of one class share, whose pushes add up


@pytest.mark.parametrize("name", ["yolov4", "yolov4_tiny", "yolov3"])
def test_boxes_are_decoded_as_theirs(stored, name):
    arrays, settings = stored[0], stored[1][name]
    detector, levels = detector_of(settings)
    grids = [level["grid"] for level in levels]
    fields = flat([arrays[f"{settings['maps']}_raw_{n}"] for n in grids])
    anchors = detector.anchors(tuple((n, n) for n in grids), (SIZE, SIZE))
    raw = Raw(boxes=fields[..., :4], logits=fields[..., 5:], objectness=fields[..., 4])
    corners = np.asarray(detector.decode(raw, anchors)[0][0])
    rows = []  # theirs are in the order of the cfg's levels
    start = {n: sum(3 * m * m for m in grids[: grids.index(n)]) for n in grids}
    for level in settings["levels"]:
        n = level["grid"]
        rows.append(corners[start[n] : start[n] + 3 * n * n])
    corners = np.concatenate(rows)
    expected = arrays[f"{name}_boxes"]
    sides = corners[:, 2:] - corners[:, :2]
    np.testing.assert_allclose(sides, expected[:, 2:], rtol=1e-4)
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    np.testing.assert_allclose(middle, expected[:, :2], atol=1e-5)
