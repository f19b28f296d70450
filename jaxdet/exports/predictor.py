"""A detector from an exported file: `jaxdet.load("model.onnx")`, called as that of a workdir."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdet import backend, build, data
from jaxdet.augment import views, window
from jaxdet.choices import choose
from jaxdet.engine.inference import Limits, Predictor, Program
from jaxdet.exports import contract
from jaxdet.exports.runners import Outputs, open_file
from jaxdet.types import Array, Detections, Fit, Shape


class Exported(Predictor):
    """An exported file. How images are placed in its input is ours, all else is the file's.

    Where NMS is inside the file, its thresholds are fixed: ValueError for another `iou`, for
    `agnostic`, a larger `max` or a lower `score` than the file has.
    """

    def __init__(self, file: str | os.PathLike[str]):
        opened = open_file(file)
        self.file, self.about, self._run = os.fspath(file), opened.about, opened.run
        self._input = self.about["input"]["height"], self.about["input"]["width"]
        self._canvas = tuple(self.about["canvas"])
        self._fit = choose("fit", self.about["fit"], "model.fit")
        how = dict(fit=self._fit, fill=self.about["fill"], dtype=self.about["input"]["dtype"])
        self._place = jax.jit(functools.partial(place, shape=self._input, **how))
        own = Limits(**{key: self.about[key] for key in build.LIMITS})
        self._detections = jax.jit(functools.partial(_detections, own, self.about))
        super().__init__(
            tuple(self.about["classes"]),
            own,
            canvases=self._on_canvas,
            program=self._compile,
        )

    def __repr__(self) -> str:
        return f"Exported({self.file!r})"

    def _on_canvas(self, sizes: np.ndarray) -> data.Canvases:
        """The only canvas; ValueError for an image that does not fit into the input."""
        height, width = self._input
        for size in sizes if window.is_by_shorter_side(self._fit) else ():
            _, _, right, bottom = np.asarray(self._fit(size, self._input))
            if right > width or bottom > height:
                raise ValueError(
                    f"an image of {size[0]}x{size[1]} (height x width) needs an input of "
                    f"{bottom}x{right}, and {self.file} has {height}x{width}: export another "
                    f"with --size={bottom}x{right}"
                )
        return data.Canvases((self._canvas,), np.zeros(len(sizes), int))

    def _compile(self, limits: Limits) -> Program:
        if _nms_inside(self.about) and limits != self._own:
            raise ValueError(
                f"NMS is inside {self.file}, with {_said(self._own)}; for {_said(limits)} export "
                "the model again with --nms=none"
            )
        finish = jax.jit(functools.partial(self._finish, limits))

        def program(canvas: np.ndarray, size: np.ndarray) -> Detections:
            pixels, seen = self._place(canvas, size)
            return finish(self._in_batches(np.asarray(pixels)), seen)

        return program

    def placed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images of any size [h, w, 3] as the file takes them [B, H, W, 3]."""
        canvas = [data.to_canvas(image, self._canvas) for image in images]
        pixels, *sizes = map(np.stack, zip(*canvas, strict=True))
        return np.asarray(self._place(pixels, np.stack(sizes, 1).astype(np.int32))[0])

    def detections(self, images: np.ndarray) -> tuple[jax.Array, ...]:
        """The `contract.DETECTIONS` in images as the file takes them, also without NMS inside."""
        return self._detections(outputs=self._in_batches(images))

    def _in_batches(self, pixels: np.ndarray) -> Outputs:
        """What the file returns for images, which it takes in batches of its own size."""
        rows = self.about["batch"]
        if rows is None or rows == len(pixels):
            return self._run(pixels)
        parts = []
        for start in range(0, len(pixels), rows):
            some = pixels[start : start + rows]
            filled = np.concatenate([some, np.repeat(some[-1:], rows - len(some), 0)])
            parts.append([output[: len(some)] for output in self._run(filled)])
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))

    def _finish(self, limits: Limits, outputs: Outputs, seen: window.Window) -> Detections:
        """Detections in fractions of the images, from what the file returned."""
        count, boxes, scores, labels = _detections(limits, self.about, outputs)
        sides = jnp.tile(jnp.array(self._input[::-1], jnp.float32), 2)
        boxes = jax.vmap(window.to_image)(boxes / sides[None, None], seen)
        valid = jnp.arange(scores.shape[1])[None] < count
        return Detections(boxes=boxes, scores=scores, labels=labels, valid=valid)


def _nms_inside(about: Mapping[str, Any]) -> bool:
    return tuple(about["outputs"]) == contract.DETECTIONS


def _detections(
    limits: Limits, about: Mapping[str, Any], outputs: Outputs
) -> tuple[jax.Array, ...]:
    """The `contract.DETECTIONS`: what the file returned, or NMS of that."""
    if _nms_inside(about):
        return tuple(map(jnp.asarray, outputs))
    nms = build.suppression({**about, **limits.evaluation})
    return contract.as_outputs(backend.per_image(nms, *map(jnp.asarray, outputs)))


def place(
    canvas: Array, size: Array, *, shape: Shape, fit: Fit, fill: tuple[float, ...], dtype: str
) -> tuple[jax.Array, window.Window]:
    """Images on canvases [B, ...] as a file takes them [B, H, W, 3], and what each shows."""
    how = dict(output=window.input_size(shape, fit), fit=fit, fill=tuple(fill))
    pixels, seen = jax.vmap(functools.partial(views.eval_view, **how))(canvas, size)
    return (pixels.round().astype(jnp.uint8) if dtype == "uint8" else pixels), seen


def _said(limits: Limits) -> str:
    rule = " class-agnostic," if limits.agnostic else ""
    return (
        f"{rule} iou={limits.iou_threshold}, score={limits.score_threshold}, max={limits.max_kept}"
    ).strip()
