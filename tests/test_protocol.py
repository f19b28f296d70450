"""Training, evaluation and every command need nothing of a detector but `types.Detector`."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

import jaxdet
from configs import quickstart
from jaxdet import build, doctor, models, predict
from jaxdet.augment.fit import stretch
from jaxdet.boxes.anchors import prior_boxes
from jaxdet.boxes.matching import by_cell
from jaxdet.boxes.nms import greedy
from jaxdet.demo import server as demo
from jaxdet.engine import evaluate
from jaxdet.engine.train import train as train_run
from jaxdet.report import page
from jaxdet.report.evidence import gather
from jaxdet.training import parallel, state
from jaxdet.training.step import train_step
from jaxdet.types import Objects


@dataclasses.dataclass(frozen=True)
class Fake:
    """A detector without a network: it learns one constant score for each class, on one grid."""

    size: int
    classes: tuple[str, ...]
    fit: Callable = stretch
    fill: tuple[float, float, float] = (128.0, 128.0, 128.0)

    def init(self, key):
        return {"params": {"bias": jax.random.normal(key, (len(self.classes),))}, "batch_stats": {}}

    def loss(self, variables, pixels, objects, *, key, train=True, inside=None):
        _, targets = self.matched(objects, pixels.shape[1:3])
        wanted = jax.nn.one_hot(targets.labels, len(self.classes)) * targets.positive[..., None]
        logits = jnp.broadcast_to(variables["params"]["bias"][None, None], wanted.shape)
        total = optax.sigmoid_binary_cross_entropy(logits, wanted).sum()
        return {"class": (total, jnp.float32(wanted.size))}, {}

    def forward(self, variables, pixels, inside=None):
        shape, count = pixels.shape[1:3], pixels.shape[0]
        boxes = jnp.tile(self._anchors(shape).cell, (count, 1, 1))
        boxes = jnp.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)
        shape = (*boxes.shape[:2], len(self.classes))
        scores = jax.nn.sigmoid(variables["params"]["bias"])[None, None] + 0.0 * pixels.mean()
        return boxes, jnp.broadcast_to(scores, shape)

    def predict(self, variables, pixels, inside=None):
        nms = lambda boxes, scores: greedy(
            boxes, scores, score_threshold=0.0, iou_threshold=0.5, max_kept=10
        )
        return jax.vmap(nms)(*self.forward(variables, pixels))

    def matched(self, objects, shape):
        anchors = self._anchors(shape)
        return anchors, jax.vmap(lambda one: by_cell(anchors, one))(objects)

    def _anchors(self, shape):
        return prior_boxes(((4, 4),), shape, priors=[[(shape[1] / 4, shape[0] / 4)]])


@pytest.fixture
def fake_is_built(monkeypatch):
    """Every recipe's detector is the fake one."""
    make = lambda config, classes: Fake(config.model.size, classes)
    monkeypatch.setattr(build, "_detector", make)


def config_for(shapes):
    config = quickstart.get_config()
    config.model.size = 64
    config.data.update(dir=str(shapes), canvas=64, batch_size=8)
    config.evaluation.batch_size = 40
    config.schedule.update(steps=4, warmup=1)
    config.every.update(log=1, picture=2, checkpoint=4, evaluation=4)
    return config


@pytest.mark.slow
def test_everything_runs_with_any_detector(shapes, tmp_path, fake_is_built):
    workdir, config = tmp_path / "run", config_for(shapes)
    run = train_run(config, epath.Path(workdir))
    assert int(run.state.step) == 4
    assert isinstance(run.recipe.detector, Fake)

    result = evaluate.evaluate_newest(config, epath.Path(workdir))
    assert 0 <= result["AP50"] <= 1

    model = jaxdet.load(workdir)
    image = np.full((40, 60, 3), 90, np.uint8)
    assert len(model.detect([image])[0].scores) == 10

    data_dir = tmp_path / "images"
    data_dir.mkdir()
    (data_dir / "one.png").write_bytes(_png(image))
    arguments = [f"--workdir={workdir}", f"--input={data_dir}", f"--output={tmp_path / 'out'}"]
    assert predict.main([*arguments, "--score_threshold=0"]) == 0
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 10

    text = page.render(gather(workdir, dir=None, root=None))
    assert "Most confident mistakes" in text

    server = demo.Server(model, port=0)
    server.server_close()
    assert server.detect(_png(image))["names"]

    rows = list(doctor.examine(config, str(workdir), device_bytes=2**33, steps=True))
    assert not [row for row in rows if row.fails]
    assert {"memory", "time", "objects without anchor"} <= {row.check for row in rows}

    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        '"""Published: nothing. Measured here: no."""\n'
        "import json\nfrom ml_collections import ConfigDict\n\n\n"
        f"def get_config():\n    return ConfigDict(json.loads({config.to_json()!r}))\n"
    )
    assert models.row(recipe)[4] == "16"  # anchors


def _png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def test_a_step_needs_only_the_protocol():
    detector, tx = Fake(32, ("a", "b")), optax.sgd(0.5)
    variables = detector.init(jax.random.key(0))
    objects = data_objects()
    view = lambda key, batch: (jnp.zeros((2, 32, 32, 3)), objects, jnp.zeros((2, 4)))
    step = jax.jit(train_step(detector, tx, view))
    first = state.create(variables, tx, ema=False)
    now, losses = first, []
    for _ in range(30):
        now, scalars = step(now, None, np.uint32(0))
        losses.append(float(scalars["loss"]))
    assert losses[-1] < losses[0]
    mesh = parallel.mesh()
    assert callable(evaluate.predict_step(detector, mesh))


def data_objects():
    boxes = np.tile(np.array([[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]], np.float32), (2, 1, 1))
    ones = np.ones((2, 2))
    return Objects(boxes, np.array([[0, 1]] * 2), ones.astype(bool), ones.astype(np.float32))


def test_only_the_protocol_is_used_outside_the_detectors():
    """No file of training, engine or the commands names a field of OneStage that it lacks."""
    package = pathlib.Path(build.__file__).parent
    files = [*package.glob("*.py"), *(package / "engine").glob("*.py")]
    files += [*(package / "training").glob("*.py"), *(package / "report").glob("*.py")]
    files += [*(package / "anchors").glob("*.py")]
    beyond = re.compile(r"detector\.(net|anchors_at|anchors|assign|losses|decode|nms)\b")
    code = re.compile(r'"""(?:.|\n)*?"""|(?<!f)"[^"\n]*"|f"[^"\n]*"')
    for path in files:
        assert not beyond.search(code.sub("", path.read_text())), path
