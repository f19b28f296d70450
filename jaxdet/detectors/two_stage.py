"""A two-stage detector: regions that may hold an object, then a class and a box for each.

Faster R-CNN (Ren et al. 2015, arXiv:1506.01497). All numbers of regions are fixed, with padding.
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from jaxdet import backend
from jaxdet.boxes import sampling
from jaxdet.boxes.codecs import Codec
from jaxdet.boxes.proposals import as_anchors
from jaxdet.detectors.net import Grids, RegionNet, fresh_variables, shapes_at
from jaxdet.losses.classes import ClassLoss
from jaxdet.losses.scores import class_scores
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

# (boxes [A, 4], logits [A], the anchors of each level, the shape and the part of the input that is
# image) of one image -> boxes [R, 4], probabilities [R], and which are valid [R]
Propose = Callable[..., tuple[Array, Array, Array]]

SMALLEST_SIDE = 0.01  # of a detection, in pixels of the input


@flax.struct.dataclass
class Regions:
    """Proposals, highest score first."""

    boxes: Array  # [B, R, 4] xyxy in 0..1, inside the image
    scores: Array  # [B, R] probability of an object
    valid: Array  # [B, R] bool, False for padding


@dataclasses.dataclass(frozen=True)
class Stage:
    """How one stage is trained: what its boxes should find, and which of them count."""

    codec: Codec
    assign: Callable[[Anchors, Objects], Targets]  # of one image
    draw: Callable[..., tuple[Array, Array]]  # (key, positive [A], negative [A]) -> both drawn
    losses: Callable[[Raw, Targets, Array, Anchors], Losses]  # of a batch

    def drawn(self, key: jax.Array, targets: Targets) -> Array:
        """Which of the boxes [A] of one image count, at random."""
        negative = ~targets.positive & ~targets.ignore
        first, second = self.draw(key, targets.positive, negative)
        return first | second


@dataclasses.dataclass(frozen=True)
class TwoStage:
    """A network and its functions; it implements `types.Detector`.

    A family (`jaxdet/detectors/faster_rcnn.py`) is a function that returns one of these. Functions
    are of one image, except the losses and `pool`.
    """

    net: RegionNet
    size: int  # of the input used for evaluation, pixels
    classes: tuple[str, ...]  # K names
    fit: Fit  # how images are placed in the input
    anchors: Callable[[Grids, Shape], Anchors]
    first: Stage  # anchors
    propose: tuple[Propose, Propose]  # in training, in evaluation
    pool: Callable[..., Array]  # (maps, regions [B, R, 4], shape=) -> [B, R, h, w, C]
    second: Stage  # regions
    regions_drawn: int  # per image
    class_loss: ClassLoss  # what the second stage's logits are trained with
    nms: Callable[[jax.Array, jax.Array], Detections]  # (boxes [R,K,4], scores [R,K]) of one image

    @property
    def fill(self) -> tuple[float, float, float]:
        """The colour of the padding; the mean is what the network sees as zero."""
        return self.net.mean

    def init(self, key: jax.Array) -> Variables:
        """Freshly initialised variables: {"params": ..., "batch_stats": ...}."""

        def run(net: RegionNet, pixels: jax.Array):
            maps = net.maps(pixels, train=False)
            boxes = jnp.array([[[0.0, 0.0, 1.0, 1.0]]])
            pooled = self.pool(maps, boxes, shape=pixels.shape[1:3])
            return net.find(maps, train=False), net.classify(pooled, train=False)

        return fresh_variables(self.net, run, (self.size, self.size), key)

    def anchors_at(self, shape: Shape) -> Anchors:
        """The anchors for an input of some shape, [A, ...]."""
        return _anchors_at(self, shape)[0]

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
        """As in `types.Detector`; `key` is for dropout, and for which anchors and regions count."""
        shape = pixels.shape[1:3]
        dropout_key, *keys = jax.random.split(key, 3)
        anchor_keys, region_keys = (jax.random.split(each, len(pixels)) for each in keys)
        anchors, targets = self.matched(objects, shape)
        drawn = jax.vmap(self.first.drawn)(anchor_keys, targets)

        def run(net: RegionNet, pixels: Array):
            maps = net.maps(pixels, train=train)
            raw = net.find(maps, train=train)
            proposed = self._proposed(raw, shape, inside, train=train)
            boxes, region_targets, counted = self.training_regions(region_keys, proposed, objects)
            found = net.classify(self.pool(maps, boxes, shape=shape), train=train)
            losses = self.first.losses(raw, targets, drawn, anchors)
            return losses | self.second.losses(found, region_targets, counted, as_anchors(boxes))

        rngs = {"dropout": dropout_key}
        losses, updates = self.net.apply(
            variables, pixels, method=run, mutable=["batch_stats"], rngs=rngs
        )
        return losses, updates.get("batch_stats", {})

    def predict(
        self, variables: Variables, pixels: Array, inside: Array | None = None
    ) -> Detections:
        """The detections [B, M] in `pixels` [B, H, W, 3], 0..255 RGB."""
        return backend.per_image(self.nms, *self.forward(variables, pixels, inside))

    def forward(
        self, variables: Variables, pixels: Array, inside: Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Boxes [B, R, K, 4], one per class, clipped to the images, and scores [B, R, K]."""
        _, regions, found = self.stages(variables, pixels, inside)
        return self.detections(regions, found, pixels.shape[1:3], inside)

    def stages(
        self, variables: Variables, pixels: Array, inside: Array | None = None
    ) -> tuple[Raw, Regions, Raw]:
        """What the first stage predicts [B, A], the proposals [B, R], and what the second predicts
        for them."""
        shape = pixels.shape[1:3]

        def run(net: RegionNet, pixels: Array):
            maps = net.maps(pixels, train=False)
            raw = net.find(maps, train=False)
            regions = self._proposed(raw, shape, inside, train=False)
            pooled = self.pool(maps, regions.boxes, shape=shape)
            return raw, regions, net.classify(pooled, train=False)

        return self.net.apply(variables, pixels, method=run)

    def detections(
        self, regions: Regions, found: Raw, shape: Shape, inside: Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Boxes [B, R, K, 4] and scores [B, R, K] of what the second stage predicts."""
        boxes = self.second.codec.decode(found.boxes, as_anchors(regions.boxes[:, :, None]))
        low, high = jnp.split(_inside(inside, boxes.shape[0])[:, None, None], 2, axis=-1)
        boxes = jnp.clip(boxes, jnp.tile(low, 2), jnp.tile(high, 2))
        sides = (boxes[..., 2:] - boxes[..., :2]) * jnp.array(shape[::-1]).reshape(1, 1, 1, 2)
        large = (sides >= SMALLEST_SIDE).all(axis=-1)  # [B, R, K]
        scores = class_scores(found.logits, self.class_loss)[..., 1:]  # column 0: the background
        return boxes, jnp.where(large & regions.valid[..., None], scores, 0.0)

    def matched(self, objects: Objects, shape: Shape) -> tuple[Anchors, Targets]:
        """The first stage's anchors [A] for an input of some shape, and their targets [B, A]."""
        anchors = self.anchors_at(shape)
        return anchors, jax.vmap(functools.partial(self.first.assign, anchors))(objects)

    def training_regions(
        self, keys: jax.Array, proposed: Regions, objects: Objects
    ) -> tuple[Array, Targets, Array]:
        """The regions [B, R] that the second stage is trained on, their targets, and which count.

        They are drawn, with keys [B], from the proposals and the objects themselves.
        """

        def choose(key: jax.Array, boxes: Array, valid: Array, objects: Objects):
            boxes = jnp.concatenate([boxes, objects.boxes])
            valid = jnp.concatenate([valid, objects.mask])
            targets = self.second.assign(as_anchors(boxes), objects)
            positive, ignore = targets.positive & valid, targets.ignore | ~valid
            targets = targets.replace(positive=positive, ignore=ignore)
            drawn = self.second.drawn(key, targets)
            rows, counted = sampling.places(drawn, count=self.regions_drawn)
            return *jax.tree.map(lambda x: x[rows], (boxes, targets)), counted

        return jax.vmap(choose)(keys, proposed.boxes, proposed.valid, objects)

    def _proposed(self, raw: Raw, shape: Shape, inside: Array | None, *, train: bool) -> Regions:
        anchors, levels = _anchors_at(self, shape)
        propose = self.propose[0 if train else 1]

        def of_image(boxes: Array, logits: Array, inside: Array):
            return propose(boxes, logits, levels=levels, shape=shape, inside=inside)

        raw = jax.lax.stop_gradient(raw)
        boxes = self.first.codec.decode(raw.boxes, anchors)
        of_batch = boxes, raw.logits[..., 0], _inside(inside, boxes.shape[0])
        return Regions(*backend.per_image(of_image, *of_batch))


def _inside(inside: Array | None, count: int) -> Array:
    """The part of each input that is image, [B, 4]; all of it, if that is None."""
    whole = jnp.broadcast_to(jnp.array([[0.0, 0.0, 1.0, 1.0]]), (count, 4))
    return whole if inside is None else inside


@functools.lru_cache(maxsize=64)
def _anchors_at(detector: TwoStage, shape: Shape) -> tuple[Anchors, tuple[int, ...]]:
    """The anchors for an input of some shape, and how many of them each level has."""
    maps = shapes_at(detector.net, RegionNet.maps, shape)
    grids = tuple(x.shape[1:3] for x in maps)
    anchors = detector.anchors(grids, shape)
    cells = [rows * columns for rows, columns in grids]
    per_cell = len(anchors.boxes) // sum(cells)
    return anchors, tuple(per_cell * count for count in cells)
