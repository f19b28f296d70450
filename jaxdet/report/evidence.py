"""The data behind a report: detections on the evaluation set, matched with the ground truth."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from jaxdet import build, data, types
from jaxdet.engine import buckets, evaluate, inference
from jaxdet.metrics import errors, voc, voc_classification
from jaxdet.metrics.align import align
from jaxdet.report import numbers
from jaxdet.training import parallel
from jaxdet.training.curves import Curves, read_curves


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evaluation of a workdir's detector; only `result` takes crowd regions into account."""

    workdir: Path
    recipe: build.Recipe
    step: int
    dataset: data.Dataset
    result: dict  # from the recipe's metric
    detections: Mapping[str, types.ImageDetections]  # all, by image id
    voc: dict  # from metrics.voc, at IoU 0.5
    errors: dict  # from metrics.errors
    images: list[numbers.Image]  # with all detections, in dataset order
    threshold: dict[str, float]  # the score with the best F1, and F1, precision, recall
    confident: list[numbers.Image]  # with the detections at or above that score
    curves: Curves

    @functools.cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Those of 95 % of the result's numbers; a comparison has no use for them."""
        given = self.detections, self.dataset.annotations(), self.dataset.classes
        return self.recipe.evaluation.metric.bootstrap(*given)


def gather(
    workdir: Path, *, dir: str | None, root: str | None, dataset: data.Dataset | None = None
) -> Evidence:
    """Evaluates the newest checkpoint in `workdir` on the evaluation set of its config.

    `dir` and `root` replace the dataset folders of the config, `dataset` its whole evaluation set.
    ValueError if there is no checkpoint, or if the dataset's classes are not the detector's.
    """
    model = inference.load(workdir)
    recipe = model.recipe
    names = dataclasses.replace(
        recipe.data, dir=dir or recipe.data.dir, root=root or recipe.data.root
    )
    if dataset is None:
        dataset = data.open(names.eval, **names.place)
    if dataset.classes != model.classes:
        pairs = itertools.zip_longest(model.classes, dataset.classes)
        theirs, ours = next(pair for pair in pairs if pair[0] != pair[1])
        raise ValueError(
            f"{workdir} was trained on {len(model.classes)} classes, the evaluation set "
            f"({'+'.join(part.name for part in dataset.parts)}) has {len(dataset.classes)}; the "
            f"first that differ are {theirs!r} and {ours!r}"
        )
    detections = _detect(model, dataset)
    recipe = dataclasses.replace(recipe, data=names)
    return judge(detections, dataset, workdir=workdir, recipe=recipe, step=model.step)


def _detect(model: inference.Pretrained, dataset: data.Dataset) -> dict:
    mesh, recipe = parallel.mesh(), model.recipe
    return evaluate.detect(
        evaluate.announced_step(model.detector, mesh),
        parallel.replicate(model.variables, mesh),
        dataset,
        mesh,
        # Rounded up to a multiple of the number of devices.
        batch_size=-(-recipe.evaluation.batch_size // mesh.size) * mesh.size,
        canvas=buckets.canvases(recipe, dataset.table.sizes),
    )


def judge(
    detections: Mapping[str, types.ImageDetections],
    dataset: data.Dataset,
    *,
    workdir: Path,
    recipe: build.Recipe,
    step: int,
) -> Evidence:
    """Evaluates detections, given by image id, and finds what is wrong with those that are."""
    annotations, classes = dataset.annotations(), dataset.classes
    result = recipe.evaluation.metric.evaluate(detections, annotations, classes)
    if recipe.evaluation.metric is voc_classification:  # one object per class, the whole image
        annotations = [voc_classification.of_image(each) for each in annotations]
    pairs = zip(align(detections, annotations, classes), annotations, strict=True)
    pairs = [errors.without_crowds(*pair) for pair in pairs]
    bar = tqdm(pairs, desc="matching detections", unit="image", leave=False)
    images = [(each, truth, errors.classify(each, truth)) for each, truth in bar]
    aligned = {truth.id: each for each, truth in pairs}, [truth for _, truth in pairs], classes
    threshold = numbers.best_threshold(images)
    return Evidence(
        workdir=workdir,
        recipe=recipe,
        step=step,
        dataset=dataset,
        result=result,
        detections=detections,
        voc=voc.evaluate(*aligned),
        errors=errors.evaluate(*aligned),
        images=images,
        threshold=threshold,
        confident=[numbers.above(image, threshold["score"]) for image in images],
        curves=read_curves(workdir),
    )
