"""A trained detector, ready to use: `jaxdet.load(workdir)`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxdet import build, data
from jaxdet.engine import buckets
from jaxdet.engine.evaluate import to_pixels, view_and_predict
from jaxdet.training import checkpoint
from jaxdet.types import Array, Detections, Detector, ImageDetections, Shape, Variables


@dataclasses.dataclass(frozen=True)
class Result:
    """The detections in one image, highest score first."""

    boxes: np.ndarray  # [m, 4] x1 y1 x2 y2 in pixels, inside the image
    scores: np.ndarray  # [m] 0..1
    labels: np.ndarray  # [m] 0..K-1
    names: list[str]  # [m] class names


class Pretrained:
    """A detector with its weights; call it with one image, or `detect` with several."""

    def __init__(self, recipe: build.Recipe, variables: Variables, *, step: int):
        self.recipe, self.step = recipe, step
        self.variables = jax.device_put(variables)
        self._predict = jax.jit(self._predict_canvas)

    @property
    def detector(self) -> Detector:
        """The detector itself, which holds no weights."""
        return self.recipe.detector

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names; label i is classes[i]."""
        return self.detector.classes

    def __call__(self, image: np.ndarray | str | Path) -> Result:
        """The detections in an image: a path, or RGB uint8 [H, W, 3]."""
        if isinstance(image, str | Path):
            image = data.read_image(image)
        (detections,) = self.detect([image])
        names = [self.classes[label] for label in detections.labels]
        return Result(detections.boxes, detections.scores, detections.labels, names)

    def detect(self, images: Sequence[np.ndarray], *, batch_size: int = 8) -> list[ImageDetections]:
        """The detections in each of `images`, RGB uint8 [H, W, 3] of any size; boxes in pixels."""
        for image in images:
            _check_image(image)
        if not images:
            return []
        on = buckets.canvases(self.recipe, np.array([image.shape[:2] for image in images]))
        detections: dict[int, ImageDetections] = {}
        for i, canvas in enumerate(on.shapes):
            ids = np.flatnonzero(on.of_image == i)
            for start in range(0, len(ids), batch_size):
                some = ids[start : start + batch_size]
                found = self._detect_batch([images[j] for j in some], canvas, batch_size)
                detections |= zip(some.tolist(), found, strict=True)
        return [detections[i] for i in range(len(images))]

    def _detect_batch(
        self, images: Sequence[np.ndarray], canvas: Shape, batch_size: int
    ) -> list[ImageDetections]:
        # A single image gets a program of its own; all other batches on a canvas share one.
        rows = 1 if len(images) == 1 else batch_size
        pixels = np.zeros((rows, *canvas, 3), np.uint8)
        sizes = np.ones((rows, 2), np.int32)
        for i, image in enumerate(images):
            pixels[i], *sizes[i] = data.to_canvas(image, canvas)
        detections = jax.device_get(self._predict(self.variables, pixels, sizes))
        return [
            _clip(to_pixels(jax.tree.map(lambda x: x[i], detections), *image.shape[1::-1]), image)  # noqa: B023
            for i, image in enumerate(images)
        ]

    def _predict_canvas(self, variables: Variables, pixels: Array, sizes: Array) -> Detections:
        return view_and_predict(self.detector, variables, pixels, sizes)


def load(workdir: str | Path) -> Pretrained:
    """Loads the detector of the newest checkpoint in `workdir`; no config file is needed.

    ValueError if there is no checkpoint.
    """
    description, variables, step = checkpoint.read(workdir)
    recipe = build.recipe(ConfigDict(description["config"]), tuple(description["classes"]))
    return Pretrained(recipe, variables, step=step)


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        found = getattr(image, "shape", type(image).__name__)
        raise ValueError(f"an image is {found}, expected RGB uint8 [height, width, 3]")
    if image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"an image is {image.dtype} {image.shape}, expected uint8, not empty")


def _clip(detections: ImageDetections, image: np.ndarray) -> ImageDetections:
    height, width = image.shape[:2]
    limits = np.array([width, height] * 2, np.float32)
    return dataclasses.replace(detections, boxes=np.clip(detections.boxes, 0, limits))
