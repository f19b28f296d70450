"""A trained detector, ready to use: `jaxdet.load(workdir)`."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Unpack, overload

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxdet import build, data
from jaxdet.choices import check_name
from jaxdet.engine import buckets, tiles
from jaxdet.engine import settings as settings_
from jaxdet.engine.evaluate import to_pixels, view_and_predict
from jaxdet.engine.images import Image, as_rgb
from jaxdet.engine.result import Result
from jaxdet.engine.settings import Settings
from jaxdet.training import checkpoint
from jaxdet.types import Detections, Detector, ImageDetections, Shape, Variables

_CHUNK = 4  # batches of images that are in memory at a time


@dataclasses.dataclass(frozen=True)
class Limits:
    """How detections are chosen: what is compiled into a program."""

    score_threshold: float
    iou_threshold: float
    max_kept: int
    agnostic: bool = False

    @property
    def evaluation(self) -> dict[str, Any]:
        """The keys of a recipe's block `evaluation` that they stand for."""
        keys = dataclasses.asdict(self)
        return keys | {"nms": "agnostic"} if keys.pop("agnostic") else keys


# (images on canvases [B, H, W, 3] uint8, their sizes [B, 2]) -> detections, in 0..1 of the image
Program = Callable[[np.ndarray, np.ndarray], Detections]


class Predictor:
    """A detector that is called with one image or a list of them, of any size."""

    def __init__(
        self,
        classes: tuple[str, ...],
        own: Limits,
        *,
        canvases: Callable[[np.ndarray], data.Canvases],
        program: Callable[[Limits], Program],
    ):
        """`own` are the limits it was made with; `canvases` says which images of sizes [n, 2] get,
        `program` compiles for some limits."""
        self._classes, self._own = classes, own
        self._canvases, self._program = canvases, functools.lru_cache(maxsize=8)(program)

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names; label i is classes[i]."""
        return self._classes

    @overload
    def __call__(self, image: Image, **settings: Unpack[Settings]) -> Result: ...

    @overload
    def __call__(self, image: Sequence[Image], **settings: Unpack[Settings]) -> list[Result]: ...

    def __call__(
        self, image: Image | Sequence[Image], **settings: Unpack[Settings]
    ) -> Result | list[Result]:
        """The detections in an image, or those in each image of a list; see `detect`."""
        if isinstance(image, str) or not isinstance(image, Sequence):
            return self.detect([image], **settings)[0]
        return self.detect(image, **settings)

    def detect(self, images: Sequence[Image], **settings: Unpack[Settings]) -> list[Result]:
        """The detections in each of `images`, of any size; boxes in pixels.

        An image is a path, a PIL image, or a uint8 array: RGB [H, W, 3], RGBA [H, W, 4], whose
        transparency is dropped, or grey, [H, W] or [H, W, 1]. `settings` are those of `Settings`:

            detector(image, score=0.5, iou=0.5, classes=["cat", "dog"], tile=640, overlap=0.2)

        Another `iou`, `agnostic`, a larger `max` or a lower `score` than the recipe's is compiled
        when it is first used. ValueError for an image or a value that cannot be used.
        """
        settings_.check(settings)
        given: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
        for name in given.get("classes", ()):
            check_name(name, self.classes, "classes")
        limits, batch_size = self._limits(given), given.get("batch_size", 8)
        at_a_time, results = _CHUNK * batch_size, []
        for start in range(0, len(images), at_a_time):
            pixels = [as_rgb(image) for image in images[start : start + at_a_time]]
            if "tile" in given:
                found = self._detect_tiled(pixels, limits, batch_size, given)
            else:
                found = self._detect(pixels, limits, batch_size)
            results += [self._chosen(each, given) for each in found]
        return results

    def _limits(self, settings: dict[str, Any]) -> Limits:
        """Its own limits, or wider ones where the settings need them."""
        own = self._own
        return Limits(
            score_threshold=min(settings.get("score", own.score_threshold), own.score_threshold),
            iou_threshold=settings.get("iou", own.iou_threshold),
            max_kept=max(settings.get("max", own.max_kept), own.max_kept),
            agnostic=bool(settings.get("agnostic", False)),
        )

    def _detect(
        self, images: Sequence[np.ndarray], limits: Limits, batch_size: int
    ) -> list[ImageDetections]:
        """The detections in RGB uint8 images, in their order, batch by batch of one canvas."""
        found: dict[int, ImageDetections] = {}
        on = self._canvases(np.array([image.shape[:2] for image in images]))
        for i, canvas in enumerate(on.shapes):
            ids = np.flatnonzero(on.of_image == i)
            for start in range(0, len(ids), batch_size):
                some = ids[start : start + batch_size]
                batch = self._detect_batch([images[j] for j in some], canvas, limits, batch_size)
                found |= zip(some.tolist(), batch, strict=True)
        return [found[i] for i in range(len(images))]

    def _detect_batch(
        self, images: Sequence[np.ndarray], canvas: Shape, limits: Limits, batch_size: int
    ) -> Iterator[ImageDetections]:
        # A single image gets a program of its own; all other batches on a canvas share one.
        rows = 1 if len(images) == 1 else batch_size
        pixels = np.zeros((rows, *canvas, 3), np.uint8)
        sizes = np.ones((rows, 2), np.int32)
        for i, image in enumerate(images):
            pixels[i], *sizes[i] = data.to_canvas(image, canvas)
        detections = jax.device_get(self._program(limits)(pixels, sizes))
        for i, image in enumerate(images):
            one = jax.tree.map(lambda x, i=i: x[i], detections)
            yield _clip(to_pixels(one, *image.shape[1::-1]), image)

    def _detect_tiled(
        self,
        images: Sequence[np.ndarray],
        limits: Limits,
        batch_size: int,
        settings: dict[str, Any],
    ) -> Iterator[ImageDetections]:
        for image in images:
            shape = image.shape[:2]
            places = tiles.windows(shape, settings["tile"], settings.get("overlap", 0.2))
            parts = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in places] if len(places) > 1 else []
            whole, *found = self._detect([image, *parts], limits, batch_size)
            found = whole, found, places[: len(parts)], shape
            yield tiles.merge(*found, iou=limits.iou_threshold, agnostic=limits.agnostic)

    def _chosen(self, found: ImageDetections, settings: dict[str, Any]) -> Result:
        """The detections that pass the settings."""
        keep = found.scores > settings.get("score", -math.inf)
        if "classes" in settings:
            wanted = [self.classes.index(name) for name in settings["classes"]]
            keep &= np.isin(found.labels, wanted)
        best = np.flatnonzero(keep)[: settings.get("max")]
        return Result(found.boxes[best], found.scores[best], found.labels[best], self.classes)


class Pretrained(Predictor):
    """A detector with its weights and its recipe."""

    def __init__(self, recipe: build.Recipe, variables: Variables, *, step: int):
        self.recipe, self.step = recipe, step
        self.variables = jax.device_put(variables)
        super().__init__(
            recipe.detector.classes,
            Limits(**{key: getattr(recipe.evaluation, key) for key in build.LIMITS}),
            canvases=functools.partial(buckets.canvases, recipe),
            program=self._compile,
        )

    @property
    def detector(self) -> Detector:
        """The detector itself, which holds no weights."""
        return self.recipe.detector

    def _compile(self, limits: Limits) -> Program:
        detector = self.detector
        if limits != self._own:
            detector = build.with_evaluation(self.recipe, limits.evaluation).detector
        return functools.partial(
            jax.jit(functools.partial(view_and_predict, detector)), self.variables
        )


def load(workdir: str | os.PathLike[str]) -> Pretrained:
    """Loads the detector of the newest checkpoint in `workdir`; no config file is needed.

    ValueError if there is no checkpoint.
    """
    description, variables, step = checkpoint.read(os.fspath(workdir))
    recipe = build.recipe(ConfigDict(description["config"]), tuple(description["classes"]))
    return Pretrained(recipe, variables, step=step)


def _clip(detections: ImageDetections, image: np.ndarray) -> ImageDetections:
    height, width = image.shape[:2]
    limits = np.array([width, height] * 2, np.float32)
    return dataclasses.replace(detections, boxes=np.clip(detections.boxes, 0, limits))
