"""Everything that a report tells of: a detector's detections on its evaluation set, verified."""

import dataclasses
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxdet import build, data
from jaxdet.engine import evaluate, inference
from jaxdet.metrics import errors, voc, voc_classification
from jaxdet.metrics.align import align
from jaxdet.report import numbers
from jaxdet.training import parallel
from jaxdet.training.curves import Curves, read_curves


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of the detector of a workdir. Crowd regions are in `result` alone."""

    workdir: Path
    recipe: build.Recipe
    step: int
    dataset: data.Dataset
    result: dict  # of the recipe's metric
    voc: dict  # of metrics.voc at IoU 0.5
    errors: dict  # of metrics.errors
    images: list[numbers.Image]  # with all detections, in the order of the dataset
    threshold: dict[str, float]  # the score with the best F1, and what holds there
    confident: list[numbers.Image]  # with the detections that score so much
    curves: Curves


def gather(workdir: Path, *, dir: str | None, root: str | None) -> Evidence:
    """Evaluates the newest checkpoint in `workdir` on the set that its config names.

    `dir` and `root` say where the set lies, when not where the config has it. ValueError for a
    workdir without a checkpoint, and for a set of other classes.
    """
    model = inference.load(workdir)
    recipe = model.recipe
    names = dataclasses.replace(
        recipe.data, dir=dir or recipe.data.dir, root=root or recipe.data.root
    )
    dataset = data.open(names.eval, **names.place)
    if dataset.classes != model.classes:
        raise ValueError(
            f"{workdir} was trained on the classes {model.classes}, "
            f"{names.eval} has {dataset.classes}"
        )
    found = _detect(model, dataset)
    metric = recipe.evaluation.metric
    result = metric.evaluate(found, dataset.annotations(), dataset.classes)
    place = dict(workdir=workdir, recipe=recipe, step=model.step, result=result)
    return classify(found, dataset, **place)


def _detect(model: inference.Pretrained, dataset: data.Dataset) -> dict:
    mesh, recipe = parallel.mesh(), model.recipe
    return evaluate.detect(
        evaluate.predict_step(model.detector, mesh),
        parallel.replicate(model.variables, mesh),
        dataset,
        mesh,
        # Rounded up to what the devices of this machine can share.
        batch_size=-(-recipe.evaluation.batch_size // mesh.size) * mesh.size,
        canvas=recipe.data.canvas,
    )


def classify(
    found: dict, dataset: data.Dataset, *, workdir: Path, recipe: build.Recipe, **known: Any
) -> Evidence:
    """The evidence of detections by image id: which are right, and what is wrong with the rest."""
    annotations, classes = dataset.annotations(), dataset.classes
    if recipe.evaluation.metric is voc_classification:  # one object a class, the whole image
        annotations = [voc_classification.of_image(each) for each in annotations]
    pairs = zip(align(found, annotations, classes), annotations, strict=True)
    pairs = [errors.without_crowds(*pair) for pair in pairs]
    bar = tqdm(pairs, desc="matching detections", unit="image", leave=False)
    images = [(each, truth, errors.classify(each, truth)) for each, truth in bar]
    settled = {truth.id: each for each, truth in pairs}, [truth for _, truth in pairs], classes
    threshold = numbers.best_threshold(images)
    return Evidence(
        workdir=workdir,
        recipe=recipe,
        dataset=dataset,
        voc=voc.evaluate(*settled),
        errors=errors.evaluate(*settled),
        images=images,
        threshold=threshold,
        confident=[numbers.above(image, threshold["score"]) for image in images],
        curves=read_curves(workdir),
        **known,
    )
