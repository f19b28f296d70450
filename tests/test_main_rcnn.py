"""Faster R-CNN through everything that a user does, on images of several aspects."""

import json

import cv2
import jax
import numpy as np
import pytest
from etils import epath

import jaxdet
from configs import quickstart_faster_rcnn
from jaxdet import data, doctor, predict
from jaxdet.demo import server as demo
from jaxdet.engine import buckets, evaluate
from jaxdet.engine.train import train
from jaxdet.report import page
from jaxdet.report.evidence import gather
from jaxdet.training import checkpoint

CANVASES = ((64, 128), (128, 64))


def recipe(shapes, **changes):
    """Four steps of a thin network in bfloat16, with all that can change what a step is."""
    config = quickstart_faster_rcnn.get_config()
    del config.model.fit, config.data.canvas
    config.model.fit = dict(name="shorter_side", longest=128)
    config.model.update(size=64, dtype="bfloat16")
    config.model.backbone.channels = (8, 8, 8, 16, 16)
    config.model.neck.channels = 16
    config.data.update(dir=str(shapes), canvas=CANVASES, batch_size=8)
    config.evaluation.batch_size = 40
    config.schedule.update(steps=4, warmup=1)
    config.model.detector.update(candidates=(32, 32), proposals=(16, 16), regions_drawn=8)
    config.step.update(ema_decay=0.9, frozen=("backbone/down1",))
    config.every.update(log=1, picture=2, checkpoint=4, evaluation=4)
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def whole(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rcnn") / "whole"
    run = train(recipe(shapes), epath.Path(folder))
    return folder, run


@pytest.mark.slow
def test_resumes_bit_for_bit(shapes, whole, tmp_path, capsys):
    """With shapes drawn anew for every step, a moving average, a frozen layer."""
    folder, _ = whole
    half = tmp_path / "half"
    train(recipe(shapes), epath.Path(half), until=2)
    said = capsys.readouterr().out
    assert "inputs of 2 shapes, a program each: 64x128, 128x64" in said
    train(recipe(shapes), epath.Path(half))
    jax.tree.map(np.testing.assert_array_equal, *map(checkpoint.read_state, (folder, half)))


@pytest.mark.slow
def test_evaluates_reports_and_shows(shapes, whole, tmp_path):
    folder, run = whole
    result = evaluate.evaluate_newest(recipe(shapes), epath.Path(folder))
    assert 0 <= result["AP50"] <= 1
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert np.isfinite([line[k] for k in ("rpn_class", "rpn_box", "class", "box")]).all()

    model = jaxdet.load(folder)
    images = [np.full((*size, 3), 90, np.uint8) for size in [(40, 60), (60, 40), (30, 90), (9, 90)]]
    found = model.detect(images)
    assert len(found) == 4
    alone = [model.detect([image])[0] for image in images]
    for one, other, image in zip(found, alone, images, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.5)
        assert (one.boxes >= 0).all() and (one.boxes <= np.array([*image.shape[1::-1]] * 2)).all()

    place = tmp_path / "images"
    place.mkdir()
    for name, image in zip("abcd", images, strict=True):
        cv2.imwrite(str(place / f"{name}.png"), image)
    arguments = [f"--workdir={folder}", f"--input={place}", f"--output={tmp_path / 'out'}"]
    assert predict.main([*arguments, "--score_threshold=0"]) == 0
    assert "Most confident mistakes" in page.render(gather(folder, dir=None, root=None))
    server = demo.Server(model, port=0)
    server.server_close()
    server.detect(cv2.imencode(".png", images[0])[1].tobytes())
    assert run.recipe.detector.fit.keywords == {"longest": 128}


@pytest.mark.slow
def test_the_doctor_knows_it(shapes, tmp_path):
    rows = doctor.examine(recipe(shapes), str(tmp_path), device_bytes=2**33, steps=False)
    rows = {row.check: row for row in rows}
    assert not [row for row in rows.values() if row.fails]
    assert {"memory", "objects without anchor"} <= set(rows)


def test_its_inputs_hold_every_image_of_the_set(shapes, whole):
    dataset, made = data.open("shapes_val", dir=shapes), whole[1].recipe
    on = buckets.canvases(made, dataset.table.sizes)
    height, width = dataset.table.sizes.T
    assert (on.of_image[width >= height] == 0).all()
    assert (on.of_image[height > 1.05 * width] == 1).all()  # a nearly square one fits in both
