"""What every part must do, whoever wrote it: the parts are found by their files and functions.

A new backbone, neck, head, loss, activation, normalisation, attention, window, colour, mix, NMS or
importer is held to this without a line here; families are in test_detectors.
"""

import functools
import inspect
import pathlib

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_configs import CONFIGS, load
from test_detectors import drawn

from jaxdet import backend, build, choices
from jaxdet.augment import fit
from jaxdet.augment.window import Window, uncropped_window
from jaxdet.boxes import codecs
from jaxdet.boxes.anchors import prior_boxes
from jaxdet.convert import weights
from jaxdet.types import Objects

KEY = jax.random.key(0)
PACKAGE = pathlib.Path(build.__file__).parent
THIN = dict(width=0.125, depth=0.3, channels=(8, 8, 8, 8, 8))  # of those that a part has


def made(key, name, **given):
    """A part of the network, as thin as its keywords allow."""
    part = choices.choose(key, name, key, given=given)
    parameters = inspect.signature(part).parameters
    thin = {option: value for option, value in THIN.items() if option in parameters}
    if key == "neck" and "channels" in thin:  # a number for all maps, or one for each new map:
        # maps of one pixel, five levels on, have nothing to normalise
        thin["channels"] = (8,) if isinstance(parameters["channels"].default, tuple) else 8
    return part(**thin, **given)


def maps_at(size, dtype=jnp.float32):
    """Two maps as a backbone makes them, of strides 8 and 16."""
    chance = np.random.default_rng(size)
    sides = [(size // 8, 8), (size // 16, 16)]
    return tuple(jnp.asarray(chance.normal(size=(1, s, s, c)), dtype) for s, c in sides)


KNOWN = {"num_classes": 3, "num_anchors": (1,)}


def arguments_of(name):
    return inspect.signature(choices.choose("head", name, "head", given=KNOWN)).parameters


def head(name, **known):
    """A head for one map, or for regions; heads of a single level are among them."""
    known = {**KNOWN, **known}
    return made("head", name, **{n: v for n, v in known.items() if n in arguments_of(name)})


ON_REGIONS = [name for name in choices.names("head") if "num_anchors" not in arguments_of(name)]


PARTS = [("backbone", name) for name in choices.names("backbone")]
PARTS += [("neck", name) for name in choices.names("neck")]
PARTS += [("head", name) for name in choices.names("head")]
SIZES = {"backbone": (64, 96), "neck": (320, 352), "head": (64, 96)}
part_test = pytest.mark.parametrize(("key", "name"), PARTS, ids=[f"{k}-{n}" for k, n in PARTS])


def part_and_input(key, name, size, dtype=jnp.float32):
    if key == "backbone":
        pixels = np.random.default_rng(size).normal(size=(1, size, size, 3))
        return made(key, name), jnp.asarray(pixels, dtype)
    if key == "neck":
        return made(key, name), maps_at(size, dtype)
    if name in ON_REGIONS:
        pooled = np.random.default_rng(size).normal(size=(size // 16, 7, 7, 16))
        return head(name), jnp.asarray(pooled, dtype)
    return head(name), maps_at(size, dtype)[-1:]


@functools.cache
def variables_of(key, name):
    """Variables of a part, drawn without compiling its initialisers."""
    part, x = part_and_input(key, name, SIZES[key][0])
    shapes = jax.eval_shape(functools.partial(part.init, train=False), KEY, x)
    return drawn(shapes)


def apply(part, variables, x, *, train):
    return part.apply(variables, x, train=train, mutable=["batch_stats"], rngs={"dropout": KEY})


@part_test
def test_a_part_takes_train_by_keyword_alone(key, name):
    """Freezing intercepts the keyword: by position it would not see it."""
    part, _ = part_and_input(key, name, SIZES[key][0])
    train = inspect.signature(type(part).__call__).parameters["train"]
    assert train.kind is inspect.Parameter.KEYWORD_ONLY


def test_every_module_takes_train_by_keyword_alone():
    modules = [
        p
        for f in ("layers", "backbones", "necks", "heads")
        for p in sorted((PACKAGE / f).glob("*.py"))
    ]
    for path in modules:
        for line in path.read_text().splitlines():
            if "train: bool" in line and "def " in line:
                assert "*, train" in line or "*, train" in path.read_text(), (path, line)


@part_test
def test_a_part_has_its_shapes_at_two_sizes(key, name):
    for size in SIZES[key]:
        part, x = part_and_input(key, name, size)
        y, _ = jax.eval_shape(
            functools.partial(apply, part, train=False), variables_of(key, name), x
        )
        if key == "backbone":
            assert [round(size / m.shape[1]) for m in y] == list(part.strides)
            assert all(m.shape[1] == m.shape[2] for m in y)
        elif key == "neck":
            assert isinstance(y, tuple) and all(m.ndim == 4 for m in y)
            assert [m.shape[1] for m in y] == sorted([m.shape[1] for m in y], reverse=True)
        elif name in ON_REGIONS:
            boxes, logits = y
            assert boxes.shape == (len(x), 3, 4) and logits.shape == (len(x), 4)
        else:
            boxes, logits, *objectness = y
            columns = (3, 4) if "num_classes" in arguments_of(name) else (1,)
            assert boxes.shape == (1, boxes.shape[1], 4) and logits.shape[:2] == boxes.shape[:2]
            assert logits.shape[2] in columns and all(
                o.shape == boxes.shape[:2] for o in objectness
            )


@pytest.mark.parametrize("name", choices.names("backbone"))
def test_a_backbone_gives_the_strides_that_it_is_asked_for(name):
    part = choices.choose("backbone", name, "backbone")
    thin = {k: v for k, v in THIN.items() if k in inspect.signature(part).parameters}
    pixels = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    asked = part(**thin, strides=(4, 8))
    maps, _ = jax.eval_shape(functools.partial(asked.init_with_output, train=False), KEY, pixels)
    assert [m.shape[1] for m in maps] == [16, 8]
    refused = part(**thin, strides=(3,))
    with pytest.raises(ValueError, match=r"has maps of strides \[.*\], not of \[3\]"):
        jax.eval_shape(functools.partial(refused.init, train=False), KEY, pixels)


@pytest.mark.parametrize("name", sorted({*choices.names("head")} - {*ON_REGIONS}))
def test_a_head_refuses_a_wrong_number_of_levels(name):
    wrong = head(name, num_anchors=(1, 1, 1))
    with pytest.raises(ValueError, match=r"maps, but anchors for 3 levels"):
        jax.eval_shape(functools.partial(wrong.init, train=False), KEY, maps_at(64))


@pytest.mark.slow
@part_test
def test_a_part_trains(key, name):
    """A finite gradient reaches every parameter, and statistics move; bfloat16 stays bfloat16."""
    part, x = part_and_input(key, name, SIZES[key][0])
    variables = variables_of(key, name)
    params = variables.get("params", {})

    def total(params, x):
        y, updates = apply(part, {**variables, "params": params}, x, train=True)
        maps = [m.astype(jnp.float32) for m in jax.tree.leaves(y)]
        return sum((m * jnp.cos(jnp.arange(m.size)).reshape(m.shape)).sum() for m in maps), (
            y,
            updates,
        )

    with backend.lowering_for("portable"):  # fewer operations to compile
        options = {"xla_backend_optimization_level": 0}
        run = jax.jit(jax.grad(total, has_aux=True), compiler_options=options)
        compiled = run.lower(params, x).compile()
        half = jax.eval_shape(total, params, jax.tree.map(lambda m: m.astype(jnp.bfloat16), x))
    gradients, (_, updates) = compiled(params, x)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path
    old, new = (
        flax.traverse_util.flatten_dict(t.get("batch_stats", {})) for t in (variables, updates)
    )
    assert old.keys() == new.keys()
    assert all(np.any(old[path] != new[path]) for path in old)
    assert {leaf.dtype for leaf in jax.tree.leaves(half[1][0])} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.slow
@part_test
def test_a_part_gives_the_same_with_and_without_jit(key, name):
    part, x = part_and_input(key, name, SIZES[key][0])
    run = lambda x: apply(part, variables_of(key, name), x, train=False)[0]
    for a, b in zip(jax.tree.leaves(run(x)), jax.tree.leaves(jax.jit(run)(x)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * max(1.0, float(np.abs(b).max())))


# What is applied to one map.


def of_map(key, name):
    """The function or module that a recipe names, as a function of a map."""
    chosen = choices.choose(key, name, key)
    if key == "activation":
        return chosen, {}
    module = chosen(name="part")
    call = lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"])[0]
    return call, module.init(KEY, jnp.ones((2, 6, 5, 32)), train=False)


ON_MAPS = [(key, n) for key in ("activation", "attention", "norm") for n in choices.names(key)]


@pytest.mark.parametrize(("key", "name"), ON_MAPS, ids=[f"{k}-{n}" for k, n in ON_MAPS])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_applied_to_a_map(key, name, dtype):
    """Shape and dtype stay, gradients are finite and reach every parameter, jit changes nothing."""
    call, variables = of_map(key, name)
    call = call if variables else (lambda v, x, f=call: f(x))
    x = jax.random.normal(KEY, (2, 6, 5, 32)).astype(dtype) * 3
    y = call(variables, x)
    assert y.shape[:3] == x.shape[:3] and y.dtype == dtype and np.isfinite(y).all()
    tolerance = 0.05 if dtype == jnp.bfloat16 else 1e-5
    full = np.asarray(y, np.float32)
    np.testing.assert_allclose(
        full,
        np.asarray(jax.jit(call)(variables, x), np.float32),
        atol=tolerance * np.abs(full).max(),
    )
    weigh = jnp.cos(jnp.arange(y.size)).reshape(y.shape)
    loss = lambda v, x: (call(v, x).astype(jnp.float32) * weigh).sum()
    of_params, of_x = jax.grad(lambda p, x: loss({**variables, "params": p}, x), (0, 1))(
        variables.get("params", {}), x
    )
    assert np.isfinite(np.asarray(of_x, np.float32)).all() and np.any(of_x != 0)
    for leaf in jax.tree.leaves(of_params):
        assert np.isfinite(leaf).all() and np.any(leaf != 0)


# Losses.

ANCHORS = prior_boxes(((2, 2),), (64, 64), priors=[[(20.0, 30.0), (40.0, 20.0)]])  # 8 of them
CODECS = {"from_anchor": codecs.from_anchor(), "in_cell": codecs.in_cell}
IN_CELL_ONLY = ("yolov2", "yolov3")  # their first two outputs are logits, and they say so
BOX_LOSSES = [
    (name, codec)
    for name in choices.names("box_loss")
    for codec in CODECS
    if codec == "in_cell" or name not in IN_CELL_ONLY
]


def boxes_of_anchors(seed=0):
    """A box [1, A, 4] for every anchor, its centre in the anchor's cell."""
    chance = np.random.default_rng(seed)
    count = len(ANCHORS.boxes)
    centre = ANCHORS.cell[:, :2] + ANCHORS.cell[:, 2:] * chance.uniform(0.1, 0.9, (count, 2))
    sides = chance.uniform(0.1, 0.5, (count, 2))
    return np.concatenate([centre - sides / 2, centre + sides / 2], 1)[None].astype(np.float32)


def exact_outputs(codec, boxes):
    """What a network should say for boxes."""
    codes = np.asarray(codec.encode(boxes, ANCHORS), np.float64)
    if np.allclose(codec.activate(jnp.zeros(4)), 0):
        return codes.astype(np.float32)
    at = np.clip(codes[..., :2], 1e-6, 1 - 1e-6)
    return np.concatenate([np.log(at / (1 - at)), codes[..., 2:]], -1).astype(np.float32)


@pytest.mark.parametrize(("name", "codec"), BOX_LOSSES)
def test_a_box_loss_is_least_where_the_boxes_agree(name, codec):
    loss, codec, boxes = (
        choices.choose("box_loss", name, "box_loss"),
        CODECS[codec],
        boxes_of_anchors(),
    )
    total = lambda outputs: loss(outputs, boxes, ANCHORS, codec).sum()
    exact = exact_outputs(codec, boxes)
    np.testing.assert_allclose(codec.decode(exact, ANCHORS), boxes, atol=1e-5)
    assert loss(exact, boxes, ANCHORS, codec).shape == (1, len(ANCHORS.boxes))
    for seed in range(3):
        other = exact + np.random.default_rng(seed).normal(0, 0.3, exact.shape).astype(np.float32)
        assert total(other) > total(exact)
        gradient = jax.grad(total)(other)
        assert np.isfinite(gradient).all() and (np.abs(gradient).sum(-1) > 0).all()
        np.testing.assert_allclose(jax.jit(total)(other), total(other), rtol=1e-5)


@pytest.mark.parametrize(("name", "codec"), BOX_LOSSES)
def test_a_box_loss_of_a_point_is_finite(name, codec):
    loss, codec = choices.choose("box_loss", name, "box_loss"), CODECS[codec]
    points = np.full((1, len(ANCHORS.boxes), 4), 0.3, np.float32)
    value, gradient = jax.value_and_grad(lambda o: loss(o, points, ANCHORS, codec).sum())(
        jnp.zeros(points.shape)
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("name", choices.names("class_loss"))
def test_a_class_loss_is_least_where_the_classes_agree(name):
    loss = choices.choose("class_loss", name, "class_loss")
    labels = np.array([[0, 2, 1]])
    targets = np.eye(4, dtype=np.float32)[labels]  # [1, 3, 4]
    right, wrong = 8 * targets - 4, np.roll(8 * targets - 4, 1, axis=-1)
    assert loss(right, targets).shape == (1, 3)
    assert (loss(right, targets) < loss(wrong, targets)).all() and (loss(right, targets) >= 0).all()
    gradient = jax.grad(lambda x: loss(x, targets).sum())(jnp.asarray(wrong))
    assert (
        np.isfinite(gradient).all()
        and (np.take_along_axis(gradient, labels[..., None], -1) < 0).all()
    )
    far = jax.value_and_grad(lambda x: loss(x, targets).sum())(jnp.asarray(wrong * 1e3))
    assert all(np.isfinite(x).all() for x in far)
    np.testing.assert_allclose(jax.jit(loss)(wrong, targets), loss(wrong, targets), rtol=1e-5)


# Augmentation.


def batch_of_objects(count, slots=4):
    """Objects [2, slots] of which `count` are real."""
    chance = np.random.default_rng(count)
    corner, side = chance.uniform(0, 0.5, (2, slots, 2)), chance.uniform(0.1, 0.5, (2, slots, 2))
    mask = np.broadcast_to(np.arange(slots) < count, (2, slots))
    boxes = np.where(mask[..., None], np.concatenate([corner, corner + side], -1), 0)
    labels = np.where(mask, chance.integers(0, 3, mask.shape), 0)
    return Objects(boxes.astype(np.float32), labels.astype(np.int32), mask, mask.astype(np.float32))


@pytest.mark.parametrize("how", [fit.stretch, fit.letterbox])
@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("name", choices.names("window"))
def test_a_window(name, count, how):
    sampler, size = choices.choose("window", name, "augment.window"), jnp.array([60, 90])
    objects = jax.tree.map(lambda x: x[0], batch_of_objects(count))
    uncropped = uncropped_window(size, how, (900, 900))
    sample = lambda key: sampler(key, size, objects, uncropped, how is not fit.stretch)
    windows = jax.vmap(sample)(jax.random.split(KEY, 16))
    assert isinstance(windows, Window) and windows.box.shape == (16, 4)
    sides = np.asarray(windows.box[:, 2:] - windows.box[:, :2])
    assert np.isfinite(sides).all() and (sides > 0).all() and len(np.unique(sides, axis=0)) > 1
    if how is not fit.stretch:  # a view must not stretch the image
        np.testing.assert_allclose(sides[:, 0] * 90, sides[:, 1] * 60, rtol=1e-4)
    again = jax.jit(sample)(jax.random.split(KEY, 16)[5])
    np.testing.assert_allclose(again.box, windows.box[5], atol=1e-6)


@pytest.mark.parametrize("name", choices.names("colour"))
def test_a_change_of_colour(name):
    change = choices.choose("colour", name, "augment.colour")
    pixels = jax.random.uniform(KEY, (12, 10, 3)) * 255
    changed = jax.vmap(change, (0, None))(jax.random.split(KEY, 8), pixels)
    assert changed.shape == (8, 12, 10, 3) and changed.dtype == pixels.dtype
    assert (
        (changed >= 0).all() and (changed <= 255).all() and not np.allclose(changed[0], changed[1])
    )
    np.testing.assert_allclose(
        jax.jit(change)(jax.random.split(KEY, 8)[2], pixels), changed[2], atol=1e-2
    )


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("name", choices.names("mix"))
def test_a_mix(name, count):
    mix, objects = choices.choose("mix", name, "augment.mix"), batch_of_objects(count)
    pixels = jax.random.uniform(KEY, (2, 16, 16, 3)) * 255
    mixed, after = mix(KEY, pixels, jax.tree.map(jnp.asarray, objects))
    assert mixed.shape == pixels.shape and (mixed >= 0).all() and (mixed <= 255).all()
    assert after.boxes.shape == (2, after.mask.shape[1], 4)
    assert ((after.weight >= 0) & (after.weight <= 1)).all()
    assert not (np.asarray(after.weight) > 0)[~np.asarray(after.mask)].any()
    assert (np.sort(~np.asarray(after.mask), axis=1) == ~np.asarray(after.mask)).all()  # no gaps
    assert (after.boxes >= 0).all() and (after.boxes <= 1).all()
    assert after.mask.any() == (count > 0)
    again = jax.jit(mix)(KEY, pixels, objects)[0]
    np.testing.assert_allclose(again, mixed, atol=1e-2)


# NMS.


@pytest.mark.parametrize("name", choices.names("nms"))
def test_an_nms_has_a_fixed_shape_by_falling_score(name):
    limits = dict(score_threshold=0.3, iou_threshold=0.5, max_kept=5)
    nms = functools.partial(choices.choose("nms", name, "evaluation.nms", given=limits), **limits)
    chance = np.random.default_rng(0)
    corner = chance.uniform(0, 0.6, (30, 2))
    boxes = np.concatenate([corner, corner + chance.uniform(0.1, 0.4, (30, 2))], 1).astype(
        np.float32
    )
    for scores in (chance.uniform(0, 1, (30, 3)), np.zeros((30, 3))):
        kept = jax.jit(nms)(boxes, scores.astype(np.float32))
        assert kept.boxes.shape == (5, 4)
        assert kept.scores.shape == kept.labels.shape == kept.valid.shape == (5,)
        valid = np.asarray(kept.valid)
        assert (np.diff(np.asarray(kept.scores)[valid]) <= 0).all()
        assert (np.asarray(kept.scores)[valid] > 0.3).all()
        assert valid.any() == scores.any()


# Importers.


@functools.cache
def recipes():
    """Recipes and the shapes of their networks, by what importers call the model."""
    found = {}
    for path in CONFIGS:
        config = load(path).get_config()
        variants = [config]
        if getattr(config.model.neck, "reorg", "") == "darknet_reorg":
            # yjh0410 has the other order
            variants.append(load(path).get_config())
            variants[-1].model.neck.reorg = "space_to_depth"
        for each in variants:
            recipe = build.recipe(each, ("a", "b"))
            found.setdefault(recipe.model, []).append(recipe)
    return found


MODELS = [
    (name, model)
    for name, source in weights.sources().items()
    for model in getattr(source, "MODELS", {})
]


@pytest.mark.parametrize(("source", "model"), MODELS, ids=[f"{s}-{m[-1]}" for s, m in MODELS])
def test_an_importer_knows_every_layer_of_its_model(source, model):
    """Every layer of a recipe's network has one place in the table."""
    assert model in recipes(), f"no recipe is {model}"
    table = weights.sources()[source].MODELS[model]
    ours = list(table.values() if hasattr(table, "values") else table)
    assert len(ours) == len(set(ours)), "two of theirs make one of ours"
    covered = []
    for recipe in recipes()[model]:
        variables = jax.eval_shape(recipe.detector.init, KEY)
        paths = flax.traverse_util.flatten_dict(variables["params"], sep="/")
        layers = {path.rpartition("/")[0] for path in paths}
        blocks = {layer.rpartition("/")[0] for layer in layers}  # of Darknet's, conv and norm
        known = {layer for layer in layers if layer in ours or layer.rpartition("/")[0] in ours}
        assert set(ours) & (layers | blocks)
        covered.append(known == layers)
    assert any(covered), "some layer of each recipe's network is unknown"


BACKBONES = [
    (name, backbone)
    for name, source in weights.sources().items()
    for backbone in getattr(source, "BACKBONES", {})
]


@pytest.mark.parametrize(("source", "backbone"), BACKBONES)
def test_a_table_of_a_classifier_knows_every_layer_of_the_backbone(source, backbone):
    table = weights.sources()[source].BACKBONES[backbone]
    ours = {path for path in (table.values() if hasattr(table, "values") else table) if path}
    part = choices.choose("backbone", backbone, "backbone")()
    pixels = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(functools.partial(part.init, train=False), KEY, pixels)
    paths = flax.traverse_util.flatten_dict(shapes["params"], sep="/")
    layers = {path.rpartition("/")[0] for path in paths}
    assert all(layer in ours or layer.rpartition("/")[0] in ours for layer in layers)


def test_every_file_of_the_walked_folders_can_be_named_in_a_recipe():
    for key in ("backbone", "neck", "head"):
        files = {path.stem for path in (PACKAGE / f"{key}s").glob("*.py")} - {"__init__"}
        assert set(choices.names(key)) == files
    families = {path.stem for path in (PACKAGE / "detectors").glob("*.py")}
    assert set(choices.names("detector")) == families - {
        "__init__",
        "net",
        "one_stage",
        "two_stage",
    }
