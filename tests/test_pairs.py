"""Every neck with every backbone and every head: what fits, what is refused, and gradients.

The parts are found by their files; a new one is tested without a line here, unless it does not fit.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contracts import made
from test_detectors import drawn

from jaxdet import backend, choices
from jaxdet.detectors.net import InSequence

KEY = jax.random.key(0)
SIZE = 320  # of the input, in pixels
BACKBONES, NECKS, HEADS = (choices.names(key) for key in ("backbone", "neck", "head"))
HEADS = [head for head in HEADS if head not in ("fast_rcnn", "rpn")]  # those of two stages
SHARED = ("retinanet",)  # heads with the same layers for all maps, which are equally wide
SEQUENCES = [("spp", "pan"), ("spp", "pan", "asff"), ("sppf", "fpn"), ("fpn", "asff")]
ALL_NECKS = [*NECKS, *SEQUENCES]

# What does not fit: a neck after a backbone whose coarsest map has this stride -> the error.
# Their last convolutions, with less padding than size, have no cell left; at 640 pixels all fit.
REFUSED = {
    ("vgg_extras", 32): "too small for conv11_2",
    ("vgg_extras_512", 32): "too small for conv12_2",
}
# What does not fit: a neck after this number of maps -> the error.
REFUSED_COUNTS = {("passthrough", 1): "joins the two coarsest maps, but there is only one"}


def sequence(names):
    """A neck, or several in sequence, as `build` makes them."""
    if isinstance(names, str):
        return made("neck", names)
    return InSequence(tuple(names), tuple(made("neck", name) for name in names))


def shapes_of(part, x):
    """The shapes of a part's outputs and of its variables."""
    return jax.eval_shape(functools.partial(part.init_with_output, train=False), KEY, x)


@functools.cache
def maps_of(backbone):
    pixels = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    return shapes_of(made("backbone", backbone), pixels)[0]


@functools.cache
def predictions_of(head, sizes):
    """The outputs of a head for maps [(H, W, C), ...] and two anchors a cell."""
    counts = (1,) if head == "classifier" else (2,) * len(sizes)
    maps = tuple(jax.ShapeDtypeStruct((1, *size), jnp.float32) for size in sizes)
    return shapes_of(made("head", head, num_classes=3, num_anchors=counts), maps)[0]


def heads_for(maps):
    """The heads that take these maps."""
    equal = len({x.shape[-1] for x in maps}) == 1
    return [head for head in HEADS if equal or head not in SHARED]


def check_heads(maps):
    """Every head gives as many boxes as these maps have anchors."""
    cells = sum(x.shape[1] * x.shape[2] for x in maps)
    for head in heads_for(maps):
        boxes, logits, *_ = predictions_of(head, tuple(x.shape[1:] for x in maps))
        assert boxes.shape == (1, 1 if head == "classifier" else 2 * cells, 4)
        assert logits.shape[:2] == boxes.shape[:2]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("neck", ALL_NECKS, ids=str)
def test_a_neck_between_a_backbone_and_every_head(neck, backbone):
    maps = maps_of(backbone)
    error = REFUSED.get((neck, SIZE // maps[-1].shape[1]))
    if error:
        with pytest.raises(ValueError, match=error):
            shapes_of(sequence(neck), maps)
    else:
        check_heads(shapes_of(sequence(neck), maps)[0])


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("neck", NECKS)
def test_a_neck_after_any_number_of_maps_of_any_channels(neck, count):
    sides = [2 * SIZE >> i for i in range(count)]
    maps = tuple(
        jax.ShapeDtypeStruct((1, side, side, 7 + 3 * i), jnp.float32)
        for i, side in enumerate(sides)
    )
    error = REFUSED_COUNTS.get((neck, count))
    if error:
        with pytest.raises(ValueError, match=error):
            shapes_of(sequence(neck), maps)
    else:
        assert min(min(x.shape) for x in shapes_of(sequence(neck), maps)[0]) >= 1


@pytest.mark.parametrize("neck", ["asff", "csp_pan", "pan", "passthrough", "yolo_fpn"])
def test_maps_that_do_not_double_are_refused(neck):
    maps = tuple(jax.ShapeDtypeStruct((1, s, s, 8), jnp.float32) for s in (19, 10))
    with pytest.raises(ValueError, match="do not align"):
        shapes_of(sequence(neck), maps)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(ALL_NECKS)), ids=[str(neck) for neck in ALL_NECKS])
def test_gradients_from_a_neck_and_a_head_to_the_backbone(index):
    """To each parameter. The heads take turns; a head may leave out maps, so maps count, too."""
    plain = choices.choose("backbone", "plain", "backbone")
    backbone, neck = plain(channels=(4,) * 3, strides=(4, 8)), sequence(ALL_NECKS[index])
    x = np.random.default_rng(0).normal(size=(2, 160, 160, 3)).astype(np.float32)
    maps, of_backbone = shapes_of(backbone, jax.ShapeDtypeStruct(x.shape, x.dtype))
    maps, of_neck = shapes_of(neck, maps)
    heads = heads_for(maps)
    head = heads[index % len(heads)]
    counts = (1,) if head == "classifier" else (2,) * len(maps)
    head = made("head", head, num_classes=3, num_anchors=counts)
    variables = [drawn(shapes) for shapes in (of_backbone, of_neck, shapes_of(head, maps)[1])]

    def total(params):
        options = dict(train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
        y, seen = x, []
        for part, own, mine in zip((backbone, neck, head), variables, params, strict=True):
            y, _ = part.apply({**own, "params": mine}, y, **options)
            seen += y
        return sum((m * jnp.cos(jnp.arange(m.size)).reshape(m.shape)).sum() for m in seen)

    with backend.lowering_for("portable"):  # fewer operations to compile
        options = {"xla_backend_optimization_level": 0}
        take = jax.jit(jax.grad(total), compiler_options=options)
        gradient = take([own.get("params", {}) for own in variables])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path
