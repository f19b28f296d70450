"""Times the input path on the host: one JSON line per figure, in images per second.

    python benchmarks/input.py [--root VOCdevkit] [--cores 1 2] [--seconds 5]

Without a VOCdevkit the images are generated shapes, enlarged to 500 x 375 and stored as JPEGs of
about the size of VOC's own. `decode` is only decoding onto the canvas, in one thread; `batches`
is what a training loop gets: read, decode, pad and stack, in as many threads as cores.
"""

import argparse
import json
import os
import pathlib
import platform
import tempfile
import time
from collections.abc import Iterator

import cv2
import grain
import numpy as np

from jaxdet import data
from jaxdet.data import shapes
from jaxdet.data.check import Example

CANVAS, BATCH = 512, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, help="a VOCdevkit with VOC2012 in it")
    parser.add_argument("--cores", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()

    available = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as dir:
        dataset = open_dataset(pathlib.Path(dir), arguments.root)
        bytes_each = round(np.mean([len(dataset.encoded(i)) for i in range(100)]))
        for cores in arguments.cores:
            # Threads inherit the cores of the thread that starts them.
            os.sched_setaffinity(0, available[:cores])
            more = {"cores": cores, "jpeg_bytes": bytes_each, "canvas": CANVAS}
            if cores == 1:
                speed = images_per_second(decoded(dataset), 1, arguments.seconds)
                report("input_decode", speed, **more)
            stream = data.train_batches(
                dataset,
                batch_size=BATCH,
                canvas=CANVAS,
                max_objects=64,
                seed=0,
                num_threads=cores,
            )
            speed = images_per_second(stream, BATCH, arguments.seconds)
            report("input_batches", speed, batch=BATCH, **more)


def open_dataset(dir: pathlib.Path, root: pathlib.Path | None) -> data.Dataset:
    """VOC2012's training images, or 200 generated ones of 500 x 375."""
    if root is not None:
        return data.open("voc_2012_train", dir=dir, root=root)
    images = grain.MapDataset.range(200).map(generated)
    source = data.Source("bench", {"root": "generated"}, lambda _: (shapes.CLASSES, images))
    data.prepare(source, dir=dir)
    return data.open("bench", dir=dir)


def generated(i: int) -> Example:
    """An image of shapes, 500 x 375."""
    image, boxes_pixels, labels = shapes.draw(np.random.default_rng([7, i]))
    height, width = image.shape[:2]
    image = cv2.resize(image, (500, 375), interpolation=cv2.INTER_CUBIC)
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return Example(
        id=str(i),
        file=str(i),
        encoded=encoded.tobytes(),
        size=(375, 500),
        boxes=boxes_pixels / [width, height, width, height],
        names=[shapes.CLASSES[label] for label in labels],
        difficult=np.zeros(len(labels), bool),
        crowd=np.zeros(len(labels), bool),
        area=np.full(len(labels), np.nan),
    )


def decoded(dataset: data.Dataset) -> Iterator[np.ndarray]:
    """An endless stream of canvases, decoded from images in memory."""
    encoded = [dataset.encoded(i) for i in range(min(len(dataset), 200))]
    while True:
        for each in encoded:
            yield data.decode(each, CANVAS)[0]


def images_per_second(stream: Iterator, each: int, seconds: float) -> float:
    """The speed of a stream, after a few items to warm up."""
    for _ in range(4):
        next(stream)
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        next(stream)
        count += each
    return count / passed


def report(name: str, value: float, **more) -> None:
    """Print a figure as one JSON line, with the machine that it was measured on."""
    machine = f"{processor()}, {os.cpu_count()} cores"
    figure = {"name": name, "value": round(value, 1), "unit": "images/s", **more}
    versions = {"opencv": cv2.__version__, "grain": grain.__version__}
    print(json.dumps(figure | {"machine": machine} | versions), flush=True)


def processor() -> str:
    """The processor's name where the system reports it, else its architecture."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
