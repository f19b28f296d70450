"""Sets up a run: builds everything that a recipe describes, and restores a checkpoint if any."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import IO, Any

import jax
from etils import epath
from jax.sharding import Mesh

from jaxdet import build, data
from jaxdet.engine import buckets, evaluate, init_from, resuming
from jaxdet.training import (
    checkpoint,
    compilation,
    freezing,
    logs,
    origin,
    parallel,
    state,
    trackers,
    workdir,
)
from jaxdet.training.step import View
from jaxdet.types import Batch

PREVIEW = 12  # images of a batch that TensorBoard shows
MIXED_IN = 12  # images after these that are mixed into them: each mix reads up to four further


@dataclasses.dataclass
class Run:
    """Everything that the training loop works with."""

    recipe: build.Recipe
    folder: epath.Path
    mesh: Mesh
    train_set: data.Dataset
    eval_set: data.Dataset
    iterator: Iterator[Batch]
    program: Callable[[int], compilation.Announced]  # step number -> compiled `train_step`
    predict: Callable  # (variables, batch) -> Detections, compiled for the mesh
    preview: Callable  # step number -> compiled (key, batch) -> what the network sees; see below
    state: state.TrainState
    checkpoints: checkpoint.Checkpoints
    log: logs.Log
    lock: IO[str] | None  # on `folder`, held by the first process

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """What its checkpoints store about the model and about what it is trained on."""
        return {
            **self.recipe.description,
            resuming.TRAINED_ON: resuming.trained_on(self.train_set),
        }

    def close(self) -> None:
        """Waits for the checkpoint being written, and releases the folder."""
        self.checkpoints.close()
        self.log.close()
        if self.lock:
            self.lock.close()


def start(config: Any, folder: epath.Path) -> Run:
    """Builds the run of `config` in `folder`, and locks the folder; every process calls it.

    ValueError for a config that cannot work, or a folder that is in use.
    """
    resumes = bool(checkpoint.steps(folder))  # then the file of init_from may be gone
    check(config, resumes=resumes)
    train_set, eval_set = open_datasets(config)
    print(train_set.summary(), flush=True)
    stored = checkpoint.read_description(folder)
    if stored:
        resuming.check_classes(stored, train_set)
    config = build.with_steps(config, images=len(train_set))
    recipe = build.recipe(config, train_set.classes)
    if recipe.epochs:
        print(
            f"{recipe.epochs:g} epochs of {len(train_set):,} images in batches of "
            f"{recipe.data.batch_size} are {recipe.steps:,} steps; config.schedule.steps is unused",
            flush=True,
        )
    check_trained_on(recipe, train_set)
    check_truth(recipe, eval_set)
    variables = init_from.initial_variables(recipe, "" if resumes else recipe.init_from)
    freezing.frozen_mask(variables["params"], recipe.step.frozen)  # raises if a pattern is wrong
    mesh = parallel.mesh()

    shapes = buckets.input_shapes(recipe)
    if len(shapes) > 1:
        print(f"inputs of {len(shapes)} shapes, a program each: {buckets.described(recipe)}")
    lock = workdir.lock(folder) if parallel.is_first() else None
    if parallel.is_first():
        workdir.claim(folder, recipe.config)
        if not resumes:
            origin.record(folder)
    iterator = train_batches(recipe, train_set)
    first = state.create(variables, recipe.optimiser, ema=recipe.step.ema_decay > 0)
    first = parallel.replicate(first, mesh)
    checkpoints = checkpoint.Checkpoints(folder, keep=recipe.every.keep)
    first = _restored(checkpoints, first, iterator, folder)
    if stored:
        _say_changes(stored, recipe, train_set, int(first.step))
    return Run(
        recipe=recipe,
        folder=folder,
        mesh=mesh,
        train_set=train_set,
        eval_set=eval_set,
        iterator=iterator,
        program=_announced(recipe.programs(mesh)),
        predict=evaluate.announced_step(recipe.detector, mesh),
        preview=preview(recipe),
        state=first,
        checkpoints=checkpoints,
        log=logs.Log(
            folder,
            resumed_at=int(first.step),
            write=parallel.is_first(),
            names=recipe.log,
            config=recipe.config,
        ),
        lock=lock,
    )


def _restored(
    checkpoints: checkpoint.Checkpoints,
    first: state.TrainState,
    iterator: Iterator[Batch],
    folder: epath.Path,
) -> state.TrainState:
    """The newest checkpoint's state, or `first` if there is none; sets `iterator` to it."""
    if checkpoints.latest() is None:
        return first
    if checkpoints.latest() == 0:
        raise ValueError(
            f"{folder} holds converted weights, not a run to resume; train in another --workdir "
            f"with --config.init_from={folder}"
        )
    first = checkpoints.restore(first, iterator)
    number = int(first.step)
    print(f"resumed at step {number} from {checkpoints.path(number)}", flush=True)
    return first


def check(config: Any, *, resumes: bool = False) -> None:
    """Raises ValueError for a config that cannot work, as far as that can be said without its data.

    It takes seconds, and comes before datasets are downloaded or prepared. ImportError if a tracker
    is not installed. A run that `resumes` does not need what it began from.
    """
    build.check_keys(config)
    init_from.check("" if resumes else config.get("init_from"), config.get("model"))
    # Neither the classes nor the number of images matter here.
    recipe = build.recipe(build.with_steps(config, images=10**9), ("one", "two"))
    trackers.check(recipe.log)
    check_numbers(recipe, parallel.mesh())


def _announced(program: Callable[[int], Callable]) -> Callable[[int], compilation.Announced]:
    """The same programs, which say when they are compiled."""
    announced = functools.cache(lambda step: compilation.Announced(step, "the training step"))
    return lambda number: announced(program(number))


def _say_changes(
    stored: dict[str, Any], recipe: build.Recipe, train_set: data.Dataset, number: int
) -> None:
    lines = resuming.changed_data(stored, train_set), resuming.changed_steps(stored, recipe, number)
    for line in filter(None, lines):
        print(line, flush=True)


def check_numbers(recipe: build.Recipe, mesh: Mesh) -> None:
    """Raises ValueError for a batch that does not divide among the devices, unfreezing with AdamW,
    or an input size that the network cannot take."""
    parallel.check_batch_size(
        recipe.data.batch_size,
        mesh,
        key="config.data.batch_size",
        micro_batches=recipe.step.accumulate,
    )
    parallel.check_batch_size(
        recipe.evaluation.batch_size, mesh, key="config.evaluation.batch_size"
    )
    buckets.check(recipe)
    for size in (recipe.detector.size, *recipe.step.sizes):
        for shape in buckets.input_shapes(recipe, size):
            try:
                init_from.anchor_count(recipe.detector, shape)
            except (ValueError, ZeroDivisionError) as error:  # the latter without any channels
                pixels = "x".join(map(str, shape))
                raise ValueError(f"config.model, with {pixels} pixels: {error}") from error
    if recipe.step.unfreeze_at and recipe.optimiser_name == "adamw":
        raise ValueError(
            "config.step.unfreeze_at needs config.optimiser.name='sgd': AdamW, whose moments would "
            "start late, moves unfrozen weights up to six times as fast as config.schedule intends"
        )


def train_batches(recipe: build.Recipe, dataset: data.Dataset) -> Iterator[Batch]:
    """This process's share of the training batches, endlessly."""
    return data.train_batches(
        dataset,
        batch_size=recipe.data.batch_size,
        canvas=buckets.canvases(recipe, dataset.table.sizes),
        max_objects=recipe.data.max_objects,
        keep_difficult=recipe.data.keep_difficult,
        seed=recipe.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def open_datasets(config: Any) -> tuple[data.Dataset, data.Dataset]:
    """The training and the evaluation set; ValueError unless their classes agree."""
    names = build.data(config)
    train_set = data.open(names.train, **names.place)
    eval_set = data.open(names.eval, **names.place)
    if train_set.classes != eval_set.classes:
        raise ValueError(
            f"config.data.train has the classes {train_set.classes}, "
            f"config.data.eval has {eval_set.classes}; expected the same"
        )
    return train_set, eval_set


def check_trained_on(recipe: build.Recipe, dataset: data.Dataset) -> None:
    """Raises ValueError for a training set without an object to train on."""
    columns, keep = dataset.table, recipe.data.keep_difficult
    if columns.trained_on(keep_difficult=keep).any():
        return
    left_out = (columns.difficult & ~columns.crowd).sum()
    hint = ", which config.data.keep_difficult=True keeps" * bool(left_out and not keep)
    raise ValueError(
        f"no image of {dataset.name} has an object to train on: of {len(columns.labels):,} objects "
        f"{columns.crowd.sum():,} are crowds and {left_out:,} difficult{hint}"
    )


def check_truth(recipe: build.Recipe, dataset: data.Dataset) -> None:
    """Raises ValueError, before training, for an evaluation set without objects to detect."""
    ignored = dataset.table.crowd | dataset.table.difficult
    if recipe.every.evaluation and ignored.all():
        raise ValueError(
            f"config.data.eval: {dataset.name} has no object to detect in its {len(dataset):,} "
            f"images ({len(ignored):,} difficult objects or crowds); config.every.evaluation=0 "
            "trains without evaluating"
        )


def preview(recipe: build.Recipe) -> Callable[[int], Callable]:
    """Maps step numbers to what the network sees at that step, as a compiled function.

    It maps a step's key and batch to pixels, objects, anchors and which of them match [b, A], of
    the first images, at the detector's own size. `MIXED_IN` more are mixed in, as in the step.
    """
    detector = recipe.detector

    @functools.cache
    def compiled(view: View) -> Callable:
        def see(key: jax.Array, batch: Batch):
            few = jax.tree.map(lambda x: x[: PREVIEW + MIXED_IN], batch)
            pixels, objects, _ = jax.tree.map(lambda x: x[:PREVIEW], view(key, few))
            anchors, targets = detector.matched(objects, pixels.shape[1:3])
            return pixels, objects, anchors, targets.positive

        return jax.jit(see)

    return lambda number: compiled(recipe.view_at(detector.size, number))
