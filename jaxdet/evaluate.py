"""Evaluation: run a detector over a dataset and hand its detections to the metrics."""

import json
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from tqdm import tqdm

from jaxdet import augment, build, checkpoint, data, parallel, visualize, window, workdir
from jaxdet.detectors.detector import Detector
from jaxdet.metrics import coco, voc, voc_classification
from jaxdet.types import Array, Batch, Detections, Found

METRICS: dict[str, ModuleType] = {
    "coco": coco,
    "voc": voc,
    "voc_classification": voc_classification,
}
RESULT, PREDICTIONS = "evaluation.json", "predictions.png"
SHEET_SCORE = 0.3  # detections under it are left out of pictures, never out of numbers


def predict_step(detector: Detector, mesh: Mesh, *, letterbox: bool) -> Callable:
    """A compiled function (variables, batch) -> (Detections [B, M], id [B], valid [B]).

    It runs over all devices, and every process gets the rows of all. Boxes come out as fractions
    of the picture itself, wherever the view put it.
    """

    def step(variables: dict[str, Any], batch: Batch) -> tuple[Detections, Array, Array]:
        found = view_and_predict(detector, variables, batch.image, batch.size, letterbox=letterbox)
        return found, batch.id, batch.valid

    return parallel.pmap(step, mesh)


def view_and_predict(
    detector: Detector, variables: dict[str, Any], image: Array, size: Array, *, letterbox: bool
) -> Detections:
    """Detections [B, M] in the pictures of canvases [B, S, S, 3] filled to size [B, 2]."""
    view = partial(
        augment.eval_view, output=detector.size, letterbox=letterbox, fill=detector.net.mean
    )
    detections = detector.predict(variables, jax.vmap(view)(image, size))
    if not letterbox:
        return detections
    back = lambda boxes, filled: window.to_picture(boxes, window.letterbox_window(filled))
    return detections.replace(boxes=jax.vmap(back)(detections.boxes, size))


def to_pixels(detections: Detections, width: int, height: int) -> Found:
    """The valid detections [M] of one picture, their boxes in its pixels."""
    keep = np.asarray(detections.valid)
    boxes = np.asarray(detections.boxes)[keep] * np.array([width, height] * 2, np.float32)
    return Found(boxes, np.asarray(detections.scores)[keep], np.asarray(detections.labels)[keep])


def detect(
    step: Callable,
    variables: dict[str, Any],
    dataset: data.Dataset,
    mesh: Mesh,
    *,
    batch_size: int,
    canvas: int,
) -> dict[str, Found]:
    """The detections in every picture of `dataset`, by picture id, boxes in pixels.

    Every process reads its share of the pictures, and returns the detections in all.
    """
    found = {}
    batches = data.eval_batches(
        dataset,
        batch_size=batch_size,
        canvas=canvas,
        max_objects=1,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    shown = dict(desc="evaluating", unit="batch", leave=False, disable=not parallel.is_first())
    for batch in tqdm(batches, total=-(-len(dataset) // batch_size), **shown):
        batch = parallel.shard_batch(batch, mesh)
        detections, ids, valid = jax.device_get(step(variables, batch))
        for i in np.flatnonzero(valid):
            annotation = dataset.annotation(int(ids[i]))
            one = jax.tree.map(lambda x, i=i: x[i], detections)
            found[annotation.id] = to_pixels(one, annotation.width, annotation.height)
    return found


def evaluate(
    config: Any,
    detector: Detector,
    step: Callable,
    variables: dict[str, Any],
    dataset: data.Dataset,
    mesh: Mesh,
) -> tuple[dict[str, Any], str, np.ndarray]:
    """The metric's result on `dataset`, as a table with its protocol, and a sheet of pictures."""
    settings = config.evaluation
    build.check_name(settings.metric, METRICS, "config.evaluation.metric")
    found = detect(
        step,
        variables,
        dataset,
        mesh,
        batch_size=settings.batch_size,
        canvas=config.data.canvas,
    )
    metric = METRICS[settings.metric]
    result = metric.evaluate(found, dataset.annotations(), dataset.classes)
    table = metric.table(result, protocol(settings, detector.size))
    return result, f"{config.data.eval}: {table}", sheet(dataset, found)


def protocol(settings: Any, size: int) -> str:
    """One line that says how detections were made; a number means nothing without it."""
    shape = "letterboxed" if settings.letterbox else "stretched"
    return (
        f"input {size}x{size} {shape}, score > {settings.score_threshold:g}, "
        f"class-wise NMS at IoU {settings.iou_threshold:g}, best {settings.max_kept} kept"
    )


def numbers(result: dict[str, Any]) -> dict[str, float]:
    """The plain numbers of a metric's result, for logs."""
    plain = {name: value for name, value in result.items() if isinstance(value, float)}
    return {name: value for name, value in plain.items() if name != "iou_threshold"}


def main_number(config: Any, result: dict[str, Any]) -> tuple[str, float]:
    """The name and the value of the number that decides which checkpoint is best."""
    name = METRICS[config.evaluation.metric].MAIN
    return name, float(result[name])


def sheet(dataset: data.Dataset, found: dict[str, Found], *, pictures: int = 12) -> np.ndarray:
    """Pictures of `dataset`, evenly chosen, with what was found in them: RGB [H, W, 3]."""
    chosen = np.linspace(0, len(dataset) - 1, min(pictures, len(dataset))).astype(int).tolist()
    images = [dataset.image(i) for i in chosen]
    sure = [_above(found[dataset.ids[i]], SHEET_SCORE) for i in chosen]
    return visualize.found_sheet(images, sure, classes=dataset.classes)


def _above(found: Found, score: float) -> Found:
    keep = found.scores >= score
    return Found(found.boxes[keep], found.scores[keep], found.labels[keep])


def evaluate_newest(config: Any, folder: epath.Path) -> dict[str, Any]:
    """Evaluates the newest checkpoint in `folder` on `config.data.eval`; writes evaluation.json.

    ValueError where there is none, or where it holds another model than the config's.
    """
    description, variables, step = checkpoint.read(folder)
    judge = checkpoint_judge(config, folder, description)
    result, table, sheet_ = judge(variables)
    print(f"step {step}, {table}", flush=True)
    if parallel.is_first():
        written = json.dumps(record(config, step, result), indent=2) + "\n"
        workdir.write_text(folder / RESULT, written)
        visualize.save_png(folder / PREDICTIONS, sheet_)
    return result


def checkpoint_judge(config: Any, folder: epath.Path, description: dict[str, Any]) -> Callable:
    """A function of variables, compiled once, that returns what `evaluate` returns.

    `description` is that of a checkpoint in `folder`; ValueError where the config has another
    model or other classes.
    """
    stored, given = description["config"]["model"], checkpoint.plain(config)["model"]
    changed = workdir.differences({"model": stored}, {"model": given})
    for free in ("model.size", "model.dtype"):  # the same weights at another size or precision
        changed.pop(free, None)
    if changed:
        raise ValueError(f"{folder} holds another model: " + "; ".join(changed.values()))
    dataset = data.open(config.data.eval, dir=config.data.dir, root=config.data.root or None)
    detector = build.detector(config, tuple(description["classes"]))
    if dataset.classes != detector.classes:
        raise ValueError(
            f"{folder} was trained on the classes {detector.classes}, "
            f"{config.data.eval} has {dataset.classes}"
        )
    mesh = parallel.mesh()
    parallel.check_batch_size(
        config.evaluation.batch_size, mesh, key="config.evaluation.batch_size"
    )
    step = predict_step(detector, mesh, letterbox=config.evaluation.letterbox)

    def judge(variables: dict[str, Any]) -> tuple[dict[str, Any], str, np.ndarray]:
        variables = parallel.replicate(variables, mesh)
        return evaluate(config, detector, step, variables, dataset, mesh)

    return judge


def record(config: Any, step: int, result: dict[str, Any]) -> dict[str, Any]:
    """What is written of the evaluation of a checkpoint, as JSON values."""
    return {
        "step": step,
        "set": config.data.eval,
        **numbers(result),
        "protocol": protocol(config.evaluation, config.model.size),
        "classes": result["classes"],
    }
