"""What a run's variables start from: nothing, an ImageNet classifier, or another run."""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import parameter_overview
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from jaxdet import build
from jaxdet.convert import classes, download, published, weights
from jaxdet.engine import buckets
from jaxdet.training import checkpoint
from jaxdet.types import Detector, Shape, Variables

Path_ = tuple[str, ...]  # params/backbone/...


def check(init_from: str, model: Mapping[str, Any]) -> None:
    """Raises ValueError in one line, before anything is built, unless a run can start from this.

    That is nothing (""), a workdir with a checkpoint, a file of weights, of which only the
    beginning is read here, or the name of a published classifier for the recipe's block `model`,
    which is downloaded unless the cache has it.
    """
    if init_from:
        source(init_from, model)


def source(init_from: str, model: Mapping[str, Any]) -> epath.Path:
    """The workdir or the file of weights that `init_from` stands for; see `check`."""
    path = epath.Path(init_from).expanduser()
    if path.is_dir():
        if not checkpoint.steps(path):
            raise ValueError(f"config.init_from: the folder {path} has no checkpoints")
    elif path.exists():
        *_, backbone = build.names_of(model["backbone"])
        weights.check_classifier(path, backbone)
    elif published.is_name(init_from):
        return epath.Path(download.fetch(published.classifier(init_from, model)))
    else:
        detectors = [each.name for each in published.DETECTORS]
        hint = f"; jaxdet.convert --from={init_from} makes a workdir" * (init_from in detectors)
        raise ValueError(
            f"config.init_from: there is nothing at {path}; expected a workdir or a weights file, "
            f"or {published.IMAGENET}{hint}"
        )
    return path


def initial_variables(recipe: build.Recipe, init_from: str) -> Variables:
    """Freshly initialised variables, replaced by those in `init_from` where that is not empty.

    It is an ImageNet classifier (a file, or its name), for the backbone, a file with the first
    layers of one of Darknet's networks, or another run (its workdir), as far as its model is the
    same. Of a head for other classes, what belongs to the same ones is taken.
    """
    variables = recipe.detector.init(jax.random.key(recipe.seed))
    path = source(init_from, recipe.config["model"]) if init_from else None
    if path is not None and path.is_dir():
        variables, fresh = _with_run(recipe, variables, path)
        print(f"weights from {init_from}; fresh: {', '.join(fresh) or 'none'}", flush=True)
    elif path is not None:
        variables = weights.load_backbone(path, variables, model=recipe.model)
        print(f"backbone weights from {path}", flush=True)
    height, width = shape = buckets.input_shapes(recipe)[-1]
    print(
        f"{' + '.join(recipe.model[::-1])}: "
        f"{parameter_overview.count_parameters(variables['params']):,} parameters, "
        f"{anchor_count(recipe.detector, shape):,} boxes at {height}x{width} pixels",
        flush=True,
    )
    return variables


def anchor_count(detector: Detector, shape: Shape) -> int:
    """How many boxes the detector predicts before NMS; ValueError for an impossible shape."""
    variables = jax.eval_shape(detector.init, jax.random.key(0))
    pixels = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    boxes, _ = jax.eval_shape(detector.forward, variables, pixels)
    return boxes.shape[1]


def _with_run(
    recipe: build.Recipe, variables: Variables, folder: epath.Path
) -> tuple[Variables, list[str]]:
    """`variables` with those of the run in `folder`, and the names of what stays fresh.

    The first part (the backbone) must fit; later parts are loaded up to the first that differs
    between the two recipes.
    """
    description, loaded, _ = checkpoint.read(folder)
    theirs = description["config"]["model"]
    first, *others = recipe.parts
    same = itertools.takewhile(lambda part: theirs.get(part) == recipe.parts[part], others)
    taken = (first, *same)
    is_taken = lambda path: path[1] in taken
    flat = flatten_dict(variables)
    given = {path: array for path, array in flatten_dict(loaded).items() if is_taken(path)}
    fresh = sorted({path[1] for path in flat if not is_taken(path)})
    if set(recipe.class_parts) & set(taken):
        given, unknown = _for_classes(recipe, tuple(description["classes"]), flat, given)
        fresh += [f"class {name}" for name in unknown]
    wanted = unflatten_dict({path: array for path, array in flat.items() if is_taken(path)})
    filled, _ = weights.fill([("/".join(p), p, array) for p, array in given.items()], wanted)
    return unflatten_dict({**flat, **flatten_dict(filled)}), fresh


def _for_classes(
    recipe: build.Recipe, theirs: tuple[str, ...], flat: dict[Path_, Any], given: dict[Path_, Any]
) -> tuple[dict[Path_, Any], list[str]]:
    """The arrays `given`, of a network for the classes `theirs`, for those of the recipe.

    Also returns the names of classes that are not among theirs; their outputs are those of `flat`.
    """
    ours = recipe.detector.classes
    if theirs == ours:
        return given, []
    groups = _outputs_per_class(recipe)
    for path in given:
        if groups.get(path):
            where = dict(name="/".join(path), groups=groups[path])
            where.update(theirs=theirs, ours=ours)
            given[path] = classes.taken_over(given[path], flat[path], **where)
    common = classes.same(theirs, ours)
    return given, [name for label, name in enumerate(ours) if label not in common]


def _outputs_per_class(recipe: build.Recipe) -> dict[Path_, int]:
    """How many outputs of each array, by path, belong to one class."""
    more = build.recipe(ConfigDict(recipe.config), (*recipe.detector.classes, "one more"))
    few, many = (
        flatten_dict(jax.eval_shape(detector.init, jax.random.key(0)))
        for detector in (recipe.detector, more.detector)
    )
    return {path: many[path].shape[-1] - few[path].shape[-1] for path in few}
