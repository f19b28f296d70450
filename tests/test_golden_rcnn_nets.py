"""The networks of Faster R-CNN against what the PyTorch references compute, from the same weights.

Reference numbers: torchvision 0.28 and chenyuntc/simple-faster-rcnn-pytorch at 367db36 with seeded
random weights and two COCO photos. They are not part of the repository.
"""

import dataclasses
import functools
import importlib.util
import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxdet.backbones.mobilenet_v3 import mobilenet_v3
from jaxdet.backbones.resnet50 import resnet50
from jaxdet.backbones.vgg16_features import vgg16_features
from jaxdet.convert import chenyuntc, torchvision, weights
from jaxdet.heads.fast_rcnn import fast_rcnn
from jaxdet.heads.rpn import rpn
from jaxdet.layers.norms import batch_norm
from jaxdet.necks.fpn import fpn
from jaxdet.necks.identity import identity

FOUR = (4, 8, 16, 32)
EXACT = functools.partial(batch_norm, epsilon=0.0)


@dataclasses.dataclass(frozen=True)
class Parts:
    """A network's parts, and by what importers know it."""

    backbone: nn.Module
    neck: nn.Module
    rpn_head: nn.Module
    roi_head: nn.Module
    model: tuple[str, ...]


def _parts(backbone, neck, count, roi_head, *names):
    levels = {"resnet50": 5, "mobilenet_v3": 3, "vgg16_features": 1}[names[-1]]
    rpn_head = rpn((count,) * levels, convs=2 if roi_head.convs else 1)
    return Parts(backbone, neck, rpn_head, roi_head, ("faster_rcnn", "rpn", *names))


TORCHVISION = {  # with all 90 classes
    "fasterrcnn_resnet50_fpn": _parts(
        resnet50(strides=FOUR, norm=EXACT), fpn(extra="pool"), 3, fast_rcnn(90), "fpn", "resnet50"
    ),
    "fasterrcnn_resnet50_fpn_v2": _parts(
        resnet50(strides=FOUR),
        fpn(extra="pool", norm=batch_norm),
        3,
        fast_rcnn(90, hidden=(1024,), convs=(256,) * 4),
        "fpn",
        "resnet50",
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _parts(
        mobilenet_v3(squeeze_first=False, strides=(32, 32)),
        fpn(extra="pool"),
        15,
        fast_rcnn(90),
        "fpn",
        "mobilenet_v3",
    ),
}
VGG16 = "fasterrcnn_vgg16_voc"
VGG16_PARTS = _parts(
    vgg16_features(strides=(16,)),
    identity(),
    9,
    fast_rcnn(20, hidden=(4096, 4096)),
    "identity",
    "vgg16_features",
)
LIMITS = dict.fromkeys(TORCHVISION, 3e-3) | {"fasterrcnn_mobilenet_v3_large_320_fpn": 1e-3}


def shapes_of(parts, sides=(64, 64)):
    """The shapes of a network's variables."""

    def init(pixels, regions):
        run = functools.partial(nn.Module.init_with_output, train=False)
        maps, backbone = run(parts.backbone, jax.random.key(0), pixels)
        maps, neck = run(parts.neck, jax.random.key(0), maps)
        _, rpn_head = run(parts.rpn_head, jax.random.key(0), maps)
        _, roi_head = run(parts.roi_head, jax.random.key(0), regions)
        return dict(backbone=backbone, neck=neck, rpn_head=rpn_head, roi_head=roi_head)

    channels = 512 if isinstance(parts.neck, identity) else 256
    inputs = [(1, *sides, 3), (1, 7, 7, channels)]
    found = jax.eval_shape(init, *(jax.ShapeDtypeStruct(s, jnp.float32) for s in inputs))
    kinds = ("params", "batch_stats")
    return {kind: {p: tree[kind] for p, tree in found.items() if kind in tree} for kind in kinds}


def of_part(variables, part):
    return {kind: tree[part] for kind, tree in variables.items() if part in tree}


@functools.cache
def maker(shared):
    spec = importlib.util.spec_from_file_location("make", shared / "golden" / "make_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest(shared, name):
    return json.loads((shared / "golden" / "fasterrcnn" / f"{name}.manifest.json").read_text())


def numbers(shared, name):
    return json.loads((shared / "golden" / "fasterrcnn" / f"{name}.json").read_text())


@functools.cache
def arrays(shared, name):
    with np.load(shared / "golden" / "fasterrcnn" / f"{name}.npz") as file:
        return dict(file)


def loaded(source, parts, theirs, **options):
    return weights.to_ours(
        source.rearrange(theirs, **options), source.MODELS[parts.model], shapes_of(parts)
    )


def empty(entries, key="name"):
    """Zeros by name, in no memory."""
    shapes = {e.get(key, e["name"]): e["shape"] for e in entries}
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def count_of(variables):
    """Parameters, and those of normalisations among them."""
    sizes = {path: leaf.size for path, leaf in flatten_dict(variables["params"]).items()}
    return sum(sizes.values()), sum(n for path, n in sizes.items() if path[-2] == "norm")


@pytest.mark.parametrize("key", ["name", "old_name"])
@pytest.mark.parametrize("name", TORCHVISION)
def test_every_array_of_torchvisions_has_one_place(shared, name, key):
    """As many parameters as published, less the boxes of the background: 4 rows of 1024, 4 biases.

    Its frozen normalisations do not count.
    """
    entries = [e for e in manifest(shared, name)["entries"] if e["kind"] != "bn_count"]
    ours = loaded(torchvision, TORCHVISION[name], empty(entries, key), unused=())
    assert len(jax.tree.leaves(ours)) == len(entries)
    found, norms = count_of(ours)
    settings, background = numbers(shared, name)["settings"], 4 * 1025
    assert found == settings["parameters_with_norms"] - background
    frozen = 0 if name.endswith("v2") else norms
    assert found - frozen == settings["parameters"] - background


def test_every_array_of_chenyuntcs_has_one_place(shared):
    """Less the boxes of the background, and one logit of the two of nine anchors."""
    entries = manifest(shared, VGG16)["entries"]
    ours = loaded(chenyuntc, VGG16_PARTS, empty(entries))
    assert len(jax.tree.leaves(ours)) == len(entries)
    published = sum(int(np.prod(e["shape"])) for e in entries)
    assert count_of(ours)[0] == published - 4 * 4097 - 9 * 513


def test_the_unused_ten_of_91_classes_go_by_default(shared):
    entries = manifest(shared, "fasterrcnn_resnet50_fpn")["entries"]
    theirs = empty(e for e in entries if e["kind"] != "bn_count")
    number = np.arange(91, dtype=np.float32)
    theirs["roi_heads.box_predictor.cls_score.bias"] = number
    theirs["roi_heads.box_predictor.bbox_pred.bias"] = (10 * number[:, None] + np.arange(4)).ravel()
    parts = dataclasses.replace(TORCHVISION["fasterrcnn_resnet50_fpn"], roi_head=fast_rcnn(80))
    head = loaded(torchvision, parts, theirs)["params"]["roi_head"]
    used = np.setdiff1d(number, torchvision.UNUSED)
    np.testing.assert_array_equal(head["logits"]["bias"], used)
    fields = head["boxes"]["bias"].reshape(4, 80)
    np.testing.assert_array_equal(fields, 10 * used[1:] + np.arange(4)[:, None])


def at(maps, places):
    """The pixels at places [n, 3]: image, row, column."""
    return np.asarray(maps)[tuple(places.T)]


@functools.partial(jax.jit, static_argnums=0)
def run(parts, variables, pixels):
    """The maps of backbone and neck, and what the proposal network says of all anchors."""
    on = lambda part, x: getattr(parts, part).apply(of_part(variables, part), x, train=False)
    body = on("backbone", pixels)
    maps = on("neck", body)
    return body, maps, *on("rpn_head", maps)


@dataclasses.dataclass
class Golden:
    """A network with the reference's weights, and what both compute."""

    variables: dict[str, Any]
    body: tuple[jax.Array, ...]
    maps: tuple[jax.Array, ...]
    boxes: jax.Array
    logits: jax.Array
    arrays: dict[str, np.ndarray]


@functools.cache
def golden(shared, name):
    described = manifest(shared, name)
    theirs = maker(shared).draw_all(described, described["seed"])
    variables = loaded(torchvision, TORCHVISION[name], theirs, unused=())
    pixels = arrays(shared, "input")["input"].astype(np.float32)
    found = run(TORCHVISION[name], variables, pixels)
    return Golden(variables, *found, arrays(shared, name))


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_maps_and_proposals_equal_torchvisions(shared, name):
    its, limit = golden(shared, name), LIMITS[name]
    for group, maps in (("body", its.body), ("fpn", its.maps)):
        for i, x in enumerate(maps):
            i = "pool" if group == "fpn" and i == len(maps) - 1 else i
            found = at(x, its.arrays[f"places_{group}_{i}"])
            np.testing.assert_allclose(found, its.arrays[f"values_{group}_{i}"], atol=limit)
    np.testing.assert_allclose(its.logits[..., 0], its.arrays["objectness"], atol=limit)
    np.testing.assert_allclose(its.boxes, its.arrays["rpn_deltas"], atol=limit)


def align(x, box, scale):
    """Region of interest align of one box on a map [H, W, C]: 7x7 bins of 2x2 samples."""
    x1, y1, x2, y2 = box * scale
    samples = (np.arange(14) + 0.5) / 14
    rows = _hats(y1 + samples * max(y2 - y1, 1.0), x.shape[0])
    columns = _hats(x1 + samples * max(x2 - x1, 1.0), x.shape[1])
    sampled = np.einsum("ih,hwc,jw->ijc", rows, x, columns, optimize=True)
    return sampled.reshape(7, 2, 7, 2, -1).mean((1, 3))


def _hats(positions, side):
    """The weights [samples, side] of bilinear interpolation; none beyond -1 or the side."""
    inside = (positions >= -1) & (positions <= side)
    clamped = np.clip(positions, 0, side - 1)
    return np.maximum(1 - np.abs(clamped[:, None] - np.arange(side)), 0) * inside[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_scores_and_boxes_of_regions_equal_torchvisions(shared, name):
    """Of boxes given by hand; the pooling here is a plain one, of float64."""
    its, limit = golden(shared, name), LIMITS[name]
    scales = numbers(shared, name)["settings"]["roi"]["pool"]["scales"]
    maps = [np.asarray(m, np.float64) for m in its.maps]
    boxes, levels = its.arrays["fixed_boxes"], its.arrays["fixed_levels"]
    pooled = np.stack(
        [align(maps[k][i], boxes[i, j], scales[k]) for (i, j), k in np.ndenumerate(levels)]
    ).astype(np.float32)
    expected = its.arrays["fixed_pooled"]
    np.testing.assert_allclose(pooled[..., :32].reshape(expected.shape), expected, atol=limit)
    head = TORCHVISION[name].roi_head
    codes, logits = head.apply(of_part(its.variables, "roi_head"), pooled, train=False)
    np.testing.assert_allclose(logits, its.arrays["fixed_class_logits"].reshape(16, 91), atol=limit)
    expected = its.arrays["fixed_box_deltas"].reshape(16, 91, 4)[:, 1:]
    np.testing.assert_allclose(codes, expected, atol=limit)


def pool(x, box, scale):
    """Region of interest pooling of one box y1 x1 y2 x2 on a map [H, W, C]: 7x7 maxima."""
    start, end = np.floor(box * scale + 0.5).astype(int).reshape(2, 2)
    side = np.maximum(end - start + 1, 1)
    edges = np.arange(8)[:, None] * side / 7
    low = np.clip(np.floor(edges[:-1]).astype(int) + start, 0, x.shape[:2])
    high = np.clip(np.ceil(edges[1:]).astype(int) + start, 0, x.shape[:2])
    bins = [
        x[low[i, 0] : high[i, 0], low[j, 1] : high[j, 1]].max((0, 1), initial=-np.inf)
        for i in range(7)
        for j in range(7)
    ]
    return np.where(np.isinf(bins), 0, bins).reshape(7, 7, -1)


@pytest.mark.slow
def test_vgg16_equals_chenyuntcs(shared):
    """A picture without padding; of the regions every tenth."""
    described, known = manifest(shared, VGG16), arrays(shared, VGG16)
    theirs = maker(shared).draw_all(described, described["seed"])
    variables = loaded(chenyuntc, VGG16_PARTS, theirs)
    (height, width), *_ = arrays(shared, "input")["image_sizes"]
    pixels = arrays(shared, "input")["input"][:1, :height, :width].astype(np.float32)
    (features,), _, codes, logits = run(VGG16_PARTS, variables, pixels)
    np.testing.assert_allclose(at(features, known["places_0"]), known["values_0"], atol=1e-3)
    locs = known["rpn_locs_0"][:, [1, 0, 3, 2]]  # of y x h w
    np.testing.assert_allclose(codes[0], locs, atol=1e-3)
    scores = known["rpn_scores_0"]
    np.testing.assert_allclose(logits[0, :, 0], scores[:, 1] - scores[:, 0], atol=1e-3)

    some = slice(0, 300, 10)
    regions = np.stack([pool(np.asarray(features[0]), b, 1 / 16) for b in known["rois_0"][some]])
    head = functools.partial(VGG16_PARTS.roi_head.apply, train=False)
    codes, logits = head(of_part(variables, "roi_head"), regions)
    np.testing.assert_allclose(logits, known["roi_scores_0"][some], atol=1e-3)
    locs = known["roi_locs_0"][some].reshape(-1, 21, 4)[:, 1:, [1, 0, 3, 2]]
    np.testing.assert_allclose(codes, locs, atol=1e-3)
