"""The maths of Faster R-CNN against torchvision's and, on VGG16, chenyuntc's.

The arrays are those of shared/golden/ops and shared/golden/fasterrcnn; see the README there. Of the
losses those of the second stage's boxes are not compared: its outputs in training are not stored.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.boxes import codecs, matching, nms, sampling
from jaxdet.boxes.anchors import grid_anchors
from jaxdet.boxes.proposals import as_anchors, propose
from jaxdet.losses import box, classes, rcnn
from jaxdet.types import Objects, Raw, Targets

RATIOS = (0.5, 1.0, 2.0)
FPN = dict(sizes=((32,), (64,), (128,), (256,), (512,)), ratios=RATIOS)
MOBILENET = dict(sizes=((32, 64, 128, 256, 512),) * 3, ratios=RATIOS)
VGG = dict(sizes=((128, 256, 512),), ratios=RATIOS, strides=(16,), offset=0.5, rounded=False)
HALVES = [((33, 35, 21), (1.0, 0.25)), ((5,), (1.0, 4.0, 3.0))]  # sizes and ratios of each level
NETWORKS = {"resnet50_fpn": FPN, "resnet50_fpn_v2": FPN, "mobilenet_v3_large_320_fpn": MOBILENET}
CLAMP = float(np.log(1000 / 16))
RPN_CODEC = codecs.from_anchor((1.0, 1.0), largest_log_ratio=CLAMP)
ROI_CODEC = codecs.from_anchor((0.1, 0.2), largest_log_ratio=CLAMP)
VGG_CODEC = codecs.from_anchor((1.0, 1.0), largest_log_ratio=np.inf)
SMOOTH = functools.partial(box.smooth_l1, beta=1 / 9)
SIDE = 352  # of the torchvision networks' input
YX = [1, 0, 3, 2]  # from y1 x1 y2 x2, or a code in that order, to ours


def arrays(path):
    with np.load(path) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def ops(shared):
    return arrays(shared / "golden" / "ops" / "ops.npz")


@pytest.fixture(scope="module")
def golden(shared):
    """(arrays, settings) of a network."""

    @functools.cache
    def of(name):
        path = shared / "golden" / "fasterrcnn" / f"fasterrcnn_{name}"
        return arrays(path.with_suffix(".npz")), json.loads(path.with_suffix(".json").read_text())

    return of


@pytest.fixture(scope="module")
def pictures(shared):
    return arrays(shared / "golden" / "fasterrcnn" / "input.npz")


def corners(anchors):
    """xyxy in float64, so that only the anchors' own rounding shows."""
    centre, half = np.split(anchors.boxes.astype(np.float64) * [1, 1, 0.5, 0.5], 2, axis=1)
    return np.concatenate([centre - half, centre + half], axis=1)


def objects_of(boxes, labels, slots=16):
    count = len(boxes)
    mask = np.arange(slots) < count
    return Objects(
        np.pad(boxes, ((0, slots - count), (0, 0))).astype(np.float32),
        np.pad(labels, (0, slots - count)).astype(np.int32),
        mask,
        mask.astype(np.float32),
    )


def labels_of(targets):
    return np.where(targets.positive, 1, np.where(targets.ignore, -1, 0))


# Operations.


@pytest.mark.parametrize("weights", [1, 10])
def test_codes_are_torchvisions(ops, weights):
    """A box or anchor without area, whose code is infinite there, has a finite one here."""
    codec = RPN_CODEC if weights == 1 else ROI_CODEC
    anchors = as_anchors(ops["code_anchors"] / 1024)  # a power of two rounds nothing
    found, expected = codec.encode(ops["code_boxes"] / 1024, anchors), ops[f"encoded_{weights}"]
    finite = np.isfinite(expected)
    assert np.isfinite(found).all() and (~finite).sum() == 3
    np.testing.assert_allclose(np.asarray(found)[finite], expected[finite], atol=2e-5, rtol=1e-5)
    of_classes = jax.tree.map(lambda x: x[:, None], anchors)
    decoded = codec.decode(ops["code_deltas"].reshape(-1, 2, 4), of_classes) * 1024
    expected = ops[f"decoded_{weights}"]
    np.testing.assert_allclose(decoded, expected, atol=1e-3, rtol=1e-5)


def test_boxes_are_clipped_and_small_ones_dropped_as_in_torchvision(ops):
    boxes = ops["decoded_1"].reshape(-1, 4) / 1024
    limits = dict(before=80, after=80, iou_threshold=1.0, score_threshold=0.0, min_side=1.0)
    inside = np.float32([0, 0, 80, 60]) / 1024
    run = functools.partial(propose, levels=(80,), shape=(1024, 1024), inside=inside, **limits)
    found, _, valid = jax.jit(run)(boxes, -np.arange(80.0))
    kept = ops["clipped_60x80"][ops["kept_of_clipped"]]
    assert valid.sum() == len(kept)
    np.testing.assert_allclose(found[: len(kept)] * 1024, kept, atol=1e-4)


def test_anchors_are_torchvisions(ops, shared):
    listed = json.loads((shared / "golden" / "ops" / "ops.json").read_text())["anchors"]
    assert len(listed) == 5
    for name, of_set in listed.items():
        kind, size = name.split("_")[1:]
        height, width = map(int, size.split("x"))
        shape, grids = (height, width), of_set["grids"]
        if kind == "halves":  # each level has ratios of its own
            levels = [
                grid_anchors([grid], shape, sizes=(sizes,), ratios=ratios)
                for grid, (sizes, ratios) in zip(grids, HALVES, strict=True)
            ]
        else:
            levels = [grid_anchors(grids, shape, **{"fpn": FPN, "mobilenet": MOBILENET}[kind])]
        boxes = np.concatenate([corners(of_level) for of_level in levels])
        assert len(boxes) == of_set["count"] and levels[0].boxes.dtype == np.float32
        stored = boxes[:: of_set["stored_every"]] * [width, height, width, height]
        np.testing.assert_allclose(stored, ops[name], atol=1e-4)
        cells = np.concatenate([of_level.cell[:, 2:] for of_level in levels])
        steps = np.unique(np.round(cells * [width, height], 3), axis=0)
        np.testing.assert_allclose(steps[:, ::-1], np.unique(of_set["strides"], axis=0))


def test_smooth_l1_is_torchvisions(ops):
    codec = codecs.Codec(encode=lambda boxes, _: boxes, decode=len)
    nothing = np.zeros((1, 40, 1), np.float32)
    loss = lambda outputs: SMOOTH(outputs[None, :, None], nothing, None, codec)[0]
    found = loss(ops["smooth_l1_difference"])
    np.testing.assert_allclose(found, ops["smooth_l1_loss"], atol=1e-6)
    slope = jax.grad(lambda outputs: loss(outputs).sum())(ops["smooth_l1_difference"])
    np.testing.assert_allclose(slope, ops["smooth_l1_gradient"], atol=1e-6)


MATCHED = {
    "match_rpn": dict(positive_iou=0.7, negative_iou=0.3, keep_best=True),
    "match_roi": dict(positive_iou=0.5, negative_iou=0.5),
    "match_without_low_quality": dict(positive_iou=0.7, negative_iou=0.3),
    "match_rpn_all_meet": dict(positive_iou=0.7, negative_iou=0.3, keep_best=True),
}


@pytest.mark.parametrize("target", ["cpu", "gpu"])
@pytest.mark.parametrize("name", MATCHED)
def test_matching_is_torchvisions(ops, monkeypatch, name, target):
    """Given the IoUs: boxes carry their number as first coordinate."""
    iou = jnp.asarray(ops["match_quality_all_meet" if "meet" in name else "match_quality"])
    number = lambda boxes: jnp.round(boxes[:, 0]).astype(int)
    monkeypatch.setattr(matching, "pairwise_iou", lambda a, b: iou[number(a)][:, number(b)])
    truth, places = np.arange(len(iou)), np.arange(iou.shape[1])
    box = lambda n: np.stack([n, 0 * n, n + 1, 0 * n + 1], axis=1).astype(np.float32)
    with backend.lowering_for(target):
        found = matching.by_overlap(
            as_anchors(box(places)), objects_of(box(truth), truth), **MATCHED[name]
        )
    owner = np.where(found.positive, found.labels, np.where(found.ignore, -2, -1))
    np.testing.assert_array_equal(owner, ops[name])


@pytest.mark.parametrize(("count", "share"), [(256, 0.5), (512, 0.25), (30, 0.25), (64, 0.5)])
def test_as_many_are_drawn_as_by_torchvision(ops, count, share):
    labels = ops["sample_labels"]
    draw = jax.jit(functools.partial(sampling.draw, count=count, share=share))
    found = draw(jax.random.key(0), labels > 0, labels == 0)
    for kind, drawn, among in zip(
        ("positive", "negative"), found, (labels > 0, labels == 0), strict=True
    ):
        assert drawn.sum() == len(ops[f"sample_{count}_{share}_{kind}"])
        assert not (drawn & ~among).any()


greedy = jax.jit(functools.partial(nms.greedy, score_threshold=-0.5, max_kept=300))


@functools.cache
def of_levels(levels, **limits):
    inside = np.float32([0, 0, 1, 1])
    return jax.jit(functools.partial(propose, levels=levels, inside=inside, **limits))


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms_of_boxes_per_class_and_of_levels_is_torchvisions(ops, threshold):
    boxes, scores, labels = ops["nms_boxes"], ops["nms_scores"], ops["nms_labels"]
    kept = ops[f"batched_nms_keep_{threshold}"]
    own = np.eye(labels.max() + 1, dtype=bool)[labels]  # [A, K]
    per_class = np.where(own[..., None], boxes[:, None], 7.0).astype(np.float32)
    found = greedy(per_class, np.where(own, scores[:, None], -1), iou_threshold=threshold)
    assert found.valid.sum() == len(kept)
    np.testing.assert_array_equal(found.labels[: len(kept)], labels[kept])
    np.testing.assert_array_equal(found.boxes[: len(kept)], boxes[kept])
    order = np.argsort(labels, kind="stable")
    limits = dict(before=300, after=300, score_threshold=0.0, min_side=0.0, shape=(1024, 1024))
    run = of_levels(tuple(np.bincount(labels).tolist()), **limits)
    found, _, valid = run(boxes[order] / 1024, scores[order], iou_threshold=threshold)
    assert valid.sum() == len(kept)
    rows = lambda some: np.unique(np.asarray(some, np.float64), axis=0)
    np.testing.assert_allclose(rows(found[valid] * 1024), rows(boxes[kept]), atol=1e-4)


def test_nms_at_the_threshold_and_of_negative_coordinates(ops):
    boxes, limits = ops["nms_exact_boxes"], dict(score_threshold=0.0, max_kept=4)
    found = nms.greedy(
        boxes[:, None], ops["nms_exact_scores"][:, None], iou_threshold=0.5, **limits
    )
    np.testing.assert_array_equal(found.boxes[found.valid], boxes[ops["nms_exact_keep_0.5"]])
    labels = ops["nms_negative_labels"]
    own = np.eye(labels.max() + 1, dtype=bool)[labels]
    per_class = np.where(own[..., None], ops["nms_negative_boxes"][:, None], -9).astype(np.float32)
    kept = nms.greedy(per_class, own.astype(np.float32), iou_threshold=0.5, **limits)
    assert kept.valid.sum() == len(ops["nms_negative_keep_per_class"])


# Networks.


@functools.cache
def anchors_at(name, grids):
    return grid_anchors(grids, (SIDE, SIDE), **NETWORKS[name])


def of_network(golden, name):
    stored, settings = golden(name)
    return stored, settings, anchors_at(name, tuple(map(tuple, settings["grids"])))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_anchors(golden, name):
    stored, _, anchors = of_network(golden, name)
    np.testing.assert_allclose(corners(anchors) * SIDE, stored["anchors"], atol=1e-4)


def proposals(boxes, logits, levels, size, shape, **limits):
    """Of a batch of one; pixels, scores."""
    inside = np.float32([0, 0, size[1] / shape[1], size[0] / shape[0]])
    run = jax.jit(
        functools.partial(propose, levels=tuple(levels), shape=shape, inside=inside, **limits)
    )
    found, scores, valid = run(boxes, logits)
    assert (np.diff(np.asarray(scores)) <= 0).all()
    assert not np.asarray(found)[~valid].any() and not np.asarray(scores)[~valid].any()
    return np.asarray(found)[valid] * np.tile(shape[::-1], 2), np.asarray(scores)[valid]


def assert_found(found, expected, scores=None, expected_scores=None):
    """As many, and 99 % within 0.05 pixels of one, in any order: scores can be a hair apart."""
    assert len(found) == len(expected)
    far = np.abs(expected[:, None] - found[None]).max(axis=-1)
    assert (far.min(axis=1) < 0.05).mean() >= 0.99
    assert (far.min(axis=0) < 0.05).mean() >= 0.99
    if scores is not None:
        np.testing.assert_allclose(scores, expected_scores, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("picture", [0, 1])
@pytest.mark.parametrize("name", [*NETWORKS, "training"])
def test_proposals_are_torchvisions(golden, pictures, name, picture):
    of, phase = ("resnet50_fpn", "training") if name == "training" else (name, "testing")
    stored, settings, anchors = of_network(golden, of)
    rpn = settings["settings"]["rpn"]
    boxes = RPN_CODEC.decode(stored["rpn_deltas"][picture], anchors)
    found, scores = proposals(
        boxes,
        stored["objectness"][picture],
        settings["levels"],
        pictures["image_sizes"][picture],
        (SIDE, SIDE),
        before=rpn["pre_nms_top_n"][phase],
        after=rpn["post_nms_top_n"][phase],
        iou_threshold=rpn["nms"],
        score_threshold=rpn["score"],
        min_side=rpn["min_size"],
    )
    prefix = "train_" if name == "training" else ""
    expected = stored[f"{prefix}proposals_{picture}"], stored[f"{prefix}proposal_scores_{picture}"]
    assert_found(found, expected[0], scores, expected[1])


def rpn_targets(golden, pictures, picture):
    """Of ResNet-50; labels are the truth's numbers."""
    stored, _, anchors = of_network(golden, "resnet50_fpn")
    truth = pictures[f"gt_boxes_{picture}"] / SIDE
    objects = objects_of(truth, np.arange(len(truth)))
    match = functools.partial(matching.by_overlap, **MATCHED["match_rpn"])
    return stored, anchors, jax.jit(match)(anchors, objects)


@pytest.mark.parametrize("picture", [0, 1])
def test_targets_of_anchors_are_torchvisions(golden, pictures, picture):
    stored, anchors, targets = rpn_targets(golden, pictures, picture)
    np.testing.assert_array_equal(labels_of(targets), stored[f"rpn_labels_{picture}"])
    rows = stored[f"rpn_positive_{picture}"]
    np.testing.assert_array_equal(targets.labels[rows], stored[f"rpn_positive_gt_{picture}"])
    codes = np.asarray(RPN_CODEC.encode(targets.boxes, anchors))[rows]
    np.testing.assert_allclose(codes, stored[f"rpn_positive_codes_{picture}"], atol=1e-4)
    drawn = sampling.draw(
        jax.random.key(1),
        targets.positive,
        ~targets.positive & ~targets.ignore,
        count=256,
        share=0.5,
    )
    stored_draw = [stored[f"rpn_sampled_{kind}_{picture}"] for kind in ("positive", "negative")]
    assert [int(d.sum()) for d in drawn] == [len(s) for s in stored_draw]


def roi_targets(golden, pictures, picture, regions):
    truth = pictures[f"gt_boxes_{picture}"]
    objects = objects_of(truth / SIDE, np.arange(len(truth)))
    match = functools.partial(matching.by_overlap, **MATCHED["match_roi"])
    return jax.jit(match)(as_anchors(regions / SIDE), objects)


@pytest.mark.parametrize("picture", [0, 1])
def test_targets_of_regions_are_torchvisions(golden, pictures, picture):
    stored, _ = golden("resnet50_fpn")
    truth = pictures[f"gt_boxes_{picture}"]
    regions = np.concatenate([stored[f"train_proposals_{picture}"], truth])
    targets = roi_targets(golden, pictures, picture, regions)
    named = pictures[f"gt_labels_{picture}"][np.asarray(targets.labels)]
    labels = np.where(targets.positive, named, 0)
    np.testing.assert_array_equal(labels, stored[f"roi_labels_{picture}"])
    drawn = sampling.draw(
        jax.random.key(1), targets.positive, ~targets.positive, count=512, share=0.25
    )
    sampled = stored[f"roi_sampled_labels_{picture}"]
    assert [int(d.sum()) for d in drawn] == [(sampled > 0).sum(), (sampled == 0).sum()]
    index, valid = sampling.places(drawn[0] | drawn[1], count=512)
    assert valid.all() and (np.diff(index) > 0).all()

    boxes = stored[f"roi_sampled_boxes_{picture}"]
    targets, positive = roi_targets(golden, pictures, picture, boxes), sampled > 0
    np.testing.assert_array_equal(targets.positive, positive)
    codes = np.asarray(ROI_CODEC.encode(targets.boxes, as_anchors(boxes / SIDE)))
    of_truth = stored[f"roi_sampled_gt_{picture}"]
    np.testing.assert_array_equal(np.asarray(targets.labels)[positive], of_truth[positive])
    expected = stored[f"roi_sampled_codes_{picture}"]
    np.testing.assert_allclose(codes[positive], expected[positive], atol=2e-4)


def batched(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def test_losses_of_anchors_are_torchvisions(golden, pictures):
    both = [rpn_targets(golden, pictures, picture) for picture in (0, 1)]
    stored, anchors, _ = both[0]
    drawn = np.zeros(stored["objectness"].shape, bool)
    for picture in (0, 1):
        for kind in ("positive", "negative"):
            drawn[picture, stored[f"rpn_sampled_{kind}_{picture}"]] = True
    losses = rcnn.rpn(
        Raw(boxes=stored["rpn_deltas"], logits=stored["objectness"][..., None]),
        batched([targets for *_, targets in both]),
        drawn,
        anchors,
        codec=RPN_CODEC,
        box_loss=SMOOTH,
    )
    expected = golden("resnet50_fpn")[1]["loss_train"]
    for name, of in (("rpn_class", "loss_objectness"), ("rpn_box", "loss_rpn_box_reg")):
        assert losses[name][1] == 512
        assert losses[name][0] / losses[name][1] == pytest.approx(expected[of], rel=1e-5)


def test_the_class_loss_of_regions_is_torchvisions(golden):
    stored, settings = golden("resnet50_fpn")
    labels = np.stack([stored[f"roi_sampled_labels_{picture}"] for picture in (0, 1)])
    regions = np.stack([stored[f"roi_sampled_boxes_{picture}"] for picture in (0, 1)]) / SIDE
    nothing = np.zeros(labels.shape, bool)
    targets = Targets(
        regions, np.maximum(labels - 1, 0), labels > 0, nothing, np.ones(labels.shape)
    )
    losses = rcnn.roi(
        Raw(np.zeros((*labels.shape, 90, 4)), stored["train_class_logits"].reshape(2, 512, 91)),
        targets,
        ~nothing,
        as_anchors(regions),
        codec=ROI_CODEC,
        box_loss=SMOOTH,
        class_loss=classes.cross_entropy,
    )
    value, count = losses["class"]
    assert count == 1024
    expected = settings["loss_train"]["loss_classifier"]
    assert value / count == pytest.approx(expected, rel=1e-5)


# VGG16; all of its boxes are y1 x1 y2 x2.


def vgg(golden, picture):
    """Arrays, settings of the picture, its (height, width) and the anchors."""
    stored, settings = golden("vgg16_voc")
    of_picture = settings["pictures"][picture]
    shape = tuple(of_picture["size_hw"])
    grid = tuple(of_picture["map"]["shape_nchw"][2:])
    return stored, of_picture, shape, grid_anchors([grid], shape, **VGG)


def fractions(boxes, shape):
    return boxes[:, YX] / np.tile(shape[::-1], 2).astype(np.float32)


@pytest.mark.parametrize("picture", [0, 1])
def test_anchors_of_vgg16(golden, picture):
    stored, _, shape, anchors = vgg(golden, picture)
    expected = fractions(stored[f"anchors_{picture}"].astype(np.float64), shape)
    np.testing.assert_allclose(corners(anchors), expected, atol=2e-7)


@pytest.mark.slow
@pytest.mark.parametrize("picture", [0, 1])
@pytest.mark.parametrize("train", [False, True])
def test_proposals_of_vgg16(golden, picture, train):
    """The smallest side is 16 pixels of the photo, whose scale is measured in another direction in
    training."""
    stored, settings, shape, anchors = vgg(golden, picture)
    side = 0 if train else 1
    scale = shape[side] / settings["original_size_hw"][side]
    scores = stored[f"rpn_scores_{picture}"]
    found, _ = proposals(
        VGG_CODEC.decode(stored[f"rpn_locs_{picture}"][:, YX], anchors),
        scores[:, 1] - scores[:, 0],
        (len(scores),),
        shape,
        shape,
        before=12000 if train else 6000,
        after=2000 if train else 300,
        iou_threshold=0.7,
        score_threshold=0.0,
        min_side=16 * scale,
        small_first=True,
    )
    expected = stored[f"{'train_' if train else ''}rois_{picture}"][:, YX]
    assert_found(found, expected)


@pytest.mark.parametrize("picture", [0, 1])
def test_targets_and_losses_of_anchors_of_vgg16(golden, picture):
    """Hundreds of anchors, all inside one object, tie for it; the reference rounds most apart.

    So its positives are among ours, and the others of ours are, within rounding, some object's
    best. Its draw is given to the losses.
    """
    stored, settings, shape, anchors = vgg(golden, picture)
    truth = fractions(stored[f"gt_boxes_{picture}"], shape)
    limits = dict(positive_iou=0.7, negative_iou=0.3, keep_best=True, inside_only=True)
    targets = matching.by_overlap(anchors, objects_of(truth, np.arange(len(truth))), **limits)
    ours, theirs = labels_of(targets), stored[f"rpn_target_labels_{picture}"]
    boxes = stored[f"anchors_{picture}"]
    inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= shape).all(1)
    np.testing.assert_array_equal(ours[~inside], -1)
    assert (ours[theirs == 1] == 1).all()
    iou = exact_iou(boxes[inside], stored[f"gt_boxes_{picture}"])
    best = (iou >= iou.max(0) * (1 - 1e-6)).any(1)
    expected = np.where(iou.max(1) < 0.3, 0, -1)
    expected = np.where(best | (iou.max(1) >= 0.7), 1, expected)
    np.testing.assert_array_equal(ours[inside], expected)

    codes = np.asarray(VGG_CODEC.encode(targets.boxes, anchors))[:, YX]
    locs = stored[f"rpn_target_locs_{picture}"]
    np.testing.assert_allclose(codes[inside], locs[inside], atol=1e-4)
    scores = stored[f"rpn_scores_{picture}"]
    losses = rcnn.rpn(
        Raw(stored[f"rpn_locs_{picture}"][None][..., YX], (scores[:, 1:] - scores[:, :1])[None]),
        batched([targets.replace(positive=theirs == 1)]),
        (theirs >= 0)[None],
        anchors,
        codec=VGG_CODEC,
        box_loss=SMOOTH,
    )
    for name, of in (("rpn_class", "rpn_cls_loss"), ("rpn_box", "rpn_loc_loss")):
        value = losses[name][0] / losses[name][1]
        assert value == pytest.approx(settings["loss_train"][of], rel=1e-5)


def exact_iou(a, b):
    a, b = a[:, None].astype(np.float64), b[None].astype(np.float64)
    side = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(side, 0).prod(-1)
    area = lambda boxes: (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return shared / (area(a) + area(b) - shared)


@pytest.mark.parametrize("picture", [0, 1])
def test_targets_and_class_loss_of_regions_of_vgg16(golden, picture):
    stored, settings, shape, _ = vgg(golden, picture)
    truth, labels = stored[f"gt_boxes_{picture}"], stored[f"gt_labels_{picture}"]
    regions = as_anchors(fractions(stored[f"sample_rois_{picture}"], shape))
    targets = matching.by_overlap(
        regions, objects_of(fractions(truth, shape), labels), positive_iou=0.5, negative_iou=0.5
    )
    expected = stored[f"sample_labels_{picture}"]
    np.testing.assert_array_equal(np.where(targets.positive, targets.labels + 1, 0), expected)
    codes = np.asarray(codecs.from_anchor().encode(targets.boxes, regions))[:, YX]
    np.testing.assert_allclose(codes, stored[f"sample_locs_{picture}"], atol=1e-3, rtol=1e-4)
    losses = rcnn.roi(
        Raw(np.zeros((1, 128, 20, 4)), stored[f"sample_scores_{picture}"][None]),
        batched([targets]),
        np.ones((1, 128), bool),
        batched([regions]),
        codec=codecs.from_anchor(),
        box_loss=box.smooth_l1,
        class_loss=classes.cross_entropy,
    )
    value = losses["class"][0] / losses["class"][1]
    assert value == pytest.approx(settings["loss_train"]["roi_cls_loss"], rel=1e-5)
