"""The doctor: what it finds right, and that each thing that would fail is found."""

import dataclasses
import functools
import runpy
import shutil
import types

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_record.python import array_record_module as array_record
from conftest import ROOT, SMALL, run
from tiny_sets import write_voc

from jaxdet import build, data, doctor
from jaxdet.augment.fit import letterbox, stretch
from jaxdet.boxes import matching
from jaxdet.data import part, table
from jaxdet.engine import dataset_fit, setup, step_cost
from jaxdet.types import Anchors, Annotation

GIB = 2**30
CLASSES = ("disc", "ring", "square")


def doctor_on(dir, *arguments, **options):
    where = f"--config.data.dir={dir}"
    return run(
        "--config=configs/quickstart.py",
        where,
        *SMALL,
        *arguments,
        module="jaxdet.doctor",
        **options,
    )


def lines(output, check):
    return [line for line in output.splitlines() if line[6:].startswith(check)]


@pytest.mark.slow
def test_a_sound_recipe_passes_and_says_what_training_will_cost(shapes, tmp_path):
    output = doctor_on(shapes, f"--workdir={tmp_path / 'not' / 'yet'}")
    assert "FAIL" not in output and "Traceback" not in output
    assert not (tmp_path / "not").exists()  # it only looks
    assert len(lines(output, "images decode")) == len(lines(output, "boxes valid")) == 2
    assert "1,000 in shapes_train" in lines(output, "images decode")[0]
    (classes,) = lines(output, "objects by class")
    assert all(f"{name} " in classes for name in ("disc", "ring", "square", "triangle", "cross"))
    (time,) = lines(output, "time")
    assert "s per step" in time and "6 steps" in time
    (memory,) = lines(output, "memory")
    assert 0 < float(memory[6:].split()[1]) < 1  # GiB


@pytest.mark.slow
def test_a_batch_too_large_for_the_memory_fails_before_a_step_is_run(shapes, tmp_path):
    output = doctor_on(shapes, "--memory_gib=0.001", f"--workdir={tmp_path}", ok=False)
    assert lines(output, "memory")[0].startswith("FAIL")
    assert "no step was run" in lines(output, "time")[0]
    assert "checks fail: memory" in output and "Traceback" not in output


@pytest.mark.slow
def test_a_truncated_picture_fails_and_is_named(tmp_path):
    objects = [("dog", 5, 5, 30, 25, 0)]
    pictures = {"train": {"000001": objects, "000002": objects}, "val": {"000003": objects}}
    write_voc(tmp_path / "VOCdevkit", pictures)
    sets = dict(dir=tmp_path / "prepared", root=tmp_path / "VOCdevkit")
    for name in ("voc_2007_train", "voc_2007_val"):
        data.open(name, **sets)
    truncate_picture(next((tmp_path / "prepared" / "voc_2007_train").rglob("*.array_record*")))
    output = doctor_on(
        sets["dir"],
        f"--config.data.root={sets['root']}",
        "--config.data.train=voc_2007_train",
        "--config.data.eval=voc_2007_val",
        ok=False,
    )
    train, val = lines(output, "images decode")
    assert train.startswith("FAIL") and val.startswith("ok")
    assert "1 of 2" in train and "has no end marker" in train and "00000" in train
    assert "no step was run" in lines(output, "time")[0]
    assert "checks fail: images decode" in output and "Traceback" not in output


def truncate_picture(path):
    """Overwrites the end of the first picture of a file of records with zeros."""
    reader = array_record.ArrayRecordReader(str(path))
    records = reader.read_all()
    reader.close()
    end = records[0].rindex(b"\xff\xd9")
    records[0] = records[0][: end - 20] + bytes(22) + records[0][end + 2 :]
    writer = array_record.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.evaluation.metric=vok", "did you mean 'voc'?"),
        ("--config.evaluation.batch_size=0", "config.evaluation.batch_size is 0, expected"),
    ],
)
def test_a_recipe_that_cannot_work_ends_with_one_clear_line(shapes, argument, message):
    output = doctor_on(shapes, argument, ok=False)
    assert message in output and "Traceback" not in output
    assert not lines(output, "images decode")


def test_a_full_disk_fails(monkeypatch, tmp_path):
    usage = types.SimpleNamespace(free=5 * GIB)
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    row = doctor.disk_row(6 * GIB, str(tmp_path / "not" / "yet"))
    assert row.fails and "6.00 GiB of checkpoints, 5.00 GiB free" in row.found
    assert asked == [tmp_path]  # the nearest folder that is there
    assert not doctor.disk_row(4 * GIB, str(tmp_path)).fails
    assert not doctor.disk_row(6 * GIB, "gs://bucket/run").fails
    assert doctor.disk_row(6 * GIB, None).level == "warn"  # it cannot know


def annotation(name, boxes, labels, **more):
    none = np.zeros(len(labels), bool)
    values = dict(difficult=none, crowd=none, area=np.ones(len(labels), np.float32)) | more
    height, width = values.pop("size", (100, 100))
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Annotation(name, height, width, boxes, np.array(labels, np.int32), **values)


def dataset_of(*annotations):
    columns = table.from_annotations(annotations, range(len(annotations)))
    only = part.Part("some", CLASSES, [], columns, {})
    return data.Dataset("some", CLASSES, (only,), columns, np.zeros(len(annotations), int))


def four_anchors(*, fit=stretch):
    """Four squares that tile the image, as a detector that matches as SSD does."""
    low = np.array([[0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5]], np.float32)
    cells = np.concatenate([low, np.full((4, 2), 0.5, np.float32)], axis=1)
    boxes = np.concatenate([low + 0.25, np.full((4, 2), 0.5, np.float32)], axis=1)
    anchors = Anchors(boxes=boxes, cell=cells)
    match = jax.vmap(functools.partial(matching.match, anchors, iou_threshold=0.5))

    def matched(objects, shape):
        assert shape == (200, 200)
        return anchors, match(objects)

    return types.SimpleNamespace(size=200, fit=fit, matched=matched)


def on_one_canvas(set_):
    return data.Canvases(((500, 500),), np.zeros(len(set_), int))


def quickstart(**changes):
    """The recipe of configs/quickstart.py, with other values for some of its fields."""
    config = runpy.run_path(str(ROOT / "configs/quickstart.py"))["get_config"]()
    return dataclasses.replace(build.recipe(config, CLASSES), **changes)


def test_objects_that_no_anchor_meets_are_counted():
    exact, quarter = [0, 0, 0.5, 0.5], [0.5, 0.5, 0.75, 0.75]
    third = [0.6, 0.5, 0.85, 0.75]  # in the same square as `quarter`: the later one gets it
    set_ = dataset_of(
        annotation("a", [exact, quarter, third], [0, 1, 2]),
        annotation("none", [], []),
        annotation("b", [exact, quarter], [2, 2], crowd=np.array([True, False])),
        annotation("c", [exact], [1], difficult=np.array([True])),
        *[annotation(f"{i}", [exact], [0]) for i in range(70)],  # more than are looked at together
    )
    found = dataset_fit.fit(four_anchors(), set_, on_one_canvas(set_), keep_difficult=False)
    np.testing.assert_array_equal(found.labels, [0, 1, 2, 2] + [0] * 70)
    np.testing.assert_allclose(found.best_iou, [1, 0.25, 0.25, 0.25] + [1] * 70, atol=1e-6)
    np.testing.assert_array_equal(found.assigned, [True, False, True, True] + [True] * 70)
    np.testing.assert_allclose(found.sides[:2], [[100, 100], [50, 50]])
    kept = dataset_fit.fit(four_anchors(), set_, on_one_canvas(set_), keep_difficult=True)
    assert len(kept.labels) == len(found.labels) + 1


def test_a_letterbox_shows_objects_smaller():
    """An image twice as wide as high, wholly covered, is half as high as the input."""
    set_ = dataset_of(annotation("wide", [[0, 0, 1, 1]], [0], size=(50, 100)))
    found = dataset_fit.fit(
        four_anchors(fit=letterbox), set_, on_one_canvas(set_), keep_difficult=False
    )
    np.testing.assert_allclose(found.sides, [[200, 100]])
    # 1 x 1/2 across the middle meets half of each square: 1/8 of 1/2 + 1/4 - 1/8.
    np.testing.assert_allclose(found.best_iou, [0.125 / 0.625])


def test_object_rows_count_classes_sizes_and_misses():
    exact, small = [0, 0, 0.5, 0.5], [0.5, 0.5, 0.5625, 0.5625]  # 100 and 12.5 pixels of 200
    set_ = dataset_of(annotation("a", [exact, small, exact], [0, 2, 2]))
    recipe = quickstart(detector=four_anchors())
    rows = {row.check: row.found for row in doctor.object_rows(recipe, set_)}
    assert rows["objects by class"] == "disc 1, ring 0, square 2; 1 of 3 classes have none: ring"
    assert "under 8: 0, from 8: 1, from 16: 0, from 32: 0, from 64: 2" in rows["objects by size"]
    assert rows["objects without anchor"].startswith(
        "1 of 3 (33.3%); too small"
    )  # two are the same but for the class
    assert rows["objects under IoU 0.5"] == "1 of 3 (33.3%)"
    levels = {row.check: row.level for row in doctor.object_rows(recipe, set_)}
    assert levels.pop("objects by class") == levels.pop("objects without anchor") == "warn"
    assert set(levels.values()) == {"ok"}


def test_objects_beyond_max_objects_and_a_share_without_anchors_are_warned_of():
    set_ = dataset_of(
        annotation("a", [[0, 0, 0.5, 0.5]] * 40, [0] * 40),
        annotation("b", [[0, 0, 0.5, 0.5]] * 3, [1, 2, 2], difficult=np.array([False, True, True])),
    )
    row = doctor.number_row(quickstart(), set_)
    assert row.level == "warn" and "8 of 41 (19.5%)" in row.found  # one of b is easy
    assert "config.data.max_objects is 32" in row.found
    few = dataset_of(annotation("b", [[0, 0, 0.5, 0.5]] * 3, [0, 1, 2]))
    assert doctor.number_row(quickstart(), few).level == "ok"
    row = doctor._share_row("x", np.arange(100) < 6, doctor.UNMATCHED)
    assert row.level == "warn" and row.found.startswith("6 of 100 (6.0%); ")
    assert doctor._share_row("x", np.arange(100) < 5, doctor.UNMATCHED) == (
        "x",
        "5 of 100 (5.0%)",
        "ok",
    )


def test_a_set_of_difficult_objects_ends_with_what_training_says():
    set_ = dataset_of(
        annotation("a", [[0, 0, 0.5, 0.5]] * 3, [0, 1, 2], difficult=np.array([True] * 3)),
        annotation("b", [[0, 0, 0.5, 0.5]], [0], crowd=np.array([True])),
    )
    message = (
        "no image of some has an object to train on: of 4 objects 1 are crowds and 3 difficult"
    )
    with pytest.raises(
        ValueError, match=f"{message}, which config.data.keep_difficult=True keeps$"
    ):
        setup.check_trained_on(quickstart(), set_)
    kept = dataclasses.replace(quickstart().data, keep_difficult=True)
    setup.check_trained_on(quickstart(data=kept), set_)
    with pytest.raises(ValueError, match="no object to detect .*4 difficult objects or crowds"):
        setup.check_truth(quickstart(), set_)


def test_the_schedule_is_checked_before_the_data(tmp_path):
    output = doctor_on(tmp_path / "none", "--config.schedule.name=cosin", ok=False)
    assert "did you mean 'cosine'?" in output and "Traceback" not in output
    assert not (tmp_path / "none").exists()


def test_illegal_boxes():
    boxes = np.array(
        [
            [0, 0, 1, 1],
            [0.5, 0.2, 0.5, 0.4],  # empty
            [0.5, 0.2, 0.4, 0.4],  # inside out
            [-0.1, 0, 0.5, 0.5],
            [0, 0, 0.5, 1.1],
            [0, np.nan, 0.5, 0.5],
            [0, 0, 0.5, 0.5],  # of no class
        ]
    )
    set_ = dataset_of(annotation("a", boxes, [0, 0, 0, 0, 0, 0, 3]))
    np.testing.assert_array_equal(dataset_fit.illegal_boxes(set_), [False] + [True] * 6)
    set_.parts[0].records.append({"image": b"no picture"})
    decode, legal, *_ = doctor.image_rows(set_, 64)
    assert decode.fails and "not an image" in decode.found
    assert legal.fails and legal.found == "6 of 7 in some are invalid, the first in a"


def test_boxes_below_a_pixel_are_warned_of():
    set_ = dataset_of(annotation("a", [[0, 0, 0.5, 0.005], [0, 0, 0.5, 0.02]], [0, 0]))
    set_.parts[0].records.append({"image": b"no picture"})
    *_, row = doctor.image_rows(set_, 64)
    assert row == ("boxes below a pixel", "1 of 2 in some: numbers in another unit?", "warn")


def stored(image):
    return {"image": cv2.imencode(".png", image)[1].tobytes()}


def test_what_prepare_would_say_is_said_of_a_set_that_is_there_already():
    """Sets that another program prepared: their boxes may be in percent, their images turned."""
    percent = [[[x, 0.05, x + 0.05, 0.1] for x in (0.05, 0.1)]] * 3
    sizes = [(300, 400), (300, 400), (400, 300)]  # the last image is 300x400
    names = zip("abc", percent, sizes, strict=True)
    set_ = dataset_of(*(annotation(n, boxes, [0, 0], size=size) for n, boxes, size in names))
    set_.parts[0].records.extend([stored(np.zeros((300, 400, 3), np.uint8))] * 3)
    rows = {row.check: row for row in doctor.image_rows(set_, 64)}
    assert "are they in percent?" in rows["unit of boxes"].found
    assert rows["unit of boxes"].level == "warn" and rows["images decode"].level == "ok"
    differs = "1 in some: image size differs from the one in its annotation"
    assert differs in rows["to repair"].found and rows["to repair"].found.endswith(": c")
    tiny = np.array(percent) / 400
    set_ = dataset_of(*(annotation(n, tiny[0], [0, 0], size=(300, 400)) for n in "abc"))
    set_.parts[0].records.extend([stored(np.zeros((300, 400, 3), np.uint8))] * 3)
    rows = {row.check: row for row in doctor.image_rows(set_, 64)}
    assert rows["unit of boxes"].fails and "look like fractions" in rows["unit of boxes"].found


def test_memory_of_a_step_counts_what_is_donated_once():
    state, batch = jnp.zeros((256, 1024)), jnp.zeros((64, 1024))  # 1 MiB and 1/4 MiB
    step = lambda state, batch: (state + batch.sum(), batch.max())
    for donated, least in (((0,), 1.25), ((), 2.25)):
        compiled = jax.jit(step, donate_argnums=donated).lower(state, batch).compile()
        assert least <= step_cost.step_bytes(compiled) / 2**20 < least + 0.1


def test_checkpoints_are_counted_in_float_bytes():
    first = {"a": jnp.zeros((3, 5)), "step": jnp.zeros((), jnp.int32)}
    kept = 2 + 2  # and the best, and a new one
    assert step_cost.checkpoint_bytes(first, keep=2) == kept * (15 + 1) * 4


def test_time_of_an_epoch_and_of_the_schedule():
    recipe = quickstart(steps=5000)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, batch_size=10))
    found = doctor.describe_time(3600, recipe, seconds=2.0)
    assert found.startswith("2.000 s per step, 5.0 images/s; 0 h 12 min per epoch, ")
    assert "2 h 47 min for 5,000 steps" in found
