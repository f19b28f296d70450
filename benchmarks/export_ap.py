"""The AP of exported files beside that of the detector they were made from.

    python benchmarks/export_ap.py --workdir=runs/yolov3_tiny tiny.onnx tiny.tflite tiny_int8.tflite

Each finds what it finds in the recipe's evaluation set, by the recipe's metric.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import jaxdet
from jaxdet import data
from jaxdet.engine import evaluate, inference
from jaxdet.training import progress
from jaxdet.types import ImageDetections


def main() -> None:
    """Prints a row for the workdir and for each file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    live = inference.load(args.workdir)
    recipe = live.recipe
    dataset = data.open(recipe.data.eval, **recipe.data.place)
    print(f"{recipe.data.eval}: {evaluate.protocol(recipe)}")
    for name, detector in [("live", live), *((f.name, jaxdet.load(f)) for f in args.files)]:
        start, found = time.perf_counter(), {}
        for i in progress.bar(range(len(dataset)), desc=name, unit="image", leave=False):
            one = detector(np.asarray(dataset.image(i)))
            found[dataset.ids[i]] = ImageDetections(one.boxes, one.scores, one.labels)
        seconds = (time.perf_counter() - start) / len(dataset)
        result = recipe.evaluation.metric.evaluate(found, dataset.annotations(), dataset.classes)
        numbers = {key: round(100 * value, 2) for key, value in evaluate.numbers(result).items()}
        shown = ", ".join(f"{key} {value}" for key, value in list(numbers.items())[:3])
        print(f"{name:24} {shown}; {1000 * seconds:.0f} ms an image")


if __name__ == "__main__":
    main()
