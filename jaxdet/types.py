"""The records passed between modules, the `Detector` protocol, and the letters for array axes.

**B** images, **H W** pixels, **N** objects (padded), **A** anchors (all levels flattened),
**K** classes without the background, **M** kept detections, **S** canvas side.

Boxes are corners, x1 y1 x2 y2, as fractions of the image (0..1), float32, unless a name says
otherwise (`boxes_cxcywh`, `boxes_pixels`). Coordinates are continuous: a box covering the
first pixel of an image 100 pixels wide extends from 0.00 to 0.01.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, Self

import flax.struct
import jax
import numpy as np

Array = jax.Array | np.ndarray
Variables = dict[str, dict]  # {"params": ..., "batch_stats": ...}, trees of arrays
Losses = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count)
Shape = tuple[int, int]  # height and width in pixels
# (size [2] of an image, shape of the input) -> where the image is in it, x1 y1 x2 y2 in pixels [4]
Fit = Callable[[Array, Shape], Array]


@flax.struct.dataclass
class Objects:
    """The objects of one image (or, with a leading B, of a batch), padded to a fixed N."""

    boxes: Array  # [N, 4] xyxy in 0..1; zeros where mask is False
    labels: Array  # [N] int32, 0..K-1; zero where mask is False
    mask: Array  # [N] bool, True for objects, False for padding
    weight: Array  # [N] float32, factor on the object's loss (1; less under mixup)


@flax.struct.dataclass
class Batch:
    """What the host passes to the device: images on a fixed-size canvas, and their objects."""

    image: Array  # [B, S, S, 3] uint8 RGB; the image fills the top left corner, the rest is zero
    size: Array  # [B, 2] int32, height and width of the filled part
    objects: Objects  # [B, N, ...]; boxes are fractions of the filled part
    id: Array  # [B] int32, index of the image in its dataset
    valid: Array  # [B] bool, False for the padding of the last evaluation batch


@flax.struct.dataclass
class Anchors:
    """The anchors of a detector at one input size, all levels flattened, fine to coarse."""

    boxes: Array  # [A, 4] cx cy w h in 0..1
    cell: Array  # [A, 4] x0 y0 w h in 0..1, the grid cell of each anchor
    reach: Array | None = None  # [A, 4] as `cell`: where a centre can be decoded to, if not there


@flax.struct.dataclass
class Raw:
    """What a network predicts, before decoding; at least float32."""

    boxes: Array  # [B, A, 4] box codes
    logits: Array  # [B, A, K] or, with a background class in column 0, [B, A, K + 1]
    objectness: Array | None = None  # [B, A] logits, for the families that predict it


@flax.struct.dataclass
class Targets:
    """What every anchor of one image should predict."""

    boxes: Array  # [A, 4] xyxy box of the object assigned to each anchor
    labels: Array  # [A] int32, 0..K-1; meaningless where not positive
    positive: Array  # [A] bool
    ignore: Array  # [A] bool, neither positive nor negative
    weight: Array  # [A] float32, weight of that object
    classes: Array | None = None  # [A, K] bool, of all objects of an anchor that can have several


@flax.struct.dataclass
class Detections:
    """The detections in one image (or a batch, with a leading B), highest score first."""

    boxes: Array  # [M, 4] xyxy in 0..1, not clipped
    scores: Array  # [M] float32
    labels: Array  # [M] int32, 0..K-1
    valid: Array  # [M] bool, False for padding


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The ground truth of one image, unpadded, on the host."""

    id: str  # the file's stem (VOC) or the image id in decimal (COCO)
    height: int
    width: int
    boxes: np.ndarray  # [n, 4] xyxy in 0..1
    labels: np.ndarray  # [n] int32, 0..K-1
    difficult: np.ndarray  # [n] bool (VOC): counts as neither a hit nor a miss
    crowd: np.ndarray  # [n] bool (COCO): a region with many objects
    area: np.ndarray  # [n] float32 square pixels (COCO: of the segmentation, else of the box)


@dataclasses.dataclass(frozen=True)
class ImageDetections:
    """The detections in one image on the host, highest score first."""

    boxes: np.ndarray  # [m, 4] xyxy in pixels of the image, continuous
    scores: np.ndarray  # [m] float32
    labels: np.ndarray  # [m] int32, 0..K-1

    def select(self, keep: np.ndarray) -> Self:
        """The detections that a mask [m] or indices choose."""
        chosen = dict(boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep])
        return dataclasses.replace(self, **chosen)


class Detector(Protocol):
    """The interface of a detector: all that training, evaluation and the commands may use.

    A detector is frozen and holds no arrays, so it can be hashed and printed; its weights are
    arguments. `pixels` are RGB in 0..255, [B, H, W, 3]; `objects` are [B, N, ...], with boxes as
    fractions of `pixels`. `inside` [B, 4] is the part of each input in which its image is, in the
    same fractions; None if that is all of it. Every method can be traced.
    """

    @property
    def size(self) -> int:
        """The size of the input used for evaluation, in pixels: the side of a square, or what
        `window.input_shape` says."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K classes."""

    @property
    def fit(self) -> Fit:
        """How an image is placed in the input, a function of `augment/fit.py`."""

    @property
    def fill(self) -> tuple[float, float, float]:
        """The colour of the padding around an image, RGB in 0..255."""

    def init(self, key: jax.Array) -> Variables:
        """Freshly initialised variables."""

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
        """The losses of a batch as sums and counts, and the new batch statistics.

        `key` is for dropout and sampling in training. Nothing is divided here: sums and counts can
        be added up over devices and micro-batches, means cannot.
        """

    def predict(
        self, variables: Variables, pixels: Array, inside: Array | None = None
    ) -> Detections:
        """The detections [B, M] in `pixels`."""

    def forward(
        self, variables: Variables, pixels: Array, inside: Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Boxes [B, A, 4], or [B, A, K, 4] if each class has its own, and scores [B, A, K], before
        NMS; ValueError for an impossible shape."""

    def matched(self, objects: Objects, shape: Shape) -> tuple[Anchors, Targets]:
        """The anchors for an input of some shape, and the targets [B, A] assigned to them."""
