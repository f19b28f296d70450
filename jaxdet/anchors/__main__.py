"""Dimension priors for a recipe from its training boxes (YOLO9000, section 2).

    python -m jaxdet.anchors --config=configs/yolov2_darknet19_416_voc.py --output=anchors.png

prints the priors in pixels of the recipe's input, in the form that goes into the recipe, with the
mean IoU of the boxes with the best of them beside the recipe's own, and draws both.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from jaxdet import build, cli, data, visualize
from jaxdet.anchors import priors

COUNT = flags.DEFINE_integer("count", 0, "How many priors; as many as the recipe has if 0.")
OUTPUT = flags.DEFINE_string("output", "anchors.png", "The picture to write.")


def main() -> None:
    """Prints and draws the priors of the recipe that the flags name."""
    config = cli.CONFIG.value
    names, model = build.data(config), config.model
    dataset = data.open(names.train, **names.place)
    sides = box_sides(
        dataset, model.size, letterbox=model.letterbox, keep_difficult=names.keep_difficult
    )
    own = [np.array(level, float) for level in model.detector.get("priors", ())]
    count = COUNT.value or sum(map(len, own))
    if not count:
        raise ValueError("the recipe has no priors; say how many with --count")
    shapes = priors.cluster(sides, count, seed=config.seed)
    print(f"{len(sides):,} boxes of {names.train}, pixels of {model.size}")
    print(f"{count} clustered: mean IoU {priors.mean_iou(sides, shapes):.3f}")
    print(f"  priors={_as_levels(shapes, [len(level) for level in own] or [count])}")
    if own:
        print(f"the recipe's: mean IoU {priors.mean_iou(sides, np.concatenate(own)):.3f}")
    visualize.save_png(OUTPUT.value, visualize.shape_chart(sides, shapes, side=model.size))
    print(f"chart        {Path(OUTPUT.value)}")


def box_sides(
    dataset: data.Dataset, size: int, *, letterbox: bool, keep_difficult: bool
) -> np.ndarray:
    """Width and height of every training box as an input of `size` pixels shows it: [n, 2]."""
    table = dataset.table
    usable = table.trained_on(keep_difficult=keep_difficult)
    pictures = table.sizes[table.image_of_box()[usable], ::-1].astype(float)  # width, height
    shown = size * (pictures / pictures.max(axis=1, keepdims=True) if letterbox else np.ones(2))
    boxes = table.boxes[usable]
    return (boxes[:, 2:] - boxes[:, :2]) * shown


def _as_levels(shapes: np.ndarray, counts: list[int]) -> Any:
    """The shapes as a recipe has them: the smallest for the first, finest level."""
    if sum(counts) != len(shapes):
        counts = [len(shapes)]
    rows = [tuple(round(float(x), 1) for x in shape) for shape in shapes]
    ends = np.cumsum(counts)
    return tuple(tuple(rows[end - n : end]) for n, end in zip(counts, ends, strict=True))


if __name__ == "__main__":
    cli.run(main, required=["config"])
