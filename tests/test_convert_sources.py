"""Every source of weights: its own names and shapes, each used once, classes in our columns."""

import hashlib
import runpy

import jax
import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT
from flax.traverse_util import flatten_dict

from jaxdet import build
from jaxdet.convert import caffe_vgg, mmdet, timm, torchvision, weights
from jaxdet.heads.ssd import flatten_levels

# Source, recipe, classes of the file; how many arrays the source's own network has, and a digest of
# their names and shapes, as `digest` makes it of a state dict without its `num_batches_tracked`.
MODELS = [
    (caffe_vgg, "ssd300_voc", 20, 71, "6c0c60fa7806c7e5"),
    (mmdet, "ssd300_coco_mmdet", 80, 71, "dd5c1c6aa93e2c03"),
    (mmdet, "ssd512_coco_mmdet", 80, 79, "6bad78d01b99b535"),
    (mmdet, "ssdlite320_mobilenet_v2_coco", 80, 404, "1978d94711791cd5"),
    (torchvision, "ssd300_coco_torchvision", 90, 71, "844b372b94ce4df1"),
    (torchvision, "ssdlite320_mobilenet_v3_coco", 90, 406, "b2f40e3881af14b7"),
]
# Source, recipe that has the backbone, the layers that are not as in ours, number, digest.
VGG_DENSE = {"classifier.0": (4096, 25088), "classifier.3": (4096, 4096)}
VGG_CONVS = {"pre_logits.fc1": (4096, 512, 7, 7), "pre_logits.fc2": (4096, 4096, 1, 1)}
VGG, MOBILENET = "ssd300_voc", "mobilenet_v2_ssd320_voc"
CLASSIFIERS = [
    (caffe_vgg, VGG, {}, 30, "8ffce2e4ff98d89d"),  # vgg16_reducedfc
    (timm, VGG, VGG_CONVS | {"head.fc": (1000, 4096)}, 32, "a4ac622a768b376f"),
    (timm, MOBILENET, {"classifier": (1000, 1280)}, 262, "f80c23110dfdfaab"),
    (torchvision, VGG, VGG_DENSE | {"classifier.6": (1000, 4096)}, 32, "e36b43eb356035da"),
    (torchvision, MOBILENET, {"classifier.1": (1000, 1280)}, 262, "1f27e3d93ac9d0ff"),
]
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
# The numbers of COCO's 80 classes, as its annotations have them.
COCO = (*range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70)
COCO += (*range(72, 83), *range(84, 91))


def shapes_of(name, classes):
    """The shapes of a recipe's variables for so many classes, and by what importers know it."""
    config = runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]()
    recipe = build.recipe(config, tuple(f"class {i}" for i in range(classes)))
    return jax.eval_shape(recipe.detector.init, jax.random.key(0)), recipe.model


def their_shapes(variables, table):
    """What a source has for our `variables`: {its name: the shape in PyTorch's layout}."""
    theirs = {path: name for name, path in table.items() if path}
    found = {}
    for path, leaf in flatten_dict(variables).items():
        name = f"{theirs['/'.join(path[1:-1])]}.{LEAVES.get(path[-1], path[-1])}"
        # torchvision's SSD keeps this one outside its modules.
        name = name.replace("backbone.scale_weight.weight", "backbone.scale_weight")
        shape = [leaf.shape[axis] for axis in (3, 2, 0, 1)] if leaf.ndim == 4 else leaf.shape
        found[name] = tuple(shape)
    return found


def digest(shapes):
    """The number of arrays, and the hash of their names and shapes, sorted."""
    lines = sorted(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def zeros(shapes):
    """Zeros of these shapes, in no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("source", "recipe", "classes", "count", "expected"), MODELS)
def test_models_are_the_sources_and_every_array_is_used_once(
    source, recipe, classes, count, expected
):
    variables, model = shapes_of(recipe, classes)
    shapes = their_shapes(variables, source.MODELS[model])
    assert digest(shapes) == (count, expected)
    ours, _ = shapes_of(recipe, min(classes, 80))  # ten of COCO's 90 go
    loaded = weights.to_ours(source.rearrange(zeros(shapes)), source.MODELS[model], ours)
    assert flatten_dict(loaded).keys() == flatten_dict(variables).keys()


@pytest.mark.parametrize(("source", "recipe", "other", "count", "expected"), CLASSIFIERS)
def test_classifiers_are_the_sources_and_every_array_is_used_once(
    source, recipe, other, count, expected, monkeypatch
):
    variables, (*_, backbone) = shapes_of(recipe, 20)
    ours = {kind: tree["backbone"] for kind, tree in variables.items()}
    shapes = their_shapes(ours, source.BACKBONES[backbone])
    shapes |= {f"{name}.weight": shape for name, shape in other.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in other.items()}
    assert digest(shapes) == (count, expected)
    monkeypatch.setattr(weights, "read", lambda file: zeros(shapes))
    loaded = weights.load_backbone("file", variables, model=(backbone,))
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(loaded["params"]["backbone"]))
    assert loaded["params"]["head"] is variables["params"]["head"]


def test_timm_vgg16_keeps_every_fourth_feature(monkeypatch):
    variables, _ = shapes_of(VGG, 20)
    ours = {kind: tree["backbone"] for kind, tree in variables.items()}
    shapes = their_shapes(ours, timm.BACKBONES["vgg16"])
    given = zeros(shapes | {f"{name}.bias": (4096,) for name in VGG_CONVS})
    for name, shape in VGG_CONVS.items():
        number = np.arange(4096, dtype=np.float32)[:, None, None, None]
        given[f"{name}.weight"] = np.broadcast_to(number, shape)
    monkeypatch.setattr(weights, "read", lambda file: given)
    loaded = weights.load_backbone("file", variables, model=("vgg16",))["params"]["backbone"]
    for name in ("fc6", "fc7"):
        np.testing.assert_array_equal(loaded[name]["kernel"][0, 0, 7], np.arange(0, 4096, 4))


# Names of a level's logits and codes in both kinds of head, and their classes in our order.
SSD300 = ("ssd", "vgg_extras", "vgg16")
OURS = [
    (caffe_vgg, "conf.0", "loc.0", SSD300, range(21)),
    (mmdet, "bbox_head.cls_convs.0.0", "bbox_head.reg_convs.0.0", SSD300, (80, *range(80))),
    (
        mmdet,
        "bbox_head.cls_convs.5.1",
        "bbox_head.reg_convs.5.1",
        ("ssd", "ssdlite_extras", "mobilenet_v2"),
        (80, *range(80)),
    ),
    (
        torchvision,
        "head.classification_head.module_list.0",
        "head.regression_head.module_list.0",
        SSD300,
        (0, *COCO),
    ),
    (
        torchvision,
        "head.classification_head.module_list.5.1",
        "head.regression_head.module_list.5.1",
        ("ssd", "ssdlite_extras", "mobilenet_v3"),
        (0, *COCO),
    ),
]


@pytest.mark.parametrize(("source", "logits", "codes", "model", "order"), OURS)
def test_classes_of_every_anchor_end_in_our_columns(source, logits, codes, model, order):
    """Six anchors, whose logits are their numbers: 1000 an anchor, and the class."""
    classes = 91 if source is torchvision else len(order)
    number = (1000 * np.arange(6)[:, None] + np.arange(classes)).ravel().astype(np.float32)
    given = {
        f"{logits}.weight": np.tile(number[:, None, None, None], (1, 2, 1, 1)),
        f"{logits}.bias": number,
        f"{codes}.bias": np.arange(24, dtype=np.float32),
        f"{codes}.weight": np.arange(24, dtype=np.float32)[:, None, None, None],
    }
    found = source.rearrange(given)
    expected = 1000 * np.arange(6)[:, None] + np.array(order)
    level = flatten_levels([found[f"{logits}.bias"].reshape(1, 1, 1, -1)], len(order))
    np.testing.assert_array_equal(level[0], expected)
    np.testing.assert_array_equal(found[f"{logits}.weight"][:, 1, 0, 0], expected.ravel())
    for name in (f"{codes}.weight", f"{codes}.bias"):
        np.testing.assert_array_equal(found[name], given[name])
    assert "head/logits" in source.MODELS[model][logits]
    assert "head/boxes" in source.MODELS[model][codes]


def test_torchvision_keeps_weights_for_other_classes():
    logits, codes = (f"head.{kind}_head.module_list.0" for kind in ("classification", "regression"))
    given = {f"{logits}.bias": np.arange(2.0 * 21), f"{codes}.bias": np.zeros(8)}
    np.testing.assert_array_equal(torchvision.rearrange(given)[f"{logits}.bias"], np.arange(42.0))


def test_damaged_weights_are_named(tmp_path):
    file = tmp_path / "broken.safetensors"
    file.write_bytes(b"\x08\0\0\0\0\0\0\0{no json")
    with pytest.raises(ValueError, match="broken.safetensors cannot be read: "):
        weights.read(file)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    arrays = {"good": np.zeros(2, np.float32), "bad": np.array([1, np.nan], np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="not all numbers are finite in bad$"):
        weights.read(tmp_path / "a.safetensors")
