"""Everything that a report tells of: a detector run over its evaluation set, and judged."""

import dataclasses
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxdet import data, evaluate, parallel, pretrained, runs
from jaxdet.metrics import errors, voc, voc_classification
from jaxdet.metrics.align import align
from jaxdet.report import numbers


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of the detector of a workdir. Crowd regions are in `result` alone."""

    workdir: Path
    config: Any
    step: int
    dataset: data.Dataset
    protocol: str
    result: dict  # of the config's metric
    voc: dict  # of metrics.voc at IoU 0.5
    errors: dict  # of metrics.errors
    pictures: list[numbers.Picture]  # with all detections, in the order of the dataset
    threshold: dict[str, float]  # the score with the best F1, and what holds there
    sure: list[numbers.Picture]  # with the detections that score so much
    curves: runs.Curves


def gather(workdir: Path, *, dir: str | None, root: str | None) -> Evidence:
    """Evaluates the newest checkpoint in `workdir` on the set that its config names.

    `dir` and `root` say where the set lies, when not where the config has it. ValueError for a
    workdir without a checkpoint, and for a set of other classes.
    """
    model = pretrained.load(workdir)
    config, place = model.config, model.config.data
    dataset = data.open(place.eval, dir=dir or place.dir, root=root or place.root or None)
    if dataset.classes != model.classes:
        raise ValueError(
            f"{workdir} was trained on the classes {model.classes}, "
            f"{place.eval} has {dataset.classes}"
        )
    found = _detect(model, dataset)
    result = evaluate.METRICS[config.evaluation.metric].evaluate(
        found, dataset.annotations(), dataset.classes
    )
    return judge(
        found,
        dataset,
        workdir=workdir,
        config=config,
        step=model.step,
        protocol=evaluate.protocol(config.evaluation, model.detector.size),
        result=result,
    )


def _detect(model: pretrained.Pretrained, dataset: data.Dataset) -> dict:
    mesh, settings = parallel.mesh(), model.config.evaluation
    return evaluate.detect(
        evaluate.predict_step(model.detector, mesh, letterbox=settings.letterbox),
        parallel.replicate(model.variables, mesh),
        dataset,
        mesh,
        # Rounded up to what the devices of this machine can share.
        batch_size=-(-settings.batch_size // mesh.size) * mesh.size,
        canvas=model.config.data.canvas,
    )


def judge(
    found: dict, dataset: data.Dataset, *, workdir: Path, config: Any, **known: Any
) -> Evidence:
    """The evidence of detections by picture id."""
    annotations, classes = dataset.annotations(), dataset.classes
    if config.evaluation.metric == "voc_classification":  # one object a class, the whole picture
        annotations = [voc_classification.of_picture(each) for each in annotations]
    pairs = zip(align(found, annotations, classes), annotations, strict=True)
    pairs = [errors.without_crowds(*pair) for pair in pairs]
    bar = tqdm(pairs, desc="judging", unit="picture", leave=False)
    pictures = [(each, truth, errors.judge(each, truth)) for each, truth in bar]
    settled = {truth.id: each for each, truth in pairs}, [truth for _, truth in pairs], classes
    threshold = numbers.best_threshold(pictures)
    return Evidence(
        workdir=workdir,
        config=config,
        dataset=dataset,
        voc=voc.evaluate(*settled),
        errors=errors.evaluate(*settled),
        pictures=pictures,
        threshold=threshold,
        sure=[numbers.above(picture, threshold["score"]) for picture in pictures],
        curves=runs.read_curves(workdir),
        **known,
    )
