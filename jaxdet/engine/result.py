"""What a detector finds in an image, and the forms in which others take it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdet import visualize
from jaxdet.engine.images import Image, as_rgb
from jaxdet.types import ImageDetections

if TYPE_CHECKING:
    import supervision  # ty: ignore[import-not-found]


@dataclasses.dataclass(frozen=True)
class Result(ImageDetections):
    """The detections in one image, highest score first.

    `boxes` [m, 4] are x1 y1 x2 y2 in pixels, inside the image; `scores` [m] are 0..1; `labels` [m]
    are 0..K-1, and `classes` the K names; `names` are those of the m detections.
    """

    classes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The m class names."""
        return [self.classes[label] for label in self.labels]

    def __len__(self) -> int:
        return len(self.scores)

    def to_coco(
        self, image_id: int | str, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """The detections in COCO's results format: `bbox` is x, y, width and height in pixels.

        `category_ids` has an id for each of the K classes; without it they count from 1.
        ValueError for another number of ids.
        """
        ids = range(1, len(self.classes) + 1) if category_ids is None else category_ids
        if len(ids) != len(self.classes):
            raise ValueError(f"{len(ids)} category_ids for {len(self.classes)} classes")
        corners = np.asarray(self.boxes, float)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).round(3)
        return [
            {
                "image_id": image_id,
                "category_id": int(ids[label]),
                "bbox": box.tolist(),
                "score": round(float(score), 6),
            }
            for box, score, label in zip(boxes, self.scores, self.labels, strict=True)
        ]

    def to_supervision(self) -> "supervision.Detections":
        """The detections as the library `supervision` has them; ImportError if it is not there."""
        try:
            import supervision  # ty: ignore[import-not-found]
        except ImportError:
            raise ImportError("to_supervision needs a library: pip install supervision") from None
        return supervision.Detections(
            xyxy=np.asarray(self.boxes, np.float32).reshape(-1, 4),
            confidence=np.asarray(self.scores, np.float32),
            class_id=np.asarray(self.labels, int),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def draw(self, image: Image) -> np.ndarray:
        """The image, RGB uint8 [H, W, 3], with the boxes, names and scores drawn on it."""
        return visualize.draw_boxes(
            as_rgb(image), self.boxes, self.labels, classes=self.classes, scores=self.scores
        )
