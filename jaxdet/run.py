"""A run: everything that a config describes, built, and restored where a checkpoint exists."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

import jax
import optax
from clu import parameter_overview
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from jaxdet import (
    augment,
    build,
    checkpoint,
    data,
    evaluate,
    logs,
    optim,
    parallel,
    schedules,
    state,
    workdir,
)
from jaxdet.convert import weights
from jaxdet.detectors.detector import Detector
from jaxdet.step import View, programs
from jaxdet.types import Batch

PREVIEW = 12  # pictures of a batch that TensorBoard shows


@dataclasses.dataclass
class Run:
    """What the training loop holds on to."""

    config: Any
    folder: epath.Path
    detector: Detector
    mesh: Mesh
    train_set: data.Dataset
    eval_set: data.Dataset
    iterator: Iterator[Batch]
    program: Callable  # step number -> compiled (state, batch) -> (state, scalars)
    predict: Callable  # (variables, batch) -> Detections, compiled for the mesh
    preview: Callable  # (key, batch) -> what the network sees of it, and the anchors that match
    state: state.TrainState
    checkpoints: checkpoint.Checkpoints
    log: logs.Log
    lock: IO[str] | None  # on `folder`, of the first process

    def close(self) -> None:
        """Waits for the checkpoint under way, and lets go of the folder."""
        self.checkpoints.close()
        self.log.close()
        if self.lock:
            self.lock.close()

    @property
    def description(self) -> dict[str, Any]:
        """What a checkpoint says of its model."""
        return {"config": checkpoint.plain(self.config), "classes": list(self.detector.classes)}


def start(config: Any, folder: epath.Path) -> Run:
    """Builds the run of `config` in `folder`, and takes the folder; every process does.

    ValueError for a config that cannot work, and for a folder that another run has.
    """
    train_set, eval_set = open_datasets(config)
    print(train_set.summary(), flush=True)
    detector = build.detector(config, train_set.classes)
    resumes = bool(checkpoint.steps(folder))  # then a file to begin from may be gone
    variables = initial_variables(config, detector, init_from="" if resumes else config.init_from)
    optim.frozen_mask(variables["params"], build.as_tuples(config.step.frozen))  # or it says so
    mesh = parallel.mesh()
    tx, view_at = optimiser(config), partial(train_view, config)
    given = dict(detector=detector, tx=tx, view_at=view_at, mesh=mesh, seed=config.seed)
    program = build.call(programs, config.step, "step", given)
    check_numbers(config, detector, mesh)

    lock = workdir.lock(folder) if parallel.is_first() else None
    if parallel.is_first():
        workdir.claim(folder, checkpoint.plain(config))
    iterator = train_batches(config, train_set)
    first = state.create(variables, tx, ema=config.step.ema_decay > 0)
    first = parallel.replicate(first, mesh)
    checkpoints = checkpoint.Checkpoints(folder, keep=config.every.keep)
    if checkpoints.latest() == 0:
        raise ValueError(
            f"{folder} holds converted weights, nothing to resume; train in another --workdir "
            f"with --config.init_from={folder}"
        )
    if checkpoints.latest() is not None:
        first = checkpoints.restore(first, iterator)
        number = int(first.step)
        print(f"resumed at step {number} from {checkpoints.path(number)}", flush=True)
    return Run(
        config=config,
        folder=folder,
        detector=detector,
        mesh=mesh,
        train_set=train_set,
        eval_set=eval_set,
        iterator=iterator,
        program=program,
        predict=evaluate.predict_step(detector, mesh, letterbox=config.evaluation.letterbox),
        preview=jax.jit(partial(_preview, detector, view_at(detector.size))),
        state=first,
        checkpoints=checkpoints,
        log=logs.Log(folder, resumed_at=int(first.step), write=parallel.is_first()),
        lock=lock,
    )


def check_numbers(config: Any, detector: Detector, mesh: Mesh) -> None:
    """ValueError for a batch that the devices cannot share, an evaluation by no metric, checkpoints
    that would not stay, an optimiser that cannot thaw, or a size that the network cannot take."""
    build.check_name(config.evaluation.metric, evaluate.METRICS, "config.evaluation.metric")
    parallel.check_batch_size(
        config.data.batch_size,
        mesh,
        key="config.data.batch_size",
        micro_batches=config.step.accumulate,
    )
    parallel.check_batch_size(
        config.evaluation.batch_size, mesh, key="config.evaluation.batch_size"
    )
    for size in config.step.sizes:
        detector.anchors_at(size)
    if config.every.keep < 1:
        raise ValueError(f"config.every.keep is {config.every.keep}, expected at least 1")
    if config.step.unfreeze_at and config.optimiser.name == "adamw":
        raise ValueError(
            "config.step.unfreeze_at needs config.optimiser.name='sgd': AdamW, whose moments would "
            "begin late, moves thawed weights up to six times as fast as config.schedule says"
        )


def train_batches(config: Any, dataset: data.Dataset) -> Iterator[Batch]:
    """This process's share of the training batches of `config`, without end."""
    return data.train_batches(
        dataset,
        batch_size=config.data.batch_size,
        canvas=config.data.canvas,
        max_objects=config.data.max_objects,
        keep_difficult=config.data.keep_difficult,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def open_datasets(config: Any) -> tuple[data.Dataset, data.Dataset]:
    """The training and the evaluation set; ValueError unless their classes agree."""
    place = dict(dir=config.data.dir, root=config.data.root or None)
    train_set = data.open(config.data.train, **place)
    eval_set = data.open(config.data.eval, **place)
    if train_set.classes != eval_set.classes:
        raise ValueError(
            f"config.data.train has the classes {train_set.classes}, "
            f"config.data.eval has {eval_set.classes}; expected the same"
        )
    if config.every.evaluation:
        _check_truth(eval_set, config.evaluation.metric)
    return train_set, eval_set


def _check_truth(dataset: data.Dataset, metric: str) -> None:
    """ValueError for a set in which there is nothing to be found, before a training ends at it."""
    ignored = dataset.table.crowd
    if metric != "coco":
        ignored = ignored | dataset.table.difficult
    if ignored.all():
        raise ValueError(
            f"config.data.eval: {dataset.name} has no object to be found in its {len(dataset):,} "
            f"pictures ({len(ignored):,} difficult ones or crowds); config.every.evaluation=0 "
            "trains without evaluating"
        )


def initial_variables(config: Any, detector: Detector, *, init_from: str) -> dict[str, Any]:
    """Seeded fresh variables, with what `init_from` has where that is not empty.

    That is the backbone of an ImageNet classifier (a file), or another run (its workdir), as far as
    its model is the same, but for layers of the head that have another number of classes.
    """
    variables = detector.init(jax.random.key(config.seed))
    if init_from and epath.Path(init_from).is_dir():
        variables, fresh = _with_run(config, variables, epath.Path(init_from))
        print(f"weights from {init_from}; fresh: {', '.join(fresh) or 'none'}", flush=True)
    elif init_from:
        backbone = config.model.backbone.name
        variables = weights.load_backbone(init_from, variables, backbone=backbone)
        print(f"backbone weights from {init_from}", flush=True)
    print(
        f"{detector.net.backbone.__class__.__name__} detector: "
        f"{parameter_overview.count_parameters(variables['params']):,} parameters, "
        f"{len(detector.anchors_at(detector.size).boxes):,} anchors at {detector.size} pixels",
        flush=True,
    )
    return variables


def _with_run(
    config: Any, variables: dict[str, Any], folder: epath.Path
) -> tuple[dict[str, Any], list[str]]:
    """`variables` with those of the run in `folder`, and what stays fresh of them.

    Its backbone, which must fit; its neck if `config.model` has the same; and then its head.
    """
    description, loaded, _ = checkpoint.read(folder)
    theirs, ours = description["config"]["model"], checkpoint.plain(config)["model"]
    same = itertools.takewhile(lambda part: theirs[part] == ours[part], ("neck", "head"))
    parts = ("backbone", *same)
    taken = lambda path: path[1] in parts  # paths are params/backbone/...
    flat = flatten_dict(variables)
    given = [("/".join(p), p, array) for p, array in flatten_dict(loaded).items() if taken(p)]
    wanted = unflatten_dict({path: array for path, array in flat.items() if taken(path)})
    adopted, fresh = weights.adopt(given, wanted)
    rest = sorted({path[1] for path in flat if not taken(path)})
    return unflatten_dict({**flat, **flatten_dict(adopted)}), rest + fresh


def optimiser(config: Any) -> optax.GradientTransformation:
    """The optax transformation of `config.schedule` and `config.optimiser`."""
    rate = build.named(schedules, config.schedule, "schedule", {})
    return build.named(optim, config.optimiser, "optimiser", {"rate": rate})


def train_view(config: Any, size: int) -> View:
    """The device augmentation of `config.augment` for an input of `size` pixels."""
    given = dict(key=None, batch=None, output=size, fill=tuple(config.model.mean))
    options = build.arguments(augment, config.augment, "augment", given)
    function = getattr(augment, config.augment.name)
    return partial(function, output=given["output"], fill=given["fill"], **options)


def _preview(detector: Detector, view: View, key: jax.Array, batch: Batch):
    """Pixels, objects and matched anchors [b, A] of the first pictures of a batch."""
    few = jax.tree.map(lambda x: x[: PREVIEW + 1], batch)  # the last has a neighbour, for mixup
    pixels, objects = jax.tree.map(lambda x: x[:PREVIEW], view(key, few))
    anchors = detector.anchors_at(detector.size)
    targets = jax.vmap(partial(detector.assign, anchors))(objects)
    return pixels, objects, targets.positive
