"""What every detector must do, on networks thin enough for a test: each family, by its recipes."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import subjaxprs
from ml_collections import ConfigDict
from test_configs import CONFIGS, load

from jaxdet import backend, build, choices, types
from jaxdet.boxes.iou import pairwise_iou
from jaxdet.detectors.two_stage import TwoStage
from jaxdet.types import Objects

KEY = jax.random.key(0)
CLASSES = ("a", "b", "c")


@functools.cache
def recipes_of_families():
    """Family -> the name of the first of its recipes; small ones go first."""
    found, small = {}, lambda path: ("quickstart" not in path.stem, "tiny" not in path.stem)
    for path in sorted(CONFIGS, key=small):
        found.setdefault(load(path).get_config().model.detector.name, path.stem)
    return found


FAMILIES = choices.names("detector")
# COCO's and the 512s differ in boxes only, which test_configs counts; the gradients of ssd300_voc
# and mobilenet_v2_ssd320_voc are compared with the reference's in test_golden_lufficc.
DEEP = ["efficientnet_b3_ssd300_voc", "mobilenet_v3_ssd320_voc", "ssdlite320_mobilenet_v2_coco"]
NAMES = [*recipes_of_families().values(), *DEEP]
ONE_STAGE = [name for family, name in recipes_of_families().items() if family != "faster_rcnn"]


def test_every_family_has_a_recipe():
    assert set(recipes_of_families()) == set(FAMILIES)


@pytest.mark.parametrize("name", recipes_of_families().values())
def test_a_family_returns_what_the_protocol_asks_for(name):
    detector, _ = thin(name)
    for member, asked in vars(types.Detector).items():
        if member.startswith("_"):
            continue
        there = getattr(detector, member)
        if not isinstance(asked, property):
            wanted = [p for p in inspect.signature(asked).parameters.values() if p.name != "self"]
            has = list(inspect.signature(there).parameters.values())
            assert [(p.name, p.kind) for p in has] == [(p.name, p.kind) for p in wanted]
    assert dataclasses.fields(detector) and isinstance(hash(detector), int) and repr(detector)


@functools.cache
def thin(name):
    """A recipe's detector an eighth as wide, with its variables; YOLOs at 128 pixels."""
    detector = build.recipe(thin_config(name), CLASSES).detector
    deep = name in DEEP
    return detector, drawn(jax.eval_shape(detector.init, KEY)) if deep else detector.init(KEY)


def thin_config(name):
    (path,) = [path for path in CONFIGS if path.stem == name]
    config = ConfigDict(load(path).get_config())
    if "quickstart_yolo" in name or "tiny" in name or "retinanet" in name:
        config.model.size = 128
    neck = config.model.neck
    necks = tuple(dict(each) for each in (neck if isinstance(neck, tuple) else (neck,)))
    for block in (config.model.backbone, *necks):
        if block["name"] == "fpn":
            block["channels"] = 32
        elif "channels" in block:
            block["channels"] = tuple(max(8, c // 8) for c in block["channels"])
        else:
            block["width"] = 0.125
        if block["name"] == "efficientnet_b3":
            block["depth"] = 0.3  # 8 blocks, not 26
    del config.model.neck
    config.model.neck = necks if len(necks) > 1 else necks[0]
    return config


def drawn(shapes):
    """Variables of these shapes such as `init` makes, which takes 7 s to compile for a deep net."""
    chance = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            spread = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return chance.normal(0, spread, leaf.shape).astype(leaf.dtype)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def objects(boxes, slots=4):
    count = len(boxes)
    padded = np.zeros((1, slots, 4), np.float32)
    padded[0, :count] = np.reshape(boxes, (-1, 4))
    mask = (np.arange(slots) < count)[None]
    labels = np.where(mask, np.arange(slots)[None] % len(CLASSES), 0).astype(np.int32)
    return Objects(padded, labels, mask, mask.astype(np.float32))


def image(size, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def total(detector, variables, pixels, truth):
    losses, _ = detector.loss(variables, pixels, truth, key=KEY)
    return sum(value / jnp.maximum(count, 1) for value, count in losses.values())


@functools.cache
def gradient(name):
    """The compiled gradient of a recipe's loss, plus a share of a sum over all outputs."""
    detector, variables = thin(name)

    def loss(params, truth, share):
        now = {**variables, "params": params}
        pixels = jnp.concatenate([image(detector.size), image(detector.size, 1)])
        twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), truth)
        of_losses = total(detector, now, pixels, twice)
        if isinstance(detector, TwoStage):  # both outcomes are drawn: the losses see all layers
            return of_losses
        raw, _ = detector.net.apply(
            now, pixels, train=True, mutable=["batch_stats"], rngs={"dropout": KEY}
        )
        everything = jnp.square(raw.boxes).mean() + jnp.square(raw.logits).mean()
        return of_losses + share * everything

    # Compiled in a hurry, for it runs but twice; portable forms are fewer operations.
    run = jax.jit(jax.grad(loss), compiler_options={"xla_backend_optimization_level": 0})
    with backend.lowering_for("portable"):
        compiled = run.lower(variables["params"], objects([]), jnp.float32(0)).compile()
    return lambda truth, share: compiled(variables["params"], truth, jnp.float32(share))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_finite_gradient(name):
    truth = objects([[0.1, 0.1, 0.25, 0.22], [0.2, 0.3, 0.9, 0.95], [0.05, 0.5, 0.5, 0.9]])
    everywhere = jax.device_get(gradient(name)(truth, 1.0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(everywhere):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path
    of_loss = jax.device_get(gradient(name)(truth, 0.0))
    of_head = jax.tree.leaves({part: of_loss[part] for part in of_loss if "head" in part})
    assert any(np.any(leaf != 0) for leaf in of_head)


@functools.cache
def raw_of(name):
    """What a family's network says about a made-up image in training."""
    detector, variables = thin(name)
    run = functools.partial(detector.net.apply, train=True, mutable=["batch_stats"])
    raw, _ = jax.jit(run)(variables, image(detector.size), rngs={"dropout": KEY})
    return raw


OF_LOGITS = ("yolov2", "yolov3")  # box losses for outputs that are logits, which two families have


def fitting(key):
    """Pairs of a family's recipe and a loss that its `key` can name."""
    pairs = []
    for family, name in recipes_of_families().items():
        if key in thin_config(name).model.detector and family != "classifier":
            losses = set(choices.names(key)) - set(() if family in OF_LOGITS else OF_LOGITS)
            pairs += [(name, loss) for loss in sorted(losses)]
    return pairs


def slopes_of_outputs(name, key, loss):
    """The targets, and the gradient of all losses for what the network says."""
    config = thin_config(name)
    del config.model.detector[key]  # it may be a block, and ml_collections keeps the types
    config.model.detector[key] = loss
    detector = build.recipe(config, CLASSES).detector
    truth = objects([[0.1, 0.1, 0.25, 0.22], [0.2, 0.3, 0.9, 0.95]])
    anchors, targets = detector.matched(truth, (detector.size,) * 2)

    def of_outputs(raw):
        losses = detector.losses(raw, targets, truth, anchors)
        return sum(value / jnp.maximum(count, 1) for value, count in losses.values())

    value, slopes = jax.jit(jax.value_and_grad(of_outputs))(raw_of(name))
    assert np.isfinite(value) and value > 0
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))
    return targets, slopes


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), fitting("box_loss"))
def test_a_family_takes_every_box_loss_that_fits(name, loss):
    targets, slopes = slopes_of_outputs(name, "box_loss", loss)
    moved = np.any(np.asarray(slopes.boxes) != 0, axis=-1)
    assert moved.any() and not moved[~np.asarray(targets.positive)].any()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), fitting("class_loss"))
def test_a_family_takes_every_class_loss(name, loss):
    targets, slopes = slopes_of_outputs(name, "class_loss", loss)
    moved = np.any(np.asarray(slopes.logits) != 0, axis=-1)
    # YOLOX's targets are those that an object has first: which it takes depends on predictions.
    chosen = np.asarray(targets.positive) & (moved if "yolox" in name else True)
    assert chosen.any() and moved[chosen].all()


@functools.cache
def losses_of(name):
    """The names of a recipe's losses: with "objectness" it is a YOLO."""
    detector, variables = thin(name)
    loss = functools.partial(detector.loss, key=KEY)
    shapes, _ = jax.eval_shape(loss, variables, image(detector.size), objects([]))
    return set(shapes)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_objects_has_finite_losses(name):
    """SSD has no positives there, hence no negatives (section 2.2), and learns nothing."""
    detector, variables = thin(name)
    losses, _ = jax.jit(detector.loss)(variables, image(detector.size), objects([]), key=KEY)
    assert all(np.isfinite(part).all() for part in losses.values())
    if "objectness" in losses:
        assert losses["box"][0] == losses["class"][0] == 0 < losses["objectness"][0]
    elif thin_config(name).model.detector.name == "ssd":
        of_loss = gradient(name)(objects([]), 0.0)
        assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(of_loss))


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes_of_families().values())
def test_jit_changes_nothing(name):
    detector, variables = thin(name)
    truth = objects([[0.1, 0.1, 0.25, 0.22], [0.2, 0.3, 0.9, 0.95]])
    loss = lambda: detector.loss(variables, image(detector.size), truth, key=KEY)[0]
    for a, b in zip(jax.tree.leaves(loss()), jax.tree.leaves(jax.jit(loss)()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3)
    forward = lambda: detector.forward(variables, image(detector.size))
    for a, b in zip(forward(), jax.jit(forward)(), strict=True):
        usual = np.abs(b) < 100  # a YOLOv3 that has learnt nothing predicts sides of any size
        assert usual.mean() > 0.5
        np.testing.assert_allclose(np.asarray(a)[usual], np.asarray(b)[usual], rtol=1e-2, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*recipes_of_families().values(), "mobilenet_v2_ssd320_voc"])
def test_predictions_have_a_fixed_shape_and_sensible_values(name):
    detector, variables = thin(name)
    found = jax.jit(detector.predict)(variables, image(detector.size))
    kept = found.boxes.shape[1]
    assert found.scores.shape == found.labels.shape == found.valid.shape == (1, kept)
    scores = np.asarray(found.scores)[0][np.asarray(found.valid)[0]]
    assert (np.diff(scores) <= 0).all() and ((scores > 0) & (scores <= 1)).all()
    assert (np.asarray(found.labels) < len(CLASSES)).all()


@pytest.mark.parametrize("name", [*ONE_STAGE, "mobilenet_v2_ssd320_voc"])
def test_boxes_scores_and_targets_belong_to_the_same_anchors_at_every_size(name):
    detector, variables = thin(name)
    counts = []
    for size in (detector.size, detector.size - 32):
        pixels = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        boxes, scores = jax.eval_shape(detector.forward, variables, pixels)
        anchors, targets = detector.matched(objects([[0.1, 0.1, 0.6, 0.5]]), (size, size))
        count = len(anchors.boxes)
        assert boxes.shape == (1, count, 4) and scores.shape == (1, count, len(CLASSES))
        assert {leaf.shape[:2] for leaf in jax.tree.leaves(targets)} == {(1, count)}
        assert targets.positive.any()
        counts.append(count)
    assert counts[0] > counts[1] or counts == [1, 1]


@pytest.mark.slow
def test_bfloat16_stays_close_to_float32():
    detector, variables = thin("quickstart")
    (path,) = [path for path in CONFIGS if path.stem == "quickstart"]
    half = detector.net.clone(dtype=jnp.bfloat16)
    pixels = image(detector.size)
    full_raw = detector.net.apply(variables, pixels, train=False)
    half_raw = half.apply(variables, pixels, train=False)
    assert half_raw.logits.dtype == jnp.float32
    spread = np.std(full_raw.logits)
    assert 0 < np.abs(half_raw.logits - full_raw.logits).max() < 0.2 * spread


@pytest.mark.parametrize("name", [*recipes_of_families().values(), "mobilenet_v3_ssd320_voc"])
def test_bfloat16_gradients_are_summed_in_float32(name):
    """In bfloat16 a sum stops growing at 256 times what is added, as that over a bias's pixels."""
    detector, variables = thin(name)
    half = dataclasses.replace(detector, net=detector.net.clone(dtype=jnp.bfloat16))
    truth = objects([[0.1, 0.1, 0.25, 0.22], [0.2, 0.3, 0.9, 0.95]])
    of_loss = jax.grad(lambda params: total(half, {**variables, "params": params}, pixels, truth))
    pixels = image(detector.size)
    program = jax.make_jaxpr(of_loss)(variables["params"]).jaxpr
    found = [(one.invars[0].aval, one.outvars[0].aval) for one in sums(program)]
    long = [(x, y) for x, y in found if x.size > 4 * y.size]
    assert long and not [pair for pair in long if pair[0].dtype == jnp.bfloat16]


def sums(program):
    """All equations of a jaxpr that add up an array, those of inner functions too."""
    yield from (equation for equation in program.eqns if equation.primitive.name == "reduce_sum")
    for inner in subjaxprs(program):
        yield from sums(inner)


@pytest.mark.slow
def test_loss_in_float64_is_that_in_float32():
    """Matching and mining included, when JAX's float64 is switched on."""
    detector, variables = thin("quickstart")
    truth = objects([[0.1, 0.1, 0.25, 0.22], [0.2, 0.3, 0.9, 0.95]])
    take = jax.jit(total, static_argnums=0)
    single = take(detector, variables, image(detector.size), truth)
    with jax.enable_x64(True):
        double = dataclasses.replace(detector, net=detector.net.clone(dtype=jnp.float64))
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        exact = take(double, variables, image(detector.size), truth)
    assert exact.dtype == jnp.float64
    assert float(exact) == pytest.approx(float(single), rel=1e-4)
    assert float(exact) != float(single)


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes_of_families().values())
def test_overfits_one_image(name):
    """After some steps on one image its objects are found, to IoU > 0.9; or its classes, alone."""
    rate = 1e-2 if thin_config(name).model.detector.name == "ssd" else 2e-3
    assert_overfits(*thin(name), losses_of(name), rate=rate)


@pytest.mark.slow
def test_an_ssd_overfits_one_image_with_the_focal_loss():
    """Without mining, from a small probability of every class."""
    config = thin_config("quickstart")
    config.model.detector.update(class_loss="focal", box_loss="giou", negative_ratio=0)
    config.model.head.initial_probability = 0.01
    detector = build.recipe(config, CLASSES).detector
    variables = detector.init(KEY)
    _, scores = jax.jit(detector.forward)(variables, image(detector.size))
    assert 0.003 < np.median(scores) < 0.03
    assert_overfits(detector, variables, {"box", "class"})


def seen_in_training(detector, variables, pixels):
    """What is found, with the statistics of the image: of maps of 4x4 pixels the running ones are
    biased. Two stages are found with the running ones."""
    if isinstance(detector, TwoStage):
        return detector.predict(variables, pixels)
    raw, _ = detector.net.apply(variables, pixels, train=True, mutable=["batch_stats"])
    boxes, scores = detector.decode(raw, detector.anchors_at((detector.size,) * 2))
    return jax.vmap(detector.nms)(boxes, scores)


def assert_overfits(detector, variables, names, *, rate=1e-2):
    """`names` are those of its losses. Gradients are clipped, or rounding decides whether a deep
    network's units die in the first steps."""
    import optax

    boxes = np.array([[0.1, 0.15, 0.35, 0.4], [0.5, 0.3, 0.95, 0.9]], np.float32)
    pixels = np.full((1, detector.size, detector.size, 3), 90.0, np.float32)
    for box, colour in zip(boxes, ([250, 20, 20], [20, 20, 250]), strict=True):
        x1, y1, x2, y2 = (box * detector.size).astype(int)
        pixels[:, y1:y2, x1:x2] = colour
    truth = objects(boxes)
    steps = 200
    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))
    tx = optax.chain(optax.clip_by_global_norm(1.0), adam)

    def loss(params, variables):
        parts, stats = detector.loss({**variables, "params": params}, pixels, truth, key=KEY)
        return sum(value / jnp.maximum(count, 1) for value, count in parts.values()), stats

    @jax.jit
    def step(variables, optimiser):
        gradients, stats = jax.grad(loss, has_aux=True)(variables["params"], variables)
        updates, optimiser = tx.update(gradients, optimiser)
        params = optax.apply_updates(variables["params"], updates)
        return {"params": params, "batch_stats": stats}, optimiser

    optimiser = tx.init(variables["params"])
    for _ in range(steps):
        variables, optimiser = step(variables, optimiser)
    found = jax.jit(functools.partial(seen_in_training, detector))(variables, pixels)
    if "box" in names:
        ious = np.asarray(pairwise_iou(boxes, np.asarray(found.boxes)[0, :2]))
        assert (ious.max(axis=1) > 0.9).all(), ious
    assert set(np.asarray(found.labels)[0, :2].tolist()) == {0, 1}
