"""Published weights on real photos: what a user gets who imports them."""

import json
import pathlib

import jax
import numpy as np
import pytest
from etils import epath
from flax.traverse_util import flatten_dict
from test_configs import load

import jaxdet
from jaxdet import build, data
from jaxdet.convert.__main__ import convert
from jaxdet.data import voc
from jaxdet.engine import evaluate, init_from

RECIPE = pathlib.Path("configs/yolov3_tiny_416_coco.py")


@pytest.fixture(scope="module")
def imported(shared, tmp_path_factory):
    """The workdir with YOLOv3-tiny's published weights, and the recipe."""
    folder = tmp_path_factory.mktemp("tiny")
    config = load(RECIPE).get_config()
    config.data.update(dir=str(folder / "data"), root=str(shared / "data" / "coco"))
    convert(config, "darknet", shared / "weights" / "yolov3-tiny.weights", epath.Path(folder))
    return folder, config


@pytest.mark.slow
def test_yolov3_tiny_has_the_ap_that_another_program_finds(shared, imported):
    folder, config = imported
    result = evaluate.evaluate_newest(config, epath.Path(folder))
    expected = json.loads((shared / "golden" / "yolov3_tiny" / "photos.json").read_text())
    for name in ("AP", "AP50", "AP75", "APl", "AR100"):
        assert result[name] == pytest.approx(expected[name], abs=0.003), name


def test_objects_are_found_where_they_are(shared, imported):
    """Of the confident detections in the first photos, most lie on an object of that class."""
    folder, config = imported
    detector = jaxdet.load(folder)
    dataset = data.open("coco_2017_val", dir=config.data.dir, root=config.data.root)
    hits = []
    for i in range(24):
        truth, result = dataset.annotation(i), detector(dataset.image(i))
        pixels = truth.boxes * np.array([truth.width, truth.height] * 2)
        for box, label, score in zip(result.boxes, result.labels, result.scores, strict=True):
            same = pixels[truth.labels == label]
            if score < 0.7 or not len(same):
                continue
            low, high = np.maximum(box[:2], same[:, :2]), np.minimum(box[2:], same[:, 2:])
            shared_area = np.prod(np.maximum(high - low, 0), axis=1)
            both = np.prod(box[2:] - box[:2]) + np.prod(same[:, 2:] - same[:, :2], axis=1)
            hits.append((shared_area / (both - shared_area)).max() > 0.5)
    assert len(hits) >= 15 and np.mean(hits) > 0.6, hits


@pytest.mark.slow
def test_tiles_find_more_objects_in_large_crowded_images(shared, imported):
    """Four images of four photos each, 1480 pixels wide, which a view of 416 pixels makes small."""
    folder, config = imported
    detector = jaxdet.load(folder)
    dataset = data.open("coco_2017_val", dir=config.data.dir, root=config.data.root)
    counts = {}
    for tile in (None, 640):
        total = np.zeros(3, int)
        for first in range(0, 16, 4):
            image, boxes, labels = _mosaic(dataset, range(first, first + 4))
            found = detector(image, score=0.3, tile=tile)
            total += [len(boxes), len(found), _hits(found, boxes, labels)]
        counts[tile] = total.tolist()
        print(f"tile {tile}: {total[0]} objects, {total[1]} detections, {total[2]} of them right")
    (objects, _, right), (_, more, more_right) = counts.values()
    assert objects == 162
    assert right <= 10 and more_right >= 20
    assert more_right / more > 0.2


def _mosaic(dataset, indices):
    """Photos, 2x2, off the grid of the tiles; and their objects in its pixels."""
    image, boxes, labels = np.full((1480, 1480, 3), 114, np.uint8), [], []
    for place, i in enumerate(indices):
        photo, truth = dataset.image(i), dataset.annotation(i)
        height, width = photo.shape[:2]
        x, y = 90 + 640 * (place % 2), 130 + 640 * (place // 2)
        image[y : y + height, x : x + width] = photo
        shown = truth.boxes[~truth.crowd] * np.array([width, height] * 2)
        boxes.append(shown + np.array([x, y] * 2))
        labels.append(truth.labels[~truth.crowd])
    return image, np.concatenate(boxes), np.concatenate(labels)


def _hits(found, boxes, labels):
    """How many objects have a detection of their class with an IoU of at least 0.5."""
    left = np.ones(len(boxes), bool)
    for box, label in zip(found.boxes, found.labels, strict=True):
        low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
        both = np.prod(np.maximum(high - low, 0), axis=1)
        union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - both
        overlap = np.where(left & (labels == label), both / union, 0)
        left[overlap.argmax()] &= overlap.max() < 0.5
    return np.sum(~left)


def test_vocs_classes_start_from_cocos_by_name(imported, capsys):
    folder, _ = imported
    recipe = build.recipe(
        load(RECIPE.with_name("yolov3_tiny_416_voc.py")).get_config(), voc.CLASSES
    )
    ours = flatten_dict(init_from.initial_variables(recipe, str(folder)))
    assert f"weights from {folder}; fresh: none" in capsys.readouterr().out
    theirs, names = flatten_dict(jaxdet.load(folder).variables), jaxdet.load(folder).classes
    path = ("params", "head", "level0", "conv", "kernel")
    old, new = (np.asarray(x[path]).reshape(256, 3, -1) for x in (theirs, ours))
    assert old.shape[-1] == 85 and new.shape[-1] == 25
    np.testing.assert_array_equal(new[..., :5], old[..., :5])
    for name, coco in {"dog": "dog", "aeroplane": "airplane", "tvmonitor": "tv"}.items():
        at, of = voc.CLASSES.index(name), names.index(coco)
        np.testing.assert_array_equal(new[..., 5 + at], old[..., 5 + of])
    same = [path for path in ours if path[1] != "head"]
    assert same and all(np.array_equal(ours[path], theirs[path]) for path in same)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(list(ours.values())))
