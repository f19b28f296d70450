"""The records that travel between the parts, and the axis letters used in every docstring.

**B** images, **H W** pixels, **N** objects (padded), **A** anchors (all levels flattened),
**K** classes without background, **M** kept detections, **S** canvas side.

Boxes are corners, x1 y1 x2 y2, as fractions of the picture (0..1), float32, unless a name says
otherwise (`boxes_cxcywh`, `boxes_pixels`). They are continuous: a box that covers the first pixel
of a picture 100 wide is 0.00 to 0.01.
"""

import dataclasses

import flax.struct
import jax
import numpy as np

Array = jax.Array | np.ndarray


@flax.struct.dataclass
class Objects:
    """The objects of one picture (or, with a leading B, of a batch), padded to a fixed N."""

    boxes: Array  # [N, 4] xyxy in 0..1; zeros where mask is False
    labels: Array  # [N] int32, 0..K-1; zero where mask is False
    mask: Array  # [N] bool, True for objects, False for padding
    weight: Array  # [N] float32, share of the object's loss (1, less under mixup)


@flax.struct.dataclass
class Batch:
    """What the host hands to the device: pictures on a fixed canvas, and their objects."""

    image: Array  # [B, S, S, 3] uint8 RGB; the picture fills the top left corner, the rest is zero
    size: Array  # [B, 2] int32, height and width of the filled part
    objects: Objects  # [B, N, ...]; boxes are fractions of the filled part
    id: Array  # [B] int32, index of the picture in its dataset
    valid: Array  # [B] bool, False for the padding of the last evaluation batch


@flax.struct.dataclass
class Anchors:
    """The anchors of a detector at one input size, all levels flattened, fine to coarse."""

    boxes: Array  # [A, 4] cx cy w h in 0..1
    cell: Array  # [A, 4] x0 y0 w h in 0..1, the grid cell that an anchor belongs to


@flax.struct.dataclass
class Raw:
    """What a network says before decoding; float32 at least."""

    boxes: Array  # [B, A, 4] box codes
    logits: Array  # [B, A, K] or, with a background class in column 0, [B, A, K + 1]
    objectness: Array | None = None  # [B, A] logits, for the families that have them


@flax.struct.dataclass
class Targets:
    """What every anchor of one picture should say."""

    boxes: Array  # [A, 4] xyxy box of the object an anchor answers for
    labels: Array  # [A] int32, 0..K-1; meaningless where not positive
    positive: Array  # [A] bool
    ignore: Array  # [A] bool, neither positive nor negative
    weight: Array  # [A] float32, weight of that object


@flax.struct.dataclass
class Detections:
    """What is found in one picture (or a batch, with a leading B), by falling score."""

    boxes: Array  # [M, 4] xyxy in 0..1, not clipped
    scores: Array  # [M] float32
    labels: Array  # [M] int32, 0..K-1
    valid: Array  # [M] bool, False for padding


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The ground truth of one picture, unpadded, on the host."""

    id: str  # the file's stem (VOC), the image id in decimal (COCO)
    height: int
    width: int
    boxes: np.ndarray  # [n, 4] xyxy in 0..1
    labels: np.ndarray  # [n] int32, 0..K-1
    difficult: np.ndarray  # [n] bool (VOC): neither found nor missed counts
    crowd: np.ndarray  # [n] bool (COCO): a region of many objects
    area: np.ndarray  # [n] float32 square pixels (COCO: of the segmentation, else of the box)


@dataclasses.dataclass(frozen=True)
class Found:
    """The detections of one picture on the host, by falling score."""

    boxes: np.ndarray  # [m, 4] xyxy in pixels of the picture, continuous
    scores: np.ndarray  # [m] float32
    labels: np.ndarray  # [m] int32, 0..K-1
