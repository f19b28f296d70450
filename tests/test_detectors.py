"""What every detector must do, on networks thin enough for a test: every family, backbone, neck."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import subjaxprs
from ml_collections import ConfigDict
from test_configs import CONFIGS, load

from jaxdet import build, convolve
from jaxdet.boxes import pairwise_iou
from jaxdet.types import Objects

KEY = jax.random.key(0)
CLASSES = ("a", "b", "c")
# COCO's and the 512s differ in boxes only, which test_configs counts; the gradients of ssd300_voc
# and mobilenet_v2_ssd320_voc are compared with the reference's in test_golden_lufficc.
NAMES = ["quickstart", "efficientnet_b3_ssd300_voc", "mobilenet_v3_ssd320_voc"]
NAMES += ["ssdlite320_mobilenet_v2_coco"]
YOLOS = ["yolov1_vgg16_320_voc", "yolov2_darknet19_416_voc", "yolov3_darknet53_416_voc"]
OVERFIT = ["quickstart", *YOLOS]  # one of each family


@functools.cache
def thin(name):
    """A recipe's detector an eighth as wide, with its variables; YOLOs at 128 pixels."""
    (path,) = [path for path in CONFIGS if path.stem == name]
    config = ConfigDict(load(path).get_config())
    if name in YOLOS:
        config.model.size = 128
    for part in ("backbone", "neck"):
        block = config.model[part]
        if "channels" in block:
            block.channels = tuple(max(8, c // 8) for c in block.channels)
        else:
            block.width = 0.125
        if block.name == "efficientnet_b3":
            block.depth = 0.3  # 8 blocks, not 26
    detector = build.detector(config, CLASSES)
    return detector, detector.init(KEY) if name in OVERFIT else drawn(detector)


def drawn(detector):
    """Variables such as `init` makes, which takes up to 7 s to compile for a deep network."""
    chance = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            spread = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return chance.normal(0, spread, leaf.shape).astype(leaf.dtype)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(detector.init, KEY))


def objects(boxes, slots=4):
    count = len(boxes)
    padded = np.zeros((1, slots, 4), np.float32)
    padded[0, :count] = np.reshape(boxes, (-1, 4))
    mask = (np.arange(slots) < count)[None]
    labels = np.where(mask, np.arange(slots)[None] % len(CLASSES), 0).astype(np.int32)
    return Objects(padded, labels, mask, mask.astype(np.float32))


def picture(size, seed=0):
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
        pixels = jnp.concatenate([picture(detector.size), picture(detector.size, 1)])
        twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), truth)
        raw, _ = detector.net.apply(
            now, pixels, train=True, mutable=["batch_stats"], rngs={"dropout": KEY}
        )
        everything = jnp.square(raw.boxes).mean() + jnp.square(raw.logits).mean()
        return total(detector, now, pixels, twice) + share * everything

    # Compiled in a hurry, for it runs but twice; lax's convolutions are fewer operations.
    run = jax.jit(jax.grad(loss), compiler_options={"xla_backend_optimization_level": 0})
    with convolve.lax_forms():
        compiled = run.lower(variables["params"], objects([]), jnp.float32(0)).compile()
    return lambda truth, share: compiled(variables["params"], truth, jnp.float32(share))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_finite_gradient(name):
    truth = objects([[0.1, 0.1, 0.25, 0.22], [0.2, 0.3, 0.9, 0.95], [0.05, 0.5, 0.5, 0.9]])
    everywhere = jax.device_get(gradient(name)(truth, 1.0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(everywhere):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path
    of_head = jax.tree.leaves(jax.device_get(gradient(name)(truth, 0.0)["head"]))
    assert any(np.any(leaf != 0) for leaf in of_head)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_objects_give_no_gradient_and_no_nan(name):
    of_loss = gradient(name)(objects([]), 0.0)  # no positives, hence no negatives (section 2.2)
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(of_loss))


@pytest.mark.slow
@pytest.mark.parametrize("name", YOLOS)
def test_no_objects_teach_nothing_but_that_there_is_none(name):
    detector, variables = thin(name)
    losses, _ = jax.jit(detector.loss)(variables, picture(128), objects([]), key=KEY)
    assert losses["box"][0] == losses["class"][0] == 0 < losses["objectness"][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "mobilenet_v2_ssd320_voc", *YOLOS])
def test_predictions_have_a_fixed_shape_and_sensible_values(name):
    detector, variables = thin(name)
    found = jax.jit(detector.predict)(variables, picture(detector.size))
    kept = found.boxes.shape[1]
    assert found.scores.shape == found.labels.shape == found.valid.shape == (1, kept)
    scores = np.asarray(found.scores)[0][np.asarray(found.valid)[0]]
    assert (np.diff(scores) <= 0).all() and ((scores > 0) & (scores <= 1)).all()
    assert (np.asarray(found.labels) < len(CLASSES)).all()


@pytest.mark.parametrize("name", ["quickstart", "mobilenet_v2_ssd320_voc"])
def test_another_size_gives_other_anchors(name):
    detector, variables = thin(name)
    half = detector.size // 2
    raw = jax.eval_shape(
        lambda: detector.net.apply(variables, jnp.zeros((1, half, half, 3)), train=False)
    )
    assert raw.boxes.shape[1] == len(detector.anchors_at(half).boxes)
    assert len(detector.anchors_at(half).boxes) < len(detector.anchors_at(detector.size).boxes)


@pytest.mark.slow
def test_bfloat16_stays_close_to_float32():
    detector, variables = thin("quickstart")
    (path,) = [path for path in CONFIGS if path.stem == "quickstart"]
    half = detector.net.clone(dtype=jnp.bfloat16)
    pixels = picture(detector.size)
    full_raw = detector.net.apply(variables, pixels, train=False)
    half_raw = half.apply(variables, pixels, train=False)
    assert half_raw.logits.dtype == jnp.float32
    spread = np.std(full_raw.logits)
    assert 0 < np.abs(half_raw.logits - full_raw.logits).max() < 0.2 * spread


@pytest.mark.parametrize("name", ["quickstart", "mobilenet_v3_ssd320_voc", *YOLOS])
def test_bfloat16_gradients_are_summed_in_float32(name):
    """In bfloat16 a sum stops growing at 256 times what is added, as that over a bias's pixels."""
    detector, variables = thin(name)
    half = dataclasses.replace(detector, net=detector.net.clone(dtype=jnp.bfloat16))
    truth = objects([[0.1, 0.1, 0.25, 0.22], [0.2, 0.3, 0.9, 0.95]])
    of_loss = jax.grad(lambda params: total(half, {**variables, "params": params}, pixels, truth))
    pixels = picture(detector.size)
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
    single = take(detector, variables, picture(detector.size), truth)
    with jax.enable_x64(True):
        double = dataclasses.replace(detector, net=detector.net.clone(dtype=jnp.float64))
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        exact = take(double, variables, picture(detector.size), truth)
    assert exact.dtype == jnp.float64
    assert float(exact) == pytest.approx(float(single), rel=1e-4)
    assert float(exact) != float(single)


@pytest.mark.slow
@pytest.mark.parametrize("name", OVERFIT)
def test_overfits_one_picture(name):
    """After some steps on one picture its objects are found, to IoU > 0.9."""
    import optax

    detector, variables = thin(name)
    boxes = np.array([[0.1, 0.15, 0.35, 0.4], [0.5, 0.3, 0.95, 0.9]], np.float32)
    pixels = np.full((1, detector.size, detector.size, 3), 90.0, np.float32)
    for box, colour in zip(boxes, ([250, 20, 20], [20, 20, 250]), strict=True):
        x1, y1, x2, y2 = (box * detector.size).astype(int)
        pixels[:, y1:y2, x1:x2] = colour
    truth, steps = objects(boxes), 200
    tx = optax.adam(optax.cosine_decay_schedule(2e-3 if name in YOLOS else 1e-2, steps))

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
    # With the statistics of the picture: of maps of 4x4 pixels the running ones are biased.
    raw, _ = jax.jit(functools.partial(detector.net.apply, train=True, mutable=["batch_stats"]))(
        variables, pixels
    )
    boxes_found, scores = detector.decode(raw, detector.anchors_at(detector.size))
    found = jax.jit(jax.vmap(detector.nms))(boxes_found, scores)
    best = np.asarray(found.boxes)[0, :2]
    ious = np.asarray(pairwise_iou(boxes, best))
    assert (ious.max(axis=1) > 0.9).all(), ious
    assert set(np.asarray(found.labels)[0, :2].tolist()) == {0, 1}


def test_every_file_of_the_walked_folders_can_be_named_in_a_config():
    package = pathlib.Path(build.__file__).parent
    for folder in ("backbones", "necks", "heads"):
        files = {p.stem for p in (package / folder).glob("*.py")} - {"__init__"}
        assert set(build.files(folder)) == files
    assert build.files("detectors") == ["classifier", "ssd", "yolov1", "yolov2", "yolov3"]
