"""Evaluation: runs a detector over a dataset and passes its detections to the metric."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdet import build, data, visualize
from jaxdet.augment import views, window
from jaxdet.engine import buckets
from jaxdet.training import checkpoint, compilation, parallel, progress, workdir
from jaxdet.types import Array, Batch, Detections, Detector, ImageDetections, Variables

RESULT, PREDICTIONS = "evaluation.json", "predictions.png"
SHEET_SCORE = 0.3  # detections below it are not drawn, but always count in metrics


def predict_step(detector: Detector, mesh: Mesh) -> Callable:
    """A compiled function (variables, batch) -> (Detections [B, M], id [B], valid [B]).

    It runs on all devices, and every process gets the rows of all. Boxes are fractions of the
    original image, wherever the view placed it.
    """

    def step(variables: Variables, batch: Batch) -> tuple[Detections, Array, Array]:
        detections = view_and_predict(detector, variables, batch.image, batch.size)
        return detections, batch.id, batch.valid

    return parallel.pmap(step, mesh)


def announced_step(detector: Detector, mesh: Mesh) -> compilation.Announced:
    """The `predict_step` of a command: it says when it compiles."""
    return compilation.Announced(predict_step(detector, mesh), "the evaluation")


def view_and_predict(
    detector: Detector, variables: Variables, image: Array, size: Array
) -> Detections:
    """Detections [B, M] in images that fill size [B, 2] of their canvases [B, S, S, 3]."""
    how = dict(output=detector.size, fit=detector.fit, fill=detector.fill)
    pixels, seen = jax.vmap(partial(views.eval_view, **how))(image, size)
    detections = detector.predict(variables, pixels, jax.vmap(window.image_in_view)(seen))
    return detections.replace(boxes=jax.vmap(window.to_image)(detections.boxes, seen))


def to_pixels(detections: Detections, width: int, height: int) -> ImageDetections:
    """The valid detections [M] of one image, with boxes in its pixels."""
    keep = np.asarray(detections.valid)
    boxes = np.asarray(detections.boxes)[keep] * np.array([width, height] * 2, np.float32)
    scores, labels = np.asarray(detections.scores)[keep], np.asarray(detections.labels)[keep]
    return ImageDetections(boxes, scores, labels)


def detect(
    step: Callable,
    variables: Variables,
    dataset: data.Dataset,
    mesh: Mesh,
    *,
    batch_size: int,
    canvas: data.Canvases,
) -> dict[str, ImageDetections]:
    """The detections in every image of `dataset`, by image id, boxes in pixels.

    Every process reads its share of the images and returns the detections in all of them.
    """
    by_image = {}
    batches = data.eval_batches(
        dataset,
        batch_size=batch_size,
        canvas=canvas,
        max_objects=1,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    shown = dict(desc="evaluating", unit="batch", leave=False)
    total = int((-(-np.bincount(canvas.of_image) // batch_size)).sum())
    for batch in progress.bar(batches, total=total, **shown):
        batch = parallel.shard_batch(batch, mesh)
        detections, ids, valid = jax.device_get(step(variables, batch))
        for i in np.flatnonzero(valid):
            annotation = dataset.annotation(int(ids[i]))
            one = jax.tree.map(lambda x, i=i: x[i], detections)
            by_image[annotation.id] = to_pixels(one, annotation.width, annotation.height)
    return by_image


def evaluate(
    recipe: build.Recipe, step: Callable, variables: Variables, dataset: data.Dataset, mesh: Mesh
) -> tuple[dict[str, Any], str, np.ndarray]:
    """The metric's result on `dataset`, as values and as a table, and a contact sheet of images.

    `step` comes from `predict_step`; the table states the protocol.
    """
    metric = recipe.evaluation.metric
    how = dict(batch_size=recipe.evaluation.batch_size)
    how["canvas"] = buckets.canvases(recipe, dataset.table.sizes)
    detections = detect(step, variables, dataset, mesh, **how)
    result = metric.evaluate(detections, dataset.annotations(), dataset.classes)
    table = metric.table(result, protocol(recipe))
    return result, f"{recipe.data.eval}: {table}", sheet(dataset, detections)


def protocol(recipe: build.Recipe) -> str:
    """One line that states how detections are made; a metric means nothing without it."""
    detector, settings = recipe.detector, recipe.evaluation
    (fit,) = build.names_of(recipe.config["model"]["fit"])
    shape = _INPUTS.get(fit, f"{fit} {{0}}").format(detector.size)
    nms = recipe.config["evaluation"].get("nms", "greedy")
    most = f"best {settings.candidates} of each class, " if settings.candidates else ""
    kind = "class-wise" if nms == "greedy" else nms if isinstance(nms, str) else nms["name"]
    return (
        f"{shape}, score > {settings.score_threshold:g}, {most}"
        f"{kind} NMS at IoU {settings.iou_threshold:g}, best {settings.max_kept} kept"
    )


_INPUTS = {
    "stretch": "input {0}x{0} stretched",
    "letterbox": "input {0}x{0} letterboxed",
    "shorter_side": "shorter side {0}",
}


def numbers(result: dict[str, Any]) -> dict[str, float]:
    """The scalar values in a metric's result, for logs."""
    plain = {name: value for name, value in result.items() if isinstance(value, float)}
    return {name: value for name, value in plain.items() if name != "iou_threshold"}


def main_number(recipe: build.Recipe, result: dict[str, Any]) -> tuple[str, float]:
    """The name and value of the number that decides which checkpoint is best."""
    name = recipe.evaluation.main_name
    return name, float(result[name])


def sheet(
    dataset: data.Dataset, detections: dict[str, ImageDetections], *, count: int = 12
) -> np.ndarray:
    """A contact sheet of evenly spaced images with their detections: RGB [H, W, 3]."""
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int).tolist()
    images = [dataset.image(i) for i in chosen]
    shown = [detections[dataset.ids[i]] for i in chosen]
    shown = [each.select(each.scores >= SHEET_SCORE) for each in shown]
    return visualize.detections_sheet(images, shown, classes=dataset.classes)


def evaluate_newest(config: Any, folder: epath.Path) -> dict[str, Any]:
    """Evaluates the newest checkpoint in `folder` on the recipe's set; writes evaluation.json.

    ValueError if there is none, or if its model is not the config's.
    """
    description, variables, step = checkpoint.read(folder)
    recipe, evaluate_variables = evaluator(config, folder, description)
    result, table, images = evaluate_variables(variables)
    print(f"step {step}, {table}", flush=True)
    if parallel.is_first():
        written = json.dumps(record(recipe, step, result), indent=2) + "\n"
        workdir.write_text(folder / RESULT, written)
        visualize.save_png(folder / PREDICTIONS, images)
    return result


def evaluator(
    config: Any, folder: epath.Path, description: dict[str, Any]
) -> tuple[build.Recipe, Callable]:
    """The recipe, and a function of variables, compiled once, that returns what `evaluate` returns.

    `description` is that of a checkpoint in `folder`; ValueError if the config has another
    model or other classes.
    """
    recipe = build.recipe(config, tuple(description["classes"]))
    stored, given = description["config"]["model"], recipe.config["model"]
    if stored["size"] != given["size"]:  # another input, but the detector that was trained
        own = ConfigDict(recipe.config)
        own.model.size = stored["size"]
        detector = build.recipe(own, recipe.detector.classes).detector
        detector = dataclasses.replace(detector, size=given["size"])
        recipe = dataclasses.replace(recipe, detector=detector)
    changed = workdir.differences({"model": stored}, {"model": given})
    for free in ("model.size", "model.dtype"):  # the same weights at another size or precision
        changed.pop(free, None)
    if changed:
        raise ValueError(f"{folder} holds another model: " + "; ".join(changed.values()))
    dataset = data.open(recipe.data.eval, **recipe.data.place)
    if dataset.classes != recipe.detector.classes:
        raise ValueError(
            f"{folder} was trained on the classes {recipe.detector.classes}, "
            f"{recipe.data.eval} has {dataset.classes}"
        )
    mesh = parallel.mesh()
    parallel.check_batch_size(
        recipe.evaluation.batch_size, mesh, key="config.evaluation.batch_size"
    )
    step = announced_step(recipe.detector, mesh)

    def evaluate_variables(variables: Variables) -> tuple[dict[str, Any], str, np.ndarray]:
        return evaluate(recipe, step, parallel.replicate(variables, mesh), dataset, mesh)

    return recipe, evaluate_variables


def record(recipe: build.Recipe, step: int, result: dict[str, Any]) -> dict[str, Any]:
    """The record of a checkpoint's evaluation, as JSON values."""
    return {
        "step": step,
        "set": recipe.data.eval,
        **numbers(result),
        "protocol": protocol(recipe),
        "classes": result["classes"],
    }
