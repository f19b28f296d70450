"""Canvases of several shapes: which image is on which, in training, evaluation and prediction."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from test_configs import CONFIGS, load

from jaxdet import build, data
from jaxdet.augment import fit
from jaxdet.data import batches
from jaxdet.engine import buckets, evaluate, inference
from jaxdet.types import ImageDetections

WIDE, TALL, LONG = (320, 448), (448, 320), (320, 640)
CLASSES = ("disc", "ring", "square")


@functools.cache
def recipe(name="faster_rcnn_mobilenet_v3_320_fpn_coco", **changes):
    (path,) = [path for path in CONFIGS if path.stem == name]
    config = ConfigDict(load(path).get_config())
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return build.recipe(config, CLASSES)


def test_an_image_gets_the_smallest_input_that_it_fills():
    sizes = [(480, 640), (640, 480), (100, 100), (300, 640), (90, 640), (640, 90), (2000, 1500)]
    made = buckets.canvases(recipe(), np.array(sizes))
    assert [made.shapes[i] for i in made.of_image] == [
        WIDE,
        TALL,
        WIDE,
        LONG,
        LONG,
        LONG[::-1],
        TALL,
    ]
    buckets.check(recipe())


def test_an_aspect_without_an_input_is_refused():
    config = ConfigDict(recipe().config)
    config.data.canvas = [list(WIDE), list(TALL)]
    made = build.recipe(config, CLASSES)
    message = r"images of 300x640 .* need an input of 300x640, .* only 320x448, 448x320"
    with pytest.raises(ValueError, match=message):
        buckets.canvases(made, np.array([(480, 640), (300, 640)]))
    with pytest.raises(ValueError, match="images of 1x10000"):
        buckets.check(made)


@pytest.mark.parametrize("canvas", [(1.5,), ((320,),), "320", ((320, "a"),), ()])
def test_a_canvas_that_is_none_is_refused(canvas):
    config = ConfigDict(recipe().config)
    del config.data.canvas
    config.data.canvas = canvas
    with pytest.raises(ValueError, match=r"config\.data\.canvas is .*, expected"):
        build.data(config)


def test_rectangular_inputs_of_a_yolo_hold_every_aspect():
    """The longer side is the size; a photo needs three quarters of the square."""
    config = ConfigDict(recipe("yolov3_tiny_416_coco").config)
    del config.data.canvas
    config.data.canvas = ((480, 640), (640, 480), (640, 640))
    config.augment.mix = ()
    made = build.recipe(config, CLASSES)
    buckets.check(made)
    assert buckets.input_shapes(made) == ((312, 416), (416, 312), (416, 416))
    on = buckets.canvases(made, np.array([(480, 640), (427, 640), (500, 333), (500, 400)]))
    assert on.of_image.tolist() == [0, 0, 1, 2]


def test_mixes_are_for_squares():
    config = ConfigDict(recipe().config)
    config.augment.mix = [dict(name="mosaic")]
    with pytest.raises(ValueError, match=r"config\.augment\.mix is for square inputs"):
        build.recipe(config, CLASSES)


# --- batches ---


def on_two(shapes_set):
    """Every third image on the tall canvas."""
    of_image = np.where(np.arange(len(shapes_set)) % 3 == 0, 1, 0)
    return data.Canvases((WIDE, TALL), of_image)


def train_batches(dataset, **options):
    how = dict(batch_size=8, max_objects=4, seed=3, canvas=on_two(dataset), num_threads=1)
    return data.train_batches(dataset, **how | options)


def test_batches_have_one_canvas_and_go_through_all_images(shapes):
    dataset = data.open("shapes_val", dir=shapes)
    seen, shapes_seen = [], []
    iterator = train_batches(dataset)
    for _ in range(len(dataset) // 8):
        batch = next(iterator)
        shape = batch.image.shape[1:3]
        expected = TALL if batch.id[0] % 3 == 0 else WIDE
        assert shape == expected and (((batch.id % 3) == 0) == (expected == TALL)).all()
        seen += batch.id.tolist()
        shapes_seen.append(shape)
    assert len(set(seen)) > 0.95 * len(dataset)  # whole batches of each canvas
    assert 0.25 < np.mean([shape == TALL for shape in shapes_seen]) < 0.42
    order = [shape == TALL for shape in shapes_seen]
    assert any(order[i] != order[i + 1] for i in range(5))  # mixed, not one after the other


def test_they_resume_and_split_among_processes(shapes):
    dataset = data.open("shapes_val", dir=shapes)
    whole, resumed = train_batches(dataset), train_batches(dataset)
    for _ in range(9):
        next(whole)
    resumed.set_state(whole.get_state())
    parts = [train_batches(dataset, process_index=i, process_count=2) for i in (0, 1)]
    for _ in range(9):
        [next(part) for part in parts]
    for _ in range(6):
        expected = next(whole)
        jax.tree.map(np.testing.assert_array_equal, next(resumed), expected)
        both = [next(part) for part in parts]
        joined = jax.tree.map(lambda *x: np.concatenate(x), *both)
        jax.tree.map(np.testing.assert_array_equal, joined, expected)


def test_turns_take_every_batch_of_a_canvas_once():
    counts, seen = (5, 2, 1), []
    for step in range(3 * sum(counts)):
        seen.append(batches._turn(step, counts, 0))
    assert len(set(seen)) == len(seen)
    for which, count in enumerate(counts):
        numbers = [number for turn, number in seen if turn == which]
        assert numbers == list(range(3 * count))
    assert seen[:8] != [(turn, number - counts[turn]) for turn, number in seen[8:16]]


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_sees_every_image_once(shapes, processes):
    dataset = data.open("shapes_val", dir=shapes)
    seen = []
    for i in range(processes):
        of_process = data.eval_batches(
            dataset,
            batch_size=32,
            max_objects=1,
            canvas=on_two(dataset),
            process_index=i,
            process_count=processes,
        )
        for batch in of_process:
            assert batch.image.shape[:3] in [(32 // processes, *WIDE), (32 // processes, *TALL)]
            seen += batch.id[batch.valid].tolist()
            assert (batch.size[~batch.valid] == 0).all()
    assert sorted(seen) == list(range(len(dataset)))


# --- one image, through evaluation and prediction ---


class Finder:
    """A detector of the brightest pixel: its box is that pixel, whatever the input's shape."""

    size, classes, fill = 64, CLASSES, (0.0, 0.0, 0.0)
    fit = staticmethod(functools.partial(fit.shorter_side, longest=128))

    def predict(self, variables, pixels, inside=None):
        from jaxdet.types import Detections

        rows, columns = pixels.shape[1:3]
        place = pixels.sum(-1).reshape(len(pixels), -1).argmax(axis=1)
        y, x = jnp.divmod(place, columns)
        boxes = jnp.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], axis=-1)
        ones = jnp.ones((len(pixels), 1))
        return Detections(boxes[:, None], ones, jnp.zeros(ones.shape, int), ones > 0)


@pytest.mark.parametrize("size", [(40, 60), (90, 50), (30, 30), (20, 80)])
def test_boxes_are_in_pixels_of_the_image_again(size):
    image = np.zeros((*size, 3), np.uint8)
    image[10:13, 15:18] = 200
    canvas = (
        np.zeros((64, 128, 3), np.uint8) if size[1] >= size[0] else np.zeros((128, 64, 3), "u1")
    )
    canvas, height, width = data.to_canvas(image, canvas.shape[:2])
    found = evaluate.view_and_predict(Finder(), {}, canvas[None], np.array([[height, width]]))
    one = evaluate.to_pixels(jax.tree.map(lambda x: x[0], found), size[1], size[0])
    assert 9.5 <= one.boxes[0][1] < one.boxes[0][3] <= 13.5
    assert 14.5 <= one.boxes[0][0] < one.boxes[0][2] <= 18.5


def test_images_of_all_aspects_are_detected_in_their_order(monkeypatch):
    """In batches by canvas; results come back in the order of the images."""
    made = recipe()
    calls = []

    def detect_batch(self, images, canvas, limits, batch_size):
        calls.append((canvas, len(images)))
        heights = [np.float32([image.shape[0]]) for image in images]
        return [ImageDetections(np.zeros((1, 4)), each, np.zeros(1, int)) for each in heights]

    monkeypatch.setattr(inference.Pretrained, "_detect_batch", detect_batch)
    images = [np.zeros((*size, 3), np.uint8) for size in [(60, 80), (80, 60), (62, 81), (63, 150)]]
    model = inference.Pretrained(made, {}, step=0)
    found = model.detect(images, batch_size=2)
    assert [each.scores.tolist() for each in found] == [[60], [80], [62], [63]]
    assert sorted(calls) == sorted([(WIDE, 2), (TALL, 1), (LONG, 1)])
    assert model.detect([]) == []
