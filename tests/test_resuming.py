"""A run goes on with the classes it has learnt; other data and other steps are said."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from conftest import train

from configs import quickstart
from jaxdet import build, data
from jaxdet.data import table
from jaxdet.engine import init_from, resuming
from jaxdet.training import checkpoint, logs, workdir
from jaxdet.types import Annotation


@pytest.fixture(scope="module")
def dataset():
    """Six images with two objects each."""
    boxes = np.random.default_rng(0).uniform(0, 1, (12, 4)).astype(np.float32)
    images = [
        Annotation(
            id=f"image_{i}",
            height=20 + i,
            width=30,
            boxes=boxes[2 * i : 2 * i + 2],
            labels=np.array([0, i % 3]),
            difficult=np.zeros(2, bool),
            crowd=np.zeros(2, bool),
            area=np.ones(2),
        )
        for i in range(6)
    ]
    columns = table.from_annotations(images, range(6))
    return data.Dataset("mine/train", ("disc", "ring", "cross"), (), columns, np.zeros(6, int))


def changed(dataset, **columns):
    return dataclasses.replace(dataset, table=dataclasses.replace(dataset.table, **columns))


def recipe(**schedule):
    config = quickstart.get_config()
    config.schedule.update(schedule)
    return build.recipe(config, ("a", "b"))


def test_other_classes_are_refused(dataset):
    resuming.check_classes({"classes": list(dataset.classes)}, dataset)
    for other in (("bird", *dataset.classes[1:]), dataset.classes[:-1], dataset.classes[::-1]):
        with pytest.raises(ValueError) as refused:
            resuming.check_classes({"classes": list(other)}, dataset)
        said = str(refused.value)
        assert f"the checkpoint has the classes ({', '.join(other)}), mine/train has " in said
        assert "(disc, ring, cross); " in said
        assert "another --workdir" in said and "--config.init_from" in said


def test_other_data_are_said(dataset):
    stored = {resuming.TRAINED_ON: resuming.trained_on(dataset)}
    assert resuming.changed_data(stored, dataset) is None
    assert resuming.changed_data({}, dataset) is None  # of earlier versions
    moved = changed(dataset, boxes=np.roll(dataset.table.boxes, 1, axis=0))
    assert "as before, but other names, sizes, boxes" in resuming.changed_data(stored, moved)
    renamed = changed(dataset, ids=np.char.add(dataset.ids, "x"))
    assert "as before" in resuming.changed_data(stored, renamed)
    fewer = changed(
        dataset,
        ids=dataset.table.ids[:-1],
        sizes=dataset.table.sizes[:-1],
        starts=dataset.table.starts[:-1],
    )
    found = "6 images and 12 objects before, 5 images and 12 objects now; the run goes on"
    assert re.search(found, resuming.changed_data(stored, fewer))


def test_what_other_steps_do_to_the_rate():
    before = recipe(steps=100)
    stored = before.description
    said = lambda number, **schedule: resuming.changed_steps(stored, recipe(**schedule), number)
    assert said(50, steps=100) is None
    assert said(100, steps=100) == "100 of 100 are done, nothing is left to train"
    assert "steps was 100, is 30: 50 are done, nothing is left" in said(50, steps=30)
    now = recipe(steps=200)
    line = said(50, steps=200)
    assert "config.schedule.steps was 100, is 200: the learning rate at step 50 is " in line
    assert f"is {float(now.rate(50)):.3g}, " in line
    assert line.endswith(f"instead of {float(before.rate(50)):.3g}")


def test_shares_and_the_same_number_of_steps_are_one_recipe(tmp_path):
    config = lambda **schedule: {"schedule": {"steps": 1000, **schedule}}
    workdir.claim(tmp_path, config(warmup=100, boundaries=[500, 750]))
    workdir.claim(tmp_path, config(warmup=0.1, boundaries=[0.5, 0.75]))
    with pytest.raises(ValueError, match="boundaries was"):
        workdir.claim(tmp_path, config(warmup=0.1, boundaries=[0.5, 0.8]))
    workdir.claim(
        tmp_path,
        {
            "schedule": {
                **config(warmup=0.1, boundaries=[0.5, 0.75])["schedule"],
                "steps": 2000,
                "epochs": 3.0,
            }
        },
    )


def test_classes_of_other_names_start_afresh(tmp_path, capsys):
    """As many classes, of which one has the same name."""
    config = quickstart.get_config()
    config.model.backbone.channels, config.model.neck.channels = (8,) * 5, (8,)
    old = build.recipe(config, ("cat", "dog", "cow"))
    weights = jax.tree.map(lambda x: x + 1, old.detector.init(jax.random.key(3)))
    checkpoint.write(tmp_path, weights, old.description)
    new = build.recipe(config, ("bird", "dog", "fish"))
    got = init_from.initial_variables(new, str(tmp_path))
    assert "fresh: class bird, class fish" in capsys.readouterr().out
    fresh = new.detector.init(jax.random.key(config.seed))
    bias = lambda variables: np.array(variables["params"]["head"]["logits0"]["bias"]).reshape(-1, 4)
    expected = bias(weights).copy()
    expected[:, [1, 3]] = bias(fresh)[:, [1, 3]]  # the background is column 0
    np.testing.assert_array_equal(bias(got), expected)


@pytest.mark.slow
def test_a_run_counts_epochs_and_says_what_more_of_them_do(shapes, tmp_path):
    options = [
        "--config.schedule.epochs=0.02",
        "--config.schedule.warmup=0.25",
        "--config.every.evaluation=0",
        "--config.every.picture=0",
    ]
    said = train(shapes, tmp_path, *options)
    assert "0.02 epochs of 1,000 images in batches of 8 are 3 steps" in said
    assert checkpoint.steps(tmp_path)[-1] == 3
    assert json.loads((tmp_path / workdir.CONFIG).read_text())["schedule"]["steps"] == 3
    (line,) = [json.loads(x) for x in (tmp_path / logs.METRICS).read_text().splitlines()][-1:]
    assert line["step"] == 3 and 0 < line["learning_rate"] <= 4e-3
    said = train(shapes, tmp_path, *options, "--config.schedule.epochs=0.03")
    assert "config.schedule.steps was 3, is 4: the learning rate at step 3 is " in said
    description = checkpoint.read_description(tmp_path)
    assert description[resuming.TRAINED_ON]["images"] == 1000
