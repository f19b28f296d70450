"""A one-stage detector: a network plus the pure functions that interpret its output."""

import dataclasses
import functools
from collections.abc import Callable

import jax

from jaxdet import backend
from jaxdet.detectors.net import Grids, Net, fresh_variables, shapes_at
from jaxdet.types import (
    Anchors,
    Array,
    Detections,
    Fit,
    Losses,
    Objects,
    Raw,
    Shape,
    Targets,
    Variables,
)


@dataclasses.dataclass(frozen=True)
class OneStage:
    """A network and its five functions; it implements `types.Detector`.

    A family (`jaxdet/detectors/ssd.py`) is a function that returns one of these.
    """

    net: Net
    size: int  # of the input used for evaluation, pixels
    classes: tuple[str, ...]  # K names
    fit: Fit  # how images are placed in the input
    anchors: Callable[[Grids, Shape], Anchors]
    assign: Callable[[Anchors, Objects], Targets]  # of one image
    losses: Callable[[Raw, Targets, Objects, Anchors], Losses]  # of a batch
    decode: Callable[[Raw, Anchors], tuple[jax.Array, jax.Array]]  # boxes [B,A,4], scores [B,A,K]
    nms: Callable[[jax.Array, jax.Array], Detections]  # (boxes [A,4], scores [A,K]) of one image
    colour: tuple[float, float, float] | None = None  # of the padding; None: the mean

    @property
    def fill(self) -> tuple[float, float, float]:
        """The colour of the padding; the mean is what the network sees as zero."""
        return self.net.mean if self.colour is None else self.colour

    def init(self, key: jax.Array) -> Variables:
        """Freshly initialised variables: {"params": ..., "batch_stats": ...}."""
        run = lambda net, pixels: net(pixels, train=False)
        return fresh_variables(self.net, run, (self.size, self.size), key)

    def anchors_at(self, shape: Shape) -> Anchors:
        """The anchors for an input of some shape, [A, ...]."""
        return _anchors_at(self, shape)

    def loss(
        self,
        variables: Variables,
        pixels: Array,
        objects: Objects,
        *,
        key: jax.Array,
        train: bool = True,
        inside: Array | None = None,
    ) -> tuple[Losses, dict]:
        """As in `types.Detector`; `key` is for dropout in training, padding counts as image."""
        del inside
        anchors, targets = self.matched(objects, pixels.shape[1:3])
        raw, updates = self.net.apply(
            variables, pixels, train=train, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return self.losses(raw, targets, objects, anchors), updates.get("batch_stats", {})

    def predict(
        self, variables: Variables, pixels: Array, inside: Array | None = None
    ) -> Detections:
        """The detections [B, M] in `pixels` [B, H, W, 3], 0..255 RGB."""
        del inside
        return backend.per_image(self.nms, *self.forward(variables, pixels))

    def forward(
        self, variables: Variables, pixels: Array, inside: Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Boxes [B, A, 4] and scores [B, A, K] before NMS."""
        del inside
        raw = self.net.apply(variables, pixels, train=False)
        return self.decode(raw, self.anchors_at(pixels.shape[1:3]))

    def matched(self, objects: Objects, shape: Shape) -> tuple[Anchors, Targets]:
        """The anchors [A] for an input of some shape, and their targets [B, A]."""
        anchors = self.anchors_at(shape)
        return anchors, jax.vmap(functools.partial(self.assign, anchors))(objects)


@functools.lru_cache(maxsize=64)
def _anchors_at(detector: OneStage, shape: Shape) -> Anchors:
    def maps_and_boxes(net: Net, pixels: jax.Array):
        maps = net.maps(pixels, train=False)
        return maps, net.head(maps, train=False)[0]

    maps, boxes = shapes_at(detector.net, maps_and_boxes, shape)
    anchors = detector.anchors(tuple(m.shape[1:3] for m in maps), shape)
    found, expected = len(anchors.boxes), boxes.shape[1]
    assert found == expected, f"{found} anchors for {expected} predictions at {shape} pixels"
    return anchors
