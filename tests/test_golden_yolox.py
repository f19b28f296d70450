"""YOLOX against what the PyTorch reference computes: maps, boxes, detections, losses, steps.

Reference numbers: Megvii-BaseDetection/YOLOX at 6ddff48 and 4197784 (0.3.0) with seeded random
weights and COCO photos. They are not part of the repository; without them these tests are skipped.
"""

import dataclasses
import functools
import itertools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from test_configs import load
from test_golden_lufficc import norms
from test_golden_rcnn_training import conv_by_taps
from test_golden_yolo_nets import maker

from jaxdet import backend, build
from jaxdet.boxes import codecs, simota
from jaxdet.boxes.anchors import cells
from jaxdet.boxes.iou import paired_iou, pairwise_iou, to_cxcywh
from jaxdet.convert import weights, yolox
from jaxdet.layers import convolve
from jaxdet.training.step import divide
from jaxdet.types import Objects, Raw

COCO = tuple(f"class {i}" for i in range(80))
SIZE, STRIDES = 416, (8, 16, 32)
FAMILY = ("nano", "tiny", "s", "m", "l", "x", "darknet53")


@dataclasses.dataclass
class Golden:
    """A detector with the reference's weights, which went through a file and the importer."""

    recipe: build.Recipe
    variables: dict[str, Any]
    paths: dict[str, tuple[str, ...]]  # their name of an array -> our path


def config_of(name):
    config = load(pathlib.Path("configs") / f"yolox_{name}_coco.py").get_config()
    config.model.size = SIZE
    config.evaluation.update(score_threshold=0.01, max_kept=700)
    return config


def recipe_of(name):
    return build.recipe(config_of(name), COCO)


@functools.cache
def golden(shared, name, folder):
    make, recipe = maker(shared), recipe_of(name)
    file = shared / "golden" / "yolox" / "manifests" / f"yolox_{name}.json"
    manifest = json.loads(file.read_text())
    theirs = make.draw_all(manifest, manifest["seed"])
    file = folder / f"{name}.safetensors"
    safetensors.numpy.save_file(theirs, file)
    shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
    variables, fresh = weights.fill(weights.entries(file, yolox, recipe.model, shapes), shapes)
    assert not fresh
    file.unlink()
    return Golden(recipe, variables, weights.paths(theirs, yolox.MODELS[recipe.model]))


@pytest.fixture(scope="module")
def known(shared, tmp_path_factory):
    """What is known of a model, by its name."""
    return functools.partial(golden, shared, folder=tmp_path_factory.getbasetemp())


def arrays(shared, name):
    with np.load(shared / "golden" / "yolox" / name) as file:
        return dict(file)


def numbers(shared, name):
    return json.loads((shared / "golden" / "yolox" / name).read_text())


def pixels(stored):
    """The stored photos as ours, red first."""
    return stored["input"][..., ::-1].astype(np.float32)


def joined(raw):
    """Our predictions in their order: box, objectness, classes."""
    return np.concatenate([raw.boxes, raw.objectness[..., None], raw.logits], axis=-1)


def levels_of(fields, side):
    """Maps by stride from fields [B, A, 85] of a square input."""
    sides = [side // stride for stride in STRIDES]
    ends = np.cumsum([n * n for n in sides])[:-1]
    parts = np.split(fields, ends, axis=1)
    return {s: x.reshape(len(x), n, n, -1) for s, n, x in zip(STRIDES, sides, parts, strict=True)}


def objects_of(stored, *, pictures, empty=(), classes=80, slots=64):
    """The truths of some pictures, fractions in float64; `empty` ones lose theirs."""
    found = Objects(
        boxes=np.zeros((len(pictures), slots, 4)),
        labels=np.zeros((len(pictures), slots), np.int32),
        mask=np.zeros((len(pictures), slots), bool),
        weight=np.ones((len(pictures), slots)),
    )
    for row, i in enumerate(pictures):
        if i in empty:
            continue
        boxes, labels = stored[f"gt_boxes_{i}"].astype(np.float64), stored[f"gt_labels_{i}"]
        count, half = len(boxes), boxes[:, 2:] / 2
        corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1) / SIZE
        found.boxes[row, :count], found.labels[row, :count] = corners, labels % classes
        found.mask[row, :count] = True
    return found


def in_dtype(tree, dtype):
    cast = lambda x: x.astype(dtype) if np.issubdtype(x.dtype, np.floating) else x
    return jax.tree.map(lambda x: jnp.asarray(cast(np.asarray(x))), tree)


def photos(shared):
    """The maps of S on the two photos, as predictions, and the file."""
    stored = arrays(shared, "yolox_s_416.npz")
    fields = [stored[f"raw_{stride}"].reshape(2, -1, 85) for stride in STRIDES]
    return raw_of(np.concatenate(fields, axis=1)), stored


def crowds(shared):
    """Predictions for the six crowded photos, of twenty classes, and the file."""
    stored = arrays(shared, "assignment_416.npz")
    of_codes, of_logits = stored["unit"]
    codes, logits = np.split(stored["predictions"].astype(np.float32), (4,), axis=-1)
    return raw_of(np.concatenate([codes * of_codes, logits * of_logits], axis=-1)), stored


def raw_of(fields):
    return Raw(boxes=fields[..., :4], objectness=fields[..., 4], logits=fields[..., 5:])


SETS = {"photos": (photos, 2, 80), "crowds": (crowds, 6, 20)}
RULES = {"released": "", "main": "main_"}
rule_test = pytest.mark.parametrize("rule", RULES)


def exact_anchors(dtype=np.float64):
    """The anchors without rounding: their corners are whole pixels."""
    anchors = cells([(SIZE // stride,) * 2 for stride in STRIDES], (SIZE, SIZE))
    whole = lambda x: None if x is None else (np.rint(2 * SIZE * x).astype(dtype) / (2 * SIZE))
    return jax.tree.map(whole, anchors)


@rule_test
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("name", SETS)
def test_every_anchor_is_assigned_as_in_the_reference(shared, name, kind, rule):
    """Foreground, the object and its IoU, and how many anchors every object takes."""
    (read, count, classes), prefix = SETS[name], RULES[rule]
    raw, stored = read(shared)
    objects = in_dtype(objects_of(stored, pictures=range(count), classes=classes), np.float32)
    anchors = cells([(SIZE // stride,) * 2 for stride in STRIDES], (SIZE, SIZE))

    def assign(raw, objects):
        boxes = codecs.from_cell.decode(raw.boxes[None], anchors)[0]
        scores = jax.nn.sigmoid(raw.objectness), jax.nn.sigmoid(raw.logits)
        how = dict(rule=simota.RULES[rule])
        targets = simota.simota(boxes, *scores, anchors, objects, **how)
        usable = objects.mask
        candidates = simota._candidates(anchors, objects, usable, how["rule"])
        iou = pairwise_iou(objects.boxes, boxes)
        number = jax.vmap(simota.how_many, (0, None))(iou, candidates)
        return targets, paired_iou(boxes, targets.boxes), number

    with backend.lowering_for(kind):
        targets, iou, number = jax.device_get(jax.jit(jax.vmap(assign))(raw, objects))
    foreground, owner = stored[f"{prefix}fg_mask"], stored[f"{prefix}matched_gt"].astype(int)
    np.testing.assert_array_equal(targets.positive, foreground)
    expected = jax.tree.map(
        lambda x: np.take_along_axis(x, owner.reshape(*owner.shape, *[1] * (x.ndim - 2)), axis=1),
        jax.device_get((objects.boxes, objects.labels)),
    )
    np.testing.assert_array_equal(targets.boxes[foreground], expected[0][foreground])
    np.testing.assert_array_equal(targets.labels[foreground], expected[1][foreground])
    np.testing.assert_allclose(
        iou[foreground], stored[f"{prefix}matched_iou"][foreground], atol=3e-5
    )
    for i in range(count):
        of_image = stored[f"{prefix}dynamic_k_{i}"]
        np.testing.assert_array_equal(number[i, : len(of_image)], of_image)


OURS = {"box": "iou", "objectness": "obj", "class": "cls", "l1": "l1", "total": "total"}
CASES = {"both": (), "second_empty": (1,), "none": (0, 1)}


def mean_losses(detector, raw, objects, late):
    """The sum of the mean losses, L1 with the weight `late`; all of them, and the positives."""
    losses = detector.losses(raw, None, objects, detector.anchors(None, None))
    means = divide(losses, {name: count for name, (_, count) in losses.items()})
    total = sum(mean for name, mean in means.items() if name != "l1") + late * means["l1"]
    return total, ({**means, "total": total}, losses["box"][1])


def check_losses(run, raw, objects, expected, dtype, *, late):
    given = (in_dtype(tree, dtype) for tree in (raw, objects))
    (_, (means, count)), slopes = jax.device_get(run(*given, jnp.asarray(late, dtype)))
    precise = dtype == np.float64
    assert count == expected["foreground"]
    for ours, theirs in OURS.items():
        if ours != "l1" or late:
            assert means[ours] == pytest.approx(expected[theirs], rel=1e-12 if precise else 1e-5)
    fields = {"box": slopes.boxes, "obj": slopes.objectness, "cls": slopes.logits}
    ends = np.cumsum([(SIZE // stride) ** 2 for stride in STRIDES])[:-1]
    for kind, slope in fields.items():
        for level, part in zip(expected["raw_grad_norm"], np.split(slope, ends, 1), strict=True):
            close = pytest.approx(level[kind], rel=1e-10 if precise else 1e-4, abs=1e-30)
            assert np.linalg.norm(part.astype(np.float64)) == close


def on_exact_anchors(rule, dtype, classes):
    config = config_of("s")
    config.model.detector.assignment = rule
    detector = build.recipe(config, COCO[:classes]).detector
    return dataclasses.replace(detector, anchors=lambda grids, shape: exact_anchors(dtype))


@pytest.mark.parametrize("name", SETS)
@rule_test
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_and_their_gradients(shared, name, rule, dtype):
    """With and without L1; of the two photos also if one or both have no objects."""
    read, count, classes = SETS[name]
    raw, stored = read(shared)
    of_photos = name == "photos"
    known = numbers(shared, "yolox_s_416.json" if of_photos else "assignment_416.json")
    known = known["losses"][rule] if of_photos else {"both": known[rule]}
    precise = "_float64" if dtype == np.float64 else ""
    with jax.enable_x64(dtype == np.float64):
        loss = functools.partial(mean_losses, on_exact_anchors(rule, dtype, classes))
        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        for case, late in itertools.product(known, (False, True)):
            expected = known[case][("with_l1" if late else "without_l1") + precise]
            objects = objects_of(stored, pictures=range(count), empty=CASES[case], classes=classes)
            check_losses(run, raw, objects, expected, dtype, late=late)


def test_boxes_and_scores(shared):
    raw, stored = photos(shared)
    detector = recipe_of("s").detector
    boxes, scores = jax.jit(detector.decode)(raw, detector.anchors_at((SIZE, SIZE)))
    found, expected = to_cxcywh(np.asarray(boxes) * SIZE), stored["boxes"]
    sides = np.tile(expected[..., 2:], 2)
    assert (np.abs(found - expected) <= 1e-5 * sides + 1e-4).all()
    best = stored["objectness"] * stored["best_class_score"]
    np.testing.assert_allclose(scores.max(-1), best, atol=1e-6)


def test_detections(shared):
    raw, stored = photos(shared)
    detector = recipe_of("s").detector
    decoded = jax.jit(detector.decode)(raw, detector.anchors_at((SIZE, SIZE)))
    found = jax.device_get(jax.jit(jax.vmap(detector.nms))(*decoded))
    np.testing.assert_array_equal(found.valid.sum(1), stored["det_count"])
    for i, count in enumerate(stored["det_count"]):
        np.testing.assert_allclose(
            found.scores[i, :count], stored["det_scores"][i, :count], atol=1e-6
        )
        boxes = found.boxes[i, :count] * SIZE
        left = set(range(count))  # of equal scores either can come first
        for box, score, label in zip(boxes, found.scores[i], found.labels[i], strict=False):
            near = [
                j
                for j in left
                if stored["det_labels"][i, j] == label
                and abs(stored["det_scores"][i, j] - score) < 1e-6
                and np.abs(stored["det_boxes"][i, j] - box).max() < 0.01
            ]
            assert near, (i, box, score, label)
            left.remove(near[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_maps_of_every_size(shared, known, name):
    its = known(name)
    net, photo = its.recipe.detector.net, pixels(arrays(shared, "yolox_s_416.npz"))[1:, :256, :256]
    raw = jax.jit(functools.partial(net.apply, train=False))(its.variables, photo)
    stored = arrays(shared, "family_256.npz")
    for stride, every in zip(STRIDES, (4, 2, 1), strict=True):
        level = levels_of(joined(raw), 256)[stride][0, ::every, ::every]
        np.testing.assert_allclose(level, stored[f"yolox_{name}_raw_{stride}"], atol=1e-3)


@pytest.mark.parametrize("name", ["nano", "darknet53"])
def test_the_kernels_are_what_decays_in_the_reference(shared, name):
    """Of its groups of parameters one decays; the others are BatchNorm's scales, and all biases."""
    config = config_of(name)
    assert config.optimiser.decay_kernels_only
    shapes = jax.eval_shape(recipe_of(name).detector.init, jax.random.key(0))["params"]
    kinds = {"scale": "bn.weight", "kernel": "conv.weight", "bias": "bias"}
    leaves = [kinds[path[-1].key] for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    for group in numbers(shared, "family.json")[f"yolox_{name}"]["optimizer_groups"]:
        kind = next(k for k in kinds.values() if any(k in theirs for theirs in group["kinds"]))
        assert leaves.count(kind) == group["parameters"]
        assert (group["weight_decay"] > 0) == (kind == "conv.weight")
        assert group["momentum"] == config.optimiser.momentum and group["nesterov"]


TRAINED = {  # case -> model, and where its numbers are
    "s": ("s", ("yolox_s_416.json", "train", "released")),
    "s_main": ("s", ("yolox_s_416.json", "train", "main")),
    "nano": ("nano", ("family.json", "yolox_nano", "train_416")),
    "darknet53": ("darknet53", ("family.json", "yolox_darknet53", "train_416")),
}


def train_step_numbers(shared, its, rule, dtype):
    """A step on both photos, as a function of whether L1 counts: losses, gradients, statistics."""
    stored = arrays(shared, "yolox_s_416.npz")
    given = in_dtype((pixels(stored), objects_of(stored, pictures=(0, 1))), dtype)
    net, detector = its.recipe.detector.net.clone(dtype=dtype), on_exact_anchors(rule, dtype, 80)
    variables = in_dtype(its.variables, dtype)

    def loss(params, late):
        now = {**variables, "params": params}
        raw, stats = net.apply(now, given[0], train=True, mutable=["batch_stats"])
        total, seen = mean_losses(detector, raw, given[1], late)
        return total, (*seen, stats)

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def numbers_of(late):
        (_, (means, count, stats)), gradient = run(variables["params"], jnp.asarray(late, dtype))
        return jax.device_get((means, count, {"params": gradient}, stats))

    return numbers_of


def check_step(shared, its, case, dtype, *, loss, gradients, statistics):
    _, (file, *place) = TRAINED[case]
    known = functools.reduce(lambda tree, key: tree[key], place, numbers(shared, file))
    suffix = "_float64" if dtype == np.float64 else ""
    run = train_step_numbers(shared, its, "main" if case == "s_main" else "released", dtype)
    for late in (False, True):
        expected = known["with_l1" if late else "without_l1"]
        means, count, gradient, stats = run(late)
        losses = expected["loss_train" + suffix]
        assert count == losses["foreground"]
        for ours, theirs in OURS.items():
            if ours != "l1" or late:
                assert means[ours] == pytest.approx(losses[theirs], rel=loss)
        found, norms_ = norms(gradient, its.paths), expected["grad_norm" + suffix]
        assert set(found) == set(norms_)  # none of these is zero
        errors = {name: abs(found[name] / norm - 1) for name, norm in norms_.items()}
        assert max(errors.values()) < gradients, {n: e for n, e in errors.items() if e >= gradients}
        if "bn_running_mean_norm" in expected:
            running = expected["bn_running_mean_norm" + suffix]
            running = running | expected["bn_running_var_norm" + suffix]
            assert norms(stats, its.paths) == pytest.approx(running, rel=statistics)


@pytest.mark.slow
def test_a_training_step(shared, known):
    its = known(TRAINED["s"][0])
    check_step(shared, its, "s", np.float32, loss=1e-4, gradients=0.01, statistics=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", TRAINED)
def test_a_training_step_in_float64(shared, known, case, monkeypatch):
    monkeypatch.setattr(convolve, "conv_lax", conv_by_taps)
    with jax.enable_x64(True):
        its = known(TRAINED[case][0])
        check_step(shared, its, case, np.float64, loss=1e-9, gradients=1e-6, statistics=1e-9)
