"""Turns a recipe into values: only this file and the commands read a config.

A recipe is an ml_collections config, a file in configs/. `data` returns what is needed to open the
datasets; given their classes, `recipe` returns everything else that a program needs.
"""

import dataclasses
import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxdet.augment import views
from jaxdet.boxes.suppression import best_of_each_class
from jaxdet.choices import arguments, as_tuples, check_name, check_value, choose
from jaxdet.detectors import net as net_
from jaxdet.training import schedules, trackers
from jaxdet.training.step import View, programs
from jaxdet.types import Detector, Shape

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Data:
    """The block `data`: which images to use, and how they are passed to the device."""

    train: str
    eval: str
    dir: str
    root: str
    canvas: int | tuple[Shape, ...]
    batch_size: int
    max_objects: int
    keep_difficult: bool

    def __post_init__(self):
        if self.canvas == ():
            raise ValueError("config.data.canvas is (), expected a number of pixels, or several")

    @property
    def canvases(self) -> tuple[Shape, ...]:
        """The shapes of the canvases on which images are passed, the smallest first."""
        return tuple(sorted(self._shapes(), key=lambda shape: (shape[0] * shape[1], shape)))

    def _shapes(self) -> tuple[Any, ...]:
        return self.canvas if isinstance(self.canvas, tuple) else ((self.canvas,) * 2,)

    @property
    def place(self) -> dict[str, str | None]:
        """Where the datasets are, as keyword arguments of `data.open`."""
        return {"dir": self.dir, "root": self.root or None}


@dataclasses.dataclass(frozen=True)
class Step:
    """The block `step`: keyword arguments of `training.step.programs`."""

    accumulate: int
    ema_decay: float
    frozen: tuple[str, ...]
    unfreeze_at: int
    synchronised: bool
    sizes: tuple[int, ...]
    resize_every: int
    ema_ramp: int = 0
    late_losses: tuple[str, ...] = ()
    late_from: int = 0

    @classmethod
    def of(cls, config: Any) -> "Step":
        """The block of a config, where `unfreeze_at` and `late_from` can be shares of the steps.

        With a share, what is late begins with the step after it.
        """
        given, steps = dict(config.step), config.schedule.steps
        for key in {"unfreeze_at", "late_from"} & given.keys():
            number = schedules.in_steps(given[key], steps, key=f"step.{key}")
            given[key] = number + (key == "late_from" and 0 < given[key] < 1)
        return cls(**arguments(cls, given, "step"))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The block `evaluation`: a metric, and which detections it gets."""

    metric: ModuleType  # a file of jaxdet/metrics
    batch_size: int
    score_threshold: float
    iou_threshold: float
    max_kept: int
    candidates: int = 0  # the best of each class that NMS gets; 0: all
    main: str = ""  # the number that decides which checkpoint is best; "": the metric's own

    def __post_init__(self):
        names = getattr(self.metric, "NUMBERS", (self.metric.MAIN,))
        if self.main:
            check_name(self.main, names, f"config.evaluation.main, of {self.metric_name}")

    @property
    def main_name(self) -> str:
        """The name of the number that decides which checkpoint is best; more is better."""
        return self.main or self.metric.MAIN

    @property
    def metric_name(self) -> str:
        """The name of the metric in the recipe."""
        return self.metric.__name__.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Every:
    """The block `every`: intervals in steps (0: never), and how many checkpoints to keep."""

    log: int
    picture: int
    checkpoint: int
    evaluation: int
    keep: int
    patience: int = 0  # evaluations without a better main number that end the run; 0: never


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a config describes, as values."""

    config: Mapping[str, Any]  # as plain JSON values
    purpose: str
    seed: int
    init_from: str
    log: tuple[str, ...]  # names of trackers, see `training/trackers.py`
    steps: int
    epochs: float  # if not 0, the steps are these
    rate: optax.Schedule  # number of updates done -> learning rate of the next
    detector: Detector
    parts: Mapping[str, Any]  # part of the network -> its block, in the order they run
    class_parts: tuple[str, ...]  # those whose layers depend on the number of classes
    data: Data
    optimiser: optax.GradientTransformation
    optimiser_name: str
    view_at: Callable[..., View]  # (input size in pixels, number of the step = 1) -> augmentation
    step: Step
    evaluation: Evaluation
    every: Every

    @property
    def description(self) -> dict[str, Any]:
        """What a checkpoint stores about its model: enough to rebuild it."""
        return {"config": dict(self.config), "classes": list(self.detector.classes)}

    @property
    def model(self) -> tuple[str, ...]:
        """The key under which importers know the model: ("ssd", "vgg_extras", "vgg16").

        It has the names of the family and of the parts without classes, the last part first.
        """
        parts = [part for part in reversed(self.parts) if part not in self.class_parts]
        (family,) = names_of(self.config["model"]["detector"])
        return family, *("+".join(names_of(self.parts[part])) for part in parts)

    def programs(self, mesh: Mesh) -> Callable[[int], Callable]:
        """The compiled step for every step number; see `training.step.programs`."""
        options = dict(seed=self.seed, **dataclasses.asdict(self.step))
        return programs(self.detector, self.optimiser, self.view_at, mesh, **options)


def recipe(config: Any, classes: tuple[str, ...]) -> Recipe:
    """The values that `config` describes for a dataset of `classes`.

    ValueError, suggesting the closest name, if a name is unknown or a type is wrong.
    """
    check_keys(config)
    stored = plain(config)
    parts = {part: stored["model"][part] for part in _parts(config)}
    optimiser = choose("optimiser", config.optimiser, "optimiser")
    evaluation = {key: value for key, value in config.evaluation.items() if key != "nms"}
    evaluation = Evaluation(**arguments(Evaluation, evaluation, "evaluation"))
    detector = _detector(config, tuple(classes))
    return Recipe(
        config=stored,
        purpose=config.get("purpose", ""),
        seed=config.seed,
        init_from=config.init_from,
        log=tuple(config.get("log", trackers.DEFAULT)),
        steps=config.schedule.steps,
        epochs=config.schedule.get("epochs", 0),
        rate=rate(config),
        detector=detector,
        parts=parts,
        class_parts=tuple(part for part in parts if "num_classes" in _fields(config, part)),
        data=data(config),
        optimiser=optimiser(rate(config)),
        optimiser_name=names_of(config.optimiser)[0],
        view_at=_view_at(config, detector),
        step=Step.of(config),
        evaluation=evaluation,
        every=Every(**arguments(Every, config.every, "every")),
    )


def rate(config: Any) -> optax.Schedule:
    """The learning rate by the number of updates done, from the block `schedule`."""
    return choose("schedule", config.schedule, "schedule", also=("epochs",))()


def with_steps(config: Any, *, images: int) -> Any:
    """The config with the steps that `schedule.epochs` of so many `images` are.

    Without epochs (0, or no such key) it is unchanged: then `schedule.steps` counts.
    """
    epochs = config.schedule.get("epochs", 0)
    if not epochs:
        return config
    batch_size = data(config).batch_size
    config = config.copy_and_resolve_references()
    config.schedule.steps = schedules.from_epochs(epochs, images=images, batch_size=batch_size)
    return config


def data(config: Any) -> Data:
    """The block `data`, needed to open the datasets, whose classes `recipe` needs."""
    return Data(**arguments(Data, config.data, "data"))


def plain(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, the form in which it is stored and compared."""
    return json.loads(config.to_json())


# Keys of the blocks that are not one function's arguments; the model also has its parts.
_KEYS = "purpose seed init_from log model data augment schedule optimiser step evaluation every"
_OPTIONAL = ("purpose", "log")
# The types of those that are no block's arguments; their ranges are in `limits`.
_TYPES = {
    "purpose": str,
    "seed": int,
    "init_from": str,
    "log": tuple[str, ...],
    "model.size": int,
    "model.mean": tuple[float, float, float],
    "model.scale": tuple[float, float, float],
    "model.dtype": str,
    "schedule.epochs": float,
}
_MODEL_KEYS = ("size", "mean", "scale", "dtype", "fit", "detector")
_AUGMENT_KEYS = ("window", "colour", "mix")


def check_keys(config: Any) -> None:
    """Raises ValueError for a key that is missing, or, with the closest name, that nothing reads.

    Also for a value of a wrong type or out of range, of the keys that are no block's arguments. The
    other blocks are checked when they become arguments.
    """
    for key in config:
        check_name(key, _KEYS.split(), "config", old="")
    _require([key for key in _KEYS.split() if key not in _OPTIONAL], config, "config")
    _require(["detector"], config.model, "config.model")  # it determines the parts
    for key in config.model:
        check_name(key, (*_MODEL_KEYS, *_parts(config)), "config.model", old="model")
    for key in config.augment:
        check_name(key, _AUGMENT_KEYS, "config.augment", old="augment")
    _require((*_MODEL_KEYS, *_parts(config)), config.model, "config.model")
    _require(_AUGMENT_KEYS, config.augment, "config.augment")
    for path, annotation in _TYPES.items():
        *blocks, key = path.split(".")
        block = config[blocks[0]] if blocks else config
        if key in block:
            check_value(as_tuples(block[key]), annotation, path)
    for name in config.get("log", ()):
        check_name(name, trackers.TRACKERS, "config.log")


def _require(keys: Iterable[str], block: Any, where: str) -> None:
    missing = [key for key in keys if key not in block]
    if missing:
        raise ValueError(f"{where} lacks {missing[0]!r}")


def with_evaluation(recipe: Recipe, evaluation: Mapping[str, Any]) -> Recipe:
    """The recipe, and so its detector, with other values in the block `evaluation`."""
    changed = {**recipe.config, "evaluation": {**recipe.config["evaluation"], **evaluation}}
    detector = _detector(ConfigDict(changed), recipe.detector.classes)
    return dataclasses.replace(recipe, config=changed, detector=detector)


def _detector(config: Any, classes: tuple[str, ...]) -> Detector:
    given = dict(
        net=functools.partial(_net, config, classes),
        size=config.model.size,
        classes=classes,
        fit=choose("fit", config.model.fit, "model.fit"),
        nms=suppression(config.evaluation),
    )
    return choose("detector", config.model.detector, "model.detector", given=given)(**given)


LIMITS = ("score_threshold", "iou_threshold", "max_kept")  # arguments of every NMS


def suppression(evaluation: Any) -> Callable:
    """The NMS of a block `evaluation`: boxes [A, 4], scores [A, K] -> `Detections`.

    It gets the best `candidates` of each class, or all without that key or with 0.
    """
    limits = {key: evaluation[key] for key in LIMITS}
    nms = choose("nms", evaluation.get("nms", "greedy"), "evaluation.nms", given=limits)
    nms = functools.partial(nms, **limits)
    candidates, floor = evaluation.get("candidates", 0), limits["score_threshold"]
    if not candidates:
        return nms
    return lambda boxes, scores: nms(boxes, best_of_each_class(scores, candidates, floor=floor))


def _net_class(config: Any) -> type[nn.Module]:
    """The class of network that a family takes, from the annotation of its argument `net`."""
    family = choose("detector", config.model.detector, "model.detector", given=_GIVEN)
    function = getattr(family, "func", family)
    return typing.get_args(typing.get_type_hints(function)["net"])[-1]


_GIVEN = ("net", "size", "classes", "fit", "nms")  # passed to every family


def _parts(config: Any) -> tuple[str, ...]:
    return net_.parts_of(_net_class(config))


def _net(config: Any, classes: tuple[str, ...], num_anchors: tuple[int, ...]) -> nn.Module:
    model = config.model
    check_name(model.dtype, _DTYPES, "config.model.dtype")
    known = dict(num_classes=len(classes), num_anchors=num_anchors)
    parts = {part: _part(part, model[part], known) for part in _parts(config)}
    pixels = dict(mean=tuple(model.mean), scale=tuple(model.scale))
    return _net_class(config)(**parts, **pixels, dtype=_DTYPES[model.dtype])


def _part(part: str, block: Any, known: Mapping[str, Any]) -> nn.Module:
    """Builds a part of the network; a tuple of blocks becomes modules that run in sequence."""
    if isinstance(block, list | tuple):
        names = names_of(block)
        unique = [n + str(names[:i].count(n) + 1) * (n in names[:i]) for i, n in enumerate(names)]
        return net_.InSequence(tuple(unique), tuple(_part(part, each, known) for each in block))
    made = choose(_key(part), block, f"model.{part}", given=known)
    given = {
        key: value for key, value in known.items() if key in inspect.signature(made).parameters
    }
    return made(**given)


def _fields(config: Any, part: str) -> Mapping[str, inspect.Parameter]:
    """The arguments of a part of the network; empty for parts that run in sequence."""
    block = config.model[part]
    if isinstance(block, list | tuple):
        return {}
    known = ("num_classes", "num_anchors")
    return inspect.signature(choose(_key(part), block, f"model.{part}", given=known)).parameters


def _key(part: str) -> str:
    """The key of `CHOICES` for a part of a network: rpn_head and roi_head are both heads."""
    return part.rpartition("_")[2]


def names_of(block: Any) -> list[str]:
    """The names in the value of a recipe's key: several if parts run in sequence."""
    if isinstance(block, list | tuple):
        return [name for each in block for name in names_of(each)]
    return [block if isinstance(block, str) else block["name"]]


_WHEN = ("probability", "until")  # keys that every mix has


def _view_at(config: Any, detector: Detector) -> Callable[..., View]:
    """The views by input size and step; the same one while nothing changes, to compile it once."""
    augment = config.augment
    blocks = augment.mix if isinstance(augment.mix, list | tuple) else (augment.mix,)
    mixes = tuple(_mixing(block, config.schedule.steps, fill=detector.fill) for block in blocks)
    if mixes and any(height != width for height, width in data(config).canvases):
        raise ValueError("config.augment.mix is for square inputs: config.data.canvas has others")
    options = dict(
        fit=detector.fit,
        fill=detector.fill,
        window=choose("window", augment.window, "augment.window"),
        colour=choose("colour", augment.colour, "augment.colour"),
    )

    @functools.cache
    def view(size: int, active: tuple[views.Mixing, ...]) -> View:
        return functools.partial(views.train_view, output=size, mix=active, **options)

    return lambda size, number=1: view(size, tuple(m for m in mixes if m.active(number)))


def _mixing(block: Any, steps: int, **known: Any) -> views.Mixing:
    """A mix with what it takes of `known`, and when it is done; `until` can be a share of steps."""
    mix = choose("mix", block, "augment.mix", given=known, also=_WHEN)
    given = {key: known[key] for key in known if key in inspect.signature(mix).parameters}
    when = {} if isinstance(block, str) else {key: block[key] for key in _WHEN if key in block}
    if "until" in when:
        when["until"] = schedules.in_steps(when["until"], steps, key="augment.mix.until")
    return views.Mixing(
        functools.partial(mix, **given) if given else mix,
        **arguments(views.Mixing, when, "augment.mix", given=("mix",)),
    )
