"""The command line, as a user meets it: train, resume, evaluate, predict, and clear refusals."""

import json
import re

import jax
import numpy as np
import pytest
from conftest import run, train

import jaxdet
from jaxdet import data
from jaxdet.training import checkpoint, logs


@pytest.mark.slow
def test_training_says_what_it_trains_on_and_where_things_are(trained):
    workdir, output = trained
    assert "shapes_train: 1,000 pictures" in output
    assert "2,136 boxes" not in output and "boxes at 64x64 pixels" in output
    assert "class-wise NMS at IoU 0.45" in output  # the protocol stands beside the numbers
    for name in ("checkpoints/6", logs.METRICS, logs.TENSORBOARD, "predictions.png"):
        assert (workdir / name).exists() and f"{workdir}/{name}" in output
    lines = [json.loads(line) for line in (workdir / logs.METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [2, 4, 6]
    assert [line["step"] for line in lines if line["kind"] == "eval"] == [6]


@pytest.mark.slow
def test_resumes_with_moving_average_accumulation_and_frozen_parts(shapes, tmp_path):
    options = [
        "--config.step.ema_decay=0.9",
        "--config.step.accumulate=2",
        "--config.step.frozen=('backbone/down1',)",
        "--config.schedule.steps=4",
        "--config.every.picture=0",
    ]
    train(shapes, tmp_path / "whole", *options)
    assert "resumed at" not in train(shapes, tmp_path / "half", *options, "--until=2")
    assert "resumed at step 2" in train(shapes, tmp_path / "half", *options)
    assert_same_state(tmp_path / "whole", tmp_path / "half")


def assert_same_state(a, b):
    (said_a, _, step_a), (said_b, _, step_b) = checkpoint.read(a), checkpoint.read(b)
    assert step_a == step_b and said_a == said_b
    states = [checkpoint.read_state(folder) for folder in (a, b)]
    assert len(jax.tree.leaves(states[0])) > 50
    jax.tree.map(np.testing.assert_array_equal, *states)
    position = f"checkpoints/{step_a}/data/metadata"
    assert (a / position).read_text() == (b / position).read_text()
    numbers = [
        [
            {k: v for k, v in json.loads(line).items() if k != "images_per_second"}
            for line in (folder / logs.METRICS).read_text().splitlines()
            if json.loads(line)["step"] == step_a
        ]
        for folder in (a, b)
    ]
    assert numbers[0][-1] == numbers[1][-1]  # the evaluation


@pytest.mark.slow
def test_evaluates_without_a_config(shapes, trained, tmp_path):
    """The workdir's own recipe, with everything that was changed on the command line."""
    workdir, training_output = trained
    said = run("--mode=eval", f"--workdir={workdir}")
    rows = [line for line in training_output.splitlines() if line.startswith("disc ")]
    assert rows[-1] in said
    assert "holds no run: there is no config.json" in run(
        "--mode=eval", f"--workdir={tmp_path / 'none'}", ok=False
    )
    assert "--mode=train needs a recipe" in run(f"--workdir={tmp_path}", ok=False)


@pytest.mark.slow
def test_evaluates_the_newest_checkpoint(shapes, trained):
    workdir, training_output = trained
    output = train(shapes, workdir, "--mode=eval")
    rows = [line for line in training_output.splitlines() if line.startswith("disc ")]
    assert len(rows) == 1 and rows[0] in output
    result = json.loads((workdir / "evaluation.json").read_text())
    assert result["step"] == 6 and "NMS" in result["protocol"]


@pytest.mark.slow
def test_load_needs_no_config_and_gives_boxes_in_pixels(trained):
    detector = jaxdet.load(trained[0])
    assert detector.classes == ("disc", "ring", "square", "triangle", "cross")
    picture = np.random.default_rng(0).integers(0, 255, (90, 200, 3), np.uint8)
    found = detector(picture)
    assert len(found.boxes) == len(found.scores) == len(found.names) > 0
    assert (found.boxes >= 0).all() and (found.boxes <= [200, 90, 200, 90]).all()
    assert found.boxes.max() > 1.5  # not fractions
    (again,) = detector.detect([picture])
    np.testing.assert_allclose(again.boxes, found.boxes)
    many = detector.detect([picture] * 3 + [picture[:, :50]] * 7)
    np.testing.assert_allclose(many[2].boxes, found.boxes, atol=1e-2)
    with pytest.raises(ValueError, match="expected RGB uint8"):
        detector(np.zeros((3, 3)))


@pytest.mark.slow
def test_predict_writes_pictures_and_coco_results(shapes, trained, tmp_path):
    from jaxdet import visualize

    dataset = data.open("shapes_val", dir=shapes)
    for i in range(2):
        visualize.save_png(tmp_path / "in" / f"{i}.png", dataset.image(i))
    places = {"workdir": trained[0], "input": tmp_path / "in", "output": tmp_path / "out"}
    run(*(f"--{k}={v}" for k, v in places.items()), module="jaxdet.predict")
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {"image_id", "category_id", "bbox", "score"} <= set(results[0])
    assert len([p for p in (tmp_path / "out").iterdir() if p.suffix in (".png", ".jpg")]) == 2


@pytest.mark.slow
def test_loss_that_is_not_finite_names_the_pictures_and_keeps_the_checkpoint(shapes, tmp_path):
    rate = ["--config.schedule.peak=1e30", "--config.every.checkpoint=1"]
    bare = ["--config.every.picture=0", "--config.every.evaluation=0"]
    output = train(shapes, tmp_path, *rate, *bare, ok=False)
    assert "train_0" in output and "Traceback" not in output
    (step,) = map(int, re.findall(r"not finite at step (\d+)", output))
    assert checkpoint.steps(tmp_path)[-1] == step - 1 > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.schedule.stepz=3"], "did you mean config.schedule.steps?"),
        (["--config.sed=3"], "did you mean config.seed?"),
        (["--config", "configs/quickstart.py", "--config.sed=3"], "did you mean config.seed?"),
        (["--config.schedule.steps=many"], "many"),
        (["--config.model.backbone.name=plan"], "did you mean 'plain'?"),
        (["--config.data.train=shapes_trian"], "did you mean 'shapes_train'?"),
        (["--config.evaluation.metric=vok"], "did you mean 'voc'?"),
        (["--config.data.batch_size=0"], "data.batch_size is 0, expected at least 1"),
        (["--config.step.accumulate=3"], "batch_size is 8, expected a positive multiple of 3"),
        (["--config.step.accumulate=0"], "step.accumulate is 0, expected at least 1"),
        (["--config.every.keep=0"], "every.keep is 0, expected at least 1"),
        (["--config.step.unfreeze_at=3"], "needs config.optimiser.name='sgd'"),
        (["--mode=evaluate"], "mode"),
        (["--mode=eval"], "no checkpoint in"),
        (["stray"], "unknown arguments"),
    ],
)
def test_refuses_with_one_clear_line(shapes, tmp_path, arguments, message):
    output = train(shapes, tmp_path / "w", *arguments, ok=False)
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "w" / "checkpoints").exists()


@pytest.mark.slow
def test_another_recipe_in_the_same_workdir_is_refused(shapes, trained):
    workdir, _ = trained
    output = train(shapes, workdir, "--config.seed=1", ok=False)
    assert "config.seed was 0, is 1" in output and "Traceback" not in output
