"""Find dimension priors for a recipe from its training boxes (YOLO9000, section 2).

    python -m jaxdet.anchors --config=yolov2_darknet19_416_voc
    python -m jaxdet.anchors --config=mine.py --count=9 --output=anchors.png

prints the priors in pixels of the recipe's input, in the form used in recipes, and the mean IoU of
the boxes with the best of them, and with the best of the recipe's own priors. It also draws the
boxes and the new priors.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from jaxdet import build, cli, data, visualize
from jaxdet.anchors import priors
from jaxdet.types import Fit

COUNT = flags.DEFINE_integer("count", 0, "number of priors; 0 for as many as the recipe has")
OUTPUT = flags.DEFINE_string("output", "anchors.png", "image file to write, default anchors.png")


def main() -> None:
    """Prints and draws priors for the recipe in the flags."""
    config = cli.CONFIG.value
    names, model = build.data(config), config.model
    dataset = data.open(names.train, **names.place)
    detector = build.recipe(config, dataset.classes).detector
    sides = box_sides(dataset, model.size, detector.fit, keep_difficult=names.keep_difficult)
    own = [np.array(level, float) for level in model.detector.get("priors", ())]
    count = COUNT.value or sum(map(len, own))
    if not count:
        raise ValueError("the recipe has no priors; say how many with --count")
    shapes = priors.cluster(sides, count, seed=config.seed)
    print(f"{len(sides):,} boxes of {names.train}, in pixels at input size {model.size}")
    print(f"{count} clustered priors: mean IoU {priors.mean_iou(sides, shapes):.3f}")
    print(f"  priors={_as_levels(shapes, [len(level) for level in own] or [count])}")
    if own:
        print(f"the recipe's priors: mean IoU {priors.mean_iou(sides, np.concatenate(own)):.3f}")
    visualize.save_png(OUTPUT.value, visualize.shape_chart(sides, shapes, side=model.size))
    print(f"chart        {Path(OUTPUT.value)}")


def box_sides(dataset: data.Dataset, size: int, fit: Fit, *, keep_difficult: bool) -> np.ndarray:
    """Width and height of every training box, in pixels of an input of `size`: [n, 2]."""
    table = dataset.table
    usable = table.trained_on(keep_difficult=keep_difficult)
    places = np.asarray(jax.vmap(partial(fit, shape=(size, size)))(table.sizes), float)
    shown = places[table.image_of_box()[usable]]
    boxes = table.boxes[usable]
    return (boxes[:, 2:] - boxes[:, :2]) * (shown[:, 2:] - shown[:, :2])


def _as_levels(shapes: np.ndarray, counts: list[int]) -> Any:
    """The shapes as in a recipe, by level: the smallest in the first, finest one."""
    if sum(counts) != len(shapes):
        counts = [len(shapes)]
    rows = [tuple(round(float(x), 1) for x in shape) for shape in shapes]
    ends = np.cumsum(counts)
    return tuple(tuple(rows[end - n : end]) for n, end in zip(counts, ends, strict=True))


if __name__ == "__main__":
    cli.run(main, required=["config"])
