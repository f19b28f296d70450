"""How a user calls jaxdet: `ty check` reads this file, nothing runs it."""

from typing import Any, assert_type

import numpy as np
import PIL.Image

import jaxdet
from jaxdet.engine.inference import Predictor
from jaxdet.engine.result import Result


def use(image: np.ndarray, photo: PIL.Image.Image) -> None:
    detector = jaxdet.load("runs/quickstart")
    assert_type(detector, Predictor)
    found = detector("photo.jpg", score=0.5, iou=0.5, classes=["cat"], tile=640, overlap=0.2)
    assert_type(found, Result)
    assert_type(detector([image, photo, "photo.jpg"], batch_size=4), list[Result])
    assert_type(detector.detect([image], max=10, agnostic=True), list[Result])
    assert_type(found.names, list[str])
    assert_type(found.boxes, np.ndarray)
    assert_type(found.to_coco(1), list[dict[str, Any]])
    assert_type(found.draw(photo), np.ndarray)
