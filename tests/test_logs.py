"""metrics.jsonl without doubles after a resume, TensorBoard beside it."""

import json

import numpy as np

from jaxdet.training import logs


def lines(folder):
    return [json.loads(line) for line in (folder / logs.METRICS).read_text().splitlines()]


def test_a_resumed_run_cuts_what_it_will_write_again(tmp_path):
    log = logs.Log(tmp_path, resumed_at=0)
    for step in (1, 2, 3):
        log.scalars(step, "train", {"loss": step / 2})
    log.close()
    with (tmp_path / logs.METRICS).open("a") as file:
        file.write('{"step": 4, "kin')  # killed while writing
    log = logs.Log(tmp_path, resumed_at=2)
    log.scalars(3, "train", {"loss": 9.0})
    log.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (1, 0.5),
        (2, 1.0),
        (3, 9),
    ]


def test_tensorboard_gets_scalars_and_images(tmp_path):
    log = logs.Log(tmp_path, resumed_at=0)
    log.scalars(1, "eval", {"mAP": np.float32(0.5)})
    log.image(1, "batch", np.zeros((4, 6, 3), np.uint8))
    log.close()
    (events,) = (tmp_path / logs.TENSORBOARD).iterdir()
    content = events.read_bytes()
    assert b"eval/mAP" in content and b"PNG" in content
    assert lines(tmp_path) == [{"step": 1, "kind": "eval", "mAP": 0.5}]
