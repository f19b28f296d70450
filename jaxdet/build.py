"""From a recipe to values: nothing but this file and the commands reads a config.

A recipe is an ml_collections config, a file of configs/. `data` returns what the datasets are
opened by; with their classes, `recipe` returns everything else that a program needs.
"""

import dataclasses
import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxdet.augment import views
from jaxdet.choices import arguments, check_name, choose
from jaxdet.detectors import net as net_
from jaxdet.training.step import View, programs
from jaxdet.types import Detector

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Data:
    """The block `data`: which images, and how they are handed to the device."""

    train: str
    eval: str
    dir: str
    root: str
    canvas: int
    batch_size: int
    max_objects: int
    keep_difficult: bool

    @property
    def place(self) -> dict[str, str | None]:
        """Where the datasets lie, as keywords of `data.open`."""
        return {"dir": self.dir, "root": self.root or None}


@dataclasses.dataclass(frozen=True)
class Step:
    """The block `step`: keywords of `training.step.programs`."""

    accumulate: int
    ema_decay: float
    frozen: tuple[str, ...]
    unfreeze_at: int
    synchronised: bool
    sizes: tuple[int, ...]
    resize_every: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The block `evaluation`: a metric, and which detections it sees."""

    metric: ModuleType  # a file of jaxdet/metrics
    batch_size: int
    score_threshold: float
    iou_threshold: float
    max_kept: int

    @property
    def metric_name(self) -> str:
        """What the recipe calls the metric."""
        return self.metric.__name__.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Every:
    """The block `every`: after how many steps what is done (0: never), and checkpoints to keep."""

    log: int
    picture: int
    checkpoint: int
    evaluation: int
    keep: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a config describes, as values."""

    config: Mapping[str, Any]  # as plain JSON values
    purpose: str
    seed: int
    init_from: str
    steps: int
    detector: Detector
    parts: Mapping[str, Any]  # name -> its block, of the network's parts as they follow each other
    class_parts: tuple[str, ...]  # those with layers for every class
    data: Data
    optimiser: optax.GradientTransformation
    optimiser_name: str
    view_at: Callable[[int], View]  # the augmentation for an input of so many pixels
    step: Step
    evaluation: Evaluation
    every: Every

    @property
    def description(self) -> dict[str, Any]:
        """What a checkpoint says of its model: enough to build it again."""
        return {"config": dict(self.config), "classes": list(self.detector.classes)}

    @property
    def model(self) -> tuple[str, ...]:
        """By which importers know the model: ("ssd", "vgg_extras", "vgg16").

        Those are the names of the family and of the parts without classes, the last part first.
        """
        parts = [part for part in reversed(self.parts) if part not in self.class_parts]
        (family,) = _names(self.config["model"]["detector"])
        return family, *("+".join(_names(self.parts[part])) for part in parts)

    def programs(self, mesh: Mesh) -> Callable[[int], Callable]:
        """The compiled step for every step number; see `training.step.programs`."""
        options = dict(seed=self.seed, **dataclasses.asdict(self.step))
        return programs(self.detector, self.optimiser, self.view_at, mesh, **options)


def recipe(config: Any, classes: tuple[str, ...]) -> Recipe:
    """The values that `config` describes for a dataset of `classes`.

    ValueError, with the nearest name, where a name or a type does not fit.
    """
    check_keys(config)
    stored = plain(config)
    parts = {part: stored["model"][part] for part in _parts(config)}
    rate = choose("schedule", config.schedule, "schedule")()
    optimiser = choose("optimiser", config.optimiser, "optimiser")
    detector = _detector(config, tuple(classes))
    evaluation = {key: value for key, value in config.evaluation.items() if key != "nms"}
    return Recipe(
        config=stored,
        purpose=config.get("purpose", ""),
        seed=config.seed,
        init_from=config.init_from,
        steps=config.schedule.steps,
        detector=detector,
        parts=parts,
        class_parts=tuple(part for part in parts if "num_classes" in _fields(config, part)),
        data=data(config),
        optimiser=optimiser(rate),
        optimiser_name=_names(config.optimiser)[0],
        view_at=_view_at(config, detector),
        step=Step(**arguments(Step, config.step, "step")),
        evaluation=Evaluation(**arguments(Evaluation, evaluation, "evaluation")),
        every=Every(**arguments(Every, config.every, "every")),
    )


def data(config: Any) -> Data:
    """The block `data`, by which the datasets are opened, whose classes `recipe` needs."""
    return Data(**arguments(Data, config.data, "data"))


def plain(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, the form in which it is stored and compared."""
    return json.loads(config.to_json())


# The keys of the blocks that are not the arguments of one function; the model has its parts, too.
_KEYS = "purpose seed init_from model data augment schedule optimiser step evaluation every"
_MODEL_KEYS = ("size", "mean", "scale", "dtype", "letterbox", "detector")


def check_keys(config: Any) -> None:
    """ValueError, with the nearest name, for a key that no part of the program reads.

    Other blocks are checked where they become arguments.
    """
    for key in config:
        check_name(key, _KEYS.split(), "config", old="")
    for key in config.model:
        check_name(key, (*_MODEL_KEYS, *_parts(config)), "config.model", old="model")
    for key in config.augment:
        check_name(key, ("window", "colour", "mix"), "config.augment", old="augment")
    for key in (*_MODEL_KEYS, *_parts(config)):
        if key not in config.model:
            raise ValueError(f"config.model lacks {key!r}")


def _detector(config: Any, classes: tuple[str, ...]) -> Detector:
    evaluation = config.evaluation
    limits = {key: evaluation[key] for key in ("score_threshold", "iou_threshold", "max_kept")}
    nms = choose("nms", evaluation.get("nms", "greedy"), "evaluation.nms", given=limits)
    given = dict(
        net=functools.partial(_net, config, classes),
        size=config.model.size,
        classes=classes,
        letterbox=config.model.letterbox,
        nms=functools.partial(nms, **limits),
    )
    return choose("detector", config.model.detector, "model.detector", given=given)(**given)


def _net_class(config: Any) -> type[nn.Module]:
    """The class of network that a family takes, by the annotation of its argument `net`."""
    family = choose("detector", config.model.detector, "model.detector", given=_GIVEN)
    function = getattr(family, "func", family)
    return typing.get_args(typing.get_type_hints(function)["net"])[-1]


_GIVEN = ("net", "size", "classes", "letterbox", "nms")  # to every family


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
    """A part of the network; a tuple of blocks makes modules that run in sequence."""
    if isinstance(block, list | tuple):
        names = _names(block)
        unique = [n + str(names[:i].count(n) + 1) * (n in names[:i]) for i, n in enumerate(names)]
        return net_.InSequence(tuple(unique), tuple(_part(part, each, known) for each in block))
    made = choose(_key(part), block, f"model.{part}", given=known)
    given = {
        key: value for key, value in known.items() if key in inspect.signature(made).parameters
    }
    return made(**given)


def _fields(config: Any, part: str) -> Mapping[str, inspect.Parameter]:
    """The arguments of a part of the network; none of parts that run in sequence."""
    block = config.model[part]
    if isinstance(block, list | tuple):
        return {}
    known = ("num_classes", "num_anchors")
    return inspect.signature(choose(_key(part), block, f"model.{part}", given=known)).parameters


def _key(part: str) -> str:
    """The key by which a part of a network is chosen: rpn_head and roi_head are heads."""
    return part.rpartition("_")[2]


def _names(block: Any) -> list[str]:
    """The names in the value of a key, several where they run in sequence."""
    if isinstance(block, list | tuple):
        return [name for each in block for name in _names(each)]
    return [block if isinstance(block, str) else block["name"]]


def _view_at(config: Any, detector: Detector) -> Callable[[int], View]:
    augment = config.augment
    options = dict(
        letterbox=detector.letterbox,
        fill=detector.fill,
        window=choose("window", augment.window, "augment.window"),
        colour=choose("colour", augment.colour, "augment.colour"),
        mix=tuple(choose("mix", each, "augment.mix") for each in augment.mix),
    )
    return lambda size: functools.partial(views.train_view, output=size, **options)
